// Layer: hooks. Uses: libc.
#include "hooks/shared_memory.hpp"
#include "hooks/original.hpp"

#include <cerrno>
#include <cstdint>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

namespace weft::hooks::detail {

namespace {

// PROCMAP_QUERY of <linux/fs.h>, which older headers do not have.
struct Query {
    std::uint64_t size;
    std::uint64_t query_flags;
    std::uint64_t address;
    std::uint64_t begin, end, flags, page_size, offset, inode;
    std::uint32_t major, minor, name_size, build_id_size;
    std::uint64_t name, build_id;
};
constexpr unsigned long query_mapping = _IOWR('f', 17, Query);
constexpr std::uint64_t is_shared = 8;

// The raw calls: libc's may be hooked, too.
template <class... Args>
long call(long number, Args... args) noexcept {
    long all[6]{static_cast<long>(args)...};
    return WEFT_ORIGINAL(syscall)(number, all[0], all[1], all[2], all[3], all[4], all[5]);
}

}  // namespace

bool is_shared_memory(const void* address) noexcept {
    const int saved_errno = errno;
    const long fd =
        call(SYS_openat, AT_FDCWD, reinterpret_cast<long>("/proc/self/maps"), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        errno = saved_errno;
        return false;
    }
    Query query{};
    query.size = sizeof query;
    query.address = reinterpret_cast<std::uintptr_t>(address);
    const long error = call(SYS_ioctl, fd, query_mapping, reinterpret_cast<long>(&query));
    call(SYS_close, fd);
    errno = saved_errno;
    return error == 0 && (query.flags & is_shared) != 0;
}

}  // namespace weft::hooks::detail
