// Runners wait for one signal, an Event: set() lets all of them go, and who comes later
// does not wait at all. Each is a Thread, as Python's threading would have it.
#include <weft/event.hpp>
#include <weft/runtime.hpp>
#include <weft/thread.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <deque>

using namespace std::chrono_literals;

class Runner : public weft::Thread {
public:
    Runner(weft::Event& signal, std::atomic<int>& gone) : signal_{signal}, gone_{gone} {}

private:
    void run() override {
        signal_.wait();
        ++gone_;
    }
    weft::Event& signal_;
    std::atomic<int>& gone_;
};

int main() {
    weft::run([] {
        weft::Event signal;
        std::atomic<int> gone{0};
        std::deque<Runner> runners;
        for (int lane = 1; lane <= 5; ++lane) runners.emplace_back(signal, gone).start();

        std::puts("on your marks");
        if (!signal.wait(5ms)) std::printf("no signal yet, and %d have gone\n", gone.load());
        std::puts("bang!");
        signal.set();
        for (auto& runner : runners) runner.join();
        std::printf("%d have gone\n", gone.load());

        Runner late{signal, gone};
        late.start();
        late.join();
        std::printf("%d with the one who overslept\n", gone.load());
    });
}
