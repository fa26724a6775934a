// Files. Layer: os. Uses: io, park, sched.
//
// Reads are tried with RWF_NOWAIT first: what is in the page cache comes in one
// system call, without a detour (measured: 0.8 us against 1.1 us through the
// ring); what is not, through the driver. Writes, which may wait for memory or a
// journal, always go through the driver, as does all else but what is known to be
// in memory: position and status, and closing but for what close_of_file() says. Past the
// page cache RWF_NOWAIT waits for the disk all the same, so those reads are not tried.
//
// A lock is tried again and again, less and less often. Rejected: a thread for each
// that waits in flock(2), which nothing but a signal ends.
#include <weft/io/file.hpp>

#include "io/attempt.hpp"
#include "io/closing.hpp"
#include "os/call.hpp"
#include "os/fifo.hpp"
#include "os/file_status.hpp"
#include "os/pages.hpp"
#include "os/path.hpp"
#include "os/pieces.hpp"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace weft::io {

using detail::Blocking;
using detail::clamp_length;
using detail::perform_on;
using detail::Pieces;
using weft::detail::current_position;
using weft::detail::FileClose;
using weft::detail::sleeps_for_disk;

namespace {

std::uint32_t open_flags(OpenMode mode) {
    constexpr std::pair<OpenMode, int> meanings[] = {
        {OpenMode::append, O_APPEND},      {OpenMode::create, O_CREAT},
        {OpenMode::exclusive, O_EXCL},     {OpenMode::truncate, O_TRUNC},
        {OpenMode::direct, O_DIRECT},      {OpenMode::sync, O_SYNC},
        {OpenMode::sync_data, O_DSYNC},    {OpenMode::nameless, O_TMPFILE},
        {OpenMode::no_follow, O_NOFOLLOW},
    };
    const bool reads = has(mode, OpenMode::read);
    const bool writes = has(mode, OpenMode::write) || has(mode, OpenMode::append);
    if (!reads && !writes)
        throw std::invalid_argument("a file opened neither to read nor to write");
    int flags = O_CLOEXEC | (reads && writes ? O_RDWR : writes ? O_WRONLY : O_RDONLY);
    for (const auto& [flag, meaning] : meanings) {
        if (has(mode, flag)) flags |= meaning;
    }
    return static_cast<std::uint32_t>(flags);
}

constexpr std::uint64_t last_offset = INT64_MAX;

/// How much of `length` bytes from `offset` on a file can have.
std::uint64_t clamp_range(std::uint64_t offset, std::uint64_t length) noexcept {
    return std::min(length, last_offset - std::min(offset, last_offset));
}

/// What failed; a file that was taken over has no path.
std::string text_of(const char* operation, const std::string& path) {
    return path.empty() ? std::string{operation} + " a file" : detail::describe(operation, path);
}

/// The O_* it was opened with; 0 if it is not open.
int flags_of(int fd) noexcept {
    const long flags = system_call<::syscall>(SYS_fcntl, fd, F_GETFL, 0L);
    return flags >= 0 ? static_cast<int>(flags) : 0;
}

/// What is in the page cache, else -EAGAIN or -EOPNOTSUPP.
std::int64_t try_read(const Use& use, Pieces& pieces, std::int64_t offset) {
    const msghdr all = pieces.message();
    return detail::try_on(use, [&](int fd) {
        return system_call<::syscall>(SYS_preadv2, fd, all.msg_iov, all.msg_iovlen, offset, 0L,
                                      static_cast<long>(RWF_NOWAIT));
    });
}

/// A read or write of all pieces.
Request transfer_of(Pieces& pieces, Request::Code one, Request::Code several, std::int64_t offset,
                    bool direct) noexcept {
    const std::uint32_t flags = direct ? sleeps_for_disk : 0;
    if (pieces.single()) {
        return {.code = one,
                .buffer = pieces.front().iov_base,
                .length = clamp_length(pieces.front().iov_len),
                .flags = flags,
                .offset = offset};
    }
    return {.code = several,
            .buffer = pieces.message().msg_iov,
            .length = static_cast<std::uint32_t>(pieces.count()),
            .flags = flags,
            .offset = offset};
}

/// Performs a read or write of `bytes` and sees to it that the position moves by what is
/// returned: io_uring leaves it where it was when a part was done and then an error came.
/// What was written next overwrote what was written first: so it was on a full disk.
/// `appends`: it goes to the end, wherever the position is.
std::int64_t perform_and_move(Use& use, const Request& request, std::size_t bytes, bool appends,
                              Deadline deadline, const char* reason) {
    if (request.offset != current_position) return perform_on(use, request, deadline, reason);
    const long before = system_call<::lseek>(use.fd(), off_t{0}, SEEK_CUR);
    if (before < 0 && weft::detail::is_waited_for(use.fd())) {  // a FIFO, or a terminal
        return detail::perform_when_ready(use, request, deadline, reason);
    }
    const std::uint32_t events = weft::detail::interest_of(request);
    const std::int64_t result = detail::perform_or_poll(use, request, events, deadline, reason);
    if (appends) return result;
    if (result > 0 && result < static_cast<std::int64_t>(bytes)) {
        system_call<::lseek>(use.fd(), off_t{before + result}, SEEK_SET);
    }
    return result;
}

/// Whether a range of `length` bytes that is too long for one call reaches to the end of the file.
bool is_to_the_end(int fd, std::uint64_t offset, std::uint64_t length) noexcept {
    if (length > last_offset - offset) return true;
    struct statx about {};
    const long result =
        system_call<::syscall>(SYS_statx, fd, "", long{AT_EMPTY_PATH | AT_STATX_DONT_SYNC},
                               long{STATX_SIZE | STATX_TYPE}, &about);
    return result == 0 && S_ISREG(about.stx_mode) && offset + length >= about.stx_size;
}

/// Performs `request` from its offset on, in pieces of 32 bits, as io_uring takes them. A length
/// of 0 means to the end of the file, and so does one that goes further. Returns 0 or -errno.
std::int64_t perform_on_range(Use& use, Request request, std::uint64_t length, Deadline deadline,
                              const char* reason) {
    const auto offset = static_cast<std::uint64_t>(request.offset);
    const bool is_long = length > clamp_length(length);
    const bool to_the_end = length == 0 || (is_long && is_to_the_end(use.fd(), offset, length));
    do {
        request.length = to_the_end ? 0 : clamp_length(length);
        const std::int64_t result = perform_on(use, request, deadline, reason);
        if (result < 0) return result;
        if (to_the_end || request.length == length) return 0;
        request.offset += request.length;
        length -= request.length;
    } while (!deadline.passed());
    return -ETIMEDOUT;
}

constexpr std::uint64_t copy_step = 16 << 20;  // as the header says
constexpr std::uint64_t plain_copy_step = 256 << 10;

/// One copy_file_range(2), by a thread.
std::int64_t copy_some(Use& from, std::uint64_t offset, Use& to, std::uint64_t to_offset,
                       std::uint64_t length, Deadline deadline) {
    auto copy = [&]() noexcept {
        auto source = static_cast<std::int64_t>(offset);
        auto target = static_cast<std::int64_t>(to_offset);
        return system_call<::syscall>(SYS_copy_file_range, from.fd(), &source, to.fd(), &target,
                                      std::min(length, copy_step), 0L);
    };
    return perform_on(from, Blocking{copy}.request(), deadline, "copy a range of a file");
}

/// Between these files the kernel cannot copy; or it does not know their length.
bool must_copy_plainly(std::int64_t result) noexcept {
    switch (-result) {
        case 0:  // the end, or a file of /proc
        case EXDEV:
        case EINVAL:
        case EOPNOTSUPP:
        case ENOSYS:
        case EBADF:  // `to` is opened with append, or closed
            return true;
        default: return false;
    }
}

}  // namespace

