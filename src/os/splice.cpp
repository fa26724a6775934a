// splice(). Layer: os. Uses: io, park, sched.
//
// The system call that does not wait, tried at once; when it would wait, for what is there
// first and for room then, by polls through the driver. Files may wait for a disk all the
// same, so theirs is made by a thread. Rejected: IORING_OP_SPLICE, which has a thread of the
// kernel's make the call, always (16 us and more, see send_file.cpp).
#include <weft/io/splice.hpp>

#include "os/call.hpp"
#include "os/descriptor_of.hpp"
#include "os/pieces.hpp"
#include "os/quiet_pipe.hpp"

#include <fcntl.h>
#include <poll.h>

#include <cerrno>

namespace weft::io {

using detail::Blocking;
using detail::clamp_length;
using detail::DescriptorOf;
using detail::perform_on;
using detail::QuietPipe;
using detail::value_or_throw;

namespace {

constexpr const char* moving = "splice";

/// A splice(2) from `from` to `to`; of a file, at `offset`, unless that is null.
struct Move {
    Use& from;
    Use& to;
    std::int64_t* offset;
    std::size_t length;

    long operator()() const noexcept {
        constexpr long flags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;
        return system_call<::syscall>(SYS_splice, from.fd(), offset, to.fd(), nullptr,
                                      std::size_t{clamp_length(length)}, flags);
    }
};

std::int64_t wait_until(Descriptor& end, std::uint32_t events, Deadline deadline) {
    Use use{end};
    return perform_on(use, {.code = Request::Code::poll, .flags = events}, deadline, moving);
}

/// What `move_once(from, to)` returns when it need not wait, or throws. While it waits for the
/// one end the other may be closed: so no end is in use but the one that is waited for.
template <class MoveOnce>
std::size_t move_when_ready(Descriptor& source, Descriptor& target, Deadline deadline,
                            MoveOnce&& move_once) {
    const QuietPipe quiet;
    for (;;) {
        std::int64_t moved = -EBADF;
        {
            Use from{source};
            Use to{target};
            if (from.fd() >= 0 && to.fd() >= 0) moved = move_once(from, to);
        }
        if (moved != -EAGAIN) return value_or_throw(moved, moving);
        value_or_throw(wait_until(source, POLLIN, deadline), moving);
        value_or_throw(wait_until(target, POLLOUT, deadline), moving);
    }
}

std::size_t move_on_worker(Descriptor& source, Descriptor& target, std::size_t length,
                           Deadline deadline) {
    if (length == 0) return 0;
    return move_when_ready(source, target, deadline, [length](Use& from, Use& to) {
        const Move move{from, to, nullptr, length};
        return detail::try_on(from, [&](int) { return move(); });
    });
}

std::size_t move_on_thread(Descriptor& source, std::int64_t* offset, Descriptor& target,
                           std::size_t length, Deadline deadline) {
    if (length == 0) return 0;
    return move_when_ready(source, target, deadline, [=](Use& from, Use& to) {
        Move move{from, to, offset, length};
        return perform_on(from, Blocking{move}.request(), deadline, moving);
    });
}

/// The call waits on a socket unless the socket itself says otherwise.
Descriptor& not_blocking(StreamSocket& stream) {
    Descriptor& descriptor = DescriptorOf::get(stream);
    const Use use{descriptor};
    const long flags = system_call<::fcntl>(use.fd(), F_GETFL);
    value_or_throw(flags, moving);
    if ((flags & O_NONBLOCK) == 0) {
        detail::throw_error(-EOPNOTSUPP, "splice of a stream that blocks");
    }
    return descriptor;
}

}  // namespace

std::size_t splice(StreamSocket& from, PipeWriter& to, std::size_t length, Deadline deadline) {
    return move_on_worker(not_blocking(from), DescriptorOf::get(to), length, deadline);
}

std::size_t splice(PipeReader& from, StreamSocket& to, std::size_t length, Deadline deadline) {
    return move_on_worker(DescriptorOf::get(from), not_blocking(to), length, deadline);
}

std::size_t splice(PipeReader& from, PipeWriter& to, std::size_t length, Deadline deadline) {
    return move_on_worker(DescriptorOf::get(from), DescriptorOf::get(to), length, deadline);
}

std::size_t splice(File& from, std::uint64_t offset, PipeWriter& to, std::size_t length,
                   Deadline deadline) {
    auto at = static_cast<std::int64_t>(offset);
    if (at < 0) detail::throw_error(-EOVERFLOW, moving);
    return move_on_thread(DescriptorOf::get(from), &at, DescriptorOf::get(to), length, deadline);
}

std::size_t splice(PipeReader& from, File& to, std::size_t length, Deadline deadline) {
    return move_on_thread(DescriptorOf::get(from), nullptr, DescriptorOf::get(to), length,
                          deadline);
}

}  // namespace weft::io
