// Layer: base. Uses: std.
#include "base/thread_state.hpp"

#include <array>
#include <cstddef>
#include <cstdio>
#include <string_view>

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

namespace weft::detail {

std::chrono::nanoseconds cpu_time_of_thread(pid_t tid) noexcept {
    // As pthread_getcpuclockid(3) makes it.
    constexpr int of_thread = 4;
    constexpr int of_scheduler = 2;
    const auto clock =
        static_cast<clockid_t>((~static_cast<unsigned>(tid) << 3) | of_thread | of_scheduler);
    timespec used{};
    if (clock_gettime(clock, &used) != 0) return {};
    return std::chrono::seconds{used.tv_sec} + std::chrono::nanoseconds{used.tv_nsec};
}

bool is_runnable(pid_t tid) noexcept {
    std::array<char, 48> path;
    std::snprintf(path.data(), path.size(), "/proc/self/task/%d/stat", static_cast<int>(tid));
    const int fd = ::open(path.data(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    std::array<char, 128> text;
    const ssize_t size = ::read(fd, text.data(), text.size());
    ::close(fd);
    const std::string_view stat{text.data(), size > 0 ? static_cast<std::size_t>(size) : 0};
    const std::size_t name_end = stat.rfind(')');  // there may be some in the name
    return name_end + 2 < stat.size() && stat[name_end + 2] == 'R';
}

}  // namespace weft::detail
