// Layer: io. Uses: base, park.
#include "io/foreign_use.hpp"

#include "io/operation.hpp"
#include "park/completion.hpp"

#include <weft/detail/wait_queue.hpp>
#include <weft/this_fiber.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <mutex>
#include <new>
#include <utility>

namespace weft::detail {

namespace {

/// Who waits for a change of some Numbers, and looks again then.
struct Onlooker {
    Completion over;
    Onlooker* next = nullptr;
};

void wake_all(Onlooker* first) noexcept {
    while (first != nullptr) std::exchange(first, first->next)->over.happen();
}

}  // namespace

/// The numbers that share a slot: what is in flight on them, and who closes some.
class Numbers {
public:
    static Numbers& with(int fd) noexcept { return all[static_cast<unsigned>(fd) % slots]; }
    static void forget_all() noexcept {
        ::new (&all) std::array<Numbers, slots>{};
        ++process;
    }

    /// False: not while the number is being closed.
    bool add(ForeignUse& use) noexcept {
        const std::lock_guard hold{lock_};
        if (is_closing(use.fd_)) return false;
        use.next_ = uses_;
        if (uses_ != nullptr) uses_->before_ = &use;
        uses_ = &use;
        use.listed_in_ = process;
        return true;
    }
    void remove(ForeignUse& use) noexcept {
        // Else it is one of the parent's, whose call a handler interrupted that forked.
        if (use.listed_in_ != process) return;
        Onlooker* closers = nullptr;
        {
            const std::lock_guard hold{lock_};
            (use.before_ != nullptr ? use.before_->next_ : uses_) = use.next_;
            if (use.next_ != nullptr) use.next_->before_ = use.before_;
            // Each of many would have them look through all the others once more.
            const bool last = use.closing() && !is_used(use.fd_);
            if (last) closers = std::exchange(onlookers_, nullptr);
        }
        wake_all(closers);
    }
    /// The operation it named is not looked at any more.
    void await_look() noexcept { const std::lock_guard hold{lock_}; }
    void wait_while_closing(int fd) noexcept {
        std::unique_lock held{lock_};
        while (is_closing(fd)) look_on(held);
    }

    void begin(ClosingNumber& closing) noexcept {
        std::unique_lock held{lock_};
        closing.next_ = std::exchange(closings_, &closing);
        if (!mark_uses(closing.fd_)) return;
        held.unlock();
        StdSync::heavy_fence();  // pairs with ForeignUse::closing_since_begin()
        held.lock();
        end_uses(closing.fd_);
        while (is_used(closing.fd_)) look_on(held);
    }
    void end(ClosingNumber& closing) noexcept {
        Onlooker* openers = nullptr;
        {
            const std::lock_guard hold{lock_};
            ClosingNumber** at = &closings_;
            // In a child of a handler that interrupted the close it is forgotten.
            while (*at != nullptr && *at != &closing) at = &(*at)->next_;
            if (*at != nullptr) *at = closing.next_;
            openers = std::exchange(onlookers_, nullptr);
        }
        wake_all(openers);
    }

private:
    static constexpr std::size_t slots = 1024;
    static std::array<Numbers, slots> all;
    static unsigned process;  // changed only where nobody else runs

    // All of these require lock_.
    bool is_closing(int fd) const noexcept { return has(closings_, fd); }
    bool is_used(int fd) const noexcept { return has(uses_, fd); }
    template <class Each>
    static bool has(const Each* each, int fd) noexcept {
        while (each != nullptr && each->fd_ != fd) each = each->next_;
        return each != nullptr;
    }
    /// Whether there are any. They see it after their submission, if nobody ends them before.
    bool mark_uses(int fd) noexcept {
        bool any = false;
        for (ForeignUse* each = uses_; each != nullptr; each = each->next_) {
            if (each->fd_ != fd) continue;
            each->closing_.store(true, std::memory_order_release);
            any = true;
        }
        return any;
    }
    void end_uses(int fd) noexcept {
        for (const ForeignUse* each = uses_; each != nullptr; each = each->next_) {
            if (each->fd_ != fd) continue;
            Operation* const operation = each->operation_.load(std::memory_order_acquire);
            if (operation != nullptr) operation->end_early();
        }
    }
    void look_on(std::unique_lock<SpinLock>& held) noexcept {
        Onlooker self;
        self.next = std::exchange(onlookers_, &self);
        held.unlock();
        const this_fiber::Pin pin;
        (void)self.over.wait(Deadline::never(), Cancellable::no, {"a close", &self});
        held.lock();
    }

    SpinLock lock_;
    // --- guarded by lock_ ---
    ForeignUse* uses_ = nullptr;
    ClosingNumber* closings_ = nullptr;
    Onlooker* onlookers_ = nullptr;
};

constinit std::array<Numbers, Numbers::slots> Numbers::all{};
constinit unsigned Numbers::process = 1;

ForeignUse::ForeignUse(int fd) noexcept : fd_{fd} {
    if (fd < 0) return;
    while (!Numbers::with(fd).add(*this)) Numbers::with(fd).wait_while_closing(fd);
}

ForeignUse::ForeignUse(int fd, IfNotClosing) noexcept : fd_{fd} {
    if (fd >= 0 && !Numbers::with(fd).add(*this)) closing_.store(true, std::memory_order_relaxed);
}

void ForeignUse::give_back() noexcept {
    if (listed_in_ != 0) Numbers::with(fd_).remove(*this);
    listed_in_ = 0;
}

// Either who closes finds no operation, or we see that it closes: then it may be at it.
void ForeignUse::end() noexcept {
    operation_.store(nullptr, std::memory_order_release);
    if (closing_since_begin()) Numbers::with(fd_).await_look();
}

// --- several ---

ForeignUses::ForeignUses(std::span<const pollfd> fds) noexcept
    : all_{new (std::nothrow) std::optional<ForeignUse>[fds.size()]} {
    if (all_ == nullptr) {
        error_ = -ENOMEM;
        return;
    }
    for (const pollfd& each : fds) {
        if (each.fd < 0) continue;
        if (!all_[count_].emplace(each.fd, ForeignUse::if_not_closing).closing()) {
            ++count_;
            continue;
        }
        // Not with rights to others: who closes one of those would wait for us.
        count_ = 0;
        all_ = nullptr;
        const ForeignUse after_the_close{each.fd};
        error_ = -EBADF;
        return;
    }
}

void ForeignUses::begin(Operation& operation) noexcept {
    for (std::size_t i = 0; i < count_; ++i) all_[i]->begin(operation);
}

void ForeignUses::end() noexcept {
    for (std::size_t i = 0; i < count_; ++i) all_[i]->end();
}

bool ForeignUses::is_any(bool (ForeignUse::*is_so)() const noexcept) const noexcept {
    const auto is_one = [is_so](const auto& use) { return ((*use).*is_so)(); };
    return std::any_of(all_.get(), all_.get() + count_, is_one);
}

// --- closing ---

void forget_foreign_calls() noexcept { Numbers::forget_all(); }

ClosingNumber::ClosingNumber(int fd) noexcept : fd_{fd} {
    if (fd >= 0) Numbers::with(fd).begin(*this);
}

ClosingNumber::~ClosingNumber() {
    if (fd_ >= 0) Numbers::with(fd_).end(*this);
}

}  // namespace weft::detail
