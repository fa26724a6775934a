// Layer: park. Uses: base, sched.
#include "park/thread_party.hpp"

#include "base/futex.hpp"
#include "base/sanitizer.hpp"

#include <weft/detail/wait_queue.hpp>

#include <mutex>
#include <utility>

namespace weft::detail {

/// Those whose threads have ended.
class ThreadParties {
public:
    ThreadParty& take() noexcept {
        const Unobserved quiet;
        const std::lock_guard hold{lock_};
        if (free_ == nullptr) return *new ThreadParty;
        return *std::exchange(free_, free_->next_free_);
    }
    void give_back(ThreadParty& party) noexcept {
        const Unobserved quiet;
        party.clear_interrupts();
        const std::lock_guard hold{lock_};
        party.next_free_ = std::exchange(free_, &party);
    }

private:
    SpinLock lock_;
    ThreadParty* free_ = nullptr;  // guarded by lock_
};

namespace {

constinit ThreadParties parties;
constinit thread_local ThreadParty* own_party = nullptr;

struct GivenBackAtEnd {
    ~GivenBackAtEnd() { parties.give_back(*std::exchange(own_party, nullptr)); }
};

// A thread-local destructor that waits after this one's has run gets a party
// that nobody gives back.
[[gnu::noinline]] ThreadParty& begin_own_party() noexcept {
    thread_local GivenBackAtEnd at_end;
    own_party = &parties.take();
    return *own_party;
}

}  // namespace

// Laundered, though a plain thread never migrates: the same code runs in fibers,
// whose compiler may have seen the address before.
[[gnu::noinline]] ThreadParty& ThreadParty::of_this_thread() noexcept {
    ThreadParty** own = &own_party;
    asm volatile("" : "+r"(own));
    return *own != nullptr ? **own : begin_own_party();
}

void ThreadParty::make_ready() noexcept {
    ready_.store(1, std::memory_order_release);
    futex_wake_all(&ready_);
}

void ThreadParty::suspend(Ticket ticket, Deadline deadline) noexcept {
    if (word().commit()) return;  // resumed before it slept
    while (ready_.load(std::memory_order_acquire) == 0) {
        if (futex_wait(ready_, 0, deadline.at())) continue;
        // Too late for the clock. If a claim was faster it resumes us soon; if
        // somebody has us frozen, he does.
        const Claim claim = word().claim(ticket.epoch, Wake::timed_out);
        if (claim != Claim::lost && word().resume(claim)) break;
        deadline = Deadline::never();
    }
    ready_.store(0, std::memory_order_relaxed);
}

}  // namespace weft::detail
