// Layer: base. Uses: std. By number where the hooks replace what libc has.
#include "base/thread_state.hpp"

#include <array>
#include <cstddef>
#include <string_view>

#include <fcntl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace weft::detail {

std::optional<std::chrono::nanoseconds> cpu_time_of_thread(pid_t tid) noexcept {
    // As pthread_getcpuclockid(3) makes it.
    constexpr unsigned of_thread = 4;
    constexpr unsigned of_scheduler = 2;
    const unsigned clock = (~static_cast<unsigned>(tid) << 3) | of_thread | of_scheduler;
    timespec used{};
    if (clock_gettime(static_cast<clockid_t>(clock), &used) != 0) return std::nullopt;
    return std::chrono::seconds{used.tv_sec} + std::chrono::nanoseconds{used.tv_nsec};
}

void ThreadState::begin() noexcept {
    constexpr int flags = O_RDONLY | O_CLOEXEC;
    stat_ = static_cast<int>(::syscall(SYS_openat, AT_FDCWD, "/proc/thread-self/stat", flags));
}

ThreadState::~ThreadState() {
    if (stat_ >= 0) ::syscall(SYS_close, stat_);
}

bool ThreadState::is_runnable() const noexcept {
    std::array<char, 128> text;
    const long size = ::syscall(SYS_pread64, stat_, text.data(), text.size(), 0L);
    const std::string_view stat{text.data(), size > 0 ? static_cast<std::size_t>(size) : 0};
    const std::size_t name_end = stat.rfind(')');  // there may be some in the name
    return name_end + 2 < stat.size() && stat[name_end + 2] == 'R';
}

}  // namespace weft::detail
