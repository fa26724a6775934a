// What happens to everybody else while one of two workers computes?
// Layer: benchmarks.
//
//   stuck [--seconds=1] [--rounds=3] [--io=uring|epoll|auto]
//
// Method. A hog fiber computes for a second without a wait and without a system
// call. Meanwhile
//   timer     fibers sleep 1 ms at a time; value: how late they wake
//   echo      pairs of fibers send 64 bytes there and back over loopback TCP,
//             once a millisecond; value: the round trip
//   orphan    pairs that are asked once. Their server's receive was submitted
//             by the worker that hogs now, before it began, so only that
//             worker's ring holds it; value: the round trip
//   bystander the same pairs, where the other worker had submitted it
// and the same again in a control phase, in which the "hog" sleeps. In the
// control phase orphans are those whose receive the sleeper's worker submitted.
//
// Which worker submitted is told by the thread id that the fiber sees right
// before the receive. It may not wait in between, so it cannot migrate; and
// gettid() is asked each time because pthread_self() may be cached over a wait.
#include "common/arguments.hpp"
#include "common/json.hpp"
#include "common/measure.hpp"
#include "net/weft_server.hpp"

#include <weft/this_fiber.hpp>

#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <deque>
#include <map>
#include <mutex>
#include <vector>

namespace {

using namespace std::chrono_literals;
using weft::io::TcpListener;
using weft::io::TcpStream;

constexpr int timer_fibers = 16;
constexpr int echo_pairs = 16;
constexpr int asked_once = 64;

enum class Phase { control, hogged };

struct Settings {
    double seconds;
    int rounds;
};

/// Latencies by what was waited for. Any worker.
class Latencies {
public:
    void add(const std::string& what, double us) {
        const std::lock_guard lock{mutex_};
        samples_[what].push_back(static_cast<float>(us));
    }

    void print(Phase phase) {
        for (auto& [what, samples] : samples_) {
            bench::JsonLine line;
            line.text("bench", "stuck." + what)
                .text("peer", "weft")
                .number("workers", 2)
                .text("phase", phase == Phase::hogged ? "hogged" : "control")
                .value("p50_us", bench::quantile(samples, 0.5))
                .number("p99_us", bench::quantile(samples, 0.99))
                .number("p999_us", bench::quantile(samples, 0.999))
                .number("max_us", bench::quantile(samples, 1.0))
                .number("samples", static_cast<double>(samples.size()));
            line.print();
        }
    }

private:
    std::mutex mutex_;  // held for an append; no fiber waits under it
    std::map<std::string, std::vector<float>> samples_;  // guarded by mutex_
};

using Message = std::array<std::byte, 64>;

/// A client and a server end, and the fiber behind the server end.
class EchoPair {
public:
    explicit EchoPair(TcpListener& listener)
        : client_{TcpStream::connect(listener.local_address())}, server_{listener.accept()} {
        client_.no_delay(true);
        server_.no_delay(true);
        fiber_ = weft::spawn([this] { serve(); });
    }
    EchoPair(const EchoPair&) = delete;
    EchoPair& operator=(const EchoPair&) = delete;
    ~EchoPair() {
        client_.close();
        fiber_.join();
    }

    double round_trip_us() {
        Message message{};
        const std::uint64_t start = bench::now_ns();
        client_.write_all(message);
        client_.read_exactly(message);
        return static_cast<double>(bench::now_ns() - start) / 1e3;
    }

    /// The thread that submitted the receive the server end waits in.
    int submitter() const noexcept { return submitter_.load(); }

private:
    void serve() {
        Message message;
        for (;;) {
            submitter_.store(gettid());
            if (server_.read_exactly(message) < message.size()) return;
            server_.write_all(message);
        }
    }

    TcpStream client_;
    TcpStream server_;
    std::atomic<int> submitter_{0};
    weft::Fiber<> fiber_;
};

/// No wait, no system call: the clock is read in user space.
void compute_until(std::uint64_t end_ns) {
    while (bench::now_ns() < end_ns) {
    }
}

struct Everybody {
    std::deque<EchoPair> busy;
    std::deque<EchoPair> quiet;

