// What all files of this room do with a descriptor, and name of the rooms below.
// Layer: os. Uses: io, park, sched.
#pragma once

#include "io/attempt.hpp"
#include "io/descriptor.hpp"
#include "io/operation.hpp"
#include "io/system_call.hpp"
#include "sched/worker.hpp"

#include <weft/deadline.hpp>

#include <cerrno>
#include <cstdint>

namespace weft::io {

using weft::detail::Cancellable;
using weft::detail::Descriptor;
using weft::detail::kernel_call;
using weft::detail::Operation;
using weft::detail::perform;
using weft::detail::Request;
using weft::detail::system_call;
using weft::detail::Use;
using weft::detail::Worker;

namespace detail {

/// perform() for `request` on the descriptor of `use`. Cancellation point.
inline std::int64_t perform_on(Use& use, Request request, Deadline deadline, const char* reason) {
    request.fd = use.fd();
    if (request.fd < 0) return -EBADF;
    Operation operation{request, &use};
    return perform(operation, deadline, Cancellable::yes, reason);
}

/// The same where io_uring may say -EAGAIN instead of waiting: then polls for `events`.
inline std::int64_t perform_or_poll(Use& use, const Request& request, std::uint32_t events,
                                    Deadline deadline, const char* what) {
    for (;;) {
        const std::int64_t result = perform_on(use, request, deadline, what);
        if (result != -EAGAIN) return result;
        const Request poll{.code = Request::Code::poll, .flags = events};
        const std::int64_t ready = perform_on(use, poll, deadline, what);
        if (ready < 0) return ready;
    }
}

/// The same for a read or write of what knows no RWF_NOWAIT and is_waited_for(): of a terminal,
/// say, which io_uring reads and writes as soon as it is ready, if it has to block for that.
inline std::int64_t perform_when_ready(Use& use, Request request, Deadline deadline,
                                       const char* what) {
    const Request poll{.code = Request::Code::poll, .flags = interest_of(request)};
    for (;;) {
        const std::int64_t ready = perform_on(use, poll, deadline, what);
        if (ready < 0) return ready;
        std::uint32_t progress = 0;
        request.fd = use.fd();
        const auto made = attempt(request, weft::detail::Occasion::readiness, progress);
        if (made.outcome == weft::detail::Attempt::Outcome::done) return made.result;
    }
}

/// What `call(fd)` returns, which does not wait: >= 0, or -errno. A fiber that
/// always succeeds so yields now and then. Cancellation point.
template <class Call>
long try_on(const Use& use, Call&& call) {
    weft::detail::check_interrupt();
    const int fd = use.fd();
    if (fd < 0) return -EBADF;
    const long result = [&] {
        const weft::detail::Worker::OutOfTurn apart;
        return call(fd);
    }();
    if (result >= 0) weft::detail::Worker::consume_budget();
    return result;
}

/// A request to have `call()` made by a thread that may sleep; it returns >= 0, or -errno.
/// Lifetime: `call` outlives the request.
template <class Call>
class Blocking {
public:
    explicit Blocking(Call& call) noexcept
        : call_{[](void* context) noexcept {
                    return static_cast<int>((*static_cast<Call*>(context))());
                },
                &call} {}

    Request request() noexcept { return {.code = Request::Code::call, .extra = &call_}; }

private:
    weft::detail::BlockingCall call_;
};

}  // namespace detail

}  // namespace weft::io
