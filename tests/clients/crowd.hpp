// Many fibers in an unmodified client's calls at once, and what must hold meanwhile.
//
// What the server sees decides, not a clock: its gate holds every request back until it
// has them all at once, and every worker's heart has gone on beating. Times are printed.
#pragma once

#include "support/catch.hpp"
#include "support/process.hpp"

#include <weft/cancelled.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/hooks.hpp>
#include <weft/latch.hpp>
#include <weft/runtime.hpp>
#include <weft/this_fiber.hpp>
#include <weft/timeout.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <signal.h>

namespace weft::test {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

inline constexpr unsigned workers = 2;
inline constexpr std::size_t crowd_size = 200;

/// From the environment that servers.py makes.
inline std::string server(const char* name) {
    const char* value = std::getenv(name);
    if (value == nullptr) FAIL(name << " is not set: run by tests/clients/servers.py");
    return value;
}

/// Runs `body()` as the main fiber, everything patched. It must leave nothing behind.
template <class Body>
auto run_hooked(Body&& body) {
    hooks::patch_all();
    return weft::run([&] { return body(); }, {.workers = workers});
}

inline double milliseconds(Clock::duration time) {
    return std::chrono::duration<double, std::milli>(time).count();
}

/// What holds requests back in a server. Used by plain threads, with a connection of its own.
struct Gate {
    virtual ~Gate() = default;
    /// How many requests wait there. May take a moment, also until `wanted` do; it is asked again
    /// and again.
    virtual std::size_t waiting(std::size_t wanted) = 0;
    /// Lets all go.
    virtual void open() = 0;
};

/// Asks until `wanted` wait there. Else, when nobody will any more, says how many there were.
inline std::size_t until_waiting(Gate& gate, std::size_t wanted, const std::atomic<bool>& over) {
    const auto give_up = Clock::now() + 60s;
    std::size_t most = 0;
    while (most < wanted && !over && Clock::now() < give_up) {
        most = std::max(most, gate.waiting(wanted));
    }
    return most;
}

/// A fiber on each worker that goes on as long as its worker does.
class Hearts {
public:
    /// Begins. Called by a fiber: from then on there is one on each worker.
    void begin() {
        for (auto& beats : beats_) {
            fibers_.push_back(weft::spawn([&] {
                const this_fiber::Pin pin;
                // Who spins keeps the worker to itself, so the other gets another one.
                for (started_.fetch_add(1); started_.load() < workers;) {
                }
                all_begun_.count_down();
                beat(beats);
            }));
        }
        all_begun_.wait();
    }
    void end() {
        over_ = true;
        join_all(fibers_);
        fibers_.clear();
    }
    /// By a plain thread: waits until each has beaten `more` times.
    void until_more(std::uint64_t more) {
        for (auto& beats : beats_) {
            const auto wanted = beats.load() + more;
            for (auto seen = beats.load(); seen < wanted; seen = beats.load()) beats.wait(seen);
        }
    }
    std::uint64_t beats() const {
        std::uint64_t sum = 0;
        for (auto& each : beats_) sum += each;
        return sum;
    }
    Clock::duration longest_gap() const { return Clock::duration{longest_gap_.load()}; }

private:
    void beat(std::atomic<std::uint64_t>& beats) {
        for (auto last = Clock::now(); !over_;) {
            this_fiber::sleep_for(1ms);
            const auto now = Clock::now();
            auto longest = longest_gap_.load();
            while (longest < (now - last).count() &&
                   !longest_gap_.compare_exchange_weak(longest, (now - last).count())) {
            }
            last = now;
            ++beats;
            beats.notify_all();
        }
    }

