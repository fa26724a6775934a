// One face, two pools: fibers for what waits by weft's means, threads for what blocks its thread.
#include <weft/fiber_pool.hpp>
#include <weft/run_blocking.hpp>
#include <weft/runtime.hpp>
#include <weft/this_fiber.hpp>
#include <weft/thread_pool.hpp>

#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

int waits(int n) {
    weft::this_fiber::sleep_for(50ms);  // of a fiber: it parks
    return n * n;
}
int blocks(int n) {
    std::this_thread::sleep_for(50ms);  // as a call of a foreign library: its thread is gone
    return n * n;
}

void measure(const char* what, weft::Pool& pool, int (*task)(int)) {
    const std::vector<int> items(20, 3);
    const auto begin = Clock::now();
    int sum = 0;
    for (const int square : pool.imap_unordered(task, items)) sum += square;
    const bool at_once = Clock::now() - begin < 500ms;
    std::printf("%s: sum %d, %s\n", what, sum, at_once ? "all at once" : "one by one");
}

int main() {
    weft::run(
        [] {
            weft::FiberPool fibers{20};
            weft::ThreadPool threads{20};
            measure("waiting on fibers  ", fibers, waits);
            measure("blocking on threads", threads, blocks);
            measure("blocking on fibers ", fibers, blocks);  // the one worker is blocked
            std::printf("run_blocking: %d\n", weft::run_blocking(blocks, 5));
        },
        {.workers = 1});
}
