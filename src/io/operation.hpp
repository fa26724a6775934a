// Operation: the one path of all I/O. Prepare, submit, park; unless notified:
// cancel, then park shielded until the kernel is done with it.
// Layer: io. Uses: base, sched, park.
//
// An Operation lies on the stack of the fiber that waits for it, as do the
// buffers it names. So perform() never returns before the operation is over
// (invariant 2), whatever the deadline or a cancellation says meanwhile.
//
// Invariants
//  1. complete() is called exactly once for each submitted operation, from any
//     thread, and touches nothing of the operation once completion_ has happened.
//  2. perform() returns only after complete().
//  3. The operation's own result decides: data that arrived beats a time-out and
//     a cancellation, which are reported only when the result is -ECANCELED.
//     The cancellation stays pending and is thrown at the next point.
//  4. -ECANCELED that the owner did not ask for means that somebody closes the
//     descriptor or the number; perform() and perform_foreign() make -EBADF of it.
//
// States: prepared -> submitted (driver) -> done (owner), by completion_. A driver that need not
// complete it at once has the owner's wait begin before anybody else learns of it (arm()): then
// nothing of it is shared when it is published.
#pragma once

#include "io/lending.hpp"
#include "park/completion.hpp"
#include "park/park.hpp"
#include "sched/driver.hpp"

#include <weft/detail/export.hpp>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>

struct iovec;
struct msghdr;
struct sockaddr;
struct statx;

namespace weft::detail {

class ForeignUse;
enum class Interruption : std::uint8_t;
class IoDriver;
class Use;
class Worker;

/// As an offset: where the file stands, which then moves on; but of a file in which a
/// transfer came out short, io_uring may have left it where it was.
inline constexpr std::int64_t current_position = -1;

/// As flags of a read or write: it waits for the disk (O_DIRECT), and for that
/// RWF_NOWAIT is no help; so it is not to be tried on a worker.
inline constexpr std::uint32_t sleeps_for_disk = 1;

/// A system call that io_uring knows nothing of, made by a thread that may sleep.
struct BlockingCall {
    int (*run)(void* context) noexcept;  // >= 0, or -errno
    void* context;
    bool waits_for_others = false;  // it may last as long as a peer likes
};

/// What is asked of the kernel, in terms every driver understands. A driver
/// may carry it out by io_uring, or by the system call of the same name.
struct Request {
    enum class Code : std::uint8_t {
        nop,
        accept,   // fd; flags: accept4's; buffer, extra: its address and length, or null
        connect,  // fd, address (pointer), length
        recv,     // fd, buffer, length, flags: MSG_*
        // fd, length; into lent memory, which the operation names then. -ENOBUFS: none was
        // there; -EOPNOTSUPP: it never is, here
        recv_lent,
        send,     // fd, buffer, length, flags: MSG_*
        recvmsg,  // fd, buffer: msghdr*, flags
        sendmsg,  // fd, buffer: msghdr*, flags
        read,     // fd, buffer, length, offset (or current_position), flags: sleeps_for_disk
        write,    // fd, buffer, length, offset
        readv,    // fd, buffer: iovec*, length: count, offset
        writev,   // fd, buffer: iovec*, length: count, offset
        fsync,    // fd, flags: 1 = data only
        openat,   // fd: directory, buffer: path, length: mode, flags: O_*
        statx,    // fd: directory, buffer: path, flags: AT_*, length: mask, extra: struct statx*
        poll,     // fd, flags: POLL* events; result: the events
        close,    // fd
        // What io_uring learnt later, or cannot: else a thread does it.
        renameat,         // fd: directory of both paths, buffer: old, extra: new, flags: RENAME_*
        linkat,           // the same; flags: AT_*
        symlinkat,        // fd: directory, buffer: what the link says, extra: its path
        unlinkat,         // fd: directory, buffer: path, flags: AT_REMOVEDIR
        mkdirat,          // fd: directory, buffer: path, length: mode
        fallocate,        // fd, flags: FALLOC_FL_*, offset, size
        ftruncate,        // fd, size
        fadvise,          // fd, flags: POSIX_FADV_*, offset, length
        sync_file_range,  // fd, flags: SYNC_FILE_RANGE_*, offset, length
        call,             // fd: what it works on, or -1, extra: BlockingCall*
    };
    Code code = Code::nop;
    int fd = -1;
    const void* buffer = nullptr;
    std::uint32_t length = 0;
    std::uint32_t flags = 0;
    std::int64_t offset = 0;
    void* extra = nullptr;
    std::int64_t size = 0;
};

/// Written by one thread at a time, which the driver sees to; others may look meanwhile.
class DriverFlags {
public:
    std::uint32_t get() const noexcept { return bits_.load(std::memory_order_relaxed); }
    bool has(std::uint32_t any) const noexcept { return (get() & any) != 0; }
    void set(std::uint32_t bits) noexcept { bits_.store(bits, std::memory_order_relaxed); }
    void add(std::uint32_t bits) noexcept { set(get() | bits); }
    void remove(std::uint32_t bits) noexcept { set(get() & ~bits); }

private:
    std::atomic<std::uint32_t> bits_{0};
};

// In its first line of the cache is what a completion touches, and a waiter that was woken.
class alignas(64) Operation {
public:
    /// With `use`, closing its descriptor ends the operation.
    explicit Operation(const Request& request, Use* use = nullptr) noexcept
        : use_{use}, request_{request} {}
    Operation(const Operation&) = delete;
    Operation& operator=(const Operation&) = delete;

