// Layer: diag. Uses: base, io.
#include "diag/sim_driver.hpp"

#include "io/attempt.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

namespace weft::detail {

namespace {

// What may be cut short: it names one piece of memory, of which more than a byte is left.
bool can_be_short(const Request& request, std::uint32_t progress) noexcept {
    using Code = Request::Code;
    const Code code = request.code;
    return request.length > progress + 1 &&
           (code == Code::recv || code == Code::send || code == Code::read || code == Code::write);
}

/// A file never becomes ready: what cannot be had at once, the disk is waited for.
bool is_file(int fd) noexcept {
    struct stat status {};
    return ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

}  // namespace

void SimDriver::submit(Operation& operation) noexcept { pending_.push_back(&operation); }

void SimDriver::poll() noexcept {
    // Taken over, for complete() may resume a fiber whose next operation comes here.
    std::vector<Operation*> turn;
    turn.swap(pending_);
    for (std::size_t i = turn.size(); i > 1; --i) {
        std::swap(turn[i - 1], turn[random_.below(static_cast<std::uint32_t>(i))]);
    }
    for (Operation* operation : turn) {
        if (chance(options_.delay_percent) || !try_once(*operation)) pending_.push_back(operation);
    }
}

bool SimDriver::try_once(Operation& operation) noexcept {
    Request request = operation.request();
    std::uint32_t progress = operation.driver_flags.get();
    if (can_be_short(request, progress) && chance(options_.short_percent)) {
        request.length = progress + 1 + random_.below(request.length - progress - 1);
    }
    const Attempt result = attempt(request, Occasion::submitted, progress);
    operation.driver_flags.set(progress);
    switch (result.outcome) {
        case Attempt::Outcome::would_block:
            if (!is_file(request.fd)) return false;
            operation.complete(carry_out(request));
            return true;
        case Attempt::Outcome::needs_thread: operation.complete(carry_out(request)); return true;
        case Attempt::Outcome::done: operation.complete(result.result); return true;
    }
    return false;
}

void SimDriver::cancel(Operation& operation) noexcept {
    if (std::erase(pending_, &operation) != 0) operation.complete(-ECANCELED);
}

}  // namespace weft::detail
