// ForeignUse: a call's right to a descriptor that is not weft's own.
// Layer: io. Uses: base, park.
//
// Of such descriptors nothing is kept, since libc has many ways to close them that nobody sees.
// close() has to be told of what is in flight, though: by number, and one by one. (Rejected: to
// have the kernel cancel by number. It means the file, which other numbers may have, too; it
// overlooks what it is about to try again; and once the number is closed nothing is found by it.)
//
// All of these are for fibers, which stay on their worker meanwhile.
#pragma once

#include "base/sync.hpp"

#include <weft/detail/export.hpp>

#include <poll.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

namespace weft::detail {

class Numbers;
class Operation;

/// The right of a call of libc's to a foreign descriptor: names the call, and the operation it is
/// in, if any, to whoever closes the number, who waits until it is given back. So while it is held
/// and not closing(), the number means the same file from step to step of a call that has several;
/// once it is closing(), the next operation says -EBADF, and the call ends with what it has done.
///
/// Who closes ends the operations that are named; what is not with its driver yet then, its owner
/// ends, who looks once it is submitted. The protocol is Use's (io/descriptor.hpp), the list a
/// slot's of numbers that are alike in their lowest bits. A slot's lock comes before a driver's,
/// and complete() may come under it.
///
/// One fiber has one right to a number at a time: a second would wait for the end of a close that
/// waits for the first.
class WEFT_API ForeignUse {
public:
    /// Waits for the end of a close of `fd` that is under way. A negative one is nobody's.
    explicit ForeignUse(int fd) noexcept;
    /// The same, but does not wait: closing() says so. For a fiber that has one of another number.
    enum IfNotClosing : std::uint8_t { if_not_closing };
    ForeignUse(int fd, IfNotClosing) noexcept;
    ForeignUse(const ForeignUse&) = delete;
    ForeignUse& operator=(const ForeignUse&) = delete;
    ~ForeignUse() { give_back(); }

    int fd() const noexcept { return fd_; }
    /// Whether a close of the number has begun.
    bool closing() const noexcept { return closing_.load(std::memory_order_acquire); }
    bool is_held() const noexcept { return listed_in_ != 0; }
    /// Before the end of its life: what follows is no matter of who closes the number.
    void give_back() noexcept;

    // The owner of an operation:
    /// Before it submits it.
    void begin(Operation& operation) noexcept {
        operation_.store(&operation, std::memory_order_release);
    }
    /// Once it is submitted: whether its owner has to end it.
    bool closing_since_begin() const noexcept {
        StdSync::light_fence();  // pairs with Numbers::begin()
        return closing();
    }
    /// When it is over, unless give_back() comes first: nobody ends it any more.
    void end() noexcept;

private:
    friend class Numbers;

    const int fd_;
    unsigned listed_in_ = 0;  // which process of those that forked; 0: it is not listed
    std::atomic<bool> closing_{false};
    std::atomic<Operation*> operation_{nullptr};
    ForeignUse* next_ = nullptr;  // these two: guarded by the slot's lock
    ForeignUse* before_ = nullptr;
};

/// One operation's rights to several, which a close of any of them ends.
class WEFT_API ForeignUses {
public:
    /// Of the numbers of `fds` but negative ones. Has none if one is being closed, or there is no
    /// memory.
    explicit ForeignUses(std::span<const pollfd> fds) noexcept;
    ForeignUses(const ForeignUses&) = delete;
    ForeignUses& operator=(const ForeignUses&) = delete;

    /// 0; -EBADF: at the end of that close, which was waited for; -ENOMEM.
    int error() const noexcept { return error_; }

    // As of one.
    bool closing() const noexcept { return is_any(&ForeignUse::closing); }
    void begin(Operation& operation) noexcept;
    bool closing_since_begin() const noexcept { return is_any(&ForeignUse::closing_since_begin); }
    void end() noexcept;

private:
    bool is_any(bool (ForeignUse::*is_so)() const noexcept) const noexcept;

    std::unique_ptr<std::optional<ForeignUse>[]> all_;
    std::size_t count_ = 0;
    int error_ = 0;
};

/// In a forked child: none is under way there.
WEFT_API void forget_foreign_calls() noexcept;

/// Around a close of the number `fd`, or something else that puts it in other hands, by a
/// fiber: what fibers wait for on it by foreign calls ends with -EBADF, and they have left it
/// before the close. What would begin meanwhile waits for the end of it: a poll that looks once
/// more then must see what became of the number. Blocks: the fiber, until those fibers have left
/// their calls.
class WEFT_API ClosingNumber {
public:
    explicit ClosingNumber(int fd) noexcept;
    ClosingNumber(const ClosingNumber&) = delete;
    ClosingNumber& operator=(const ClosingNumber&) = delete;
    ~ClosingNumber();

private:
    friend class Numbers;

    const int fd_;
    ClosingNumber* next_ = nullptr;  // guarded by the slot's lock
};

}  // namespace weft::detail
