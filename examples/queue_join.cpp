// join() waits until every item is not only taken, but done with.
#include <weft/queue.hpp>
#include <weft/runtime.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <vector>

using namespace std::chrono_literals;

int main() {
    weft::run([] {
        weft::Queue<int> letters;
        std::atomic<int> delivered{0};

        std::vector<weft::Fiber<>> carriers;
        for (int i = 0; i < 3; ++i) {
            carriers.push_back(weft::spawn([&] {
                for (const int letter : letters) {
                    weft::this_fiber::sleep_for(1ms * (letter % 3));
                    ++delivered;
                    letters.task_done();
                }
            }));
        }

        for (int round = 1; round <= 2; ++round) {
            for (int letter = 0; letter < 50; ++letter) letters.put(letter);
            letters.join();
            std::printf("round %d: %d letters delivered\n", round, delivered.load());
        }

        letters.put(0);
        const bool in_time = letters.join(0ms);
        std::printf("the last one %s\n", in_time ? "was quick" : "is on its way");
        letters.join();

        try {
            letters.task_done();
        } catch (const std::logic_error&) {
            std::printf("nothing more to deliver\n");
        }
        letters.close();
        weft::join_all(carriers);
    });
}
