#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/io/address.hpp>
#include <weft/io/listener_socket.hpp>
#include <weft/io/stream_socket.hpp>

#include <chrono>
#include <optional>

namespace weft::io {

/// When the system asks a silent peer if it is there, and gives it up.
struct KeepAlive {
    std::chrono::seconds idle{7200};    ///< after so much silence
    std::chrono::seconds interval{75};  ///< then as often as that
    int count = 9;                      ///< unanswered, they end the connection with timed_out
};

/// How a connection is made: what its socket is told before.
struct TcpConnectOptions {
    /// Where it comes from; none: the system's choice. Port 0: the system picks one when it knows
    /// the peer, so that one port serves for many peers. One that is named may be shared by
    /// connections that named theirs, too, to other peers; one in TIME_WAIT does not bar it, of the
    /// same peer only where TCP has timestamps.
    std::optional<Address> local{};
    int receive_buffer = 0;  ///< as Socket::receive_buffer(); 0: the system's, which grows
    int send_buffer = 0;     ///< the same
    bool no_delay = false;
    std::optional<KeepAlive> keep_alive{};  ///< none: off
};

/// One TCP connection: a StreamSocket, where reading and writing are described.
class WEFT_API TcpStream : public StreamSocket {
public:
    TcpStream() noexcept = default;
    /// Takes over a connected socket, blocking or not, lingering or not: see linger(). -1: none.
    explicit TcpStream(int fd) noexcept;
    TcpStream(TcpStream&&) noexcept = default;
    TcpStream& operator=(TcpStream&&) noexcept = default;

    /// Connects.
    ///
    /// Blocks: until connected, refused or `deadline`. Cancellation point.
    /// Throws std::system_error that names the address: connection_refused, timed_out, ...; of
    /// `local` address_not_available, address_in_use, and address_family_not_supported when `peer`
    /// is of the other family; of another option its name. Then nothing is open.
    /// Thread safety: any fiber or thread.
    static TcpStream connect(const Address& peer, Deadline deadline = Deadline::never());
    static TcpStream connect(const Address& peer, const TcpConnectOptions& options,
                             Deadline deadline = Deadline::never());

    /// Whether small writes go out at once instead of waiting to be joined.
    void no_delay(bool on);
    bool no_delay() const;

    /// Whether the system asks a silent peer from time to time if it is there.
    void keep_alive(bool on);
    bool keep_alive() const;
    /// The same, at moments of one's own. Throws std::system_error(invalid_argument)
    /// for times that are not from 1 to 32767 s, a `count` not from 1 to 127.
    void keep_alive(bool on, const KeepAlive& when);

    /// How long what was sent may stay unacknowledged before the connection ends
    /// with timed_out. Zero restores the system's default, some 15 minutes.
    void user_timeout(std::chrono::milliseconds time);
    std::chrono::milliseconds user_timeout() const;

    /// How many bytes may wait in the send buffer that were not sent even once: with more, writes
    /// wait, so that what the peer cannot take yet stays with the program. 0, the default: the
    /// system's limit (net.ipv4.tcp_notsent_lowat), as a rule none; negative: none.
    void not_sent_low_water(int bytes);
    int not_sent_low_water() const;

    /// Whether what comes in is acknowledged at once, instead of with an answer or some 40 ms
    /// later. Not for good: the system judges anew as bytes come and go, so it is to be set
    /// again, as after each read.
    void quick_ack(bool on);
    /// Whether it is for now.
    bool quick_ack() const;

    /// How long close() and the destructor wait for the peer to have what was sent, while other
    /// fibers run; that cannot be cancelled, and takes a thread of its own. So it is for a
    /// descriptor with SO_LINGER that is taken over; set by other means afterwards they block the
    /// thread. With zero it resets the connection; negative restores the default, by which it does
    /// not wait and what was sent goes out all the same.
    void linger(int seconds);

    /// The byte of that name in each packet (of IPv6: its traffic class): the
    /// priority for the network, above two bits that are the system's own.
    void type_of_service(int value);
    int type_of_service() const;
    /// How many routers a packet may pass: 1 to 255; -1 restores the default.
    void time_to_live(int hops);
    int time_to_live() const;

    Address local_address() const;
    Address peer_address() const;

private:
    friend class TcpListener;
    /// Of our own making: it does not linger, unless its listener was told to.
    struct Own {
        int fd;
    };
    explicit TcpStream(Own socket) noexcept : StreamSocket{socket.fd} {}
};

/// How a listener is made.
struct ListenOptions {
    int backlog = 4096;       ///< capped by the system (net.core.somaxconn)
    bool reuse_port = false;  ///< several listeners share one port
    bool v6_only = false;     ///< for an IPv6 address
    /// Connections are accepted when their first bytes have come, or after about so long, which
    /// the system rounds up to 1, 3, 7, 15, ... s. 0: at once.
    std::chrono::seconds defer_accept{0};
    /// How many connections may wait whose first bytes came with their SYN; such bytes may come
    /// twice. Takes bit 2 of net.ipv4.tcp_fastopen, too. 0: none.
    int fast_open = 0;
};

/// Accepts TCP connections.
class WEFT_API TcpListener : public ListenerSocket {
public:
    TcpListener() noexcept = default;
    /// Binds and listens. Port 0 picks a free one: see local_address().
    /// Never blocks. Throws std::system_error that names the address, or the option.
    explicit TcpListener(const Address& local, const ListenOptions& options = {});
    /// Takes over a TCP socket that listens already, and closes it: one that a service manager
    /// or another process passed on. Sets O_NONBLOCK, for all copies of it.
    /// Never blocks. Throws std::system_error that names the descriptor: invalid_argument when
    /// it does not listen, wrong_protocol_type when it is not TCP's; then it stays the caller's.
    explicit TcpListener(int fd);
    TcpListener(TcpListener&&) noexcept = default;
    TcpListener& operator=(TcpListener&&) noexcept = default;

    /// Takes the next connection, as ListenerSocket says.
    TcpStream accept(Deadline deadline = Deadline::never()) {
        return TcpStream{TcpStream::Own{take(deadline, "accept a TCP connection")}};
    }

    Address local_address() const;
};

}  // namespace weft::io