File::File(int fd) noexcept : descriptor_{fd}, flags_{flags_of(fd)} {}

File::File(int fd, std::string path) noexcept
    : descriptor_{fd}, path_{std::move(path)}, flags_{flags_of(fd)} {}

File File::open(std::string_view path, OpenMode mode, std::uint32_t permissions,
                Deadline deadline) {
    std::string name = detail::checked_path(path);
    const Request request{.code = Request::Code::openat,
                          .buffer = name.c_str(),
                          .length = permissions,
                          .flags = open_flags(mode)};
    File file{detail::open_path(request, path, deadline), std::move(name)};
    const bool writes = has(mode, OpenMode::write) || has(mode, OpenMode::append);
    if (!writes) detail::wait_for_writer(file.descriptor_, path, deadline);
    return file;
}

bool File::direct() const noexcept { return (flags_ & O_DIRECT) != 0; }

// --- errors ---

void File::fail(std::int64_t result, const char* operation) const {
    detail::throw_path_error(result, text_of(operation, path_));
}

std::size_t File::check(std::int64_t result, const char* operation) const {
    if (result < 0) fail(result, operation);
    return static_cast<std::size_t>(result);
}

std::size_t File::check_transfer(std::int64_t result, const char* operation) const {
    if (result == -EINVAL && direct() && is_open()) {
        const FileStatus about = status();
        if (about.direct_memory != 0) {
            detail::throw_path_error(result,
                                     text_of(operation, path_) +
                                         " (past the page cache: addresses must be multiples of " +
                                         std::to_string(about.direct_memory) +
                                         " bytes, offsets and lengths of " +
                                         std::to_string(about.direct_offset) + ')');
        }
    }
    return check(result, operation);
}

