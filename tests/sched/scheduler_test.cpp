// Many fibers, and none to be had.
#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <stdexcept>
#include <system_error>
#include <vector>

using namespace std::chrono_literals;
using weft::test::Child;
using weft::test::on_workers;
using weft::test::Outcome;

namespace {

// Sanitizers have room for fewer: TSan of g++ 12 for 8,128 in all.
constexpr int many = weft::test::under_sanitizer ? 2000 : 100'000;

// Spawns until that fails, in `runtime`'s fiber or from outside; lets all end;
// and does it again, which must get as far.
template <class Spawn>
int spawn_until_refused(Spawn&& spawn) {
    int reached[2] = {0, 0};
    for (int& count : reached) {
        weft::Event go;
        std::vector<weft::Fiber<>> fibers;
        fibers.reserve(1 << 20);
        try {
            for (;;) fibers.push_back(spawn(go));
        } catch (const std::system_error& error) {
            if (error.code() != std::errc::not_enough_memory) return 2;
        }
        count = static_cast<int>(fibers.size());
        if (count < 64) return 3;
        go.set();
        weft::join_all(fibers);
    }
    // Which slab or heap block the room between is in may differ a little.
    return reached[1] >= reached[0] - 512 ? 0 : 4;
}

const Child refused_inside{"spawns refused, from a fiber", [] {
                               return weft::run(
                                   [] {
                                       weft::test::limit_address_space(std::size_t{600} << 20);
                                       return spawn_until_refused([](weft::Event& go) {
                                           return weft::spawn(
                                               weft::SpawnOptions{.name = "one of many"},
                                               [&] { go.wait(); });
                                       });
                                   },
                                   {.workers = 2});
                           }};

const Child refused_outside{"spawns refused, from a thread", [] {
                                weft::Runtime runtime{{.workers = 2}};
                                weft::test::limit_address_space(std::size_t{600} << 20);
                                return spawn_until_refused([&](weft::Event& go) {
                                    return runtime.spawn([&] { go.wait(); });
                                });
                            }};

const Child refused_large{
    "spawns with large stacks and callables refused", [] {
        return weft::run(
            [] {
                weft::test::limit_address_space(std::size_t{700} << 20);
                int refused = 0;
                try {
                    weft::spawn(weft::SpawnOptions{.stack_size = std::size_t{1} << 32}, [] {});
                } catch (const std::system_error&) {
                    ++refused;
                }
                struct Large {
                    std::array<char, 800 << 20> bytes;
                    void operator()() const {}
                };
                try {
                    // Copied from storage that is never touched; but a compiler that sees that it
                    // is never written makes it part of the program's file.
                    static Large large;
                    asm volatile("" : : "r"(&large) : "memory");
                    weft::spawn(large);
                } catch (const std::system_error&) {
                    ++refused;
                }
                weft::spawn([] {}).join();
                return refused == 2 ? 0 : 1;
            },
            {.workers = 1});
    }};

/// All that malloc still has, once the address space is limited to what it is.
class Hoard {
public:
    Hoard() {
        blocks_.reserve(1 << 16);
        weft::test::limit_address_space(0);
        for (std::size_t size = 1 << 20; size >= 16; size /= 2) {
            while (blocks_.size() < blocks_.capacity()) {
                void* const block = std::malloc(size);
                if (block == nullptr) break;
                blocks_.push_back(block);
            }
        }
    }
    Hoard(const Hoard&) = delete;
    Hoard& operator=(const Hoard&) = delete;
    ~Hoard() {
        for (void* const block : blocks_) std::free(block);
    }

private:
    std::vector<void*> blocks_;
};

// There is no memory for the error's text, either.
const Child refused_wholly{
    "spawns refused, without any memory", [] {
        return weft::run(
            [] {
                weft::Event go;
                std::vector<weft::Fiber<>> fibers;
                fibers.reserve(1 << 16);
                int refused = 0;
                {
                    const Hoard hoard;
                    for (const char* name : {"", "a name", ""}) {
                        try {
                            while (fibers.size() < fibers.capacity()) {
                                fibers.push_back(weft::spawn(weft::SpawnOptions{.name = name},
                                                             [&] { go.wait(); }));
                            }
                        } catch (const std::system_error& error) {
                            if (error.code().value() == ENOMEM) ++refused;
                        }
                    }
                }
                go.set();
                weft::join_all(fibers);
                return refused == 3 ? 0 : 1;
            },
            {.workers = 2});
    }};

// Waits with deadlines must not need memory that may be missing.
const Child deadlines_refused{
    "deadlines without memory", [] {
        return weft::run(
            [] {
                weft::Event go;
                std::vector<weft::Fiber<bool>> fibers;
                for (int i = 0; i < 20'000; ++i) {
                    fibers.push_back(weft::spawn([&] { return go.wait(1h); }));
                }
                const Hoard hoard;
                for (auto& fiber : fibers) {
                    while (!weft::test::is_waiting(weft::Runtime::current(), fiber.id())) {
                        weft::this_fiber::yield();
                    }
                    if (fiber.id() % 1000 == 0) break;
                }
                for (int i = 0; i < 3; ++i) weft::this_fiber::yield();
                go.set();
                for (auto& fiber : fibers) {
                    if (!fiber.get()) return 1;
                }
                return 0;
            },
            {.workers = 1});
    }};

}  // namespace

