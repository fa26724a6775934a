#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/io/address.hpp>
#include <weft/io/socket.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace weft::io {

/// What a receive got. A datagram longer than the buffer is cut off there, and the
/// rest is gone.
struct Received {
    std::size_t size = 0;    ///< in the buffer; an empty datagram is one, too
    bool truncated = false;  ///< the datagram was longer
};

struct ReceivedFrom {
    std::size_t size = 0;
    bool truncated = false;
    Address sender;
    // These two are told if UdpSocket::tell_destination() asked for them.
    Address destination{};        ///< where it was sent to, port 0; not told: 0.0.0.0
    std::uint32_t interface = 0;  ///< by which it came in; not told: 0
};

/// One of several datagrams to receive.
struct IncomingDatagram {
    std::span<std::byte> buffer;
    ReceivedFrom received{};  ///< filled in
};

/// One of several datagrams to send.
struct OutgoingDatagram {
    std::span<const std::byte> data;
    const Address* to = nullptr;    ///< null: the connected peer
    const Address* from = nullptr;  ///< as of send_from(); null: the system's choice
};

/// How a UdpSocket is made.
struct UdpOptions {
    bool reuse_address = false;  ///< others who ask so may have the port, too: for multicast
    bool reuse_port = false;     ///< the same, and each datagram goes to one of them
    bool v6_only = false;        ///< for an IPv6 address
};

/// Sends and receives datagrams, each whole or not at all.
///
/// A connected socket talks with its peer alone, and is told when nobody listens
/// there: the next call throws connection_refused.
///
/// Thread safety: send and receive from many fibers at once; else as Socket.
class WEFT_API UdpSocket : public Socket {
public:
    UdpSocket() noexcept = default;
    /// Bound to `local`. Port 0 picks a free one: see local_address().
    /// Never blocks. Throws std::system_error that names the address.
    explicit UdpSocket(const Address& local, const UdpOptions& options = {});
    /// Takes over a descriptor, blocking or not.
    explicit UdpSocket(int fd) noexcept : Socket{fd} {}
    UdpSocket(UdpSocket&&) noexcept = default;
    UdpSocket& operator=(UdpSocket&&) noexcept = default;

    /// Connected to `peer`, on a port that the system picks. Never blocks. Throws
    /// std::system_error that names the address.
    static UdpSocket connected(const Address& peer);

    /// From now on it talks with `peer` alone. Never blocks. Throws
    /// std::system_error that names the address.
    void connect(const Address& peer);
    /// And with everybody again. The system gives up a port that it picked itself,
    /// and picks another for the next datagram sent. Never blocks. Throws std::system_error.
    void disconnect();

    /// Sends one datagram, to the peer or to `to`.
    ///
    /// Blocks: while the kernel has no room for it. Cancellation point.
    /// Throws std::system_error: message_size, connection_refused, timed_out,
    /// network_unreachable, ...; then nothing was sent.
    void send(std::span<const std::byte> data, Deadline deadline = Deadline::never());
    void send_to(std::span<const std::byte> data, const Address& to,
                 Deadline deadline = Deadline::never());
    /// The same from `from`, one of this machine's addresses; its port does not count. For an
    /// answer that is ReceivedFrom::destination. 0.0.0.0 and :: leave it to the system, as
    /// send_to() does. Throws as that; invalid_argument or network_unreachable: `from` is none of
    /// the machine's, such as a group's or a broadcast address, or of another family than `to`.
    void send_from(std::span<const std::byte> data, const Address& from, const Address& to,
                   Deadline deadline = Deadline::never());

    /// Receives one datagram. What does not fit into `buffer` is gone, and said to be.
    ///
    /// Blocks: until there is one. Cancellation point, which loses none.
    /// Returns its size in the buffer, in bytes, and receive_from() who sent it.
    /// Throws std::system_error: connection_refused, timed_out, bad_file_descriptor; then none
    /// was taken.
    Received receive(std::span<std::byte> buffer, Deadline deadline = Deadline::never());
    ReceivedFrom receive_from(std::span<std::byte> buffer, Deadline deadline = Deadline::never());

    /// The same for what is there, in one system call: at least one datagram, at
    /// most 32. Fills in `received` of each. Returns how many; 0 only for no `datagrams`.
    /// Blocks and throws as receive(), for the first: the error of a later one is the next
    /// call's.
    std::size_t receive_many(std::span<IncomingDatagram> datagrams,
                             Deadline deadline = Deadline::never());

    /// Sends as many as there is room for, in order, in one system call: at least
    /// one, at most 32. Returns how many; 0 only for no `datagrams`. Blocks and throws as
    /// send(), for the first: the error of a later one is that of the call that begins there.
    std::size_t send_many(std::span<const OutgoingDatagram> datagrams,
                          Deadline deadline = Deadline::never());

    /// Whether receive_from() and receive_many() tell the address that a datagram was sent to, and
    /// the interface by which it came in; they do not by default. So a socket bound to all
    /// addresses knows which one was asked, and answers from there: see send_from(). That may be
    /// a group's or a broadcast address; one of IPv4 is ::ffff:a.b.c.d to an IPv6 socket, as the
    /// sender's is. Of what had arrived before this call the interface may not be told.
    void tell_destination(bool on);

    /// Whether it may send to a broadcast address; it may not by default.
    void broadcast(bool on);

    // --- multicast; `interface` is one of interface_index(), 0 the system's choice ---
    // None blocks or is a cancellation point. Each throws std::system_error that names the
    // group or the option; then nothing has changed.

    /// Gets what is sent to `group`, whose port does not matter, and comes in by `interface`; 0:
    /// that of an IPv6 group's scope ("ff02::fb%eth0"), if it has one. A socket may join many.
    /// One of IPv6 may join groups of IPv4, too, unless it is v6_only.
    /// Throws address_in_use: it has joined; invalid_argument: no group; no_such_device;
    /// no_buffer_space: more than the system allows (net.ipv4.igmp_max_memberships); for an
    /// IPv6 group address_family_not_supported, of an IPv4 socket.
    void join(const Address& group, std::uint32_t interface = 0);
    /// Takes one join() with the same arguments back. Throws as it, and address_not_available:
    /// it has not joined.
    void leave(const Address& group, std::uint32_t interface = 0);
    // These are for groups of the socket's own family.
    /// Where what it sends to groups goes out, unless the address sent to has a scope. Throws
    /// no_such_device, for an IPv4 socket address_not_available: there is none such.
    void multicast_interface(std::uint32_t interface);
    /// Whether this machine gets, too, what it sends to groups; it does by default.
    void multicast_loop(bool on);
    /// One more than the routers that what it sends to groups may pass, 0 to 255: 0 stays on this
    /// machine, 1, the default, on its network. -1 restores that. Throws invalid_argument.
    void multicast_hops(int hops);
    /// Whether it also gets what others on this machine joined groups for; it does
    /// by default.
    void multicast_all(bool on);

    // --- the same as TcpStream's ---

    void type_of_service(int value);
    int type_of_service() const;
    void time_to_live(int hops);
    int time_to_live() const;

    Address local_address() const;
    /// Throws std::system_error(not_connected).
    Address peer_address() const;
};

/// The number of a network interface, such as "lo". Throws std::system_error that
/// names it.
WEFT_API std::uint32_t interface_index(std::string_view name);

}  // namespace weft::io
