#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/routine.hpp>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

namespace weft {

/// A fiber, seen from aside: of no type, copied at will, without a part in its
/// life. It does not keep the fiber running, and whether the fiber's exception
/// is reported does not depend on it. Every Fiber<R> converts to one.
///
/// Thread safety: one object is to be used by one fiber or thread at a time;
/// copies of it are independent.
/// Lifetime: must not outlive the fiber's Runtime.
class FiberRef {
public:
    FiberRef() noexcept = default;
    explicit FiberRef(detail::FiberCore* core) noexcept : core_{core} {
        if (core_ != nullptr) detail::retain(core_);
    }
    FiberRef(const FiberRef& other) noexcept : FiberRef{other.core_} {}
    FiberRef(FiberRef&& other) noexcept : core_{std::exchange(other.core_, nullptr)} {}
    FiberRef& operator=(FiberRef other) noexcept {
        std::swap(core_, other.core_);
        return *this;
    }
    ~FiberRef() {
        if (core_ != nullptr) detail::drop_reference(core_);
    }

    /// Whether it stands for a fiber. All below but the comparisons require it.
    explicit operator bool() const noexcept { return core_ != nullptr; }

    /// Unique in the process, never 0.
    std::uint64_t id() const noexcept { return detail::id_of(core_); }

    /// The name given at the spawn, or empty. Lives as long as this object.
    std::string_view name() const noexcept { return detail::name_of(core_); }

    /// Whether it does not keep run() waiting.
    bool daemon() const noexcept { return detail::is_daemon(core_); }

    /// Whether the fiber has ended. Never blocks.
    bool done() const noexcept { return detail::is_done(core_); }

    /// Waits for the fiber's end, however it ends. Never throws its exception.
    ///
    /// Blocks: until the fiber ended or `deadline`. Cancellation point.
    /// Returns whether it ended.
    /// Throws Cancelled; std::system_error(resource_deadlock_would_occur) when
    /// a fiber joins itself. The joined fiber is unharmed by either.
    bool join(Deadline deadline = Deadline::never()) const { return detail::join(core_, deadline); }

    /// Asks the fiber to end, as Fiber::cancel() does. Never blocks. Any thread.
    void cancel() const noexcept { detail::cancel(core_); }

    /// Whether cancel() was called before its end. With done() false at the end of a patient
    /// join(), this is a fiber that shields itself or goes on regardless, which
    /// cancellations_swallowed() tells apart; name() and doing() say which and where.
    bool cancelled() const noexcept { return detail::is_cancelled(core_); }

    /// How often Cancelled was thrown out of one of its cancellation points although it
    /// had been thrown before: so often somebody caught it and went on (or is about to
    /// throw it on, from a catch block with such a point). Counts to 8190. 0 for one that was
    /// cancelled() and goes on: it has come to no cancellation point outside a Shield, or to
    /// one only. Never blocks. Dumps and reports tell it, too.
    unsigned cancellations_swallowed() const noexcept {
        return detail::cancellations_swallowed(core_);
    }

    /// What it does, for reports: "ended", "runs" (or is about to), or what it
    /// waits in, such as "sleep" or "join". A moment's truth. Never blocks.
    /// The text lives for ever.
    std::string_view doing() const noexcept { return detail::doing(core_); }

    friend bool operator==(const FiberRef& a, const FiberRef& b) noexcept {
        return a.core_ == b.core_;
    }
    /// By id; one that stands for no fiber comes first.
    friend std::strong_ordering operator<=>(const FiberRef& a, const FiberRef& b) noexcept {
        return a.order() <=> b.order();
    }

private:
    friend detail::FiberCore* detail::core_of(const FiberRef&) noexcept;
    std::uint64_t order() const noexcept { return core_ == nullptr ? 0 : id(); }

    detail::FiberCore* core_ = nullptr;
};

inline detail::FiberCore* detail::core_of(const FiberRef& fiber) noexcept { return fiber.core_; }

/// Some fibers, at one moment. Move-only, for range-for and algorithms.
/// Lifetime: as that of the FiberRefs in it.
class WEFT_API FiberList {
public:
    FiberList() noexcept = default;
    FiberList(FiberRef* first, std::size_t size) noexcept : first_{first}, size_{size} {}
    FiberList(FiberList&& other) noexcept
        : first_{std::exchange(other.first_, nullptr)}, size_{std::exchange(other.size_, 0)} {}
    FiberList& operator=(FiberList other) noexcept {
        std::swap(first_, other.first_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~FiberList() { delete[] first_; }

    const FiberRef* begin() const noexcept { return first_; }
    const FiberRef* end() const noexcept { return first_ + size_; }
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    const FiberRef& operator[](std::size_t index) const noexcept { return first_[index]; }

private:
    FiberRef* first_ = nullptr;  // new[]
    std::size_t size_ = 0;
};

/// The calling fiber. Throws std::logic_error outside of one.
WEFT_API FiberRef current();

/// The fiber that weft::run() started, of the caller's runtime, also when it
/// has ended; in a Runtime of one's own, which has none, it stands for none.
/// Throws std::logic_error outside a runtime.
WEFT_API FiberRef main_fiber();

/// The fibers of the caller's runtime that have not ended, the caller and those
/// not yet begun among them, in no order. Those that begin or end meanwhile may
/// be missing or not.
///
/// Never blocks. Throws std::bad_alloc; std::logic_error outside a runtime (a
/// plain thread asks Runtime::fibers()).
WEFT_API FiberList all_fibers();

/// How many all_fibers() would be. Looks at all of them, too: it is for reports.
WEFT_API std::size_t active_count();

}  // namespace weft
