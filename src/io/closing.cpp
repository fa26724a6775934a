// Layer: io. Uses: Linux.
#include "io/closing.hpp"

#include "io/system_call.hpp"

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cstdint>
#include <iterator>

namespace weft::detail {

namespace {

bool is_of_another_machine(int fd) noexcept {
    constexpr std::uint32_t kinds[] = {NFS_SUPER_MAGIC,  SMB_SUPER_MAGIC,  CIFS_SUPER_MAGIC,
                                       SMB2_SUPER_MAGIC, FUSE_SUPER_MAGIC, V9FS_MAGIC,
                                       CEPH_SUPER_MAGIC, AFS_SUPER_MAGIC,  AFS_FS_MAGIC,
                                       CODA_SUPER_MAGIC, OCFS2_SUPER_MAGIC};
    struct statfs found {};
    if (kernel_call(SYS_fstatfs, fd, &found) < 0) return false;
    const auto kind = static_cast<std::uint32_t>(found.f_type);
    return std::find(std::begin(kinds), std::end(kinds), kind) != std::end(kinds);
}

}  // namespace

bool close_waits_for_file(int fd) noexcept {
    constexpr blkcnt_t blocks_freed_at_once = (1 << 20) / 512;
    struct stat found {};
    if (kernel_call(SYS_fstat, fd, &found) < 0 || !S_ISREG(found.st_mode)) return false;
    if (found.st_nlink == 0 && found.st_blocks > blocks_freed_at_once) return true;
    const bool on_a_disk = major(found.st_dev) != 0;
    return !on_a_disk && is_of_another_machine(fd);
}

}  // namespace weft::detail
