// Locks taken in both orders: warned of once, and nothing else is warned of. In
// processes of their own, for it is switched on for good and told on stderr.
#include "support/catch.hpp"
#include "support/process.hpp"

#include <weft/condition.hpp>
#include <weft/fiber.hpp>
#include <weft/lock.hpp>
#include <weft/runtime.hpp>

#include <mutex>
#include <optional>
#include <string>
#include <thread>

using weft::test::Child;
using weft::test::Outcome;

namespace {

constexpr const char* warning = "locks are taken in both orders";

std::size_t warnings(const Outcome& outcome) {
    std::size_t count = 0;
    for (auto at = outcome.errors.find(warning); at != std::string::npos;
         at = outcome.errors.find(warning, at + 1)) {
        ++count;
    }
    return count;
}

template <class Body>
int watched(Body&& body) {
    weft::run(body, {.workers = 2, .watch_lock_order = true});
    return 0;
}

void nested(weft::Lock& outer, weft::Lock& inner) {
    const std::lock_guard hold{outer};
    const std::lock_guard also{inner};
}

void one_after_another(const char* name, weft::Lock& outer, weft::Lock& inner) {
    weft::spawn(weft::SpawnOptions{.name = name}, [&] { nested(outer, inner); }).get();
}

const Child inversion{"two orders", [] {
                          return watched([] {
                              weft::Lock one, other;
                              for (int i = 0; i < 3; ++i) {
                                  one_after_another("there", one, other);
                                  one_after_another("back", other, one);
                              }
                          });
                      }};

const Child ring{"an order that leads around three", [] {
                     return watched([] {
                         weft::Lock a, b, c;
                         one_after_another("first", a, b);
                         one_after_another("second", b, c);
                         std::thread{[&] { nested(c, a); }}.join();
                     });
                 }};

const Child harmless{"orders that cannot deadlock", [] {
                         return watched([] {
                             weft::Lock one, other, third;
                             nested(one, other);
                             nested(one, third);
                             nested(other, third);
                             {  // tried, or for a time
                                 const std::lock_guard hold{other};
                                 if (one.try_lock()) one.unlock();
                                 if (one.try_lock_for(std::chrono::hours{1})) one.unlock();
                             }
                             { const std::scoped_lock both{other, one}; }
                             {  // not nested
                                 other.lock();
                                 other.unlock();
                                 const std::lock_guard hold{one};
                             }
                             // The locks that lay there before are none of these.
                             for (int i = 0; i < 4; ++i) {
                                 std::optional<weft::Lock> pair[2];
                                 for (auto& lock : pair) lock.emplace();
                                 nested(*pair[i % 2], *pair[1 - i % 2]);
                             }
                         });
                     }};

const Child off{"two orders that nobody watches", [] {
                    weft::run([] {
                        weft::Lock one, other;
                        nested(one, other);
                        nested(other, one);
                    });
                    return 0;
                }};

}  // namespace

TEST_CASE("locks taken in both orders are warned of once, with who and where", "[lock_order]") {
    const Outcome outcome = inversion.run();
    INFO(outcome.describe());
    CHECK(outcome.exited_with(0));
    CHECK(warnings(outcome) == 1);
    CHECK(outcome.says("\"there\" locked Lock 0x"));
    CHECK(outcome.says("\"back\" locked Lock 0x"));
}

TEST_CASE("an order that leads back over other locks is warned of", "[lock_order]") {
    const Outcome outcome = ring.run();
    INFO(outcome.describe());
    CHECK(outcome.exited_with(0));
    CHECK(warnings(outcome) == 1);
    CHECK(outcome.says("a plain thread locked"));
    CHECK(outcome.says("\"first\" locked"));
    CHECK(outcome.says("\"second\" locked"));
}

TEST_CASE("nothing is warned of that cannot deadlock", "[lock_order]") {
    const Outcome outcome = harmless.run();
    INFO(outcome.describe());
    CHECK(outcome.exited_with(0));
    CHECK(warnings(outcome) == 0);
}

TEST_CASE("the order of locks is watched by option or environment", "[lock_order]") {
    CHECK(warnings(off.run()) == 0);
    const weft::test::Environment set{"WEFT_LOCK_ORDER", "1"};
    CHECK(warnings(off.run()) == 1);
}
