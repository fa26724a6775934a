// Layer: io. Uses: base, park.
#include "io/descriptor.hpp"

#include "base/sync.hpp"
#include "io/operation.hpp"
#include "io/system_call.hpp"

#include <mutex>
#include <utility>

namespace weft::detail {

void Descriptor::close() noexcept {
    if (get() < 0) return;
    Held held{users_.lock()};
    if (get() < 0 || closing_.load(std::memory_order_relaxed)) return;
    closing_.store(true, std::memory_order_release);
    const bool in_use = uses_ != nullptr;
    held.unlock();
    if (in_use) {
        StdSync::heavy_fence();  // pairs with Use::begin() and end()
        finish_users();
    }
    const int fd = release();
    closing_.store(false, std::memory_order_release);
    close_number(fd);
}

void Descriptor::finish_users() noexcept {
    Held held{users_.lock()};
    for (Use* each = uses_; each != nullptr; each = each->next_) {
        Operation* operation = each->operation_.load(std::memory_order_acquire);
        if (operation != nullptr) operation->end_early();
    }
    while (auto sleeper = users_.claim_front()) {
        held.unlock();
        std::move(*sleeper).resume();
        held.lock();
    }
    while (uses_ != nullptr) {
        Waiter self;
        park(held, users_, self, Deadline::never(), Cancellable::no,
             {"closing a descriptor in use", this});
        held.lock();
    }
}

Use::Use(Descriptor& descriptor) noexcept : descriptor_{descriptor} {
    const std::lock_guard lock{descriptor.users_.lock()};
    if (descriptor.closing_.load(std::memory_order_relaxed)) return;
    fd_ = descriptor.get();
    if (fd_ < 0) return;
    next_ = descriptor.uses_;
    if (next_ != nullptr) next_->prev_ = this;
    descriptor.uses_ = this;
}

Use::~Use() {
    if (fd_ < 0) return;
    Held held{descriptor_.users_.lock()};
    if (next_ != nullptr) next_->prev_ = prev_;
    (prev_ != nullptr ? prev_->next_ : descriptor_.uses_) = next_;
    if (!closing() || descriptor_.uses_ != nullptr) return;
    auto closer = descriptor_.users_.claim_front();
    held.unlock();
    if (closer) std::move(*closer).resume();
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

void Use::begin(Operation& operation) noexcept {
    operation_.store(&operation, std::memory_order_release);
    StdSync::light_fence();  // pairs with Descriptor::close()
}

void Use::end() noexcept {
    operation_.store(nullptr, std::memory_order_release);
    StdSync::light_fence();  // pairs with Descriptor::close()
    if (closing()) const std::lock_guard after_the_closer{descriptor_.users_.lock()};
}

}  // namespace weft::detail
