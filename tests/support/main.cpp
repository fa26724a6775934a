// The main of every unit test: a test that runs out of its time says what all
// fibers were doing, and fails. The limit is WEFT_TEST_SECONDS, default 120.
#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
#include <catch2/interfaces/catch_interfaces_capture.hpp>
#include <catch2/internal/catch_context.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
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

/// By another thread than the test's. (A listener would be told, but with one Catch notes the
/// assertions that hold as well, which those of two workers at a time do not survive.)
std::string running_test_case() {
    const Catch::IResultCapture* const run = Catch::getCurrentContext().getResultCapture();
    return run == nullptr ? "no test case" : '"' + run->getCurrentTestName() + '"';
}

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
        std::fprintf(stderr, "\ntime limit of %u s passed in %s; its fibers stand above\n", limit,
                     running_test_case().c_str());
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

int main(int argc, char** argv) {
    if (const auto code = weft::test::Child::requested()) return *code;
    // As libpq and others do: a broken pipe is an error code, not the end.
    // Not set here, so that a raised SIGPIPE fails the test that caused it.
    const TimeLimit limit;
    return Catch::Session().run(argc, argv);
}
