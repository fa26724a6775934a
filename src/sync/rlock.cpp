// RLock. Layer: sync. Uses: nothing but Lock.
//
// Invariant: depth_ >= 1 while lock_ is held. Its holder alone reads or writes it.
#include <weft/rlock.hpp>

#include "base/assert.hpp"

namespace weft {

bool RLock::try_lock_until(Deadline deadline) {
    if (lock_.held()) {
        ++depth_;
        return true;
    }
    if (!lock_.try_lock_until(deadline)) return false;
    depth_ = 1;
    return true;
}

bool RLock::try_lock() noexcept {
    if (lock_.held()) {
        ++depth_;
        return true;
    }
    if (!lock_.try_lock()) return false;
    depth_ = 1;
    return true;
}

void RLock::unlock() {
    lock_.require_held();
    WEFT_ASSERT(depth_ >= 1);
    if (--depth_ == 0) lock_.unlock();
}

}  // namespace weft
