// Layer: io. Uses: Linux.
#include "io/closing.hpp"

#include "io/system_call.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <iterator>

namespace weft::detail {

namespace {

constexpr unsigned local = 1;
constexpr unsigned remote = 2;

// By minor number; 0: nothing is known. Two that share a place take turns.
constinit std::atomic<std::uint64_t> learned[64];

std::atomic<std::uint64_t>& place_of(std::uint32_t minor) noexcept {
    return learned[minor % std::size(learned)];
}

bool is_local(std::uint32_t minor) noexcept {
    const std::uint64_t known = place_of(minor).load(std::memory_order_relaxed);
    return known == (std::uint64_t{minor} << 2 | local);
}

bool is_of_another_machine(const struct statfs& of) noexcept {
    constexpr std::uint32_t kinds[] = {NFS_SUPER_MAGIC,  SMB_SUPER_MAGIC,  CIFS_SUPER_MAGIC,
                                       SMB2_SUPER_MAGIC, FUSE_SUPER_MAGIC, V9FS_MAGIC,
                                       CEPH_SUPER_MAGIC, AFS_SUPER_MAGIC,  AFS_FS_MAGIC,
                                       CODA_SUPER_MAGIC, OCFS2_SUPER_MAGIC};
    const auto kind = static_cast<std::uint32_t>(of.f_type);
    return std::find(std::begin(kinds), std::end(kinds), kind) != std::end(kinds);
}

/// What is at hand. False for what is no file.
bool look_at(int fd, struct statx& found) noexcept {
    constexpr long flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
    constexpr long wanted = STATX_TYPE | STATX_NLINK | STATX_BLOCKS;
    return kernel_call(SYS_statx, fd, "", flags, wanted, &found) == 0 && S_ISREG(found.stx_mode);
}

}  // namespace

FileClose close_of_file(int fd) noexcept {
    constexpr std::uint64_t blocks_freed_at_once = (1 << 20) / 512;
    struct statx found {};
    if (!look_at(fd, found)) return FileClose::quick;
    if (found.stx_dev_major == 0 && !is_local(found.stx_dev_minor)) return FileClose::tells_machine;
    const bool much = found.stx_nlink == 0 && found.stx_blocks > blocks_freed_at_once;
    return much ? FileClose::frees_much : FileClose::quick;
}

void learn_file_system(int fd) noexcept {
    struct statx found {};
    struct statfs system {};
    if (!look_at(fd, found) || found.stx_dev_major != 0) return;
    if (kernel_call(SYS_fstatfs, fd, &system) != 0) return;
    const unsigned kind = is_of_another_machine(system) ? remote : local;
    place_of(found.stx_dev_minor)
        .store(std::uint64_t{found.stx_dev_minor} << 2 | kind, std::memory_order_relaxed);
}

}  // namespace weft::detail
