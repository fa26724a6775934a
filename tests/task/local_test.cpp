// What local.hpp promises, each promise once.
#include "support/catch.hpp"
#include "support/runtime.hpp"

#include <weft/cancelled.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/local.hpp>
#include <weft/testing.hpp>
#include <weft/this_fiber.hpp>

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using weft::test::on_workers;

namespace {

// Counts those that live, and says where it was destroyed.
struct Counted {
    static inline std::atomic<int> alive{0};
    static inline std::atomic<std::uint64_t> destroyed_in{0};
    Counted() { ++alive; }
    Counted(const Counted& other) : number{other.number} { ++alive; }
    ~Counted() {
        destroyed_in = weft::this_fiber::id();
        --alive;
    }
    int number = 0;
};

struct Immovable {
    explicit Immovable(int n) : number{n} {}
    Immovable(const Immovable&) = delete;
    int number;
};

weft::FiberLocal<int> at_namespace_scope;

std::atomic<int> reported{0};

void keep_report(std::uint64_t, std::string_view, std::exception_ptr) {
    reported = *at_namespace_scope;
}

}  // namespace

TEST_CASE("every fiber has a value of its own", "[local]") {
    on_workers([] {
        weft::FiberLocal<int> local;
        *local = -1;
        std::vector<weft::Fiber<bool>> fibers;
        for (int i = 0; i < 100; ++i) {
            fibers.push_back(weft::spawn([&local, i] {
                if (local.has_value() || *local != 0) return false;
                *local = i;
                for (int turn = 0; turn < 20; ++turn) {
                    if (turn % 5 == 0) weft::this_fiber::sleep_for(10us);
                    weft::this_fiber::yield();
                    if (*local != i) return false;
                }
                return true;
            }));
        }
        for (auto& fiber : fibers) CHECK(fiber.get());
        CHECK(*local == -1);
    });
}

TEST_CASE("a value begins as its initialiser says, which need not be movable", "[local]") {
    on_workers([] {
        std::atomic<int> calls{0};
        weft::FiberLocal<Immovable> local{[&calls, extra = std::make_unique<int>(40)] {
            ++calls;
            return Immovable{*extra + 2};
        }};
        CHECK_FALSE(local.has_value());
        CHECK(local->number == 42);
        CHECK(local.has_value());
        CHECK(local.get().number == 42);
        CHECK(weft::spawn([&] { return local->number; }).get() == 42);
        CHECK(calls == 2);
    });
}

TEST_CASE("a value is destroyed in its fiber, before its joiners are told", "[local]") {
    const auto body = [] {
        weft::FiberLocal<Counted> local;
        auto fiber = weft::spawn([&] {
            local->number = 1;
            weft::this_fiber::yield();
        });
        const auto id = fiber.id();
        fiber.join();
        CHECK(Counted::alive == 0);
        CHECK(Counted::destroyed_in == id);
    };
    on_workers(body);
    for (std::uint64_t seed = 0; seed < 50; ++seed) weft::simulate(seed, body);
}

TEST_CASE("a value is destroyed however the fiber ends", "[local][cancel]") {
    on_workers([] {
        weft::FiberLocal<Counted> local;
        auto thrower = weft::spawn([&] {
            local.get();
            throw std::runtime_error{"end"};
        });
        CHECK_THROWS(thrower.get());
        CHECK(Counted::alive == 0);
        weft::Event begun;
        auto cancelled = weft::spawn([&] {
            local.get();
            begun.set();
            weft::this_fiber::sleep_until(weft::Deadline::never());
        });
        begun.wait();
        cancelled.cancel();
        cancelled.join();
        CHECK(Counted::alive == 0);
    });
}

TEST_CASE("the handler of an unhandled exception sees the fiber's values", "[local]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        reported = 0;
        weft::run(
            [] {
                weft::Event detached;  // else whoever drops the handle may be who reports
                const weft::FiberRef fiber = weft::spawn([&] {
                    detached.wait();
                    *at_namespace_scope = 17;
                    throw std::runtime_error{"lost"};
                });
                detached.set();
                fiber.join();
                CHECK(reported == 17);
            },
            {.workers = workers, .on_unhandled = &keep_report});
    }
}