    std::atomic<std::uint64_t> beats_[workers] = {};
    std::atomic<unsigned> started_{0};
    std::atomic<bool> over_{false};
    std::atomic<Clock::rep> longest_gap_{0};
    Latch all_begun_{workers};
    std::vector<Fiber<>> fibers_;
};

/// What the client says of a request: nothing when all is right.
using Request = std::function<std::string(std::size_t number)>;

inline std::vector<Fiber<std::string>> spawn_requests(Request request, std::size_t count) {
    std::vector<Fiber<std::string>> fibers;
    for (std::size_t i = 0; i < count; ++i) {
        fibers.push_back(weft::spawn([request, i] { return request(i); }));
    }
    return fibers;
}

/// Makes `count` requests, each in a fiber, that all have to wait in the server at the same
/// time, with the workers' hearts beating on.
inline void require_all_at_once(const char* what, Gate& gate, const Request& request,
                                std::size_t count = crowd_size) {
    Hearts hearts;
    std::size_t waited = 0;
    std::atomic<bool> over{false};
    Clock::time_point opened;
    std::jthread keeper{[&] {
        waited = until_waiting(gate, count, over);
        if (waited == count) hearts.until_more(10);
        opened = Clock::now();
        gate.open();
    }};
    std::vector<std::string> answers;
    const auto begun = Clock::now();
    run_hooked([&] {
        hearts.begin();
        auto fibers = spawn_requests(request, count);
        for (auto& each : fibers) answers.push_back(each.get());
        over = true;
        hearts.end();
    });
    const auto ended = Clock::now();
    keeper.join();
    std::printf(
        "%s: %zu at once; %.0f ms until then, %.0f ms from then on; "
        "%llu beats, longest gap %.1f ms\n",
        what, waited, milliseconds(opened - begun), milliseconds(ended - opened),
        static_cast<unsigned long long>(hearts.beats()), milliseconds(hearts.longest_gap()));
    std::fflush(stdout);
    REQUIRE(waited == count);
    REQUIRE(answers == std::vector<std::string>(count));
}

/// Interrupts `count` requests as they wait at the gate: with `interrupt(fibers)`. Returns what
/// the client said to each; "thrown" for all whom the interrupt was thrown at after it. The gate
/// is opened when they and their runtime are gone.
inline std::vector<std::string> interrupted(
    Gate& gate, const Request& request,
    const std::function<void(std::vector<Fiber<std::string>>&)>& interrupt,
    std::size_t count = 20) {
    Event reached;
    std::atomic<bool> over{false};
    std::size_t waited = 0;
    std::jthread watcher{[&] {
        waited = until_waiting(gate, count, over);
        reached.set();
    }};
    std::vector<std::string> errors(count);
    std::atomic<std::size_t> begun{0};
    run_hooked([&] {
        auto fibers = spawn_requests(
            [&](std::size_t i) -> std::string {
                ++begun;
                errors[i] = request(i);
                if (!reached.is_set()) over = true;
                try {
                    this_fiber::check_cancelled();
                } catch (const Cancelled&) {
                    errors[i] += " [thrown]";
                }
                return {};
            },
            count);
        reached.wait();
        // What is asked again, counts twice: others may not have begun, and then never would.
        while (begun != count) this_fiber::yield();
        interrupt(fibers);
        join_all(fibers);
    });
    watcher.join();
    gate.open();
    REQUIRE(waited == count);
    return errors;
}

/// Requires of `count` requests that they end, when the server is killed as they wait in it.
/// Returns what the client said to each.
inline std::vector<std::string> killed(Gate& gate, const Request& request, const char* server_pid,
                                       int signal, std::size_t count = 50) {
    std::atomic<bool> over{false};
    std::size_t waited = 0;
    std::jthread killer{[&] {
        waited = until_waiting(gate, count, over);
        ::kill(std::stoi(server(server_pid)), signal);
    }};
    std::vector<std::string> errors;
    run_hooked([&] {
        auto fibers = spawn_requests(request, count);
        for (auto& each : fibers) errors.push_back(each.get());
        over = true;
    });
    killer.join();
    REQUIRE(waited == count);
    return errors;
}

/// Requires that each of `errors` has `text` in it.
inline void require_all_say(const std::vector<std::string>& errors, const std::string& text) {
    for (const auto& each : errors) {
        INFO("said: " << each);
        REQUIRE(each.find(text) != std::string::npos);
    }
}

/// Requires that what `body()` opens it closes, and what it leaves behind soon after: else
/// the time limit ends the test. Goes once through it before it counts.
template <class Body>
void require_nothing_left_open(Body&& body) {
    body();
    const std::size_t before = open_fds();
    body();
    while (open_fds() > before) std::this_thread::yield();
}

}  // namespace weft::test
