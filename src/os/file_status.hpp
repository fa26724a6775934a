// What statx(2) says, as a FileStatus, and what utimensat(2) is told. Layer: os. Uses: Linux.
#pragma once

#include <weft/io/file_status.hpp>

#include <sys/stat.h>
#include <time.h>

#include <optional>

namespace weft::io::detail {

/// What to_status() wants to know.
inline constexpr unsigned status_mask = STATX_BASIC_STATS | STATX_BTIME | STATX_DIOALIGN;

FileStatus to_status(const struct statx& from) noexcept;

/// From the S_IFMT bits of a mode.
FileType to_type(unsigned mode) noexcept;

/// Both times, for utimensat(2); one that is not given stays as it is.
class FileTimes {
public:
    using Time = std::optional<FileStatus::Time>;
    FileTimes(Time accessed, Time modified) noexcept;
    const timespec* values() const noexcept { return values_; }

private:
    timespec values_[2];
};

}  // namespace weft::io::detail