TEST_CASE("a destructor may use FiberLocals, and wait, though the fiber is cancelled", "[local]") {
    struct Talker {
        weft::FiberLocal<std::string>* other = nullptr;
        std::string* heard = nullptr;
        ~Talker() {
            weft::this_fiber::sleep_for(1us);
            **other += " again";
            *heard = **other;
        }
    };
    on_workers([] {
        // Whichever is destroyed first, the other is there when it asks.
        for (const bool talker_first : {true, false}) {
            std::optional<weft::FiberLocal<Talker>> talker;
            if (talker_first) talker.emplace();
            weft::FiberLocal<std::string> text;
            if (!talker_first) talker.emplace();
            std::string heard;
            weft::Event begun;
            auto fiber = weft::spawn([&] {
                (*talker)->other = &text;
                (*talker)->heard = &heard;
                *text = "once";
                begun.set();
                weft::this_fiber::sleep_until(weft::Deadline::never());
            });
            begun.wait();
            fiber.cancel();
            fiber.join();
            CHECK((heard == " again" || heard == "once again"));
        }
    });
}

TEST_CASE("values that are made anew for ever are given up after four rounds", "[local]") {
    static auto& lost = *new std::vector<void*>;  // so that they are no leak to a sanitizer
    struct Phoenix {
        weft::FiberLocal<Phoenix>* nest = nullptr;
        int* deaths = nullptr;
        ~Phoenix() {
            ++*deaths;
            Phoenix& next = nest->get();
            next.nest = nest;
            next.deaths = deaths;
            lost.push_back(&next);
        }
    };
    weft::FiberLocal<Phoenix> local;
    int deaths = 0;
    weft::run(
        [&] {
            weft::spawn([&] {
                local->nest = &local;
                local->deaths = &deaths;
            }).join();
        },
        {.workers = 1});
    CHECK(deaths == 4);
}

TEST_CASE("what making a value throws comes through and leaves none", "[local]") {
    on_workers([] {
        bool fail = true;
        weft::FiberLocal<Counted> local{[&fail] {
            if (fail) throw std::runtime_error{"not yet"};
            return Counted{};
        }};
        CHECK_THROWS_WITH(local.get(), "not yet");
        CHECK_FALSE(local.has_value());
        fail = false;
        local.get();
        CHECK(local.has_value());
        local.reset();
        CHECK_FALSE(local.has_value());
        CHECK(Counted::alive == 0);
        local.reset();
    });
}

TEST_CASE("making one value may make others", "[local]") {
    on_workers([] {
        std::optional<weft::FiberLocal<int>> later;
        weft::FiberLocal<int> sum{[&] { return **later + 1; }};
        later.emplace([] { return 20; });  // in a place beyond, so that the map grows meanwhile
        CHECK(*sum == 21);
        CHECK(later->has_value());
    });
}

TEST_CASE("making a value that asks for itself is an error, and can be tried again", "[local]") {
    const auto body = [] {
        weft::FiberLocal<int>* itself = nullptr;
        int calls = 0;
        weft::FiberLocal<int> local{[&] { return ++calls < 3 ? itself->get() + 1 : calls; }};
        weft::FiberLocal<int> roundabout{[&] { return local.get(); }};
        itself = &local;
        CHECK_THROWS_AS(*local, std::logic_error);
        CHECK_FALSE(local.has_value());
        itself = &roundabout;
        CHECK_THROWS_AS(*local, std::logic_error);
        CHECK_FALSE(local.has_value());
        CHECK_FALSE(roundabout.has_value());
        CHECK(*local == 3);
        CHECK(*roundabout == 3);
    };
    on_workers(body);
    body();
}

TEST_CASE("while a value is made, it is not there", "[local]") {
    on_workers([] {
        weft::FiberLocal<Counted>* itself = nullptr;
        bool had_one = true;
        weft::FiberLocal<Counted> local{[&] {
            had_one = itself->has_value();
            itself->reset();
            weft::FiberLocal<Counted> another;  // makes the map grow
            another->number = 1;
            Counted made;
            made.number = 7;
            return made;
        }};
        itself = &local;
        CHECK(local->number == 7);
        CHECK_FALSE(had_one);
    });
}

TEST_CASE("a FiberLocal may go while fibers have values of it", "[local]") {
    on_workers([] {
        auto local = std::make_unique<weft::FiberLocal<Counted>>();
        weft::Event made;
        weft::Event go;
        auto fiber = weft::spawn([&] {
            local->get();
            made.set();
            go.wait();
        });
        made.wait();
        local.reset();
        CHECK(Counted::alive == 1);
        // The next one takes the same place, and does not take that value for its own.
        weft::FiberLocal<std::array<int, 4>> next;
        CHECK(next.get()[0] == 0);
        go.set();
        fiber.join();
        CHECK(Counted::alive == 0);
    });
}

