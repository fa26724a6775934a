// What a program reads on stderr when nobody takes an exception, and when it does what it
// must not where nothing can be thrown. Each in a process of its own.
#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/waiting.hpp"

#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/lock.hpp>
#include <weft/runtime.hpp>
#include <weft/shared_lock.hpp>
#include <weft/this_fiber.hpp>
#include <weft/timeout.hpp>

#include <csignal>
#include <memory>
#include <optional>
#include <stdexcept>

using weft::test::Child;
using weft::test::Outcome;
using weft::test::until_waiting;

namespace {

void sleep_for_ever() { weft::this_fiber::sleep_until(weft::Deadline::never()); }

const Child throws{"throws", [] {
                       weft::run([] {
                           weft::spawn(weft::SpawnOptions{.name = "thrower"},
                                       [] { throw std::runtime_error{"lost"}; });
                           weft::spawn([] { throw 5; });
                       });
                       return 0;
                   }};

const Child cancelled{"cancelled", [] {
                          weft::run([] {
                              auto fiber = weft::spawn(sleep_for_ever);
                              auto asks = weft::spawn(weft::SpawnOptions{.name = "asks"},
                                                      [&] { fiber.get(); });
                              until_waiting(asks);
                              fiber.cancel();
                              asks.join();
                          });
                          return 0;
                      }};

const Child held_lock{"held lock", [] {
                          weft::run([] {
                              std::optional<weft::Lock> lock{std::in_place};
                              lock->lock();
                              lock.reset();
                          });
                          return 0;
                      }};

const Child held_shared_lock{"held shared lock", [] {
                                 weft::run([] {
                                     std::optional<weft::SharedLock> lock{std::in_place};
                                     lock->lock_shared();
                                     lock.reset();
                                 });
                                 return 0;
                             }};

const Child awaited_event{"awaited event", [] {
                              weft::run([] {
                                  std::optional<weft::Event> event{std::in_place};
                                  auto fiber = weft::spawn([&] { event->wait(); });
                                  until_waiting(fiber);
                                  event.reset();
                              });
                              return 0;
                          }};

const Child strange_timeout{"strange timeout", [] {
                                weft::run([] {
                                    auto limit =
                                        std::make_unique<weft::Timeout>(weft::Deadline::never());
                                    weft::spawn([&] { limit.reset(); }).join();
                                });
                                return 0;
                            }};

const Child late_handle{"late handle", [] {
                            const auto fiber = weft::run([] { return weft::spawn([] {}); });
                            return 0;
                        }};

}  // namespace

TEST_CASE("an exception nobody takes is reported by name, type and what", "[reports]") {
    const Outcome outcome = throws.run();
    INFO(outcome.describe());
    CHECK(outcome.exited_with(0));
    CHECK(outcome.says("weft: unhandled exception in fiber \"thrower\" (id "));
    CHECK(outcome.says("): std::runtime_error: lost\n"));
    CHECK(outcome.says("): int\n"));
}

TEST_CASE("a fiber that ends by another's cancellation is reported, the other is not",
          "[reports][cancel]") {
    const Outcome outcome = cancelled.run();
    INFO(outcome.describe());
    CHECK(outcome.exited_with(0));
    CHECK(outcome.says("in fiber \"asks\""));
    CHECK(outcome.says("weft::Cancelled"));
    CHECK_FALSE(outcome.says("(unnamed)"));
}

TEST_CASE("what must not be destroyed yet ends the process with a sentence", "[reports]") {
    const auto tells = [](const Child& child, const char* sentence) {
        const Outcome outcome = child.run();
        INFO(outcome.describe());
        CHECK(outcome.killed_by(SIGABRT));
        CHECK(outcome.says(sentence));
    };
    tells(held_lock, "a Lock or RLock is destroyed while it is held");
    tells(held_shared_lock, "a SharedLock is destroyed while it is held");
    tells(awaited_event, "what somebody waits for is destroyed");
    tells(strange_timeout, "a Timeout is destroyed by another fiber");
    tells(late_handle, "a Fiber or FiberRef outlives its Runtime");
}
