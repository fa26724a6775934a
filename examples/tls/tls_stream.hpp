// TLS on any stream of weft's, by OpenSSL.
#pragma once

#include <weft/deadline.hpp>
#include <weft/io/tcp.hpp>

#include <openssl/ssl.h>

#include <cstddef>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

namespace tls {

/// What OpenSSL says went wrong.
struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct Free {
    void operator()(SSL_CTX* context) const noexcept { SSL_CTX_free(context); }
    void operator()(SSL* ssl) const noexcept { SSL_free(ssl); }
};
using Context = std::unique_ptr<SSL_CTX, Free>;

/// For a server that shows this certificate (PEM files). Throws Error.
Context server_context(const std::string& certificate, const std::string& key);

/// For clients that trust the certificates of `authorities`, a PEM file, or those the system
/// trusts if it is empty. Throws Error.
Context client_context(const std::string& authorities);

/// An encrypted connection.
///
/// OpenSSL only ever sees memory: what it wants to send and to read is moved to and from
/// the socket between its calls. So no fiber waits, and no exception passes, within one;
/// its errors, which it keeps per thread, are read before the fiber can change threads.
///
/// Blocking calls and their deadlines and cancellation: as TcpStream's. After one that threw,
/// nothing can be done with it but destroying it. Thread safety: one fiber at a time.
class Stream {
public:
    /// The server's side. The context must outlive it.
    static Stream accept(weft::io::TcpStream stream, SSL_CTX& context,
                         weft::Deadline deadline = weft::Deadline::never());

    /// The client's. Throws Error unless the server proves to be `host`.
    static Stream connect(weft::io::TcpStream stream, SSL_CTX& context, const std::string& host,
                          weft::Deadline deadline = weft::Deadline::never());

    /// Reads at least one byte. Returns 0 when the peer said that this is the end. Throws
    /// Error if the connection ends without that: somebody may have cut it.
    std::size_t read(std::span<char> buffer, weft::Deadline deadline = weft::Deadline::never());

    void write_all(std::string_view data, weft::Deadline deadline = weft::Deadline::never());

    /// Says that this is the end.
    void shutdown(weft::Deadline deadline = weft::Deadline::never());

private:
    Stream(weft::io::TcpStream stream, SSL_CTX& context);
    template <class Step>
    int carry_out(Step&& step, weft::Deadline deadline);
    [[noreturn]] void fail(weft::Deadline deadline);
    void send_what_is_due(weft::Deadline deadline);
    void receive_some(weft::Deadline deadline);

    weft::io::TcpStream stream_;
    std::unique_ptr<SSL, Free> ssl_;
    BIO* from_peer_;  // ssl_'s
    BIO* to_peer_;    // ssl_'s
};

}  // namespace tls
