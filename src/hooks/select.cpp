// Hooks on waits for several descriptors. Layer: hooks. Uses: io.
//
// Each is libc's own call without waiting, and between two of those one wait for all its
// descriptors: a poll operation each, or, where they are many, one for an epoll
// descriptor that has them. What the call returns is so always what the kernel says.
//
// The signal masks of the p-forms count for threads of weft-run --threads alone: other fibers take
// no signals.
#include "hooks/descriptor.hpp"
#include "hooks/fiber_thread.hpp"
#include "hooks/thread_call.hpp"
#include "hooks/thread_signals.hpp"

#include "io/timespec.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <utility>

namespace weft::hooks::detail {

namespace {

using weft::detail::duration_of;
using weft::detail::is_valid;
using weft::detail::most_polled;

constexpr timespec at_once{};

/// Of the forms without a mask.
const SignalWatch unwatched{nullptr};

// --- time limits ---

Deadline deadline_of(int timeout_ms) noexcept {
    return timeout_ms < 0 ? Deadline::never() : Deadline{std::chrono::milliseconds{timeout_ms}};
}

Deadline deadline_of(const timespec* timeout) noexcept {
    return timeout == nullptr ? Deadline::never() : Deadline{duration_of(*timeout)};
}

// --- waiting for one of many ---

/// An epoll descriptor with what poll() waits for.
class Gathered {
public:
    enum class Tells : std::uint32_t { state = 0, changes = EPOLLET };
    explicit Gathered(Tells tells = Tells::state) noexcept
        : fd_{static_cast<int>(call(SYS_epoll_create1, EPOLL_CLOEXEC))}, tells_{tells} {}
    Gathered(const Gathered&) = delete;
    Gathered& operator=(const Gathered&) = delete;
    ~Gathered() {
        if (fd_ >= 0) weft::detail::close_number(fd_);
    }

    int fd() const noexcept { return fd_; }

    /// 0, or -errno: of the first that there is an error of.
    long add(std::span<const pollfd> all) noexcept {
        for (const pollfd& each : all) {
            const long result = each.fd < 0 ? 0 : add(all, each);
            // A file: it is never more ready than it was when the kernel was asked.
            if (result < 0 && result != -EPERM) return result;
        }
        return 0;
    }

    /// Of changes, the ones until now have been told.
    void forget_told() noexcept {
        std::array<epoll_event, 32> told;
        const long room = told.size();
        while (call(SYS_epoll_pwait, fd_, told.data(), room, 0L, nullptr, 0L) == room) {
        }
    }

private:
    /// One that is there already is waited for with the events of both. Of changes each is there
    /// once; to set its events anew would tell its state again.
    long add(std::span<const pollfd> all, const pollfd& one) noexcept {
        epoll_event event{};
        event.events = static_cast<unsigned short>(one.events) | static_cast<std::uint32_t>(tells_);
        const long result = call(SYS_epoll_ctl, fd_, EPOLL_CTL_ADD, one.fd, &event);
        if (result != -EEXIST) return result;
        if (tells_ == Tells::changes) return 0;
        for (const pollfd& each : all) {
            if (each.fd == one.fd) event.events |= static_cast<unsigned short>(each.events);
        }
        return call(SYS_epoll_ctl, fd_, EPOLL_CTL_MOD, one.fd, &event);
    }

