// Tasks that sleep for a random while, one after the other and all at once; then those that
// are late are given up. gevent: spawn, joinall(timeout), killall, iwait.
#include <weft/weft.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>
#include <vector>

using namespace std::chrono_literals;

int task(int number, std::chrono::milliseconds pause) {
    weft::this_fiber::sleep_for(pause);
    return number;
}

std::vector<std::chrono::milliseconds> random_pauses() {
    std::vector<std::chrono::milliseconds> pauses;
    for (int i = 1; i <= 8; ++i) pauses.push_back(i * 10ms);
    std::shuffle(pauses.begin(), pauses.end(), std::mt19937{std::random_device{}()});
    return pauses;
}

int main() {
    const auto everything = [] {
        const auto pauses = random_pauses();
        std::printf("one after the other:");
        for (int i = 0; i < 8; ++i)
            std::printf(" %d", task(i, pauses[static_cast<std::size_t>(i)]));

        std::vector<weft::Fiber<int>> tasks;
        for (int i = 0; i < 8; ++i) {
            tasks.push_back(weft::spawn(task, i, pauses[static_cast<std::size_t>(i)]));
        }
        std::printf("\nall at once, those with short pauses first:");
        for (auto& done : weft::as_completed(tasks)) {
            std::printf(" %ld",
                        static_cast<long>(pauses[static_cast<std::size_t>(done.get())] / 1ms));
        }

        std::vector<weft::Fiber<int>> late;
        for (int i = 0; i < 8; ++i) late.push_back(weft::spawn(task, i, i < 5 ? 10ms : 1h));
        const auto waited = weft::wait(late, weft::Until::all_completed, 200ms);
        std::printf("\nin time: %zu, late: %zu\n", waited.done().size(), waited.not_done().size());
        weft::cancel_all(late);
        weft::join_all(late);
    };
    weft::run(everything, {.workers = 1});  // with more, two might change places
}