    explicit Everybody(TcpListener& listener) {
        for (int i = 0; i < echo_pairs; ++i) busy.emplace_back(listener);
        for (int i = 0; i < asked_once; ++i) quiet.emplace_back(listener);
    }

    /// A round trip each, so that the receives are spread over the workers again.
    void respread() {
        std::vector<weft::Fiber<>> askers;
        for (EchoPair& pair : quiet) {
            askers.push_back(weft::spawn([&pair] { pair.round_trip_us(); }));
        }
        weft::join_all(askers);
        weft::this_fiber::sleep_for(20ms);
    }
};

/// One second of hogging, or of the same without a hog.
class Round {
public:
    Round(Everybody& everybody, Phase phase, double seconds, Latencies& latencies)
        : everybody_{everybody},
          phase_{phase},
          seconds_{seconds},
          end_ns_{bench::now_ns() + static_cast<std::uint64_t>(seconds * 1e9)},
          latencies_{latencies} {}

    void run() {
        std::vector<weft::Fiber<>> fibers;
        fibers.push_back(weft::spawn([this] { hog(); }));
        while (hog_thread_.load() == 0) weft::this_fiber::yield();
        for (int i = 0; i < timer_fibers; ++i) {
            fibers.push_back(weft::spawn([this] { sleep_on(); }));
        }
        for (EchoPair& pair : everybody_.busy) {
            fibers.push_back(weft::spawn([this, &pair] { echo_on(pair); }));
        }
        ask_quiet_pairs(fibers);
        weft::join_all(fibers);
    }

private:
    void hog() {
        hog_thread_.store(gettid());
        if (phase_ == Phase::hogged) {
            compute_until(end_ns_);
        } else {
            weft::this_fiber::sleep_for(std::chrono::duration<double>{seconds_});
        }
    }

    bool over() const noexcept { return bench::now_ns() >= end_ns_; }

    void sleep_on() {
        while (!over()) {
            const std::uint64_t start = bench::now_ns();
            weft::this_fiber::sleep_for(1ms);
            latencies_.add("timer", static_cast<double>(bench::now_ns() - start) / 1e3 - 1e3);
        }
    }

    void echo_on(EchoPair& pair) {
        while (!over()) {
            latencies_.add("echo", pair.round_trip_us());
            weft::this_fiber::sleep_for(1ms);
        }
    }

    /// Each pair is asked by a fiber of its own, so that one late answer delays
    /// no other question. Spread over nine tenths of the time, so that every
    /// answer that is not late falls into it.
    void ask_quiet_pairs(std::vector<weft::Fiber<>>& fibers) {
        const auto pause = std::chrono::duration<double>{seconds_ * 0.9 / asked_once};
        int turn = 0;
        for (EchoPair& pair : everybody_.quiet) {
            const auto delay = pause * ++turn;
            fibers.push_back(weft::spawn([this, &pair, delay] {
                weft::this_fiber::sleep_for(delay);
                const bool orphan = pair.submitter() == hog_thread_.load();
                latencies_.add(orphan ? "orphan" : "bystander", pair.round_trip_us());
            }));
        }
    }

    Everybody& everybody_;
    Phase phase_;
    double seconds_;
    std::uint64_t end_ns_;
    Latencies& latencies_;
    std::atomic<int> hog_thread_{0};
};

void measure(const Settings& settings) {
    TcpListener listener{weft::io::Address::loopback_v4(0)};
    Everybody everybody{listener};
    Latencies control;
    Latencies hogged;
    for (int i = 0; i < settings.rounds; ++i) {
        everybody.respread();
        Round{everybody, Phase::control, settings.seconds, control}.run();
        everybody.respread();
        Round{everybody, Phase::hogged, settings.seconds, hogged}.run();
    }
    control.print(Phase::control);
    hogged.print(Phase::hogged);
}

}  // namespace

int main(int count, char** values) {
    const bench::Arguments arguments{count, values};
    weft::Options options = bench::weft_options(arguments);
    options.workers = 2;
    const Settings settings{arguments.number("seconds", 1), arguments.integer("rounds", 3)};
    weft::run([settings] { measure(settings); }, options);
}
