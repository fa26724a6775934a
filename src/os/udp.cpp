// UDP. Layer: os. Uses: io, park, sched.
//
// Single datagrams take the way of a stream's bytes: sends are tried first, receives
// go straight into the driver, always as messages, which no driver cuts short.
// Several at once have no operation in a ring: they are tried, and wait for readiness.
#include <weft/io/udp.hpp>

#include "os/message.hpp"
#include "os/socket_call.hpp"

#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>

namespace weft::io {

using detail::check;
using detail::get_option;
using detail::IpOption;
using detail::name_of;
using detail::set_option;
using detail::value_or_throw;

namespace {

constexpr const char* sending = "send a datagram";
constexpr const char* receiving = "receive a datagram";
constexpr std::size_t most_at_once = 32;
// An IPv6 socket may tell of an IPv4 datagram in both ways.
constexpr std::size_t room_for_control =
    CMSG_SPACE(sizeof(in6_pktinfo)) + CMSG_SPACE(sizeof(in_pktinfo));

template <class T>
Address wrap(const T& address) {
    return Address::from(reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

void tell(ReceivedFrom& received, const in_pktinfo& info) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr = info.ipi_addr;
    received.destination = wrap(address);
    received.interface = static_cast<std::uint32_t>(info.ipi_ifindex);
}

void tell(ReceivedFrom& received, const in6_pktinfo& info) {
    const in6_addr& host = info.ipi6_addr;
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_addr = host;
    // As the kernel does it for the sender's.
    const bool has_scope = IN6_IS_ADDR_LINKLOCAL(&host) || IN6_IS_ADDR_MC_LINKLOCAL(&host) ||
                           IN6_IS_ADDR_MC_NODELOCAL(&host);
    if (has_scope) address.sin6_scope_id = info.ipi6_ifindex;
    received.destination = wrap(address);
    received.interface = info.ipi6_ifindex;
}

template <class Info>
void unpack(ReceivedFrom& received, const cmsghdr& from) {
    Info info{};
    std::memcpy(&info, CMSG_DATA(&from), sizeof info);
    tell(received, info);
}

/// The destination, if it is told; of two that of IPv6, which is like the sender's.
void unpack(ReceivedFrom& received, msghdr& head) {
    for (cmsghdr* each = CMSG_FIRSTHDR(&head); each != nullptr; each = CMSG_NXTHDR(&head, each)) {
        if (each->cmsg_level == IPPROTO_IPV6 && each->cmsg_type == IPV6_PKTINFO) {
            return unpack<in6_pktinfo>(received, *each);
        }
        if (each->cmsg_level == IPPROTO_IP && each->cmsg_type == IP_PKTINFO) {
            unpack<in_pktinfo>(received, *each);
        }
    }
}

/// The address to send from, in the words of both families: a socket overlooks those of the other,
/// instead of refusing them. To the family it is not of, it is one that nobody sends from.
struct Source {
    explicit Source(const Address& from) noexcept {
        if (!from.is_v6()) {
            v4.ipi_spec_dst = reinterpret_cast<const sockaddr_in*>(from.data())->sin_addr;
            v6.ipi6_addr.s6_addr[10] = v6.ipi6_addr.s6_addr[11] = 0xff;
            std::memcpy(v6.ipi6_addr.s6_addr + 12, &v4.ipi_spec_dst, sizeof v4.ipi_spec_dst);
            is_any = v4.ipi_spec_dst.s_addr == INADDR_ANY;
            return;
        }
        const auto& address = *reinterpret_cast<const sockaddr_in6*>(from.data());
        v6.ipi6_addr = address.sin6_addr;
        v6.ipi6_ifindex = address.sin6_scope_id;
        v4.ipi_spec_dst.s_addr = INADDR_BROADCAST;
        if (IN6_IS_ADDR_V4MAPPED(&v6.ipi6_addr)) {
            std::memcpy(&v4.ipi_spec_dst, v6.ipi6_addr.s6_addr + 12, sizeof v4.ipi_spec_dst);
        }
        is_any = IN6_IS_ADDR_UNSPECIFIED(&v6.ipi6_addr);
    }

    in_pktinfo v4{};
    in6_pktinfo v6{};
    bool is_any = false;
};

/// One datagram, as the system sees it. Not to be moved: it names its own parts.
class Message {
public:
    Message() noexcept = default;
    Message(const Message&) = delete;
    Message& operator=(const Message&) = delete;

    void take(std::span<const std::byte> data, const Address* to, const Address* from) noexcept {
        // const is cast away for the system's structures only; sends do not write.
        set_piece(const_cast<std::byte*>(data.data()), data.size());
        if (from != nullptr) set_source(Source{*from});
        if (to == nullptr) return;
        head_.msg_name = const_cast<sockaddr*>(to->data());
        head_.msg_namelen = static_cast<socklen_t>(to->size());
    }

    void take(std::span<std::byte> buffer) noexcept {
        set_piece(buffer.data(), buffer.size());
        head_.msg_name = &sender_;
        head_.msg_namelen = sizeof sender_;
        head_.msg_control = control_;
        head_.msg_controllen = sizeof control_;
    }

    msghdr& head() noexcept { return head_; }

    /// The same for another copy of head().
    ReceivedFrom received(msghdr& head, std::size_t size) const {
        const auto* sender = reinterpret_cast<const sockaddr*>(&sender_);
        ReceivedFrom result{.size = size,
                            .truncated = (head.msg_flags & MSG_TRUNC) != 0,
                            .sender = Address::from(sender, head.msg_namelen)};
        unpack(result, head);
        return result;
    }

private:
    void set_piece(std::byte* data, std::size_t size) noexcept {
        piece_ = {data, size};
        head_.msg_iov = &piece_;
        head_.msg_iovlen = 1;
    }

    void set_source(const Source& source) noexcept {
        if (source.is_any) return;
        std::memset(control_, 0, sizeof control_);
        head_.msg_control = control_;
        add_control(IPPROTO_IPV6, IPV6_PKTINFO, source.v6);
        add_control(IPPROTO_IP, IP_PKTINFO, source.v4);
    }

    template <class Info>
    void add_control(int level, int type, const Info& info) noexcept {
        auto& part = *reinterpret_cast<cmsghdr*>(control_ + head_.msg_controllen);
        part.cmsg_level = level;
        part.cmsg_type = type;
        part.cmsg_len = CMSG_LEN(sizeof info);
        std::memcpy(CMSG_DATA(&part), &info, sizeof info);
        head_.msg_controllen += CMSG_SPACE(sizeof info);
    }

    sockaddr_in6 sender_{};
    iovec piece_{};
    msghdr head_{};
    alignas(cmsghdr) std::byte control_[room_for_control];  // written before it is read
};

/// >= 0, or -errno. Throws Cancelled.
std::int64_t send_one(Descriptor& descriptor, std::span<const std::byte> data, const Address* to,
                      const Address* from, Deadline deadline) {
    Message message;
    message.take(data, to, from);
    Use use{descriptor};
    const std::int64_t sent = detail::try_send_message(use, message.head());
    if (sent != -EAGAIN) return sent;
    return detail::send_message(use, message.head(), 0, deadline, sending);
}

/// `call(fd, messages, count)`, again whenever `events` say that it may do more than
/// nothing. Throws Cancelled, std::system_error.
template <class Call>
std::size_t many(Use& use, std::uint32_t events, Deadline deadline, const char* what, Call&& call) {
    for (;;) {
        const long result = detail::try_on(use, call);
        if (result != -EAGAIN) return value_or_throw(result, what);
        const Request ready{.code = Request::Code::poll, .flags = events};
        value_or_throw(detail::perform_on(use, ready, deadline, what), what);
    }
}

/// Up to most_at_once of them, for one system call.
struct Messages {
    template <class Datagram, class Fill>
    Messages(std::span<Datagram> datagrams, Fill&& fill) noexcept
        : count{std::min(datagrams.size(), most_at_once)} {
        for (std::size_t i = 0; i < count; ++i) {
            fill(each[i], datagrams[i]);
            heads[i].msg_hdr = each[i].head();
        }
    }

    const std::size_t count;
    std::array<Message, most_at_once> each;
    std::array<mmsghdr, most_at_once> heads{};
};

}  // namespace

UdpSocket::UdpSocket(const Address& local, const UdpOptions& options)
    : Socket{detail::open_socket(SOCK_DGRAM, "bind to", local)} {
    if (options.reuse_address) {
        set_option(descriptor(), SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR");
    }
    if (options.reuse_port) set_option(descriptor(), SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT");
    if (local.is_v6()) {
        set_option(descriptor(), IPPROTO_IPV6, IPV6_V6ONLY, options.v6_only ? 1 : 0, "IPV6_V6ONLY");
    }
    detail::bind_to(fd(), "bind to", local);
}

UdpSocket UdpSocket::connected(const Address& peer) {
    UdpSocket socket{detail::open_socket(SOCK_DGRAM, "connect to", peer)};
    socket.connect(peer);
    return socket;
}

void UdpSocket::connect(const Address& peer) {
    const Use use{descriptor()};
    check(system_call<::syscall>(SYS_connect, use.fd(), peer.data(), peer.size()), "connect to",
          peer);
}

void UdpSocket::disconnect() {
    const Use use{descriptor()};
    const sockaddr nobody{.sa_family = AF_UNSPEC, .sa_data = {}};
    value_or_throw(system_call<::syscall>(SYS_connect, use.fd(), &nobody, sizeof nobody),
                   "disconnect");
}

void UdpSocket::send(std::span<const std::byte> data, Deadline deadline) {
    value_or_throw(send_one(descriptor(), data, nullptr, nullptr, deadline), sending);
}

void UdpSocket::send_to(std::span<const std::byte> data, const Address& to, Deadline deadline) {
    check(send_one(descriptor(), data, &to, nullptr, deadline), "send a datagram to", to);
}

void UdpSocket::send_from(std::span<const std::byte> data, const Address& from, const Address& to,
                          Deadline deadline) {
    const std::int64_t sent = send_one(descriptor(), data, &to, &from, deadline);
    if (sent < 0) check(sent, ("send a datagram from " + from.host() + " to").c_str(), to);
}

Received UdpSocket::receive(std::span<std::byte> buffer, Deadline deadline) {
    const ReceivedFrom received = receive_from(buffer, deadline);
    return {.size = received.size, .truncated = received.truncated};
}

ReceivedFrom UdpSocket::receive_from(std::span<std::byte> buffer, Deadline deadline) {
    Message message;
    message.take(buffer);
    Use use{descriptor()};
    const auto size = value_or_throw(
        detail::receive_message(use, message.head(), 0, deadline, receiving), receiving);
    return message.received(message.head(), size);
}

std::size_t UdpSocket::receive_many(std::span<IncomingDatagram> datagrams, Deadline deadline) {
    if (datagrams.empty()) return 0;
    Messages messages{datagrams, [](Message& message, const IncomingDatagram& datagram) {
                          message.take(datagram.buffer);
                      }};
    Use use{descriptor()};
    const auto count = many(use, POLLIN, deadline, receiving, [&](int fd) {
        return system_call<::syscall>(SYS_recvmmsg, fd, messages.heads.data(), messages.count,
                                      long{MSG_DONTWAIT}, nullptr);
    });
    for (std::size_t i = 0; i < count; ++i) {
        mmsghdr& head = messages.heads[i];
        datagrams[i].received = messages.each[i].received(head.msg_hdr, head.msg_len);
    }
    return count;
}

std::size_t UdpSocket::send_many(std::span<const OutgoingDatagram> datagrams, Deadline deadline) {
    if (datagrams.empty()) return 0;
    Messages messages{datagrams, [](Message& message, const OutgoingDatagram& datagram) {
                          message.take(datagram.data, datagram.to, datagram.from);
                      }};
    Use use{descriptor()};
    return many(use, POLLOUT, deadline, sending, [&](int fd) {
        return system_call<::syscall>(SYS_sendmmsg, fd, messages.heads.data(), messages.count,
                                      long{detail::without_waiting});
    });
}

// --- options ---

namespace {

constexpr IpOption destination_option{{IPPROTO_IP, IP_PKTINFO, "IP_PKTINFO"},
                                      {IPPROTO_IPV6, IPV6_RECVPKTINFO, "IPV6_RECVPKTINFO"}};
constexpr IpOption multicast_loop_option{
    {IPPROTO_IP, IP_MULTICAST_LOOP, "IP_MULTICAST_LOOP"},
    {IPPROTO_IPV6, IPV6_MULTICAST_LOOP, "IPV6_MULTICAST_LOOP"}};
constexpr IpOption multicast_hops_option{
    {IPPROTO_IP, IP_MULTICAST_TTL, "IP_MULTICAST_TTL"},
    {IPPROTO_IPV6, IPV6_MULTICAST_HOPS, "IPV6_MULTICAST_HOPS"}};
constexpr IpOption multicast_all_option{{IPPROTO_IP, IP_MULTICAST_ALL, "IP_MULTICAST_ALL"},
                                        {IPPROTO_IPV6, IPV6_MULTICAST_ALL, "IPV6_MULTICAST_ALL"}};

long set_membership_v4(int fd, int option, const Address& group, std::uint32_t interface) {
    ip_mreqn which{};
    which.imr_multiaddr = reinterpret_cast<const sockaddr_in*>(group.data())->sin_addr;
    which.imr_ifindex = static_cast<int>(interface);
    return system_call<::setsockopt>(fd, IPPROTO_IP, option, &which, socklen_t{sizeof which});
}

long set_membership_v6(int fd, int option, const Address& group, std::uint32_t interface) {
    const auto& address = *reinterpret_cast<const sockaddr_in6*>(group.data());
    ipv6_mreq which{};
    which.ipv6mr_multiaddr = address.sin6_addr;
    which.ipv6mr_interface = interface != 0 ? interface : address.sin6_scope_id;
    const long result =
        system_call<::setsockopt>(fd, IPPROTO_IPV6, option, &which, socklen_t{sizeof which});
    // What an IPv4 socket says of any option of IPv6.
    return result == -ENOPROTOOPT ? -EAFNOSUPPORT : result;
}

void set_membership(Descriptor& descriptor, int v4_option, int v6_option, const Address& group,
                    std::uint32_t interface, const char* what) {
    const Use use{descriptor};
    const long result = group.is_v6() ? set_membership_v6(use.fd(), v6_option, group, interface)
                                      : set_membership_v4(use.fd(), v4_option, group, interface);
    check(result, what, group);
}

}  // namespace

void UdpSocket::tell_destination(bool on) {
    set_option(descriptor(), destination_option, on ? 1 : 0);
}

void UdpSocket::broadcast(bool on) {
    set_option(descriptor(), SOL_SOCKET, SO_BROADCAST, on ? 1 : 0, "SO_BROADCAST");
}

void UdpSocket::join(const Address& group, std::uint32_t interface) {
    set_membership(descriptor(), IP_ADD_MEMBERSHIP, IPV6_JOIN_GROUP, group, interface, "join");
}

void UdpSocket::leave(const Address& group, std::uint32_t interface) {
    set_membership(descriptor(), IP_DROP_MEMBERSHIP, IPV6_LEAVE_GROUP, group, interface, "leave");
}

void UdpSocket::multicast_interface(std::uint32_t interface) {
    const int index = static_cast<int>(interface);
    if (detail::is_v6(descriptor())) {
        set_option(descriptor(), IPPROTO_IPV6, IPV6_MULTICAST_IF, index, "IPV6_MULTICAST_IF");
        return;
    }
    const ip_mreqn which{.imr_multiaddr = {}, .imr_address = {}, .imr_ifindex = index};
    set_option(descriptor(), IPPROTO_IP, IP_MULTICAST_IF, which, "IP_MULTICAST_IF");
}

void UdpSocket::multicast_loop(bool on) {
    set_option(descriptor(), multicast_loop_option, on ? 1 : 0);
}

void UdpSocket::multicast_hops(int hops) { set_option(descriptor(), multicast_hops_option, hops); }

void UdpSocket::multicast_all(bool on) {
    set_option(descriptor(), multicast_all_option, on ? 1 : 0);
}

void UdpSocket::type_of_service(int value) {
    set_option(descriptor(), detail::type_of_service, value);
}

int UdpSocket::type_of_service() const { return get_option(descriptor(), detail::type_of_service); }

void UdpSocket::time_to_live(int hops) { set_option(descriptor(), detail::time_to_live, hops); }

int UdpSocket::time_to_live() const { return get_option(descriptor(), detail::time_to_live); }

Address UdpSocket::local_address() const {
    return name_of<::getsockname, Address>(descriptor(), "local address of a UDP socket");
}

Address UdpSocket::peer_address() const {
    return name_of<::getpeername, Address>(descriptor(), "peer address of a UDP socket");
}

std::uint32_t interface_index(std::string_view name) {
    const std::string text{name};
    const bool is_name = text.find('\0') == text.npos;
    const unsigned index = is_name ? ::if_nametoindex(text.c_str()) : 0;
    const int error = is_name ? errno : ENODEV;
    if (index == 0) detail::throw_error(-error, ("network interface \"" + text + '"').c_str());
    return index;
}

}  // namespace weft::io