    const Request& request() const noexcept { return request_; }
    /// Null: its descriptor is not weft's own.
    const Use* use() const noexcept { return use_; }

    /// Any thread, once, by the driver: hands the result (>= 0, or -errno) to
    /// the waiter. The operation may be gone when this returns.
    void complete(int result) noexcept {
        if (Party* const waiter = conclude(result)) make_ready(*waiter, Turn::next);
    }
    /// The same, but the caller must make_ready() whom it returns, if anybody.
    [[nodiscard]] Party* conclude(int result) noexcept {
        result_ = result;
        return completion_.conclude();
    }

    /// The driver, in submit(), before anybody else learns of the operation: if its owner is to
    /// wait, that wait begins. Until submit() returns nothing else may wait there, so nothing may
    /// be allocated; the owner then suspends itself.
    void arm() noexcept {
        if (waiter_ == nullptr) return;
        waiter_->set_awaits_owner(false);
        epoch_ = waiter_->word().arm(cancellable_);
        completion_.expect({waiter_, epoch_});
    }
    /// A hint that complete() comes soon: fetches whom it will look at.
    void prefetch_waiter() const noexcept { __builtin_prefetch(waiter_, 1); }

    /// The driver's, before complete(): a result that it may not hand over yet.
    void hold(int result) noexcept { result_ = result; }
    int held() const noexcept { return result_; }

    /// Owner, after the driver took it. Waits, shielded, for complete() and
    /// returns the result it brought.
    int await() noexcept;

    /// Any thread, while a Use or ForeignUse names it: cancels it where it is.
    void end_early() noexcept;

private:
    friend int perform(Operation& operation, Deadline deadline, Cancellable cancellable,
                       const char* reason);
    friend int perform_on_thread(Operation& operation, Deadline deadline);
    friend class Polls;
    template <class AnyUse>
    friend int perform_foreign_by(AnyUse& use, const Request& request, Deadline deadline,
                                  const char* reason, Interruption needed) noexcept;

    /// In a fiber: gives it to the worker's driver, and ends it at once if its number is closed.
    void begin(IoDriver& driver, ForeignUse& use) noexcept;
    /// In a fiber: until it is over. Tells what ended the wait.
    /// `use`: a ForeignUse or ForeignUses.
    template <class AnyUse>
    Wake carry_out_in_fiber(Worker& worker, AnyUse& use, Deadline deadline, Cancellable cancellable,
                            const char* reason) noexcept;
    /// The same. `use`: a Use, a ForeignUse, or null.
    template <class AnyUse>
    Wake carry_out_by(Worker& worker, Party& me, Deadline deadline, Cancellable cancellable,
                      const char* reason, AnyUse* use) noexcept;
    // A system call that was under way on a kernel thread ends with -EINTR.
    bool ended_early(Wake wake) const noexcept {
        return result_ == -ECANCELED || (result_ == -EINTR && wake != Wake::notified);
    }
    Wake wait_while_closing(Party& me, const Limit& limit, const Purpose& purpose) noexcept;
    void end_in_vain() noexcept;
    static int result_of_end(Wake why);

    Completion completion_;
    int result_ = 0;  // the driver's until completion_ has happened

public:
    DriverFlags driver_flags;  // the driver's own, between submit() and complete()

private:
    Use* const use_;
    IoDriver* driver_ = nullptr;  // where it was submitted; null on a plain thread
    Party* waiter_ = nullptr;     // whose wait arm() begins; null: it is not to
    std::uint64_t epoch_ = 0;     // of that wait; 0: arm() began none
    Cancellable cancellable_ = Cancellable::no;

    const Request request_;

public:
    // --- the driver's own, between submit() and complete() ---
    std::byte* lent = nullptr;  // of recv_lent, with a result > 0: what it received into
    Operation* prev = nullptr;  // in the driver's lists
    Operation* next;            // these two are set before they are read
    void* driver_data;

private:
    int interrupter_;  // on a plain thread: the eventfd beside its poll()
};

/// A Driver that carries operations out.
class IoDriver : public Driver {
public:
    /// Own worker, from a fiber. Begins it, and may arm() it; or may complete() it at once.
    virtual void submit(Operation& operation) noexcept = 0;

    /// Any thread. Asks for an early end of an operation that is not over; its
    /// complete() comes all the same. Does nothing to one that submit() does not
    /// have yet. Requires: its owner keeps it alive.
    virtual void cancel(Operation& operation) noexcept = 0;

    /// Own worker.
    Stock& stock() noexcept { return stock_; }

private:
    Stock stock_;
};

/// Carries `operation` out and waits for its result: >= 0, or -errno;
/// -ETIMEDOUT when the deadline ended it. Works in a fiber, through its
/// worker's driver, and on a plain thread, by system calls and poll().
///
/// Blocks: until the operation is over. Cancellation point if `cancellable`.
/// Throws Cancelled when a cancellation ended it before anything was done.
int perform(Operation& operation, Deadline deadline, Cancellable cancellable, const char* reason);

/// perform() on a plain thread. No cancellation point.
int perform_on_thread(Operation& operation, Deadline deadline);

/// The driver of a worker: the runtime gives them nothing but IoDrivers.
IoDriver& driver_of(Worker& worker) noexcept;

}  // namespace weft::detail
