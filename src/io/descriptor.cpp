// Layer: io. Uses: base, park.
#include "io/descriptor.hpp"

#include "base/sync.hpp"
#include "io/closing.hpp"
#include "io/operation.hpp"
#include "io/system_call.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"

#include <mutex>
#include <utility>

namespace weft::detail {

namespace {

/// Not while the process exits, when no fiber is resumed any more.
bool may_wait_here() noexcept {
    Worker* const worker = Worker::current();
    return worker != nullptr && worker->fiber() != nullptr && !Scheduler::any_halted();
}

/// Blocks: the fiber, as long as the system's close() sleeps.
void close_on_thread(int fd, bool waits_for_others) noexcept {
    BlockingCall call{[](void* number) noexcept {
                          const int closed = *static_cast<int*>(number);
                          learn_file_system(closed);
                          close_number(closed);
                          return 0;
                      },
                      &fd, waits_for_others};
    Operation operation{Request{.code = Request::Code::call, .extra = &call}};
    perform(operation, Deadline::never(), Cancellable::no,
            waits_for_others ? "close what another machine is told of" : "close a large file");
}

}  // namespace

void Descriptor::close() noexcept {
    if (get() < 0) return;
    Held held{users_.lock()};
    if (get() < 0 || closing_.load(std::memory_order_relaxed)) return;
    closing_.store(true, std::memory_order_seq_cst);  // pairs with Use::Use()
    const bool in_use = mark_seats() || uses_ != nullptr;
    held.unlock();
    if (in_use) {
        StdSync::heavy_fence();  // pairs with Use::begin(), closing_since_begin(), end()
        finish_users();
    }
    const CloseWaits waits = close_waits_.load(std::memory_order_relaxed);
    const int fd = release();
    closing_.store(false, std::memory_order_release);
    const bool sleeps = waits != CloseWaits::not_at_all;
    if (sleeps && may_wait_here()) return close_on_thread(fd, waits == CloseWaits::for_peer);
    close_number(fd);
}

/// Requires: users_.lock(), and closing_ is set. Whether any was taken; who sits there is
/// waited for then, and leaves under the lock.
bool Descriptor::mark_seats() noexcept {
    bool any = false;
    for (auto& seat : seats_) {
        std::uintptr_t taken_by = seat.load(std::memory_order_seq_cst);
        while (taken_by != 0 && (taken_by & Use::seat_is_marked) == 0 &&
               !seat.compare_exchange_weak(taken_by, taken_by | Use::seat_is_marked,
                                           std::memory_order_seq_cst)) {
        }
        any |= taken_by != 0;
    }
    return any;
}

/// Requires: users_.lock(), so that neither the Use nor its operation ends.
void Descriptor::end_early(const Use& use) noexcept {
    Operation* const operation = use.operation_.load(std::memory_order_acquire);
    if (operation != nullptr) operation->end_early();
}

void Descriptor::finish_users() noexcept {
    Held held{users_.lock()};
    for (auto& seat : seats_) {
        const std::uintptr_t taken_by = seat.load(std::memory_order_acquire);
        if ((taken_by & Use::seat_is_marked) == 0) continue;
        end_early(*reinterpret_cast<const Use*>(taken_by & ~Use::seat_is_marked));
    }
    for (const Use* each = uses_; each != nullptr; each = each->next_) end_early(*each);
    while (auto sleeper = users_.claim_front()) {
        held.unlock();
        std::move(*sleeper).resume();
        held.lock();
    }
    while (uses_ != nullptr || mark_seats()) {
        Waiter self;
        park(held, users_, self, Deadline::never(), Cancellable::no,
             {"closing a descriptor in use", this});
        held.lock();
    }
}

/// No seat is free, or somebody closes.
void Use::join_the_others() noexcept {
    const std::lock_guard lock{descriptor_.users_.lock()};
    if (descriptor_.closing_.load(std::memory_order_relaxed)) return;
    fd_ = descriptor_.get();
    if (fd_ < 0) return;
    next_ = descriptor_.uses_;
    if (next_ != nullptr) next_->prev_ = this;
    descriptor_.uses_ = this;
}

void Use::leave_the_others() noexcept {
    if (fd_ < 0) return;
    Held held{descriptor_.users_.lock()};
    if (next_ != nullptr) next_->prev_ = prev_;
    (prev_ != nullptr ? prev_->next_ : descriptor_.uses_) = next_;
    if (!closing() || descriptor_.uses_ != nullptr) return;
    auto closer = descriptor_.users_.claim_front();
    held.unlock();
    if (closer) std::move(*closer).resume();
}

/// The closer, which looks again whether anybody is left, is the only one on users_, or is
/// not there yet and will look before it waits.
void Use::leave_marked(std::atomic<std::uintptr_t>& seat) noexcept {
    Held held{descriptor_.users_.lock()};
    seat.store(0, std::memory_order_release);
    auto closer = descriptor_.users_.claim_front();
    held.unlock();
    if (closer) std::move(*closer).resume();
}

void Use::let_the_closer_pass() noexcept {
    const std::lock_guard after_the_closer{descriptor_.users_.lock()};
}

std::uint64_t Use::serial() const noexcept {
    static constinit std::atomic<std::uint64_t> last{0};
    std::uint64_t serial = descriptor_.serial_.load(std::memory_order_relaxed);
    if (serial != 0) return serial;
    const std::uint64_t fresh = last.fetch_add(1, std::memory_order_relaxed) + 1;
    const bool first = descriptor_.serial_.compare_exchange_strong(
        serial, fresh, std::memory_order_relaxed, std::memory_order_relaxed);
    return first ? fresh : serial;
}

bool Use::sleep(Deadline deadline, const char* reason) {
    Held held{descriptor_.users_.lock()};
    if (descriptor_.closing_.load(std::memory_order_relaxed)) return false;
    Waiter self;
    return !park_or_throw(held, descriptor_.users_, self, deadline, {reason, &descriptor_});
}

}  // namespace weft::detail
