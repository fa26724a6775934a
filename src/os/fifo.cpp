// Layer: os. Uses: io, task.
#include "os/fifo.hpp"

#include "os/path.hpp"

#include <weft/io/file_system.hpp>
#include <weft/this_fiber.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

namespace weft::io::detail {

namespace {

constexpr const char* opening = "open";

/// Until the next look, longer each time.
class Pause {
public:
    Deadline next(Deadline deadline) noexcept {
        const Deadline end{pause_};
        pause_ = std::min(2 * pause_, std::chrono::milliseconds{64});
        return std::min(deadline, end);
    }

private:
    std::chrono::milliseconds pause_{1};
};

[[noreturn]] void fail(std::int64_t result, std::string_view path) {
    throw_path_error(result, describe(opening, path));
}

bool is_fifo(int fd) noexcept {
    struct stat about {};
    return system_call<::fstat>(fd, &about) == 0 && S_ISFIFO(about.st_mode);
}

bool names_fifo(std::string_view path, Deadline deadline) {
    return status(path, deadline).type == FileType::fifo;
}

/// Nothing is read, since there is nowhere to: without a writer that is the end (0), with one
/// EAGAIN, and EFAULT if there is something. Requires: O_NONBLOCK.
bool has_writer(int fd) noexcept { return system_call<::syscall>(SYS_read, fd, nullptr, 1L) != 0; }

}  // namespace

int open_path(const Request& request, std::string_view path, Deadline deadline) {
    Pause pause;
    for (bool is_known = false;;) {
        Request at_path = request;
        at_path.fd = AT_FDCWD;
        Operation made{at_path};
        const int result = perform(made, deadline, Cancellable::yes, opening);
        if (result >= 0) return result;
        // So it is for a FIFO without a reader, but also for a device that is not there.
        if (result != -ENXIO) fail(result, path);
        is_known = is_known || names_fifo(path, deadline);
        if (!is_known) fail(result, path);
        if (deadline.passed()) fail(-ETIMEDOUT, path);
        this_fiber::sleep_until(pause.next(deadline));
    }
}

void wait_for_writer(Descriptor& reader, std::string_view path, Deadline deadline) {
    Use use{reader};
    if (!is_fifo(use.fd())) return;
    const long flags = system_call<::fcntl>(use.fd(), F_GETFL);
    system_call<::fcntl>(use.fd(), F_SETFL, static_cast<int>(flags) | O_NONBLOCK);
    const Request input{.code = Request::Code::poll, .flags = POLLIN};
    for (Pause pause; !has_writer(use.fd());) {
        // Data is told, and that a writer came and went; not that one came.
        const std::int64_t ready = perform_on(use, input, pause.next(deadline), "open a FIFO");
        if (ready >= 0) break;
        if (ready != -ETIMEDOUT) fail(ready, path);
        if (deadline.passed()) fail(-ETIMEDOUT, path);
    }
    system_call<::fcntl>(use.fd(), F_SETFL, static_cast<int>(flags));
}

}  // namespace weft::io::detail