    const int fd_;
    const Tells tells_;
};

/// For lack of descriptors, or of what is an epoll descriptor in so many others that no further one
/// takes it. >= 0, or -errno. No close of a number, handler or cancellation ends it.
long poll_on_thread(std::span<const pollfd> fds, Deadline deadline) noexcept {
    const std::unique_ptr<pollfd[]> own{new (std::nothrow) pollfd[fds.size()]};
    if (own == nullptr) return -ENOMEM;
    std::copy(fds.begin(), fds.end(), own.get());
    const long ready = on_own_thread([&] {
        const auto left = weft::detail::to_timespec<timespec>(weft::detail::time_left(deadline));
        return call(SYS_ppoll, own.get(), static_cast<unsigned long>(fds.size()),
                    deadline.is_never() ? nullptr : &left, nullptr, 0L);
    });
    return ready == 0 ? -ETIMEDOUT : ready;
}

/// Waits by `gathered`, of which all of `fds` become a part that are none yet: >= 0, or -errno.
long wait_by(Gathered& gathered, std::span<const pollfd> fds, Deadline deadline,
             const char* reason) noexcept {
    {
        weft::detail::ForeignUses uses{fds};
        if (uses.error() != 0) return uses.error();
        const long result = gathered.fd() < 0 ? gathered.fd() : gathered.add(fds);
        // Closed since the kernel was asked: it has an answer by now.
        if (result == -EBADF) return 1;
        if (result >= 0) {
            const Request request{
                .code = Request::Code::poll, .fd = gathered.fd(), .flags = POLLIN};
            return perform_foreign(uses, request, deadline, reason, Interruption::never_restarted);
        }
    }
    return poll_on_thread(fds, deadline);
}

long wait_for_many(std::span<const pollfd> fds, Deadline deadline, const char* reason) noexcept {
    Gathered gathered;
    return wait_by(gathered, fds, deadline, reason);
}

/// Waits until one of `fds` may be ready: >= 0, or -errno. At most most_polled of them.
long wait_for_few(std::span<const pollfd> fds, Deadline deadline, const char* reason) noexcept {
    const long result = weft::detail::wait_any_ready(fds, deadline, reason);
    const bool has_files = result == -EPERM || result == -EINVAL;
    return has_files ? wait_for_many(fds, deadline, reason) : result;
}

/// The same of any number.
long wait_for_any(std::span<const pollfd> fds, Deadline deadline, const char* reason) noexcept {
    const auto count =
        std::count_if(fds.begin(), fds.end(), [](auto& each) { return each.fd >= 0; });
    if (static_cast<std::size_t>(count) > most_polled) return wait_for_many(fds, deadline, reason);
    if (fds.size() <= most_polled) return wait_for_few(fds, deadline, reason);
    std::array<pollfd, most_polled> few;
    const auto end =
        std::copy_if(fds.begin(), fds.end(), few.begin(), [](auto& each) { return each.fd >= 0; });
    return wait_for_few({few.begin(), end}, deadline, reason);
}

/// `wait(fds)`, which is over as well when a handler has run that `watch` knows of: -EINTR.
template <class Wait>
long until_handled(std::span<const pollfd> fds, const SignalWatch& watch, Wait&& wait) noexcept {
    if (watch.error() < 0) return watch.error();
    if (watch.fd() < 0) return wait(fds);
    if (watch.handled()) return -EINTR;
    const std::unique_ptr<pollfd[]> all{new (std::nothrow) pollfd[fds.size() + 1]};
    if (all == nullptr) return -ENOMEM;
    *std::copy(fds.begin(), fds.end(), all.get()) = {watch.fd(), POLLIN, 0};
    return wait(std::span<const pollfd>{all.get(), fds.size() + 1});
}

long wait_for_any(std::span<const pollfd> fds, Deadline deadline, const char* reason,
                  const SignalWatch& watch) noexcept {
    return until_handled(fds, watch, [=](std::span<const pollfd> all) {
        return wait_for_any(all, deadline, reason);
    });
}

/// Asks, `ask(at_end)`, and waits, `wait()`, by turns until there is an answer other than 0, or
/// it was asked at the end of the time.
template <class Ask, class Wait>
long ask_and_wait(Deadline deadline, Ask&& ask, Wait&& wait) noexcept {
    for (;;) {
        const bool at_end = deadline.passed();
        const long ready = ask(at_end);
        if (ready != 0 || at_end) {
            succeeded();
            return ready;
        }
        const long result = wait();
        if (result == -ETIMEDOUT) continue;  // what is ready by now counts
        // One of them was closed: the kernel has something to say about it.
        if (result < 0 && result != -EBADF) return result;
    }
}

// --- poll ---

/// Of the count the kernel takes the lower half.
long poll_all(pollfd* fds, nfds_t all, Deadline deadline, const SignalWatch& watch) noexcept {
    const unsigned count = static_cast<unsigned>(all);
    return ask_and_wait(
        deadline,
        [=](bool) {
            return call(SYS_ppoll, fds, static_cast<unsigned long>(count), &at_once, nullptr, 0L);
        },
        [&] {
            return wait_for_any({fds, std::size_t{count}}, deadline, "poll", watch);
        });
}

// --- select ---

/// The three sets of a select(), of which the kernel overwrites its arguments.
class Sets {
public:
    Sets(int count, fd_set* readable, fd_set* writable, fd_set* exceptional) noexcept
        : count_{count}, sets_{readable, writable, exceptional} {}

