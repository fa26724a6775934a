// Signals. Layer: os. Uses: sync.
//
// What was delivered is in a channel, which does the waiting, the order and the select. How
// many of a number are in it, or taken but not by wait() yet, is counted: so no more than
// most_of() are, and the channel has room for all of them.
#include <weft/io/signals.hpp>

#include "base/assert.hpp"
#include "os/signal_dispatcher.hpp"

#include <signal.h>

#include <array>
#include <atomic>
#include <stdexcept>
#include <string>

namespace weft::io {

using detail::bit_of;
using detail::last_signal;
using detail::SignalSet;

namespace {

constexpr int first_real_time = 34;  // 32 and 33 are libc's

constexpr unsigned most_of(int number) noexcept { return number >= first_real_time ? 16 : 1; }

bool can_be_waited_for(int number) noexcept {
    if (number < 1 || number > last_signal) return false;
    if (number == 32 || number == 33) return false;
    for (const int not_this :
         {SIGKILL, SIGSTOP, SIGURG, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) {
        if (number == not_this) return false;
    }
    return true;
}

SignalSet set_of(std::initializer_list<int> numbers) {
    SignalSet set = 0;
    for (const int number : numbers) {
        if (!can_be_waited_for(number)) {
            throw std::invalid_argument("weft: signal " + std::to_string(number) +
                                        " cannot be waited for");
        }
        set |= bit_of(number);
    }
    if (set == 0) throw std::invalid_argument("weft: no signal to wait for");
    return set;
}

std::size_t room_for(SignalSet set) noexcept {
    std::size_t room = 0;
    for (int number = 1; number <= last_signal; ++number) {
        if ((set & bit_of(number)) != 0) room += most_of(number);
    }
    return room;
}

}  // namespace

struct Signals::State final : detail::SignalSubscriber {
    explicit State(SignalSet set) : SignalSubscriber{set}, arrived{room_for(set)} {}

    std::atomic<unsigned>& count_of(int number) noexcept {
        return counts[static_cast<std::size_t>(number)];
    }

    void deliver(const SignalInfo& info) noexcept override {
        std::atomic<unsigned>& count = count_of(info.number);
        if (count.load(std::memory_order_acquire) >= most_of(info.number)) return;
        count.fetch_add(1, std::memory_order_relaxed);
        const bool sent = arrived.try_send(info);
        WEFT_ASSERT(sent);
    }

    Channel<SignalInfo> arrived;
    std::array<std::atomic<unsigned>, last_signal + 1> counts{};
};

Signals::Signals(std::initializer_list<int> numbers)
    : state_{std::make_unique<State>(set_of(numbers))} {
    detail::SignalDispatcher::subscribe(*state_);
}

Signals::~Signals() { detail::SignalDispatcher::unsubscribe(*state_); }

RecvOnly<SignalInfo> Signals::arrived() const noexcept { return state_->arrived; }

void Signals::taken(const SignalInfo& info) noexcept {
    state_->count_of(info.number).fetch_sub(1, std::memory_order_release);
}

std::optional<SignalInfo> Signals::wait(Deadline deadline) {
    auto info = state_->arrived.recv(deadline);
    if (info) taken(*info);
    return info;
}

std::optional<SignalInfo> Signals::try_wait() {
    auto info = state_->arrived.try_recv();
    if (info) taken(*info);
    return info;
}

}  // namespace weft::io
