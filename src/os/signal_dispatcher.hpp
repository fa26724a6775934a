// SignalDispatcher: brings the signals of the process to those who wait for them.
// Layer: os. Uses: sched, sync.
//
// The handler, on whatever thread the kernel runs it, writes what came into a pipe. A thread
// reads that and tells the subscribers. Rejected: signalfd, for which every thread of the
// program has to block the signals, also those that it started before.
//
// Invariants
//  1. No signal is lost. One that finds the pipe full is noted in unnamed_, without its
//     sender, and then the pipe is tried again: if it is full still, the thread has yet to
//     come to its end, and looks at unnamed_ after each signal that it reads.
//  2. The handler is installed for a number while somebody subscribes to it, and the thread
//     runs while anybody does. A handler that was begun before and finds that nobody wants the
//     number any more sends the signal again, to what is there now; who leaves waits for those
//     that found the other (Dekker's protocol: in_handler_, then wanted_now_, and the other way
//     round).
//
// Locking: membership_ before list_lock_. The thread takes list_lock_ alone.
// fork(): the child has no such thread. There what was before is restored, the pipe closed,
//  and the dispatcher given up, for its locks may be anybody's; the next Signals makes one.
//  A signal that comes to it before that, or to a child of _Fork() or vfork(), is none of
//  ours: the handler, who knows by the pid, hands it to what was there before.
// Lifetime: one per process, made when first needed, never destroyed.
#pragma once

#include <weft/io/signals.hpp>
#include <weft/lock.hpp>

#include <signal.h>
#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>

namespace weft::io::detail {

inline constexpr int last_signal = 64;

/// Of signals, number 1 in bit 0.
using SignalSet = std::uint64_t;
constexpr SignalSet bit_of(int number) noexcept { return SignalSet{1} << (number - 1); }

class SignalDispatcher;

class SignalSubscriber {
public:
    explicit SignalSubscriber(SignalSet wanted) noexcept : wanted_{wanted} {}
    SignalSubscriber(const SignalSubscriber&) = delete;
    SignalSubscriber& operator=(const SignalSubscriber&) = delete;
    virtual ~SignalSubscriber() = default;

    SignalSet wanted() const noexcept { return wanted_; }
    /// By the dispatcher's thread: one of those wanted came. Must not wait.
    virtual void deliver(const SignalInfo& info) noexcept = 0;

private:
    friend class SignalDispatcher;
    const SignalSet wanted_;
    SignalDispatcher* dispatcher_ = nullptr;
    // Guarded by the dispatcher's list_lock_.
    SignalSubscriber* next_ = nullptr;
    SignalSubscriber* prev_ = nullptr;
};

class SignalDispatcher {
public:
    /// From now on it is told. Throws std::system_error.
    static void subscribe(SignalSubscriber& subscriber);
    /// No longer. Blocks: the thread for a moment. Does nothing in a child of fork().
    static void unsubscribe(SignalSubscriber& subscriber) noexcept;

    SignalDispatcher();
    SignalDispatcher(const SignalDispatcher&) = delete;
    SignalDispatcher& operator=(const SignalDispatcher&) = delete;
    ~SignalDispatcher();

private:
    static SignalDispatcher& instance();
    static void on_signal(int number, siginfo_t* info, void*);
    static void forget_in_child();
    static bool is_ours(const struct sigaction& action) noexcept;
    void take(int number, siginfo_t& info) noexcept;
    void hand_back(siginfo_t& info) const noexcept;
    static void send_again(siginfo_t& info) noexcept;

    void add(SignalSubscriber& subscriber);
    void remove(SignalSubscriber& subscriber) noexcept;
    void install(int number) noexcept;
    void restore(int number) noexcept;
    void note(const SignalInfo& info) noexcept;
    bool push(const SignalInfo& info) noexcept;
    void serve() noexcept;
    void stop() noexcept;
    void deliver(const SignalInfo& info) noexcept;

    static std::atomic<SignalDispatcher*> current_;

    // --- fixed after construction ---
    const pid_t process_;
    int reader_ = -1;
    int writer_ = -1;  // O_NONBLOCK
    // --- any thread, also in handlers ---
    std::atomic<SignalSet> unnamed_{0};
    std::atomic<unsigned> in_handler_{0};
    std::atomic<SignalSet> wanted_now_{0};  // somebody subscribes to
    std::atomic<bool> stopping_{false};
    // --- guarded by membership_ ---
    Lock membership_;
    std::size_t members_ = 0;
    std::array<std::size_t, last_signal + 1> wanted_by_{};
    std::array<struct sigaction, last_signal + 1> previous_{};
    std::thread thread_;
    // --- guarded by list_lock_ ---
    std::mutex list_lock_;
    SignalSubscriber* first_ = nullptr;
};

}  // namespace weft::io::detail
