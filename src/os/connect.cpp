// Connecting to whichever address of a host answers first. Layer: os. Uses: io.
//
// The sockets of all attempts are in an epoll instance of the call's own, whose
// descriptor is what it waits for: one operation, the same on every driver and on plain
// threads. (Rejected: a fiber for each attempt, which plain threads do not have, and whose
// cancellation would have to be waited for.) So giving up an attempt is closing it.
#include <weft/io/connect.hpp>

#include "os/call.hpp"
#include "os/race.hpp"
#include "os/tcp_options.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace weft::io {

namespace {

using detail::Decided;
using detail::RaceResult;

/// The attempts of run_race(): connects to `addresses`.
class Connects {
public:
    /// Throws std::system_error when there is no epoll instance.
    Connects(const std::vector<Address>& addresses, const TcpConnectOptions& options)
        : addresses_{addresses},
          options_{options},
          streams_(addresses.size()),
          events_{static_cast<int>(checked(system_call<::epoll_create1>(int{EPOLL_CLOEXEC})))} {}

    /// Throws std::system_error for what is wrong with the options, whatever the address.
    int begin(std::size_t i) {
        const Address& address = addresses_[i];
        const int family = address.data()->sa_family;
        const long fd =
            system_call<::socket>(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0) return static_cast<int>(fd);
        streams_[i] = TcpStream{static_cast<int>(fd)};
        detail::set_options(streams_[i], options_);
        if (options_.local) {
            const int bound = detail::bind_local(static_cast<int>(fd), *options_.local, address);
            if (bound < 0) return bound;
        }
        const long result = system_call<::syscall>(SYS_connect, fd, address.data(), address.size());
        if (result != -EINPROGRESS) return static_cast<int>(result);
        epoll_event event{.events = EPOLLOUT, .data = {.u64 = i}};
        const long added = system_call<::epoll_ctl>(events_.get(), int{EPOLL_CTL_ADD},
                                                    static_cast<int>(fd), &event);
        return added < 0 ? static_cast<int>(added) : detail::undecided;
    }

    std::optional<Decided> wait(Deadline deadline) {
        for (;;) {
            Operation operation{
                Request{.code = Request::Code::poll, .fd = events_.get(), .flags = POLLIN}};
            const int result = perform(operation, deadline, Cancellable::yes, "connect to a host");
            if (result == -ETIMEDOUT) return std::nullopt;
            checked(result);
            epoll_event event{};
            if (system_call<::epoll_wait>(events_.get(), &event, 1, 0) == 1) {
                return decide(static_cast<std::size_t>(event.data.u64));
            }
        }
    }

    TcpStream take(std::size_t i) noexcept { return std::move(streams_[i]); }

private:
    static long checked(long result) {
        if (result >= 0) return result;
        throw std::system_error(static_cast<int>(-result), std::system_category(),
                                "connect to a host");
    }

    Decided decide(std::size_t i) noexcept {
        const int fd = streams_[i].fd();
        int error = 0;
        socklen_t size = sizeof error;
        system_call<::getsockopt>(fd, SOL_SOCKET, SO_ERROR, &error, &size);
        // Closing it would not do: as long as a child has a copy it would report on.
        system_call<::epoll_ctl>(events_.get(), int{EPOLL_CTL_DEL}, fd, nullptr);
        if (error != 0) streams_[i].close();
        return {i, -error};
    }

    const std::vector<Address>& addresses_;
    const TcpConnectOptions& options_;
    std::vector<TcpStream> streams_;
    const Descriptor events_;
};

std::string text_of(int result) {
    if (result == detail::undecided) return "no answer";
    if (result == detail::not_begun) return "not tried";
    return std::system_category().message(-result);
}

/// Nobody won.
[[noreturn]] void fail(std::string what, const std::vector<Address>& addresses,
                       const RaceResult& race) {
    const int last = race.results[race.last];
    bool all_failed = true;
    const char* separator = " (";
    for (std::size_t i = 0; i < addresses.size(); ++i) {
        all_failed = all_failed && race.results[i] < 0;
        what += separator + addresses[i].to_string() + ": " + text_of(race.results[i]);
        separator = "; ";
    }
    throw std::system_error(all_failed ? -last : ETIMEDOUT, std::system_category(), what + ')');
}

/// Those that a socket of the local address's family can reach: all of them if it has none. If
/// there are none of it, all, to fail as they do.
std::vector<Address> within_reach(std::span<const Address> found,
                                  const std::optional<Address>& local) {
    std::vector<Address> reached;
    std::copy_if(found.begin(), found.end(), std::back_inserter(reached),
                 [&](const Address& each) { return !local || each.is_v6() == local->is_v6(); });
    if (reached.empty()) reached.assign(found.begin(), found.end());
    return reached;
}

TcpStream connect_to_any(std::span<const Address> all_found, const ConnectOptions& options,
                         Deadline deadline, std::string_view what) {
    const auto reached = within_reach(all_found, options.tcp.local);
    const std::span<const Address> found{reached};
    const auto addresses = detail::by_turns(
        found, [&](const Address& each) { return each.is_v6() != found.front().is_v6(); });
    Connects attempts{addresses, options.tcp};
    const RaceResult race =
        detail::run_race(addresses.size(), options.attempt_delay, attempts, deadline);
    if (!race.winner) fail(std::string{what}, addresses, race);
    return attempts.take(*race.winner);
}

}  // namespace

TcpStream connect(std::span<const Address> addresses, const ConnectOptions& options,
                  Deadline deadline) {
    if (addresses.empty()) throw std::invalid_argument("connect to no address");
    return connect_to_any(addresses, options, deadline, "connect");
}

TcpStream connect(std::string_view host, std::string_view service, const ConnectOptions& options,
                  Deadline deadline) {
    const auto found = resolve(host, service, {.family = options.family}, deadline);
    const std::string what =
        "connect to \"" + std::string{host} + "\" service \"" + std::string{service} + '"';
    return connect_to_any({found.begin(), found.size()}, options, deadline, what);
}

TcpStream connect(std::string_view host, std::string_view service, Deadline deadline) {
    return connect(host, service, ConnectOptions{}, deadline);
}

}  // namespace weft::io
