#include "support/catch.hpp"
#include "support/runtime.hpp"

#include "io/descriptor.hpp"

#include <weft/fiber.hpp>
#include <weft/latch.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <memory>
#include <vector>

#include <sys/eventfd.h>

using namespace weft::test;
using weft::detail::Descriptor;
using weft::detail::Use;

namespace {

std::unique_ptr<Descriptor> some_descriptor() {
    return std::make_unique<Descriptor>(::eventfd(0, EFD_CLOEXEC));
}

}  // namespace

// More users than a descriptor has seats, so that some are in its list.
TEST_CASE("who closes waits for all who use it, and may destroy it then", "[io][descriptor]") {
    constexpr int rounds = 300;
    constexpr int most_users = 5;
    on_workers([] {
        for (int round = 0; round < rounds; ++round) {
            const int count = 1 + round % most_users;
            auto descriptor = some_descriptor();
            weft::Latch used{count};
            std::atomic<int> inside{0};
            std::vector<weft::Fiber<>> users;
            for (int i = 0; i < count; ++i) {
                users.push_back(weft::spawn([&, i] {
                    const Use use{*descriptor};
                    ++inside;
                    used.count_down();
                    for (int turn = 0; turn < (round + i) % 4; ++turn) weft::this_fiber::yield();
                    --inside;
                }));
            }
            used.wait();
            descriptor->close();
            REQUIRE(inside == 0);
            descriptor.reset();
            weft::join_all(users);
        }
    });
}

TEST_CASE("a use that begins while or after it is closed has no descriptor", "[io][descriptor]") {
    constexpr int rounds = 300;
    constexpr int users = 4;
    on_workers([] {
        for (int round = 0; round < rounds; ++round) {
            const auto descriptor = some_descriptor();
            const int fd = descriptor->get();
            weft::Latch began{users};
            std::atomic<int> others{0};
            std::vector<weft::Fiber<>> fibers;
            for (int i = 0; i < users; ++i) {
                fibers.push_back(weft::spawn([&] {
                    began.count_down();
                    for (;;) {
                        const Use use{*descriptor};
                        const int number = use.fd();
                        if (number < 0) return;
                        if (number != fd) ++others;
                        weft::this_fiber::yield();
                    }
                }));
            }
            began.wait();
            descriptor->close();
            weft::join_all(fibers);
            REQUIRE(others == 0);
            REQUIRE(Use{*descriptor}.fd() == -1);
        }
    });
}

TEST_CASE("seats and the list are given back", "[io][descriptor]") {
    const auto descriptor = some_descriptor();
    const int fd = descriptor->get();
    for (int round = 0; round < 3; ++round) {
        const Use first{*descriptor};
        const Use second{*descriptor};
        {
            const Use third{*descriptor};
            const Use fourth{*descriptor};
            REQUIRE(third.fd() == fd);
            REQUIRE(fourth.fd() == fd);
        }
        const Use fifth{*descriptor};
        REQUIRE(first.fd() == fd);
        REQUIRE(fifth.fd() == fd);
    }
    descriptor->close();
    REQUIRE(descriptor->get() == -1);
}
