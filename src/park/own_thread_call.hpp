// Calls that may last for ever, while a fiber waits. Layer: park. Uses: base.
//
// What such a call waits for (a lock, a peer, a child) others bring about, who may need a thread
// themselves to get there. With a bound to the threads, that many callers would keep them from
// it, and all wait for ever. So each has a thread of its own, and the system alone says how many
// there may be: what ends by itself, a disk's calls, goes to a pool. (Rejected: to keep threads
// for the next of these. It would save some 10 us of a call that has to wait anyway.)
#pragma once

#include "base/own_thread.hpp"
#include "park/completion.hpp"

#include <weft/deadline.hpp>

#include <cerrno>
#include <exception>

namespace weft::detail {

/// `body()`, which returns >= 0 or -errno, made by a thread, while the calling fiber waits,
/// whatever comes: body works with what lies on the caller's stack. -EAGAIN without a thread.
template <class Body>
long on_own_thread(Body&& body, const char* reason) noexcept {
    Completion done;
    long result = 0;
    try {
        start_own_thread([&] {
            result = body();
            done.happen();
        }).detach();
    } catch (const std::exception&) {  // no memory, or too many threads
        return -EAGAIN;
    }
    (void)done.wait(Deadline::never(), Cancellable::no, {reason, &done});
    return result;
}

}  // namespace weft::detail
