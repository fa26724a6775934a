// Layer: io. Uses: base.
#include "io/prepare.hpp"

#include "io/buffer_ring.hpp"

#include <liburing.h>

#include <cstdint>

namespace weft::detail {

namespace {

using Code = Request::Code;

// Not in the headers of liburing 2.3; the kernel has it since 6.9.
constexpr std::uint8_t op_ftruncate = 55;

}  // namespace

std::optional<std::uint8_t> opcode_of(Code code) noexcept {
    switch (code) {
        case Code::nop: return IORING_OP_NOP;
        case Code::accept: return IORING_OP_ACCEPT;
        case Code::connect: return IORING_OP_CONNECT;
        case Code::recv:
        case Code::recv_lent: return IORING_OP_RECV;
        case Code::send: return IORING_OP_SEND;
        case Code::recvmsg: return IORING_OP_RECVMSG;
        case Code::sendmsg: return IORING_OP_SENDMSG;
        case Code::read: return IORING_OP_READ;
        case Code::write: return IORING_OP_WRITE;
        case Code::readv: return IORING_OP_READV;
        case Code::writev: return IORING_OP_WRITEV;
        case Code::fsync: return IORING_OP_FSYNC;
        case Code::openat: return IORING_OP_OPENAT;
        case Code::statx: return IORING_OP_STATX;
        case Code::poll: return IORING_OP_POLL_ADD;
        case Code::close: return IORING_OP_CLOSE;
        case Code::renameat: return IORING_OP_RENAMEAT;
        case Code::linkat: return IORING_OP_LINKAT;
        case Code::symlinkat: return IORING_OP_SYMLINKAT;
        case Code::unlinkat: return IORING_OP_UNLINKAT;
        case Code::mkdirat: return IORING_OP_MKDIRAT;
        case Code::fallocate: return IORING_OP_FALLOCATE;
        case Code::ftruncate: return op_ftruncate;
        case Code::fadvise: return IORING_OP_FADVISE;
        case Code::sync_file_range: return IORING_OP_SYNC_FILE_RANGE;
        case Code::call: return std::nullopt;
    }
    return std::nullopt;
}

void prepare(io_uring_sqe& entry, const Request& request, std::uint16_t accept_flags) noexcept {
    entry.opcode = *opcode_of(request.code);
    entry.fd = request.fd;
    const auto address = reinterpret_cast<std::uint64_t>(request.buffer);
    switch (request.code) {
        case Code::nop:
        case Code::close: return;
        case Code::accept:
            entry.addr = address;
            entry.addr2 = reinterpret_cast<std::uint64_t>(request.extra);
            entry.accept_flags = request.flags;
            entry.ioprio = accept_flags;
            return;
        case Code::connect:
            entry.addr = address;
            entry.off = request.length;
            return;
        case Code::recv:
        case Code::send:
            entry.addr = address;
            entry.len = request.length;
            entry.msg_flags = request.flags;
            return;
        case Code::recv_lent:
            entry.len = request.length;
            entry.flags = IOSQE_BUFFER_SELECT;
            entry.buf_group = BufferRing::group;
            return;
        case Code::recvmsg:
        case Code::sendmsg:
            entry.addr = address;
            entry.len = 1;
            entry.msg_flags = request.flags;
            return;
        case Code::read:
        case Code::write:
        case Code::readv:
        case Code::writev:
            entry.addr = address;
            entry.len = request.length;
            entry.off = static_cast<std::uint64_t>(request.offset);
            return;
        case Code::fsync:
            entry.fsync_flags = request.flags == 1 ? IORING_FSYNC_DATASYNC : 0;
            return;
        case Code::openat:
            entry.addr = address;
            entry.len = request.length;
            entry.open_flags = request.flags;
            return;
        case Code::statx:
            entry.addr = address;
            entry.len = request.length;
            entry.off = reinterpret_cast<std::uint64_t>(request.extra);
            entry.statx_flags = request.flags;
            return;
        case Code::poll: entry.poll32_events = request.flags; return;
        case Code::renameat:
        case Code::linkat:
            entry.addr = address;
            entry.len = static_cast<std::uint32_t>(request.fd);
            entry.off = reinterpret_cast<std::uint64_t>(request.extra);
            entry.rename_flags = request.flags;  // one union with hardlink_flags
            return;
        case Code::symlinkat:
            entry.addr = address;
            entry.off = reinterpret_cast<std::uint64_t>(request.extra);
            return;
        case Code::unlinkat:
            entry.addr = address;
            entry.unlink_flags = request.flags;
            return;
        case Code::mkdirat:
            entry.addr = address;
            entry.len = request.length;
            return;
        case Code::fallocate:
            entry.len = request.flags;
            entry.off = static_cast<std::uint64_t>(request.offset);
            entry.addr = static_cast<std::uint64_t>(request.size);
            return;
        case Code::ftruncate: entry.off = static_cast<std::uint64_t>(request.size); return;
        case Code::fadvise:
            entry.off = static_cast<std::uint64_t>(request.offset);
            entry.len = request.length;
            entry.fadvise_advice = request.flags;
            return;
        case Code::sync_file_range:
            entry.off = static_cast<std::uint64_t>(request.offset);
            entry.len = request.length;
            entry.sync_range_flags = request.flags;
            return;
        case Code::call: return;
    }
}

}  // namespace weft::detail