std::int64_t File::checked(std::uint64_t offset, const char* operation) const {
    if (offset > last_offset) fail(-EOVERFLOW, operation);
    return static_cast<std::int64_t>(offset);
}

/// The place `done` bytes further.
std::int64_t File::after(std::int64_t offset, std::size_t done, const char* operation) const {
    if (offset == current_position) return offset;
    return checked(static_cast<std::uint64_t>(offset) + done, operation);
}

// --- reading ---

std::size_t File::read_at(std::span<const MutableBuffer> buffers, std::int64_t offset,
                          Deadline deadline) {
    Pieces pieces{buffers};
    if (pieces.empty()) return 0;
    Use use{descriptor_};
    std::int64_t got = direct() ? -EAGAIN : try_read(use, pieces, offset);
    if (got == -EAGAIN || got == -EOPNOTSUPP) {
        using Code = Request::Code;
        const Request request = transfer_of(pieces, Code::read, Code::readv, offset, direct());
        got = perform_and_move(use, request, pieces.bytes(), false, deadline, "read a file");
    }
    return check_transfer(got, "read");
}

std::size_t File::read_all_at(std::span<std::byte> buffer, std::int64_t offset, Deadline deadline) {
    std::size_t done = 0;
    while (done < buffer.size()) {
        if (done > 0 && deadline.passed()) fail(-ETIMEDOUT, "read");
        const MutableBuffer rest[] = {{buffer.data() + done, buffer.size() - done}};
        const std::size_t some = read_at(rest, after(offset, done, "read"), deadline);
        if (some == 0) break;
        done += some;
    }
    return done;
}

std::size_t File::read(std::span<std::byte> buffer, Deadline deadline) {
    const MutableBuffer one[] = {{buffer.data(), buffer.size()}};
    return read_at(one, current_position, deadline);
}

std::size_t File::read(std::span<const MutableBuffer> buffers, Deadline deadline) {
    return read_at(buffers, current_position, deadline);
}

std::size_t File::read_exactly(std::span<std::byte> buffer, Deadline deadline) {
    return read_all_at(buffer, current_position, deadline);
}

std::size_t File::pread(std::span<std::byte> buffer, std::uint64_t offset, Deadline deadline) {
    const MutableBuffer one[] = {{buffer.data(), buffer.size()}};
    return read_at(one, checked(offset, "read"), deadline);
}

std::size_t File::pread(std::span<const MutableBuffer> buffers, std::uint64_t offset,
                        Deadline deadline) {
    return read_at(buffers, checked(offset, "read"), deadline);
}

