// What a dump tells about every fiber, and that it harms none.
#include <weft/diag.hpp>

#include "sched/stack_trace.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/generator.hpp>
#include <weft/lock.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <dlfcn.h>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

using namespace std::chrono_literals;
using weft::test::on_workers;
using weft::test::until_waiting;

namespace {

// The dump, read through a pipe by a thread: it may be larger than a pipe is.
std::string dump() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return {};
    std::string text;
    std::thread reader{[&] {
        char buffer[4096];
        for (ssize_t n; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
            text.append(buffer, static_cast<std::size_t>(n));
        }
    }};
    weft::dump_fibers(ends[1]);
    ::close(ends[1]);
    reader.join();
    ::close(ends[0]);
    return text;
}

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

// The dump's paragraph of one fiber.
std::string about(const std::string& text, const std::string& name) {
    const auto begin = text.find("\"" + name + "\"");
    if (begin == std::string::npos) return {};
    auto end = text.find("\nfiber ", begin);
    end = std::min(end, text.find("\nruntime ", begin));
    return text.substr(begin, end == std::string::npos ? end : end - begin);
}

std::string hex(const void* address) {
    char text[32];
    std::snprintf(text, sizeof text, "%p", address);
    return text;
}

// Tells where in parked_here() it returns to, then waits.
[[gnu::noinline]] void wait_for(weft::Event& event, std::atomic<const void*>& returns_to) {
    returns_to = __builtin_return_address(0);
    event.wait();
    asm volatile("");
}
[[gnu::noinline]] void parked_here(weft::Event& event, std::atomic<const void*>& returns_to) {
    wait_for(event, returns_to);
    asm volatile("");  // or it were a tail call
}
// Tells where it returns to, which is above the body's stack.
[[gnu::noinline]] std::optional<int> asked_here(weft::Generator<int>& generator,
                                                std::atomic<const void*>& returns_to) {
    returns_to = __builtin_return_address(0);
    return generator.next();
}

}  // namespace

TEST_CASE("a dump tells name, state and reason of every fiber", "[dump]") {
    on_workers([] {
        weft::Event event;
        weft::Semaphore units{0};
        weft::Lock lock;
        lock.lock();
        auto by_event = weft::spawn(weft::SpawnOptions{.name = "by event"}, [&] { event.wait(); });
        auto by_units =
            weft::spawn(weft::SpawnOptions{.name = "by units"}, [&] { units.acquire(); });
        auto by_lock = weft::spawn(weft::SpawnOptions{.name = "by lock"}, [&] {
            lock.lock();
            lock.unlock();
        });
        auto asleep = weft::spawn(weft::SpawnOptions{.name = "asleep", .daemon = true},
                                  [&] { weft::this_fiber::sleep_for(1h); });
        auto joining = weft::spawn(weft::SpawnOptions{.name = "joining"}, [&] { by_event.join(); });
        auto over = weft::spawn(weft::SpawnOptions{.name = "over"}, [] {});
        over.join();
        for (const auto* fiber : {&by_event, &by_units, &by_lock, &asleep, &joining}) {
            until_waiting(*fiber);
        }
        // Armed is not yet off the stack: dump again until all are seen parked.
        std::string text;
        const auto all_parked = [&] {
            for (const char* name : {"by event", "by units", "by lock", "asleep", "joining"}) {
                if (!has(about(text, name), "parked")) return false;
            }
            return true;
        };
        do {
            text = dump();
        } while (!all_parked());
        INFO(text);
        CHECK(has(about(text, "main"), "running on worker"));
        CHECK(has(about(text, "over"), "done"));
        CHECK(has(about(text, "by event"), "Event::wait " + hex(&event)));
        CHECK(has(about(text, "by units"), "Semaphore::acquire " + hex(&units)));
        CHECK(has(about(text, "by lock"), "Lock::lock " + hex(&lock)));
        CHECK(has(about(text, "asleep"), "sleep"));
        CHECK(has(about(text, "asleep"), "daemon"));
        CHECK(has(about(text, "joining"), "join"));
        CHECK(has(text, "fiber " + std::to_string(by_event.id()) + " \"by event\""));
        asleep.cancel();
        event.set();
        units.release();
        lock.unlock();
        by_lock.join();  // it uses what is about to go
        by_units.join();
        joining.join();
    });
}

TEST_CASE("a dump tells a fiber that has not begun", "[dump]") {
    weft::run(
        [] {
            auto fiber = weft::spawn(weft::SpawnOptions{.name = "patient"}, [] {});
            const std::string text = dump();
            INFO(text);
            CHECK(has(about(text, "patient"), "new"));
            fiber.join();
        },
        {.workers = 1});
}

