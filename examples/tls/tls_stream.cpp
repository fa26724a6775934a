#include "tls/tls_stream.hpp"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <climits>
#include <system_error>
#include <utility>

namespace tls {

namespace {

/// `what`, and the first of this thread's errors, which are forgotten with it.
Error error_of(const std::string& what) {
    std::array<char, 256> text{};
    const unsigned long code = ERR_get_error();
    ERR_clear_error();
    if (code == 0) return Error{what};
    ERR_error_string_n(code, text.data(), text.size());
    return Error{what + ": " + text.data()};
}

void check(bool good, const std::string& what) {
    if (!good) throw error_of(what);
}

Context make_context(const SSL_METHOD* method) {
    Context context{SSL_CTX_new(method)};
    check(context != nullptr, "make a TLS context");
    SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
    return context;
}

}  // namespace

Context server_context(const std::string& certificate, const std::string& key) {
    Context context = make_context(TLS_server_method());
    check(SSL_CTX_use_certificate_chain_file(context.get(), certificate.c_str()) == 1,
          "read the certificate " + certificate);
    check(SSL_CTX_use_PrivateKey_file(context.get(), key.c_str(), SSL_FILETYPE_PEM) == 1,
          "read the key " + key);
    check(SSL_CTX_check_private_key(context.get()) == 1, key + " does not fit " + certificate);
    return context;
}

Context client_context(const std::string& authorities) {
    Context context = make_context(TLS_client_method());
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
    const bool found = authorities.empty()
                           ? SSL_CTX_set_default_verify_paths(context.get()) == 1
                           : SSL_CTX_load_verify_file(context.get(), authorities.c_str()) == 1;
    check(found, "read the authorities " + authorities);
    return context;
}

Stream::Stream(weft::io::TcpStream stream, SSL_CTX& context)
    : stream_{std::move(stream)},
      ssl_{SSL_new(&context)},
      from_peer_{BIO_new(BIO_s_mem())},
      to_peer_{BIO_new(BIO_s_mem())} {
    if (ssl_ != nullptr) SSL_set_bio(ssl_.get(), from_peer_, to_peer_);
    check(ssl_ != nullptr && from_peer_ != nullptr && to_peer_ != nullptr, "make a TLS stream");
}

Stream Stream::accept(weft::io::TcpStream stream, SSL_CTX& context, weft::Deadline deadline) {
    Stream made{std::move(stream), context};
    SSL* const ssl = made.ssl_.get();
    check(made.carry_out([ssl] { return SSL_accept(ssl); }, deadline) == 1, "TLS handshake");
    return made;
}

Stream Stream::connect(weft::io::TcpStream stream, SSL_CTX& context, const std::string& host,
                       weft::Deadline deadline) {
    Stream made{std::move(stream), context};
    SSL* const ssl = made.ssl_.get();
    check(SSL_set_tlsext_host_name(ssl, host.c_str()) == 1 && SSL_set1_host(ssl, host.c_str()) == 1,
          "ask for " + host);
    check(made.carry_out([ssl] { return SSL_connect(ssl); }, deadline) == 1, "TLS handshake");
    return made;
}

std::size_t Stream::read(std::span<char> buffer, weft::Deadline deadline) {
    const int most = static_cast<int>(std::min<std::size_t>(buffer.size(), INT_MAX));
    return static_cast<std::size_t>(
        carry_out([&] { return SSL_read(ssl_.get(), buffer.data(), most); }, deadline));
}

void Stream::write_all(std::string_view data, weft::Deadline deadline) {
    while (!data.empty()) {
        const int most = static_cast<int>(std::min<std::size_t>(data.size(), 16384));
        const int written =
            carry_out([&] { return SSL_write(ssl_.get(), data.data(), most); }, deadline);
        data.remove_prefix(static_cast<std::size_t>(written));
    }
}

void Stream::shutdown(weft::Deadline deadline) {
    SSL_shutdown(ssl_.get());
    send_what_is_due(deadline);
}

/// Repeats `step()` until it has what it needs. Returns what it returned: above 0, or 0 at
/// the end of what the peer has to say.
template <class Step>
int Stream::carry_out(Step&& step, weft::Deadline deadline) {
    for (;;) {
        ERR_clear_error();
        const int result = step();
        const int error = SSL_get_error(ssl_.get(), result);
        if (error == SSL_ERROR_SSL || error == SSL_ERROR_SYSCALL) fail(deadline);
        send_what_is_due(deadline);
        if (error == SSL_ERROR_NONE || error == SSL_ERROR_ZERO_RETURN) return std::max(result, 0);
        if (error == SSL_ERROR_WANT_READ) receive_some(deadline);
    }
}

/// Tells the peer, if it is there, and throws.
void Stream::fail(weft::Deadline deadline) {
    const long verdict = SSL_get_verify_result(ssl_.get());
    const Error error =
        error_of(verdict == X509_V_OK ? "TLS" : X509_verify_cert_error_string(verdict));
    try {
        send_what_is_due(deadline);
    } catch (const std::system_error&) {
        // It is not, so it need not know.
    }
    throw error;
}

void Stream::send_what_is_due(weft::Deadline deadline) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(to_peer_, &data);
    if (size <= 0) return;
    stream_.write_all(std::string_view{data, static_cast<std::size_t>(size)}, deadline);
    (void)BIO_reset(to_peer_);
}

void Stream::receive_some(weft::Deadline deadline) {
    std::array<std::byte, 16384> buffer;
    const std::size_t size = stream_.read(buffer, deadline);
    if (size == 0) throw Error{"the connection was cut"};
    BIO_write(from_peer_, buffer.data(), static_cast<int>(size));
}

}  // namespace tls
