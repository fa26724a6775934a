#include "base/futex.hpp"

#include "support/catch.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <thread>

using namespace weft::detail;

// Method: a thread that waits, another that has the list of those who do locked most of the time,
// and children made meanwhile.
TEST_CASE("a forked child waits, whatever the other threads were at", "[base][futex]") {
    std::atomic<std::uint32_t> word{0};
    std::atomic<bool> over{false};
    std::thread waiter{[&] { futex_wait(word, 0); }};
    while (blocked_threads().empty()) std::this_thread::yield();
    std::thread looker{[&] {
        while (!over.load()) (void)blocked_threads();
    }};
    bool all_ended = true;
    for (int i = 0; i < 100 && all_ended; ++i) {
        const pid_t child = ::fork();
        if (child == 0) {
            ::alarm(60);
            futex_wait(word, 1);
            ::_exit(blocked_threads().empty() ? 0 : 1);
        }
        int status = -1;
        ::waitpid(child, &status, 0);
        all_ended = status == 0;
    }
    over.store(true);
    looker.join();
    word.store(1);
    futex_wake_all(&word);
    waiter.join();
    CHECK(all_ended);
}