TEST_CASE("a dump tells who swallowed its cancellation, and how often", "[dump][cancel]") {
    on_workers([] {
        weft::Event never;
        weft::Event release;
        auto deaf = weft::spawn(weft::SpawnOptions{.name = "deaf"}, [&] {
            for (int i = 0; i < 4; ++i) {
                try {
                    never.wait();
                } catch (const weft::Cancelled&) {
                }
            }
            const weft::this_fiber::Shield shield;
            release.wait();
        });
        until_waiting(deaf);
        deaf.cancel();
        while (weft::FiberRef{deaf}.cancellations_swallowed() < 3) weft::this_fiber::yield();
        const std::string told = about(dump(), "deaf");
        INFO(told);
        CHECK(has(told, "\"deaf\", swallowed its cancellation 3 times: "));
        release.set();
        deaf.join();
    });
}

TEST_CASE("a dump shows the stack of a fiber that waits", "[dump]") {
    if (weft::test::under_sanitizer) return;  // its stacks are not to be visited
    on_workers([] {
        weft::Event event;
        std::atomic<const void*> returns_to{nullptr};
        auto fiber = weft::spawn(weft::SpawnOptions{.name = "deep"},
                                 [&] { parked_here(event, returns_to); });
        until_waiting(fiber);
        std::string text;
        do {
            text = about(dump(), "deep");
        } while (!has(text, "parked"));
        INFO(text);
        CHECK(has(text, "[" + hex(returns_to.load()) + "]"));
        event.set();
        fiber.join();
    });
}

TEST_CASE("a stack tells functions by the names they are written with", "[dump]") {
    weft::detail::StackTrace stack;
    stack.frames[0] = dlsym(RTLD_DEFAULT, "_ZSt9terminatev");
    stack.count = 1;
    std::string text;
    append(text, stack);
    INFO(text);
    CHECK(has(text, "(std::terminate()+0"));
    CHECK(has(text, "[" + hex(stack.frames[0]) + "]"));
}

TEST_CASE("a dump shows a generator's body and who asked it", "[dump][generator]") {
    if (weft::test::under_sanitizer) return;  // an empty trace: see sched/stack_trace.hpp
    on_workers([] {
        weft::Event event;
        std::atomic<const void*> in_body{nullptr};
        std::atomic<const void*> in_consumer{nullptr};
        auto fiber = weft::spawn(weft::SpawnOptions{.name = "consumer"}, [&] {
            weft::Generator<int> generator{[&](auto& yield) {
                yield(1);
                parked_here(event, in_body);
                yield(2);
            }};
            CHECK(generator.next() == 1);
            CHECK(asked_here(generator, in_consumer) == 2);
        });
        until_waiting(fiber);
        const std::string told = about(dump(), "consumer");
        INFO(told);
        CHECK(has(told, "Event::wait"));
        CHECK(has(told, hex(in_body)));
        CHECK(has(told, hex(in_consumer)));
        event.set();
        fiber.get();
    });
}

TEST_CASE("a dump is taken from a plain thread while a worker is stuck", "[dump]") {
    std::atomic<bool> stuck{false};
    std::atomic<bool> over{false};
    weft::Runtime runtime{{.workers = 1}};
    auto fiber = runtime.spawn(weft::SpawnOptions{.name = "hog"}, [&] {
        stuck = true;
        while (!over) sched_yield();
    });
    while (!stuck) sched_yield();
    const std::string text = dump();
    over = true;
    fiber.join();
    INFO(text);
    CHECK(has(about(text, "hog"), "running on worker 0"));
    CHECK(has(text, "runtime with 1 workers"));
}

TEST_CASE("dumps while fibers wake, wait, begin and end harm none", "[dump]") {
    on_workers([] {
        std::atomic<bool> over{false};
        std::thread dumper{[&] {
            const int fd = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
            while (!over) weft::dump_fibers(fd);
            ::close(fd);
        }};
        weft::Semaphore ping{0};
        weft::Semaphore pong{0};
        constexpr int rounds = weft::test::under_sanitizer ? 200 : 2000;
        auto a = weft::spawn([&] {
            for (int i = 0; i < rounds; ++i) {
                ping.release();
                pong.acquire();
            }
        });
        auto b = weft::spawn([&] {
            for (int i = 0; i < rounds; ++i) {
                ping.acquire();
                weft::spawn(weft::SpawnOptions{.name = "short-lived"}, [] {
                    weft::this_fiber::sleep_for(1us);
                }).join();
                pong.release();
            }
        });
        a.join();
        b.join();
        over = true;
        dumper.join();
        CHECK_FALSE(ping.try_acquire());
        CHECK_FALSE(pong.try_acquire());
    });
}
