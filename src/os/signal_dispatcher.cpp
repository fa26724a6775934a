// Layer: os. Uses: sched, sync, sigaction(2).
#include "os/signal_dispatcher.hpp"

#include "base/assert.hpp"
#include "base/own_thread.hpp"
#include "base/sanitizer.hpp"
#include "os/call.hpp"

#include <weft/io/stream.hpp>

#include <fcntl.h>
#include <pthread.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <memory>
#include <system_error>
#include <thread>

namespace weft::io::detail {

namespace {

// TSan keeps a signal back until the thread calls something that it knows. A wait on a futex,
// which it does not know, must end for that instead of being begun anew.
#if defined(WEFT_TSAN)
constexpr int restart = 0;
#else
constexpr int restart = SA_RESTART;
#endif

SignalInfo info_of(int number, const siginfo_t& from) noexcept {
    const bool sent = from.si_code == SI_USER || from.si_code == SI_QUEUE ||
                      from.si_code == SI_TKILL || number == SIGCHLD;
    const bool valued = from.si_code == SI_QUEUE || from.si_code == SI_TIMER;
    return {.number = number,
            .pid = sent ? from.si_pid : 0,
            .uid = sent ? from.si_uid : 0,
            .value = valued ? from.si_value.sival_int : 0};
}

/// Calls `act(number)` for each.
template <class Act>
void for_each(SignalSet set, Act&& act) {
    for (int number = 1; number <= last_signal; ++number) {
        if ((set & bit_of(number)) != 0) act(number);
    }
}

}  // namespace

std::atomic<SignalDispatcher*> SignalDispatcher::current_{nullptr};

SignalDispatcher::SignalDispatcher() : process_{::getpid()} {
    int ends[2] = {-1, -1};
    value_or_throw(system_call<::syscall>(SYS_pipe2, ends, long{O_CLOEXEC}), "a pipe for signals");
    reader_ = ends[0];
    writer_ = ends[1];
    value_or_throw(system_call<::fcntl>(writer_, F_SETFL, O_NONBLOCK), "a pipe for signals");
}

SignalDispatcher::~SignalDispatcher() {
    weft::detail::close_number(reader_);
    weft::detail::close_number(writer_);
}

SignalDispatcher& SignalDispatcher::instance() {
    static const int registered = ::pthread_atfork(nullptr, nullptr, &forget_in_child);
    if (registered != 0) throw std::system_error(registered, std::system_category(), "atfork");
    SignalDispatcher* there = current_.load(std::memory_order_acquire);
    if (there != nullptr) return *there;
    auto made = std::make_unique<SignalDispatcher>();
    if (current_.compare_exchange_strong(there, made.get())) return *made.release();
    return *there;
}

void SignalDispatcher::subscribe(SignalSubscriber& subscriber) { instance().add(subscriber); }

void SignalDispatcher::unsubscribe(SignalSubscriber& subscriber) noexcept {
    SignalDispatcher* const there = current_.load(std::memory_order_acquire);
    if (there != nullptr && there == subscriber.dispatcher_) there->remove(subscriber);
}

void SignalDispatcher::add(SignalSubscriber& subscriber) {
    const std::lock_guard hold{membership_};
    if (members_ == 0) thread_ = weft::detail::start_own_thread([this] { serve(); });
    ++members_;
    subscriber.dispatcher_ = this;
    {
        const std::lock_guard hold_list{list_lock_};
        subscriber.next_ = first_;
        if (first_ != nullptr) first_->prev_ = &subscriber;
        first_ = &subscriber;
    }
    for_each(subscriber.wanted_, [this](int number) {
        if (wanted_by_[static_cast<std::size_t>(number)]++ == 0) install(number);
    });
}

void SignalDispatcher::remove(SignalSubscriber& subscriber) noexcept {
    const std::lock_guard hold{membership_};
    for_each(subscriber.wanted_, [this](int number) {
        if (--wanted_by_[static_cast<std::size_t>(number)] == 0) restore(number);
    });
    {
        const std::lock_guard hold_list{list_lock_};
        if (subscriber.next_ != nullptr) subscriber.next_->prev_ = subscriber.prev_;
        (subscriber.prev_ != nullptr ? subscriber.prev_->next_ : first_) = subscriber.next_;
    }
    if (--members_ == 0) stop();
}

bool SignalDispatcher::is_ours(const struct sigaction& action) noexcept {
    return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == &on_signal;
}

void SignalDispatcher::install(int number) noexcept {
    struct sigaction ours {};
    ours.sa_sigaction = &on_signal;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | restart;
    sigfillset(&ours.sa_mask);
    struct sigaction& previous = previous_[static_cast<std::size_t>(number)];
    wanted_now_.fetch_or(bit_of(number), std::memory_order_seq_cst);
    const int result = sigaction(number, &ours, &previous);
    WEFT_ASSERT(result == 0);              // the numbers were looked at
    if (is_ours(previous)) previous = {};  // put back by somebody who had found it before
}

// Unless somebody else has put a handler in the place of ours.
void SignalDispatcher::restore(int number) noexcept {
    struct sigaction now {};
    sigaction(number, nullptr, &now);
    if (is_ours(now)) sigaction(number, &previous_[static_cast<std::size_t>(number)], nullptr);
    wanted_now_.fetch_and(~bit_of(number), std::memory_order_seq_cst);
}

void SignalDispatcher::forget_in_child() {
    SignalDispatcher* const gone = current_.load(std::memory_order_relaxed);
    if (gone == nullptr) return;
    // First, while the handler can still hand back what comes meanwhile.
    for (int number = 1; number <= last_signal; ++number) {
        if (gone->wanted_by_[static_cast<std::size_t>(number)] > 0) gone->restore(number);
    }
    current_.store(nullptr, std::memory_order_relaxed);
    weft::detail::close_number(gone->reader_);
    weft::detail::close_number(gone->writer_);
}

// --- the handler: async-signal-safe ---

void SignalDispatcher::on_signal(int number, siginfo_t* info, void*) {
    const int saved_errno = errno;
    SignalDispatcher* const there = current_.load(std::memory_order_acquire);
    if (there != nullptr && there->process_ == ::getpid()) {
        there->take(number, *info);
    } else if (there != nullptr) {
        there->hand_back(*info);
    }
    errno = saved_errno;
}

void SignalDispatcher::take(int number, siginfo_t& info) noexcept {
    in_handler_.fetch_add(1, std::memory_order_seq_cst);
    if ((wanted_now_.load(std::memory_order_seq_cst) & bit_of(number)) != 0) {
        note(info_of(number, info));
    } else {
        // Ours: put back by somebody who had found it before. Nobody wants the signal.
        struct sigaction now {};
        sigaction(number, nullptr, &now);
        if (!is_ours(now)) send_again(info);
    }
    in_handler_.fetch_sub(1, std::memory_order_release);
}

void SignalDispatcher::hand_back(siginfo_t& info) const noexcept {
    sigaction(info.si_signo, &previous_[static_cast<std::size_t>(info.si_signo)], nullptr);
    send_again(info);
}

// It comes when the handler returns, for until then it is blocked.
void SignalDispatcher::send_again(siginfo_t& info) noexcept {
    system_call<::syscall>(SYS_rt_tgsigqueueinfo, long{::getpid()}, system_call<::gettid>(),
                           long{info.si_signo}, &info);
}

void SignalDispatcher::note(const SignalInfo& info) noexcept {
    if (push(info)) return;
    unnamed_.fetch_or(bit_of(info.number), std::memory_order_seq_cst);
    push({});
}

bool SignalDispatcher::push(const SignalInfo& info) noexcept {
    return system_call<::syscall>(SYS_write, writer_, &info, sizeof info) == long{sizeof info};
}

// --- the thread ---

void SignalDispatcher::serve() noexcept {
    pthread_setname_np(pthread_self(), "weft-signals");
    while (!stopping_.load(std::memory_order_acquire)) {
        SignalInfo info;
        const long size = system_call<::syscall>(SYS_read, reader_, &info, sizeof info);
        WEFT_ASSERT(size == long{sizeof info});  // they are written whole
        if (info.number != 0) deliver(info);
        for_each(unnamed_.exchange(0, std::memory_order_seq_cst),
                 [this](int number) { deliver({.number = number}); });
    }
}

void SignalDispatcher::deliver(const SignalInfo& info) noexcept {
    const std::lock_guard hold{list_lock_};
    for (SignalSubscriber* each = first_; each != nullptr; each = each->next_) {
        if ((each->wanted_ & bit_of(info.number)) != 0) each->deliver(info);
    }
}

// What has come too late for those who left is not for those who come later.
void SignalDispatcher::stop() noexcept {
    while (in_handler_.load(std::memory_order_seq_cst) != 0) std::this_thread::yield();
    stopping_.store(true, std::memory_order_release);
    push({});
    thread_.join();
    stopping_.store(false, std::memory_order_relaxed);
    unnamed_.store(0, std::memory_order_relaxed);
    int left = 0;
    for (SignalInfo dropped; ::ioctl(reader_, FIONREAD, &left) == 0 && left > 0;) {
        system_call<::syscall>(SYS_read, reader_, &dropped, sizeof dropped);
    }
}

}  // namespace weft::io::detail
