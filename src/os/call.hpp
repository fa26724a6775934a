// What all files of this room do with a descriptor, and name of the rooms below.
// Layer: os. Uses: io, park, sched.
#pragma once

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
using weft::detail::Operation;
using weft::detail::perform;
using weft::detail::Request;
using weft::detail::system_call;
using weft::detail::Use;

namespace detail {

/// perform() for `request` on the descriptor of `use`. Cancellation point.
inline std::int64_t perform_on(Use& use, Request request, Deadline deadline, const char* reason) {
    request.fd = use.fd();
    if (request.fd < 0) return -EBADF;
    Operation operation{request, &use};
    return perform(operation, deadline, Cancellable::yes, reason);
}

/// What `call(fd)` returns, which does not wait: >= 0, or -errno. A fiber that
/// always succeeds so yields now and then. Cancellation point.
template <class Call>
long try_on(const Use& use, Call&& call) {
    weft::detail::check_interrupt();
    const int fd = use.fd();
    if (fd < 0) return -EBADF;
    const long result = call(fd);
    if (result >= 0 && weft::detail::Worker::current() != nullptr) {
        weft::detail::Worker::consume_budget();
    }
    return result;
}

}  // namespace detail

}  // namespace weft::io
