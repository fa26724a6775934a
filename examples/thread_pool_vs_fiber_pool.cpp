// One face, two pools: fibers for what waits by weft's means, threads for what blocks its thread.
#include <weft/fiber_pool.hpp>
#include <weft/run_blocking.hpp>
#include <weft/runtime.hpp>
#include <weft/this_fiber.hpp>
#include <weft/thread_pool.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

std::atomic<int> inside{0};

// Both return how many were at it together.
int waits(int) {
    const int together = ++inside;
    weft::this_fiber::sleep_for(50ms);  // of a fiber: it parks
    --inside;
    return together;
}
int blocks(int) {
    const int together = ++inside;
    std::this_thread::sleep_for(50ms);  // as a call of a foreign library: its thread is gone
    --inside;
    return together;
}

void measure(const char* what, weft::Pool& pool, int (*task)(int)) {
    const std::vector<int> items(20, 3);
    int most = 0;
    for (const int together : pool.imap_unordered(task, items)) most = std::max(most, together);
    std::printf("%s: %s\n", what, most > 1 ? "all at once" : "one by one");
}

int main() {
    weft::run(
        [] {
            weft::FiberPool fibers{20};
            weft::ThreadPool threads{20};
            measure("waiting on fibers  ", fibers, waits);
            measure("blocking on threads", threads, blocks);
            measure("blocking on fibers ", fibers, blocks);  // the one worker is blocked
            std::printf("run_blocking, alone: %d\n", weft::run_blocking(blocks, 5));
        },
        {.workers = 1});
}
