// A home-made pool: daemon fibers take jobs off a queue for as long as the program runs.
#include <weft/queue.hpp>
#include <weft/runtime.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <functional>

using namespace std::chrono_literals;

struct Job {
    int number;
    std::atomic<int>& sum;
};

void work(weft::Queue<Job>& jobs) {
    for (;;) {
        Job job = jobs.get();  // cancelled here when run() leaves
        weft::this_fiber::sleep_for(1ms);
        job.sum += job.number;
        jobs.task_done();
    }
}

weft::Queue<Job> jobs{8};  // a ninth waits until there is room: outlives the daemons

int main() {
    weft::run([] {
        for (int i = 0; i < 4; ++i) {
            weft::spawn({.name = "worker", .daemon = true}, work, std::ref(jobs)).detach();
        }
        std::atomic<int> sum{0};
        for (int i = 1; i <= 100; ++i) jobs.put({i, sum});
        jobs.join();
        std::printf("1 + 2 + ... + 100 = %d\n", sum.load());
        // Nobody has to stop the workers: daemons do not keep run() waiting.
    });
    std::printf("and the workers are gone\n");
}
