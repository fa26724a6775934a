// Descriptors and credentials beside the bytes of a Unix stream.
// Layer: os. Uses: io.
//
// Invariant: from the moment the kernel has installed what it received, each
// descriptor is in an OwnedFd: the caller's, or one that closes it at once.
#include <weft/io/unix.hpp>

#include "os/message.hpp"
#include "os/pieces.hpp"
#include "os/socket_call.hpp"

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace weft::io {

using detail::value_or_throw;

namespace {

constexpr std::size_t most_fds = 253;  // the kernel's SCM_MAX_FD
constexpr std::size_t room_for_sender = CMSG_SPACE(sizeof(ucred));

void check_arguments(std::size_t bytes, std::size_t fds) {
    if (bytes == 0) throw std::invalid_argument("descriptors are passed with one byte at least");
    if (fds > most_fds) throw std::invalid_argument("more than 253 descriptors passed at once");
}

/// Moves what it finds to the caller; closes what `fds` has no room for. Whether
/// there was none such.
bool take_fds(const cmsghdr& from, std::span<OwnedFd> fds, std::size_t& count) {
    const std::size_t arrived = (from.cmsg_len - CMSG_LEN(0)) / sizeof(int);
    bool fits = true;
    for (std::size_t i = 0; i < arrived; ++i) {
        int number = -1;
        std::memcpy(&number, CMSG_DATA(&from) + i * sizeof number, sizeof number);
        OwnedFd fd{number};
        if (count < fds.size()) {
            fds[count++] = std::move(fd);
        } else {
            fits = false;
        }
    }
    return fits;
}

Credentials sender_of(const cmsghdr& from) noexcept {
    ucred sender{};
    std::memcpy(&sender, CMSG_DATA(&from), sizeof sender);
    return {.process = sender.pid, .user = sender.uid, .group = sender.gid};
}

/// Whether nothing was cut off.
bool unpack(msghdr& message, std::span<OwnedFd> fds, ReceivedWithFds& result) {
    bool whole = (message.msg_flags & MSG_CTRUNC) == 0;
    for (cmsghdr* each = CMSG_FIRSTHDR(&message); each != nullptr;
         each = CMSG_NXTHDR(&message, each)) {
        if (each->cmsg_level != SOL_SOCKET) continue;
        if (each->cmsg_type == SCM_RIGHTS) whole = take_fds(*each, fds, result.fds) && whole;
        if (each->cmsg_type == SCM_CREDENTIALS) result.sender = sender_of(*each);
    }
    return whole;
}

}  // namespace

std::size_t UnixStream::send_with_fds(std::span<const std::byte> data, std::span<const int> fds,
                                      Deadline deadline) {
    const char* what = "send descriptors";
    check_arguments(data.size(), fds.size());
    alignas(cmsghdr) std::byte control[CMSG_SPACE(most_fds * sizeof(int))]{};
    const ConstBuffer one[] = {{data.data(), data.size()}};
    detail::Pieces pieces{std::span<const ConstBuffer>{one}};
    msghdr message = pieces.message();
    if (!fds.empty()) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(fds.size_bytes());
        cmsghdr& head = *CMSG_FIRSTHDR(&message);
        head.cmsg_level = SOL_SOCKET;
        head.cmsg_type = SCM_RIGHTS;
        head.cmsg_len = CMSG_LEN(fds.size_bytes());
        std::memcpy(CMSG_DATA(&head), fds.data(), fds.size_bytes());
    }
    Use use{descriptor()};
    std::int64_t sent = detail::try_send_message(use, message);
    if (sent == -EAGAIN) sent = detail::send_message(use, message, 0, deadline, what);
    return value_or_throw(sent, what);
}

ReceivedWithFds UnixStream::receive_with_fds(std::span<std::byte> buffer, std::span<OwnedFd> fds,
                                             Deadline deadline) {
    const char* what = "receive descriptors";
    check_arguments(buffer.size(), fds.size());
    for (OwnedFd& fd : fds) fd.close();
    alignas(cmsghdr) std::byte control[room_for_sender + CMSG_SPACE(most_fds * sizeof(int))];
    const MutableBuffer one[] = {{buffer.data(), buffer.size()}};
    detail::Pieces pieces{std::span<const MutableBuffer>{one}};
    msghdr message = pieces.message();
    message.msg_control = control;
    // CMSG_SPACE would let one more in where the number is odd.
    message.msg_controllen = room_for_sender + CMSG_LEN(fds.size() * sizeof(int));
    Use use{descriptor()};
    ReceivedWithFds result;
    // Of a receive that found nothing, a socket with SO_PASSCRED takes room for credentials all the
    // same, of which io_uring has none left when it goes on with it: so that waits by a poll.
    constexpr std::uint32_t flags = MSG_CMSG_CLOEXEC | MSG_DONTWAIT;
    result.size =
        value_or_throw(detail::receive_message(use, message, flags, deadline, what), what);
    if (unpack(message, fds, result)) return result;
    for (OwnedFd& fd : fds) fd.close();
    detail::throw_error(-EMSGSIZE, "receive descriptors: more came than there is room for");
}

}  // namespace weft::io