std::size_t File::pread_exactly(std::span<std::byte> buffer, std::uint64_t offset,
                                Deadline deadline) {
    return read_all_at(buffer, checked(offset, "read"), deadline);
}

// --- writing ---

std::size_t File::write_at(std::span<const ConstBuffer> buffers, std::size_t skip,
                           std::int64_t offset, Deadline deadline) {
    Pieces pieces{buffers, skip};
    if (pieces.empty()) return 0;
    Use use{descriptor_};
    using Code = Request::Code;
    const Request request = transfer_of(pieces, Code::write, Code::writev, offset, direct());
    const bool appends = (flags_ & O_APPEND) != 0;
    const std::int64_t result =
        perform_and_move(use, request, pieces.bytes(), appends, deadline, "write a file");
    return check_transfer(result, "write");
}

void File::write_all_at(std::span<const ConstBuffer> buffers, std::int64_t offset,
                        Deadline deadline) {
    std::size_t done = 0;
    for (detail::Rest rest{buffers}; !rest.empty();) {
        if (done > 0 && deadline.passed()) fail(-ETIMEDOUT, "write");
        const std::size_t some =
            write_at(rest.buffers(), rest.skip(), after(offset, done, "write"), deadline);
        rest.drop(some);
        done += some;
    }
}

std::size_t File::write(std::span<const std::byte> data, Deadline deadline) {
    const ConstBuffer one[] = {{data.data(), data.size()}};
    return write_at(one, 0, current_position, deadline);
}

std::size_t File::write(std::span<const ConstBuffer> buffers, Deadline deadline) {
    return write_at(buffers, 0, current_position, deadline);
}

void File::write_all(std::span<const std::byte> data, Deadline deadline) {
    const ConstBuffer one[] = {{data.data(), data.size()}};
    write_all_at(one, current_position, deadline);
}

void File::write_all(std::span<const ConstBuffer> buffers, Deadline deadline) {
    write_all_at(buffers, current_position, deadline);
}

std::size_t File::pwrite(std::span<const std::byte> data, std::uint64_t offset, Deadline deadline) {
    const ConstBuffer one[] = {{data.data(), data.size()}};
    return write_at(one, 0, checked(offset, "write"), deadline);
}

std::size_t File::pwrite(std::span<const ConstBuffer> buffers, std::uint64_t offset,
                         Deadline deadline) {
    return write_at(buffers, 0, checked(offset, "write"), deadline);
}

void File::pwrite_all(std::span<const std::byte> data, std::uint64_t offset, Deadline deadline) {
    const ConstBuffer one[] = {{data.data(), data.size()}};
    write_all_at(one, checked(offset, "write"), deadline);
}

// --- closing ---

void File::close() noexcept {
    using Waits = Descriptor::CloseWaits;
    switch (is_open() ? weft::detail::close_of_file(fd()) : FileClose::quick) {
        case FileClose::quick: break;
        case FileClose::frees_much: descriptor_.set_close_waits(Waits::for_disk); break;
        case FileClose::tells_machine: descriptor_.set_close_waits(Waits::for_peer); break;
    }
    descriptor_.close();
}

File& File::operator=(File&& other) noexcept {
    if (this == &other) return *this;
    close();
    descriptor_ = std::move(other.descriptor_);
    path_ = std::move(other.path_);
    flags_ = other.flags_;
    return *this;
}

// --- position and size ---

std::uint64_t File::seek(std::int64_t offset, SeekFrom from) {
    constexpr int origins[] = {SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE};
    const int origin = origins[static_cast<std::size_t>(from)];
    Use use{descriptor_};
    std::int64_t position = 0;  // what a thread returns is an int
    auto move = [&]() noexcept {
        position = system_call<::lseek>(use.fd(), off_t{offset}, origin);
        return std::min<std::int64_t>(position, 0);
    };
    const bool asks_disk = from == SeekFrom::data || from == SeekFrom::hole;
    const std::int64_t result =
        asks_disk ? perform_on(use, Blocking{move}.request(), Deadline::never(), "seek in a file")
                  : move();
    return check(result < 0 ? result : position, "seek in");
}