TEST_CASE("a later FiberLocal in the same place takes a left value's room", "[local]") {
    on_workers([] {
        weft::spawn([] {
            for (int i = 0; i < 1000; ++i) {
                weft::FiberLocal<Counted> local;
                CHECK_FALSE(local.has_value());
                local->number = i;
                CHECK(Counted::alive <= 2);
            }
            CHECK(Counted::alive == 1);
        }).join();
        CHECK(Counted::alive == 0);
    });
}

TEST_CASE("a plain thread has values, destroyed with it", "[local][thread]") {
    weft::FiberLocal<Counted> local;
    local->number = 5;
    std::thread other{[&] {
        CHECK(local->number == 0);
        CHECK(Counted::alive == 2);
    }};
    other.join();
    CHECK(Counted::alive == 1);
    // It is not the worker's thread, and not its fibers'.
    weft::run([&] { CHECK_FALSE(local.has_value()); }, {.workers = 1});
    CHECK(local->number == 5);
    local.reset();
    CHECK(Counted::alive == 0);
}

TEST_CASE("a spawned fiber inherits a copy, and others nothing", "[local][inherit]") {
    const auto body = [] {
        weft::InheritableFiberLocal<Counted> inherited;
        weft::FiberLocal<int> own;
        CHECK_FALSE(weft::spawn([&] { return inherited.has_value(); }).get());
        inherited->number = 1;
        *own = 1;
        auto child = weft::spawn(weft::SpawnOptions{.name = "child"}, [&] {
            const bool right =
                inherited->number == 1 && !own.has_value() && weft::this_fiber::name() == "child";
            inherited->number = 2;
            const int grandchild = weft::spawn([&] { return inherited->number; }).get();
            return right && grandchild == 2;
        });
        inherited->number = 3;
        CHECK(child.get());
        CHECK(inherited->number == 3);
        CHECK(Counted::alive == 1);
    };
    on_workers(body);
    for (std::uint64_t seed = 0; seed < 50; ++seed) weft::simulate(seed, body);
}

TEST_CASE("what was inherited goes with a fiber that never ran", "[local][inherit]") {
    on_workers([] {
        weft::InheritableFiberLocal<Counted> inherited;
        inherited->number = 1;
        auto fiber = weft::spawn_later(1h, [] {});
        CHECK(Counted::alive == 2);
        fiber.cancel();
        fiber.join();
        CHECK(Counted::alive == 1);
    });
}

TEST_CASE("a value of an InheritableFiberLocal that is gone is not handed on", "[local][inherit]") {
    on_workers([] {
        const weft::InheritableFiberLocal<int> other;
        auto inherited = std::make_unique<weft::InheritableFiberLocal<Counted>>();
        inherited->get();
        inherited.reset();
        weft::spawn([] { CHECK(Counted::alive == 1); }).join();
    });
    CHECK(Counted::alive == 0);
}

TEST_CASE("a plain thread's value is inherited by what it spawns", "[local][inherit][thread]") {
    weft::InheritableFiberLocal<int> inherited;
    *inherited = 9;
    for (const unsigned workers : {1u, 2u, 8u}) {
        CHECK(weft::run([&] { return *inherited; }, {.workers = workers}) == 9);
    }
    inherited.reset();
}

TEST_CASE("a copy that throws fails the spawn, and nothing is left", "[local][inherit]") {
    struct Fragile {
        Fragile() = default;
        Fragile(const Fragile&) { throw std::runtime_error{"handle with care"}; }
        Counted counted;
    };
    on_workers([] {
        weft::InheritableFiberLocal<Counted> sound;
        sound.get();
        weft::InheritableFiberLocal<Fragile> fragile;
        weft::spawn([] {}).join();
        fragile.get();
        CHECK_THROWS_WITH(weft::spawn([] {}), "handle with care");
        CHECK(weft::active_count() == 1);
        CHECK(Counted::alive == 2);
        fragile.reset();
        weft::spawn([] {}).join();
    });
}

TEST_CASE("there is an end to how many FiberLocals exist", "[local]") {
    std::vector<std::unique_ptr<weft::FiberLocal<int>>> all;
    CHECK_THROWS_AS(
        [&] {
            for (int i = 0; i <= 65536; ++i)
                all.push_back(std::make_unique<weft::FiberLocal<int>>());
        }(),
        std::system_error);
    CHECK(all.size() > 65000);
    **all.back() = 3;
    all.back()->reset();
    all.clear();
    weft::FiberLocal<int> again;
    CHECK(*again == 0);
}
