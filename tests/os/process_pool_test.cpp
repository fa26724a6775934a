#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/tcp.hpp"

#include <weft/cancelled.hpp>
#include <weft/io/process_pool.hpp>

#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::Future;
using weft::io::Arguments;
using weft::io::CommandFailed;
using weft::io::Completed;
using weft::io::ProcessPool;

TEST_CASE("a pool of processes runs as many at once as it has places", "[os][process_pool]") {
    on_workers_and_io([] {
        const std::size_t fds = open_fds();
        {
            ProcessPool pool{2};
            REQUIRE(pool.size() == 2);
            auto [reader, writer] = weft::io::Pipe::open();
            const weft::io::RunOptions waits{
                .process = {.input = weft::io::Stdio::fd(reader.fd())}};
            auto first = pool.submit({"head", "-c1"}, waits);
            auto second = pool.submit({"head", "-c1"}, waits);
            REQUIRE(pool.free_count() == 0);
            REQUIRE_FALSE(pool.try_submit({"true"}));
            REQUIRE_FALSE(pool.submit_by(1ms, {"true"}));
            writer.close();
            REQUIRE(first.get().status.success());
            REQUIRE(second.get().status.success());
            REQUIRE(pool.submit({"cat"}, {.input = "again"}).get().output == "again");
            pool.close();
            REQUIRE_THROWS_AS(pool.submit({"true"}), weft::PoolClosed);
            REQUIRE(pool.join());
            REQUIRE(pool.unfinished() == 0);
        }
        REQUIRE(open_fds() == fds);
    });
}

TEST_CASE("a pool of processes maps commands in order or as they end", "[os][process_pool]") {
    on_workers_and_io([] {
        ProcessPool pool{3};
        std::vector<Arguments> commands;
        for (int i = 0; i < 10; ++i) commands.push_back({"printf", std::to_string(i)});
        std::string all;
        for (const Completed& each : pool.map(commands)) all += each.output;
        for (const Completed& each : pool.imap(commands)) all += each.output;
        REQUIRE(all == "01234567890123456789");
        int sum = 0;
        for (const Completed& each : pool.imap_unordered(commands)) sum += std::stoi(each.output);
        REQUIRE(sum == 45);
        commands.insert(commands.begin() + 4, {"false"});
        REQUIRE_THROWS_AS(pool.map(commands, {.check = true}), CommandFailed);
    });
}

TEST_CASE("what a command of a pool throws is kept in its future", "[os][process_pool]") {
    on_workers_and_io([] {
        ProcessPool pool{1};
        REQUIRE_THROWS_AS(pool.submit({"weft-is-not-there"}).get(), std::system_error);
        REQUIRE_THROWS_AS(pool.submit({"false"}, {.check = true}).get(), CommandFailed);
        REQUIRE(pool.submit({"sleep", "1000"}, {.time_limit = 1ms}).get().timed_out);
    });
}

TEST_CASE("a pool of processes that is terminated kills them", "[os][process_pool]") {
    on_workers_and_io([] {
        ProcessPool pool{2};
        auto running = pool.submit({"sleep", "1000"});
        until_in_flight(1);
        pool.terminate();
        REQUIRE(pool.join());
        REQUIRE_THROWS_AS(running.get(), weft::Cancelled);
        Future<Completed> left;
        {
            ProcessPool other{1};
            left = other.submit({"sleep", "1000"});
        }
        REQUIRE_THROWS_AS(left.get(), weft::Cancelled);
    });
}

TEST_CASE("a plain thread gives a pool of a runtime commands", "[os][process_pool]") {
    weft::Runtime runtime{{.workers = 2}};
    ProcessPool pool{runtime, 2};
    REQUIRE(pool.submit({"echo", "hello"}).get().output == "hello\n");
}