std::uint64_t File::tell() const {
    const Use use{descriptor_};
    return check(system_call<::lseek>(use.fd(), off_t{0}, SEEK_CUR), "ask the position in");
}

void File::truncate(std::uint64_t size, Deadline deadline) {
    Use use{descriptor_};
    const Request request{.code = Request::Code::ftruncate, .size = checked(size, "truncate")};
    check(perform_on(use, request, deadline, "truncate a file"), "truncate");
}

void File::allocate(std::uint64_t offset, std::uint64_t length, Allocate how, Deadline deadline) {
    constexpr std::uint32_t modes[] = {
        0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE};
    Use use{descriptor_};
    const Request request{.code = Request::Code::fallocate,
                          .flags = modes[static_cast<std::size_t>(how)],
                          .offset = checked(offset, "allocate room for"),
                          .size = checked(length, "allocate room for")};
    check(perform_on(use, request, deadline, "allocate room for a file"), "allocate room for");
}

void File::advise(Advice advice, std::uint64_t offset, std::uint64_t length, Deadline deadline) {
    constexpr std::uint32_t advices[] = {POSIX_FADV_NORMAL, POSIX_FADV_RANDOM,
                                         POSIX_FADV_SEQUENTIAL, POSIX_FADV_WILLNEED,
                                         POSIX_FADV_DONTNEED};
    Use use{descriptor_};
    const Request request{.code = Request::Code::fadvise,
                          .flags = advices[static_cast<std::size_t>(advice)],
                          .offset = checked(offset, "give advice on")};
    check(perform_on_range(use, request, length, deadline, "give advice on a file"),
          "give advice on");
}

// Of an open file everything is in memory (but for network file systems, where
// it may be asked for): 1 us.
FileStatus File::status() const {
    const Use use{descriptor_};
    struct statx found {};
    const long result = system_call<::syscall>(SYS_statx, use.fd(), "", long{AT_EMPTY_PATH},
                                               long{detail::status_mask}, &found);
    if (result < 0) detail::throw_path_error(result, text_of("ask the status of", path_));
    return detail::to_status(found);
}

// --- copying ---

std::uint64_t File::copy_range(std::uint64_t offset, std::uint64_t length, File& to,
                               std::uint64_t to_offset, Deadline deadline) {
    checked(offset, "copy");
    checked(to_offset, "copy");
    length = std::min(clamp_range(offset, length), clamp_range(to_offset, length));
    std::uint64_t done = 0;
    while (done < length) {
        std::int64_t some = 0;
        {
            Use from_use{descriptor_};
            Use to_use{to.descriptor_};
            some = copy_some(from_use, offset + done, to_use, to_offset + done, length - done,
                             deadline);
        }
        if (must_copy_plainly(some)) {
            return done +
                   copy_plainly(offset + done, length - done, to, to_offset + done, deadline);
        }
        done += check(some, "copy");
        if (done < length && deadline.passed()) fail(-ETIMEDOUT, "copy");
    }
    return done;
}

std::uint64_t File::copy_plainly(std::uint64_t offset, std::uint64_t length, File& to,
                                 std::uint64_t to_offset, Deadline deadline) {
    const detail::Pages pages{std::min(length, plain_copy_step)};
    std::uint64_t done = 0;
    while (done < length) {
        if (done > 0 && deadline.passed()) fail(-ETIMEDOUT, "copy");
        const auto buffer = pages.for_bytes(length - done);
        const std::size_t got = pread(buffer, offset + done, deadline);
        const std::size_t some = std::min<std::uint64_t>(got, length - done);
        if (some == 0) break;
        to.pwrite_all(buffer.first(some), to_offset + done, deadline);
        done += some;
    }
    return done;
}

// --- to the disk ---

void File::sync_as(std::uint32_t flags, Deadline deadline) {
    Use use{descriptor_};
    const Request request{.code = Request::Code::fsync, .flags = flags};
    check(perform_on(use, request, deadline, "sync a file"), "sync");
}

