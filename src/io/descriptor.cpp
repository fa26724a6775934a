// Layer: io. Uses: base, park.
#include "io/descriptor.hpp"

#include "base/assert.hpp"
#include "io/operation.hpp"
#include "io/system_call.hpp"

#include <mutex>
#include <utility>

namespace weft::detail {

void Descriptor::close() noexcept {
    if (get() < 0) return;
    {
        const std::lock_guard lock{users_.lock()};
        if (get() < 0 || closing_.load(std::memory_order_relaxed)) return;
        closing_.store(true, std::memory_order_release);
        for (Operation* each = in_flight_; each != nullptr;) {
            Operation* next = Use::next_of(*each);
            each->end_early();
            each = next;
        }
    }
    finish_users();
    const int fd = fd_.exchange(-1, std::memory_order_relaxed);
    closing_.store(false, std::memory_order_release);
    close_number(fd);
}

void Descriptor::finish_users() noexcept {
    Held held{users_.lock()};
    while (auto sleeper = users_.claim_front()) {
        held.unlock();
        std::move(*sleeper).resume();
        held.lock();
    }
    while (uses_ != 0) {
        Waiter self;
        park(held, users_, self, Deadline::never(), Cancellable::no,
             {"closing a descriptor in use", this});
        held.lock();
    }
    WEFT_ASSERT(in_flight_ == nullptr);
}

Use::Use(Descriptor& descriptor) noexcept : descriptor_{descriptor} {
    const std::lock_guard lock{descriptor.users_.lock()};
    if (descriptor.closing_.load(std::memory_order_relaxed)) return;
    fd_ = descriptor.get();
    if (fd_ >= 0) ++descriptor.uses_;
}

Use::~Use() {
    if (fd_ < 0) return;
    Held held{descriptor_.users_.lock()};
    WEFT_ASSERT(descriptor_.uses_ > 0);
    const bool last = --descriptor_.uses_ == 0;
    if (!last || !descriptor_.closing_.load(std::memory_order_relaxed)) return;
    auto closer = descriptor_.users_.claim_front();
    held.unlock();
    if (closer) std::move(*closer).resume();
}

bool Use::sleep(Deadline deadline, const char* reason) {
    Held held{descriptor_.users_.lock()};
    if (descriptor_.closing_.load(std::memory_order_relaxed)) return false;
    Waiter self;
    return !park_or_throw(held, descriptor_.users_, self, deadline, {reason, &descriptor_});
}

void Use::begin(Operation& operation) noexcept {
    const std::lock_guard lock{descriptor_.users_.lock()};
    WEFT_ASSERT(descriptor_.uses_ > 0);
    operation.on_descriptor_prev_ = nullptr;
    operation.on_descriptor_next_ = descriptor_.in_flight_;
    if (descriptor_.in_flight_ != nullptr) {
        descriptor_.in_flight_->on_descriptor_prev_ = &operation;
    }
    descriptor_.in_flight_ = &operation;
    if (descriptor_.closing_.load(std::memory_order_relaxed)) operation.end_early();
}

void Use::end(Operation& operation) noexcept {
    const std::lock_guard lock{descriptor_.users_.lock()};
    Operation* next = operation.on_descriptor_next_;
    Operation* prev = operation.on_descriptor_prev_;
    if (next != nullptr) next->on_descriptor_prev_ = prev;
    (prev != nullptr ? prev->on_descriptor_next_ : descriptor_.in_flight_) = next;
}

Operation* Use::next_of(const Operation& operation) noexcept {
    return operation.on_descriptor_next_;
}

}  // namespace weft::detail
