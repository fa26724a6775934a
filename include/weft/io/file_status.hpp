#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace weft::io {

enum class FileType : std::uint8_t {
    unknown,
    regular,
    directory,
    symlink,
    block_device,
    character_device,
    fifo,
    socket,
};

/// What the system knows of a file.
struct FileStatus {
    using Time = std::chrono::system_clock::time_point;

    FileType type = FileType::unknown;
    std::uint32_t mode = 0;       ///< permissions: 0644 and the like
    std::uint64_t size = 0;       ///< in bytes
    std::uint64_t allocated = 0;  ///< bytes on the disk: fewer than `size` where there are holes
    std::uint64_t links = 0;      ///< names it has
    std::uint64_t inode = 0;      ///< with `device`, which file it is
    std::uint64_t device = 0;
    std::uint32_t user = 0;
    std::uint32_t group = 0;
    Time modified;
    Time accessed;
    Time changed;              ///< also mode, owner or links
    std::optional<Time> born;  ///< where the file system keeps it
    /// What addresses, and offsets and lengths, are to be multiples of for
    /// OpenMode::direct, in bytes; 0: unknown, or it is not possible.
    std::uint32_t direct_memory = 0;
    std::uint32_t direct_offset = 0;

    bool is_regular() const noexcept { return type == FileType::regular; }
    bool is_directory() const noexcept { return type == FileType::directory; }
    bool is_symlink() const noexcept { return type == FileType::symlink; }
};

}  // namespace weft::io