void File::sync(Deadline deadline) { sync_as(0, deadline); }

void File::sync_data(Deadline deadline) { sync_as(1, deadline); }

void File::write_back(std::uint64_t offset, std::uint64_t length, Deadline deadline) {
    Use use{descriptor_};
    constexpr auto until_written =
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    const Request request{.code = Request::Code::sync_file_range,
                          .flags = until_written,
                          .offset = checked(offset, "write back")};
    check(perform_on_range(use, request, length, deadline, "write a file back"), "write back");
}

// --- locking and linking ---

namespace {

/// By a thread: a file system may have to ask another machine.
std::int64_t flock_as(Use& use, int operation, Deadline deadline) {
    auto flock = [&]() noexcept { return system_call<::flock>(use.fd(), operation | LOCK_NB); };
    return perform_on(use, Blocking{flock}.request(), deadline, "lock a file");
}

}  // namespace

bool File::lock(FileLock kind, Deadline deadline) {
    using namespace std::chrono_literals;
    const int operation = kind == FileLock::shared ? LOCK_SH : LOCK_EX;
    Use use{descriptor_};
    for (std::chrono::milliseconds pause = 1ms;; pause = std::min(2 * pause, 64ms)) {
        // With no time to wait for others there still is some for a thread to try.
        const bool tries = deadline.passed();
        const std::int64_t result = flock_as(use, operation, tries ? Deadline::never() : deadline);
        if (result == -ETIMEDOUT) return false;
        if (result != -EWOULDBLOCK) return check(result, "lock") == 0;
        if (tries || deadline.passed()) return false;
        use.sleep(std::min(deadline, Deadline{pause}), "a lock on a file");
    }
}

bool File::try_lock(FileLock kind) { return lock(kind, Deadline::Clock::time_point{}); }

void File::unlock() {
    Use use{descriptor_};
    auto unlock = [&]() noexcept { return system_call<::flock>(use.fd(), LOCK_UN); };
    Blocking call{unlock};
    if (use.fd() < 0) fail(-EBADF, "unlock");
    Operation operation{call.request(), &use};
    check(perform(operation, Deadline::never(), Cancellable::no, "unlock a file"), "unlock");
}

// --- who may, whose, when ---

void File::permissions(std::uint32_t mode, Deadline deadline) {
    Use use{descriptor_};
    auto set = [&]() noexcept { return system_call<::fchmod>(use.fd(), mode_t{mode}); };
    check(perform_on(use, Blocking{set}.request(), deadline, "set a file's permissions"),
          "set the permissions of");
}

void File::owner(std::int64_t user, std::int64_t group, Deadline deadline) {
    const uid_t to_user = detail::to_id(user);
    const gid_t to_group = detail::to_id(group);
    Use use{descriptor_};
    auto set = [&]() noexcept { return system_call<::fchown>(use.fd(), to_user, to_group); };
    check(perform_on(use, Blocking{set}.request(), deadline, "set a file's owner"),
          "set the owner of");
}

void File::times(std::optional<FileStatus::Time> accessed, std::optional<FileStatus::Time> modified,
                 Deadline deadline) {
    const detail::FileTimes times{accessed, modified};
    Use use{descriptor_};
    auto set = [&]() noexcept { return system_call<::futimens>(use.fd(), times.values()); };
    check(perform_on(use, Blocking{set}.request(), deadline, "set a file's times"),
          "set the times of");
}

void File::link(std::string_view path, Deadline deadline) {
    const std::string name = detail::checked_path(path);
    const Use use{descriptor_};
    if (use.fd() < 0) fail(-EBADF, "link");
    const std::string self = "/proc/self/fd/" + std::to_string(use.fd());
    const Request request{.code = Request::Code::linkat,
                          .buffer = self.c_str(),
                          .flags = AT_SYMLINK_FOLLOW,
                          .extra = const_cast<char*>(name.c_str())};
    detail::perform_on_path(request, path, "link a file as", deadline);
}

}  // namespace weft::io
