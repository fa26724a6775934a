// The main of every unit test: a test that runs out of its time says what all
// fibers were doing, and fails. The limit is WEFT_TEST_SECONDS, default 120.
#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
#include <catch2/reporters/catch_reporter_event_listener.hpp>
#include <catch2/reporters/catch_reporter_registrars.hpp>
using Listener = Catch::EventListenerBase;
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
using Listener = Catch::TestEventListenerBase;
#endif

#include "support/process.hpp"

#include <weft/diag.hpp>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>

#include <signal.h>
#include <unistd.h>

namespace {

std::mutex running_mutex;
std::string running = "no test case";  // guarded by running_mutex

class Names : public Listener {
public:
    using Listener::Listener;
    void testCaseStarting(const Catch::TestCaseInfo& info) override {
        Listener::testCaseStarting(info);
        const std::lock_guard hold{running_mutex};
        running = '"' + info.name + '"';
    }
};

class TimeLimit {
public:
    TimeLimit() : thread_{[this] { watch(); }} {}
    ~TimeLimit() {
        {
            const std::lock_guard hold{mutex_};
            over_ = true;
        }
        changed_.notify_all();
        thread_.join();
    }

private:
    void watch() {
        std::unique_lock hold{mutex_};
        const auto limit = weft::test::time_limit();
        if (changed_.wait_for(hold, std::chrono::seconds{limit}, [this] { return over_; })) return;
        weft::dump_fibers(STDERR_FILENO);
        // Last, for it is the end of a log that is shown.
        const std::lock_guard hold_name{running_mutex};
        std::fprintf(stderr, "\ntime limit of %u s passed in %s; its fibers stand above\n", limit,
                     running.c_str());
        std::fflush(nullptr);
        // Not abort(): a core of a million stacks helps nobody more than the dump.
        _exit(124);
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    bool over_ = false;
    std::thread thread_;
};

}  // namespace

CATCH_REGISTER_LISTENER(Names)

int main(int argc, char** argv) {
    if (const auto code = weft::test::Child::requested()) return *code;
    // As libpq and others do: a broken pipe is an error code, not the end.
    // Not set here, so that a raised SIGPIPE fails the test that caused it.
    const TimeLimit limit;
    return Catch::Session().run(argc, argv);
}