    /// Room for their copies and for what is to be polled: 0, or -errno.
    long prepare() noexcept {
        for (const fd_set* set : sets_) {
            if (set != nullptr && !is_readable(set, words() * sizeof(Word))) return -EFAULT;
        }
        saved_.reset(new (std::nothrow) Word[3 * words()]);
        if (saved_ == nullptr) return -ENOMEM;
        for (std::size_t i = 0; i < 3; ++i) {
            if (sets_[i] != nullptr) std::copy_n(bits(i), words(), saved(i));
        }
        std::size_t fds = 0;
        for (int fd = 0; fd < count_; ++fd) fds += events_of(fd) != 0 ? 1 : 0;
        polled_.reset(new (std::nothrow) pollfd[fds + 1]);
        if (polled_ == nullptr) return -ENOMEM;
        for (int fd = 0; fd < count_; ++fd) {
            const int events = events_of(fd);
            if (events != 0) polled_[polled_count_++] = {fd, static_cast<short>(events), 0};
        }
        return 0;
    }

    /// The kernel's answer without waiting; the sets are as before if that is 0.
    long ask(bool at_end) noexcept {
        const long ready =
            call(SYS_pselect6, count_, sets_[0], sets_[1], sets_[2], &at_once, nullptr);
        if (ready == 0 && !at_end) restore();
        return ready;
    }

    std::span<const pollfd> polled() const noexcept { return {polled_.get(), polled_count_}; }

private:
    using Word = unsigned long;
    static constexpr std::size_t bits_per_word = 8 * sizeof(Word);

    std::size_t words() const noexcept {
        return (static_cast<std::size_t>(count_) + bits_per_word - 1) / bits_per_word;
    }
    // More of them than fd_set has, if the caller made room for it, as libc allows.
    Word* bits(std::size_t set) const noexcept { return reinterpret_cast<Word*>(sets_[set]); }
    Word* saved(std::size_t set) const noexcept { return saved_.get() + set * words(); }
    bool has(std::size_t set, int fd) const noexcept {
        const auto at = static_cast<std::size_t>(fd);
        return sets_[set] != nullptr &&
               (saved(set)[at / bits_per_word] >> (at % bits_per_word) & 1) != 0;
    }
    int events_of(int fd) const noexcept {
        return (has(0, fd) ? POLLIN : 0) | (has(1, fd) ? POLLOUT : 0) | (has(2, fd) ? POLLPRI : 0);
    }
    void restore() noexcept {
        for (std::size_t i = 0; i < 3; ++i) {
            if (sets_[i] != nullptr) std::copy_n(saved(i), words(), bits(i));
        }
    }

