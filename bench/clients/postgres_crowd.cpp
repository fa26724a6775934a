// What do 1000 plain libpq queries at once cost their client, in fibers and in threads?
// Layer: benchmarks.
//
//   postgres_crowd --server=CONNINFO [--peer=fibers|threads|handles] [--count=1000]
//                  [--rounds=5] [--workers=2] [--sleep=0.1] [--look=SECONDS]
//
// Method. Every party connects, waits for all others, asks for pg_sleep(SLEEP) ROUNDS times, and
// waits again. The code of a party is the same in both, down to the barrier, and knows libpq only.
// From barrier to barrier the clock and this process's CPU time are taken; at the second, with all
// connections open, or SECONDS after the first, while they wait for their answers, its memory, less
// what it was before. One party more sleeps for a millisecond
// again and again meanwhile: how late it wakes at worst. "handles" is one thread that opens as
// many connections and asks each for nothing: the memory that libpq takes for itself.
#include "common/arguments.hpp"
#include "common/json.hpp"
#include "common/measure.hpp"

#include <weft/barrier.hpp>
#include <weft/fiber.hpp>
#include <weft/hooks.hpp>
#include <weft/runtime.hpp>

#include <libpq-fe.h>

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

namespace {

struct Setup {
    std::string server;
    int count;
    int rounds;
    std::string query;
    double look;  // s; 0: when all are answered
};

PGconn* connect(const Setup& setup) {
    PGconn* const connection = PQconnectdb(setup.server.c_str());
    if (PQstatus(connection) == CONNECTION_OK) return connection;
    std::fprintf(stderr, "%s", PQerrorMessage(connection));
    std::exit(1);
}

void ask(PGconn* connection, const char* query) {
    PGresult* const result = PQexec(connection, query);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        std::fprintf(stderr, "%s", PQerrorMessage(connection));
        std::exit(1);
    }
    PQclear(result);
}

/// All parties and who measures meet three times: connected, answered, looked at.
class Crowd {
public:
    explicit Crowd(const Setup& setup) : setup_{setup} {}

    void party() {
        PGconn* const connection = connect(setup_);
        meeting_.wait();
        for (int i = 0; i < setup_.rounds; ++i) ask(connection, setup_.query.c_str());
        meeting_.wait();
        meeting_.wait();
        PQfinish(connection);
    }

    /// A party that asks for nothing. Ends when the others have been looked at.
    void beat() {
        while (!is_over_.load(std::memory_order_relaxed)) {
            const auto before = bench::now_ns();
            ::usleep(beat_us);
            const auto late = bench::now_ns() - before - std::uint64_t{beat_us} * 1000;
            if (is_asking_.load(std::memory_order_relaxed))
                worst_late_ = std::max(worst_late_.load(std::memory_order_relaxed), late);
        }
    }

    /// Prints what it cost. Called when all parties have been started.
    void measure(const char* peer, unsigned workers) {
        meeting_.wait();
        is_asking_ = true;
        const auto connected = bench::now_ns();
        const auto cpu_before = bench::process_cpu_ns();
        ::usleep(static_cast<useconds_t>(setup_.look * 1e6));
        const auto waiting = bench::Memory::now();
        meeting_.wait();
        const auto wall = bench::now_ns() - connected;
        const auto cpu = bench::process_cpu_ns() - cpu_before;
        const auto memory = setup_.look > 0 ? waiting : bench::Memory::now();
        is_asking_ = false;
        is_over_ = true;
        meeting_.wait();
        const double queries = static_cast<double>(setup_.count) * setup_.rounds;
        bench::JsonLine{}
            .text("bench", "postgres_crowd")
            .text("peer", peer)
            .number("workers", workers)
            .text("unit", "CPU us per query")
            .number("value", static_cast<double>(cpu) / 1e3 / queries)
            .number("count", setup_.count)
            .number("rounds", setup_.rounds)
            .number("connect_ms", static_cast<double>(connected - begun_) / 1e6)
            .number("queries_ms", static_cast<double>(wall) / 1e6)
            .number("worst_beat_late_ms", static_cast<double>(worst_late_.load()) / 1e6)
            .number("resident_kb", static_cast<double>(memory.resident_kb - before_.resident_kb))
            .number("page_tables_kb",
                    static_cast<double>(memory.page_tables_kb - before_.page_tables_kb))
            .number("virtual_mb",
                    static_cast<double>(memory.virtual_kb - before_.virtual_kb) / 1024)
            .number("threads",
                    static_cast<double>(bench::status_field("/proc/self/status", "Threads")))
            .print();
    }

private:
    static constexpr unsigned beat_us = 1000;

    const Setup& setup_;
    std::atomic<bool> is_asking_{false}, is_over_{false};
    std::atomic<std::uint64_t> worst_late_{0};  // ns
    const bench::Memory before_ = bench::Memory::now();
    const std::uint64_t begun_ = bench::now_ns();
    weft::Barrier meeting_{setup_.count + 1};
};

void run_fibers(const Setup& setup, unsigned workers) {
    weft::hooks::patch_all();
    Crowd crowd{setup};
    weft::run(
        [&] {
            std::vector<weft::Fiber<>> parties;
            for (int i = 0; i < setup.count; ++i) {
                parties.push_back(weft::spawn([&] { crowd.party(); }));
            }
            auto heart = weft::spawn([&] { crowd.beat(); });
            crowd.measure("fibers", workers);
            weft::join_all(parties);
            heart.join();
        },
        {.workers = workers});
}

void run_threads(const Setup& setup) {
    Crowd crowd{setup};
    std::vector<std::thread> parties;
    for (int i = 0; i < setup.count; ++i) parties.emplace_back([&] { crowd.party(); });
    std::thread heart{[&] { crowd.beat(); }};
    crowd.measure("threads", 0);
    heart.join();
    for (auto& each : parties) each.join();
}

void run_handles(const Setup& setup) {
    const auto before = bench::Memory::now();
    std::vector<PGconn*> connections;
    for (int i = 0; i < setup.count; ++i) {
        connections.push_back(connect(setup));
        ask(connections.back(), "select 1");
    }
    const auto memory = bench::Memory::now();
    bench::JsonLine{}
        .text("bench", "postgres_crowd")
        .text("peer", "handles")
        .text("unit", "resident KiB")
        .number("value", static_cast<double>(memory.resident_kb - before.resident_kb))
        .number("count", setup.count)
        .print();
    for (PGconn* each : connections) PQfinish(each);
}

}  // namespace

int main(int argc, char** argv) {
    const bench::Arguments arguments{argc, argv};
    const Setup setup{.server = arguments.text("server", ""),
                      .count = arguments.integer("count", 1000),
                      .rounds = arguments.integer("rounds", 5),
                      .query = "select 1 from pg_sleep(" + arguments.text("sleep", "0.1") + ")",
                      .look = arguments.number("look", 0)};
    const auto peer = arguments.text("peer", "fibers");
    if (peer == "threads") {
        run_threads(setup);
    } else if (peer == "handles") {
        run_handles(setup);
    } else {
        run_fibers(setup, static_cast<unsigned>(arguments.integer("workers", 2)));
    }
}
