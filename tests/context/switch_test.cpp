// What belongs to a thread by the ABI and must follow the fiber: exceptions
// being handled, floating-point control words, errno. With every wake-up on
// another worker, so that nothing is right by accident.
#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>

#include <cerrno>
#include <cfenv>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

using weft::test::Environment;
using weft::test::on_workers;

namespace {

template <class Body>
void while_migrating(Body&& body) {
    on_workers(body);
    const Environment force{"WEFT_FORCE_MIGRATE", "1"};
    on_workers(body);
}

// Waits, so that others run, and comes back on another worker if forced to.
void go_away() {
    weft::Semaphore back{0};
    auto other = weft::spawn([&] { back.release(); });
    back.acquire();
    other.join();
}

// The compiler may keep the address of errno across a switch; these ask anew. And
// TSan, to which a worker's fibers are strangers, sees them share its errno.
[[gnu::noinline, gnu::no_sanitize("thread")]] void set_errno(int value) {
    int* address = &errno;
    asm volatile("" : "+r"(address));
    *address = value;
}
[[gnu::noinline, gnu::no_sanitize("thread")]] int get_errno() {
    int* address = &errno;
    asm volatile("" : "+r"(address));
    return *address;
}

// In unwinding, waits, and tells how many exceptions were in flight around that.
struct WaitsInDestructor {
    std::vector<int>& counts;
    ~WaitsInDestructor() {
        counts.push_back(std::uncaught_exceptions());
        go_away();
        counts.push_back(std::uncaught_exceptions());
    }
};

}  // namespace

TEST_CASE("fibers suspended in their handlers rethrow their own exceptions",
          "[switch][exceptions]") {
    while_migrating([] {
        constexpr int count = 50;
        weft::Semaphore inside{0};
        weft::Event go;
        std::vector<weft::Fiber<bool>> fibers;
        for (int i = 0; i < count; ++i) {
            fibers.push_back(weft::spawn([&, mine = std::to_string(i)] {
                try {
                    throw std::runtime_error{mine};
                } catch (...) {
                    inside.release();
                    go.wait();
                    for (int turn = 0; turn < 5; ++turn) go_away();
                    try {
                        throw;
                    } catch (const std::exception& again) {
                        return again.what() == mine && std::current_exception() != nullptr;
                    }
                }
            }));
        }
        for (int i = 0; i < count; ++i) inside.acquire();
        CHECK(std::current_exception() == nullptr);
        go.set();
        int right = 0;
        for (auto& fiber : fibers) right += fiber.get() ? 1 : 0;
        CHECK(right == count);
        CHECK(std::current_exception() == nullptr);
    });
}

TEST_CASE("handlers within handlers survive a wait", "[switch][exceptions]") {
    while_migrating([] {
        auto fiber = weft::spawn([] {
            std::string seen;
            try {
                throw std::runtime_error{"outer"};
            } catch (const std::exception& outer) {
                go_away();
                try {
                    throw std::logic_error{"inner"};
                } catch (const std::exception& inner) {
                    go_away();
                    seen = inner.what();
                }
                go_away();
                seen += outer.what();
                try {
                    throw;
                } catch (const std::runtime_error& again) {
                    seen += again.what();
                }
            }
            return seen;
        });
        CHECK(fiber.get() == "innerouterouter");
    });
}

TEST_CASE("uncaught_exceptions is the fiber's own, also in a destructor that waits",
          "[switch][exceptions]") {
    while_migrating([] {
        constexpr int count = 20;
        std::vector<weft::Fiber<std::vector<int>>> unwinding;
        std::vector<weft::Fiber<bool>> calm;
        for (int i = 0; i < count; ++i) {
            unwinding.push_back(weft::spawn([] {
                std::vector<int> counts;
                try {
                    const WaitsInDestructor waits{counts};
                    throw 1;
                } catch (int) {
                    counts.push_back(std::uncaught_exceptions());
                }
                return counts;
            }));
            calm.push_back(weft::spawn([] {
                for (int turn = 0; turn < 10; ++turn) {
                    if (std::uncaught_exceptions() != 0) return false;
                    go_away();
                }
                return true;
            }));
        }
        for (auto& fiber : unwinding) CHECK(fiber.get() == std::vector{1, 1, 0});
        for (auto& fiber : calm) CHECK(fiber.get());
        CHECK(std::uncaught_exceptions() == 0);
    });
}

TEST_CASE("a fiber that ends by an exception leaves none to the next", "[switch][exceptions]") {
    while_migrating([] {
        for (int i = 0; i < 50; ++i) {
            auto thrower = weft::spawn([] { throw std::runtime_error{"gone"}; });
            auto next = weft::spawn([] {
                return std::current_exception() == nullptr && std::uncaught_exceptions() == 0;
            });
            CHECK_THROWS_WITH(thrower.get(), "gone");
            CHECK(next.get());
        }
    });
}

TEST_CASE("the rounding mode is the fiber's own", "[switch][float]") {
    while_migrating([] {
        std::vector<weft::Fiber<bool>> fibers;
        for (int i = 0; i < 40; ++i) {
            fibers.push_back(weft::spawn([i] {
                const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO, FE_TONEAREST};
                const int mine = modes[i % 4];
                std::fesetround(mine);
                for (int turn = 0; turn < 10; ++turn) {
                    go_away();
                    if (std::fegetround() != mine) return false;
                }
                return true;
            }));
        }
        int right = 0;
        for (auto& fiber : fibers) right += fiber.get() ? 1 : 0;
        CHECK(right == 40);
        CHECK(std::fegetround() == FE_TONEAREST);
    });
}

TEST_CASE("a new fiber begins with the control words of a new thread", "[switch][float]") {
    while_migrating([] {
        auto creator = weft::spawn([] {
            std::fesetround(FE_UPWARD);
#if defined(__x86_64__)
            _mm_setcsr(_mm_getcsr() | _MM_FLUSH_ZERO_ON);
#endif
            auto child = weft::spawn([] {
                bool fresh = std::fegetround() == FE_TONEAREST;
#if defined(__x86_64__)
                unsigned short x87 = 0;
                asm volatile("fnstcw %0" : "=m"(x87));
                fresh = fresh && (_mm_getcsr() & ~0x3Fu) == 0x1F80 && x87 == 0x037F;
#endif
                return fresh;
            });
            const bool fresh = child.get();
            return fresh && std::fegetround() == FE_UPWARD;
        });
        CHECK(creator.get());
    });
}

TEST_CASE("errno is kept across waits, whoever ran in between", "[switch][errno]") {
    while_migrating([] {
        std::vector<weft::Fiber<bool>> fibers;
        for (int i = 1; i <= 40; ++i) {
            fibers.push_back(weft::spawn([i] {
                for (int turn = 0; turn < 20; ++turn) {
                    set_errno(1000 * i + turn);
                    if (turn % 2 == 0) {
                        weft::this_fiber::yield();
                    } else {
                        go_away();
                    }
                    if (get_errno() != 1000 * i + turn) return false;
                }
                return true;
            }));
        }
        int right = 0;
        for (auto& fiber : fibers) right += fiber.get() ? 1 : 0;
        CHECK(right == 40);
    });
}