    const int count_;
    fd_set* const sets_[3];
    std::unique_ptr<Word[]> saved_;
    std::unique_ptr<pollfd[]> polled_;
    std::size_t polled_count_ = 0;
};

/// Waits of one select(). What hangs up, or has an error, ends a poll also where select() has
/// nothing to say of it: so once one was in vain only changes do. (Rejected: to leave it out. It
/// may have urgent data yet.)
class SelectWait {
public:
    long operator()(std::span<const pollfd> fds, Deadline deadline) noexcept {
        if (!std::exchange(waited_, true)) return wait_for_any(fds, deadline, reason);
        if (!changes_) changes_.emplace(Gathered::Tells::changes);
        // No more descriptors for this process: then it may be in vain again.
        if (changes_->fd() < 0) return wait_for_any(fds, deadline, reason);
        const long result = wait_by(*changes_, fds, deadline, reason);
        changes_->forget_told();
        return result;
    }

private:
    static constexpr const char* reason = "select";
    bool waited_ = false;
    std::optional<Gathered> changes_;
};

/// The kernel looks at no more of a set than its table of descriptors has room for.
int looked_at(int count) noexcept {
    if (count <= FD_SETSIZE) return count;
    const long file = call(SYS_openat, AT_FDCWD, "/proc/self/status", O_RDONLY | O_CLOEXEC, 0L);
    std::array<char, 4096> text{};
    const long size = call(SYS_read, file, text.data(), text.size() - 1);
    weft::detail::close_number(static_cast<int>(file));
    const char* const field = size > 0 ? std::strstr(text.data(), "FDSize:") : nullptr;
    return field == nullptr ? count : std::min(count, std::atoi(field + 7));
}

long select_all(int count, fd_set* readable, fd_set* writable, fd_set* exceptional,
                Deadline deadline, const SignalWatch& watch) noexcept {
    if (count < 0) return -EINVAL;
    Sets sets{looked_at(count), readable, writable, exceptional};
    if (deadline.passed()) return sets.ask(true);
    if (const long error = sets.prepare(); error != 0) return error;
    SelectWait select_wait;
    return ask_and_wait(
        deadline, [&](bool at_end) { return sets.ask(at_end); },
        [&] {
            return until_handled(sets.polled(), watch, [&](std::span<const pollfd> fds) {
                return select_wait(fds, deadline);
            });
        });
}

/// The same with a time limit, of which Linux tells how much was left.
long select_with_time(int count, fd_set* readable, fd_set* writable, fd_set* exceptional,
                      timeval* timeout) noexcept {
    if (timeout == nullptr) {
        return select_all(count, readable, writable, exceptional, Deadline::never(), unwatched);
    }
    const Deadline deadline{duration_of(*timeout)};
    const long ready = select_all(count, readable, writable, exceptional, deadline, unwatched);
    const auto left =
        std::chrono::duration_cast<std::chrono::microseconds>(weft::detail::time_left(deadline));
    timeout->tv_sec = left.count() / 1'000'000;
    timeout->tv_usec = left.count() % 1'000'000;
    return ready;
}

// --- epoll ---

long epoll_all(int fd, epoll_event* events, int count, Deadline deadline,
               const SignalWatch& watch) noexcept {
    const pollfd one{fd, POLLIN, 0};
    return ask_and_wait(
        deadline,
        [=](bool) {
            return call(SYS_epoll_pwait, fd, events, static_cast<long>(count), 0L, nullptr, 0L);
        },
        [&] {
            return wait_for_any({&one, 1}, deadline, "epoll_wait", watch);
        });
}

}  // namespace

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hooks ---

#define WEFT_DEFINE_POLL(name)                                                         \
    int hook_##name(pollfd* fds, nfds_t count, int timeout_ms) {                       \
        if (timeout_ms == 0 || WEFT_TAKEN(name) == nullptr) {                          \
            return WEFT_ORIGINAL(name)(fds, count, timeout_ms);                        \
        }                                                                              \
        return answer<int>(                                                            \
            [&] { return poll_all(fds, count, deadline_of(timeout_ms), unwatched); }); \
    }
WEFT_DEFINE_POLL(poll)
WEFT_DEFINE_POLL(__poll)

int hook___poll_chk(pollfd* fds, nfds_t count, int timeout_ms, size_t room) {
    if (timeout_ms == 0 || room / sizeof *fds < count || WEFT_TAKEN(__poll_chk) == nullptr) {
        return WEFT_ORIGINAL(__poll_chk)(fds, count, timeout_ms, room);
    }
    return answer<int>([&] { return poll_all(fds, count, deadline_of(timeout_ms), unwatched); });
}

