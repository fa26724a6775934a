// Layer: os. Uses: Linux.
#include "os/file_status.hpp"

#include <sys/sysmacros.h>

#include <chrono>

namespace weft::io::detail {

namespace {

/// As near as it can be told: some 292 years to either side of 1970. File systems reach further.
FileStatus::Time to_time(const struct statx_timestamp& from) noexcept {
    using Time = FileStatus::Time;
    using std::chrono::seconds;
    const seconds whole{from.tv_sec};
    if (whole >= std::chrono::floor<seconds>(Time::max().time_since_epoch())) return Time::max();
    if (whole <= std::chrono::floor<seconds>(Time::min().time_since_epoch())) return Time::min();
    const std::chrono::nanoseconds part{from.tv_nsec};
    return Time{whole} + std::chrono::duration_cast<Time::duration>(part);
}

timespec to_utimensat(const std::optional<FileStatus::Time>& time) noexcept {
    if (!time) return {.tv_sec = 0, .tv_nsec = UTIME_OMIT};
    const auto since = time->time_since_epoch();
    const auto seconds = std::chrono::floor<std::chrono::seconds>(since);  // also before 1970
    return {.tv_sec = seconds.count(),
            .tv_nsec = std::chrono::nanoseconds{since - seconds}.count()};
}

}  // namespace

FileType to_type(unsigned mode) noexcept {
    switch (mode & S_IFMT) {
        case S_IFREG: return FileType::regular;
        case S_IFDIR: return FileType::directory;
        case S_IFLNK: return FileType::symlink;
        case S_IFBLK: return FileType::block_device;
        case S_IFCHR: return FileType::character_device;
        case S_IFIFO: return FileType::fifo;
        case S_IFSOCK: return FileType::socket;
        default: return FileType::unknown;
    }
}

FileTimes::FileTimes(Time accessed, Time modified) noexcept
    : values_{to_utimensat(accessed), to_utimensat(modified)} {}

FileStatus to_status(const struct statx& from) noexcept {
    constexpr std::uint64_t block = 512;  // the unit of stx_blocks, whatever the file system's
    FileStatus status{.type = to_type(from.stx_mode),
                      .mode = static_cast<std::uint32_t>(from.stx_mode & ~S_IFMT),
                      .size = from.stx_size,
                      .allocated = from.stx_blocks * block,
                      .links = from.stx_nlink,
                      .inode = from.stx_ino,
                      .device = ::makedev(from.stx_dev_major, from.stx_dev_minor),
                      .user = from.stx_uid,
                      .group = from.stx_gid,
                      .modified = to_time(from.stx_mtime),
                      .accessed = to_time(from.stx_atime),
                      .changed = to_time(from.stx_ctime),
                      .born = std::nullopt};
    if ((from.stx_mask & STATX_BTIME) != 0) status.born = to_time(from.stx_btime);
    if ((from.stx_mask & STATX_DIOALIGN) != 0) {
        status.direct_memory = from.stx_dio_mem_align;
        status.direct_offset = from.stx_dio_offset_align;
    }
    return status;
}

}  // namespace weft::io::detail
