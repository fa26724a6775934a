// What hooks on sends share with those on writes. Layer: hooks. Uses: io.
#pragma once

#include "hooks/descriptor.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cstddef>

namespace weft::hooks::detail {

/// sendto(), waiting in the fiber: what was sent, or -errno.
long send_to(int fd, const void* data, std::size_t size, int flags, const sockaddr* address,
             socklen_t length) noexcept;

long send_message(int fd, const msghdr* message, int flags) noexcept;
long send_messages(int fd, mmsghdr* messages, unsigned count, int flags) noexcept;

/// Of a message whose first `done` bytes were sent: the rest, waiting for room.
long send_rest(ForeignUse& use, const msghdr& message, int flags, std::size_t done) noexcept;

/// `attempt(messages, count)`, which does as many as it can without waiting, and `one(message)`,
/// which waits: by turns. An error behind the first message is told by the next call.
template <class Attempt, class One>
long for_each_message(mmsghdr* messages, unsigned count, Attempt&& attempt, One&& one) noexcept {
    unsigned done = 0;
    for (;;) {
        const long result = attempt(messages + done, count - done);
        if (result < 0 && result != -EAGAIN) return done > 0 ? static_cast<long>(done) : result;
        if (result > 0) done += static_cast<unsigned>(result);
        if (done >= count) return static_cast<long>(done);
        const long waited = one(messages[done], done);
        if (waited < 0) return done > 0 ? static_cast<long>(done) : waited;
        messages[done++].msg_len = static_cast<unsigned>(waited);
        if (done >= count) return static_cast<long>(done);
    }
}

/// The kernel takes no more at once.
constexpr unsigned most_messages = 1024;

}  // namespace weft::hooks::detail