TEST_CASE("a hundred thousand waiting fibers time out at their deadlines",
          "[scheduler][deadline]") {
    on_workers([] {
        weft::Semaphore none{0};
        const weft::Deadline deadline = 20ms;
        std::vector<weft::Fiber<bool>> fibers;
        for (int i = 0; i < many; ++i) {
            fibers.push_back(weft::spawn([&] { return none.acquire(deadline); }));
        }
        int timed_out = 0;
        for (auto& fiber : fibers) timed_out += fiber.get() ? 0 : 1;
        CHECK(timed_out == many);
        CHECK(deadline.passed());
        CHECK_FALSE(none.try_acquire());
    });
}

TEST_CASE("a hundred thousand waiting fibers are woken before their deadlines",
          "[scheduler][deadline]") {
    on_workers([] {
        weft::Semaphore units{0};
        std::vector<weft::Fiber<bool>> fibers;
        for (int i = 0; i < many; ++i) {
            fibers.push_back(weft::spawn([&] { return units.acquire(1h); }));
        }
        for (int i = 0; i < many; ++i) units.release();
        int served = 0;
        for (auto& fiber : fibers) served += fiber.get() ? 1 : 0;
        CHECK(served == many);
        CHECK_FALSE(units.try_acquire());
    });
}

TEST_CASE("a hundred thousand waiting fibers are cancelled", "[scheduler][cancel]") {
    on_workers([] {
        weft::Event never;
        std::vector<weft::Fiber<>> fibers;
        for (int i = 0; i < many; ++i) {
            fibers.push_back(weft::spawn([&] { never.wait(1h); }));
        }
        weft::this_fiber::yield();
        weft::cancel_all(fibers);
        CHECK(weft::join_all(fibers));
    });
}

TEST_CASE("a spawn that cannot be had throws and leaves nothing behind", "[scheduler][shortage]") {
    if (weft::test::under_sanitizer) return;  // they map more than any limit
    for (const Child* child :
         {&refused_inside, &refused_outside, &refused_large, &refused_wholly}) {
        const Outcome outcome = child->run();
        INFO(outcome.describe());
        CHECK(outcome.exited_with(0));
        CHECK(outcome.errors.empty());
    }
}

TEST_CASE("a callable that throws while it is moved in leaves nothing behind", "[scheduler]") {
    on_workers([] {
        struct Refusing {
            Refusing() = default;
            Refusing(const Refusing&) { throw std::runtime_error{"no copies"}; }
            void operator()() {}
        };
        const Refusing refusing;
        auto& runtime = weft::Runtime::current();
        const auto before = runtime.counters().spawned;
        for (int i = 0; i < 1000; ++i) CHECK_THROWS_AS(weft::spawn(refusing), std::runtime_error);
        CHECK(runtime.counters().spawned == before);
    });
}

TEST_CASE("a wait with a deadline needs no memory", "[scheduler][shortage]") {
    if (weft::test::under_sanitizer) return;
    const Outcome outcome = deadlines_refused.run();
    INFO(outcome.describe());
    CHECK(outcome.exited_with(0));
}
