// Code that knows no fibers sleeps as it always did; only the fiber stops. (gevent.monkey)
#include <weft/fiber.hpp>
#include <weft/hooks.hpp>
#include <weft/runtime.hpp>

#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

#include <unistd.h>

using namespace std::chrono_literals;

/// Plain C++ and plain C, compiled without weft.
void nap(int number) {
    std::printf("%d sleeps\n", number);
    std::this_thread::sleep_for(number * 100ms);
    usleep(100'000);
    std::printf("%d is awake\n", number);
}

int main() {
    weft::hooks::patch_all();
    weft::run(
        [] {
            const auto begun = std::chrono::steady_clock::now();
            std::vector<weft::Fiber<>> sleepers;
            for (const int number : {3, 1, 2}) sleepers.push_back(weft::spawn(nap, number));
            weft::join_all(sleepers);

            // Ten thousand of them, on the one worker that there is.
            sleepers.clear();
            for (int i = 0; i < 10'000; ++i) sleepers.push_back(weft::spawn([] { sleep(1); }));
            weft::join_all(sleepers);
            const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begun;
            std::printf("10000 slept a second each; all of it took %.1f s\n", time.count());
        },
        {.workers = 1});
}