int hook_ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask) {
    FiberCore* const fiber = WEFT_TAKEN(ppoll);
    if (fiber == nullptr || (timeout != nullptr && !is_valid(*timeout))) {
        return WEFT_ORIGINAL(ppoll)(fds, count, timeout, mask);
    }
    return answer<int>([&] {
        const MaskedWait masked{signals_of_thread(fiber), mask};
        return poll_all(fds, count, deadline_of(timeout), masked.watch());
    });
}

int hook___ppoll_chk(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask,
                     size_t room) {
    FiberCore* const fiber = WEFT_TAKEN(__ppoll_chk);
    if (room / sizeof *fds < count || fiber == nullptr ||
        (timeout != nullptr && !is_valid(*timeout))) {
        return WEFT_ORIGINAL(__ppoll_chk)(fds, count, timeout, mask, room);
    }
    return answer<int>([&] {
        const MaskedWait masked{signals_of_thread(fiber), mask};
        return poll_all(fds, count, deadline_of(timeout), masked.watch());
    });
}

#define WEFT_DEFINE_SELECT(name)                                                                \
    int hook_##name(int count, fd_set* readable, fd_set* writable, fd_set* exceptional,         \
                    timeval* timeout) {                                                         \
        const bool bad = timeout != nullptr && (timeout->tv_sec < 0 || timeout->tv_usec < 0);   \
        if (bad || WEFT_TAKEN(name) == nullptr) {                                               \
            return WEFT_ORIGINAL(name)(count, readable, writable, exceptional, timeout);        \
        }                                                                                       \
        return answer<int>(                                                                     \
            [=] { return select_with_time(count, readable, writable, exceptional, timeout); }); \
    }
WEFT_DEFINE_SELECT(select)
WEFT_DEFINE_SELECT(__select)

int hook_pselect(int count, fd_set* readable, fd_set* writable, fd_set* exceptional,
                 const timespec* timeout, const sigset_t* mask) {
    FiberCore* const fiber = WEFT_TAKEN(pselect);
    if (fiber == nullptr || (timeout != nullptr && !is_valid(*timeout))) {
        return WEFT_ORIGINAL(pselect)(count, readable, writable, exceptional, timeout, mask);
    }
    return answer<int>([&] {
        const MaskedWait masked{signals_of_thread(fiber), mask};
        return select_all(count, readable, writable, exceptional, deadline_of(timeout),
                          masked.watch());
    });
}

int hook_epoll_wait(int fd, epoll_event* events, int count, int timeout_ms) {
    if (timeout_ms == 0 || WEFT_TAKEN(epoll_wait) == nullptr) {
        return WEFT_ORIGINAL(epoll_wait)(fd, events, count, timeout_ms);
    }
    return answer<int>(
        [&] { return epoll_all(fd, events, count, deadline_of(timeout_ms), unwatched); });
}

int hook_epoll_pwait(int fd, epoll_event* events, int count, int timeout_ms, const sigset_t* mask) {
    FiberCore* const fiber = WEFT_TAKEN(epoll_pwait);
    if (timeout_ms == 0 || fiber == nullptr) {
        return WEFT_ORIGINAL(epoll_pwait)(fd, events, count, timeout_ms, mask);
    }
    return answer<int>([&] {
        const MaskedWait masked{signals_of_thread(fiber), mask};
        return epoll_all(fd, events, count, deadline_of(timeout_ms), masked.watch());
    });
}

int hook_epoll_pwait2(int fd, epoll_event* events, int count, const timespec* timeout,
                      const sigset_t* mask) {
    FiberCore* const fiber = WEFT_TAKEN(epoll_pwait2);
    const bool bad =
        timeout != nullptr && (!is_readable(timeout, sizeof *timeout) || !is_valid(*timeout));
    if (bad || fiber == nullptr) {
        return WEFT_ORIGINAL(epoll_pwait2)(fd, events, count, timeout, mask);
    }
    return answer<int>([&] {
        const MaskedWait masked{signals_of_thread(fiber), mask};
        return epoll_all(fd, events, count, deadline_of(timeout), masked.watch());
    });
}
