// A thousand fibers sleep at the same time; main collects what they return.
#include <weft/fiber.hpp>
#include <weft/runtime.hpp>
#include <weft/this_fiber.hpp>

#include <cstdio>
#include <vector>

int main() {
    weft::run([] {
        std::vector<weft::Fiber<int>> fibers;
        for (int i = 1; i <= 1000; ++i) {
            fibers.push_back(weft::spawn([i] {
                weft::this_fiber::sleep_for(std::chrono::milliseconds{100});
                return i;
            }));
        }
        int sum = 0;
        for (auto& fiber : fibers) sum += fiber.get();
        std::printf("1 + 2 + ... + 1000 = %d\n", sum);
    });
}
