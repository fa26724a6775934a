// The examples' TLS on bad days: peers that are silent, cut the connection or reset it at any
// step of a handshake, certificates that are over. Both ends are fibers of one runtime.
#include "tls/tls_stream.hpp"

#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/scratch.hpp"
#include "support/tcp.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/fiber.hpp>
#include <weft/io/tcp.hpp>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <array>
#include <cstdio>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::Deadline;
using weft::io::TcpStream;

namespace {

template <auto free>
struct FreedBy {
    template <class T>
    void operator()(T* object) const noexcept {
        free(object);
    }
};
using Key = std::unique_ptr<EVP_PKEY, FreedBy<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, FreedBy<X509_free>>;
using OpenFile = std::unique_ptr<std::FILE, FreedBy<std::fclose>>;

/// Of "localhost", signed by itself, valid for a day up to `end` seconds from now.
Certificate make_certificate(EVP_PKEY* key, long end) {
    constexpr long day = 24 * 60 * 60;
    Certificate made{X509_new()};
    X509_set_version(made.get(), X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(made.get()), 1);
    X509_gmtime_adj(X509_getm_notBefore(made.get()), end - day);
    X509_gmtime_adj(X509_getm_notAfter(made.get()), end);
    X509_set_pubkey(made.get(), key);
    X509_NAME* const name = X509_get_subject_name(made.get());
    const auto* const host = reinterpret_cast<const unsigned char*>("localhost");
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, host, -1, -1, 0);
    X509_set_issuer_name(made.get(), name);
    REQUIRE(X509_sign(made.get(), key, EVP_sha256()) > 0);
    return made;
}

/// A server's context and that of clients who trust it.
struct Contexts {
    explicit Contexts(long end = 3600) {
        const Scratch scratch;
        const Key key{EVP_EC_gen("P-256")};
        const Certificate certificate = make_certificate(key.get(), end);
        {
            const OpenFile keys{std::fopen(scratch.path("key").c_str(), "w")};
            const OpenFile certificates{std::fopen(scratch.path("certificate").c_str(), "w")};
            REQUIRE(PEM_write_PrivateKey(keys.get(), key.get(), nullptr, nullptr, 0, nullptr,
                                         nullptr) == 1);
            REQUIRE(PEM_write_X509(certificates.get(), certificate.get()) == 1);
        }
        server = tls::server_context(scratch.path("certificate"), scratch.path("key"));
        client = tls::client_context(scratch.path("certificate"));
    }
    tls::Context server;
    tls::Context client;
};

struct Encrypted {
    tls::Stream client;
    tls::Stream server;
};

/// Over Unix sockets: TCP may hold a second small record back for a while (Nagle), and in a
/// simulation none passes.
Encrypted encrypted(const Contexts& contexts) {
    auto [client, server] = socket_pair();
    auto accepting = weft::spawn([&contexts, server = std::move(server)]() mutable {
        return tls::Stream::accept(std::move(server), *contexts.server);
    });
    auto connected = tls::Stream::connect(std::move(client), *contexts.client, "localhost");
    return {std::move(connected), accepting.get()};
}

std::string read_text(tls::Stream& stream, Deadline deadline = Deadline::never()) {
    std::array<char, 100> buffer;
    return {buffer.data(), stream.read(buffer, deadline)};
}

/// What `body` throws of TLS, or of the system.
template <class Body>
std::string complaint_of(Body&& body) {
    try {
        body();
    } catch (const tls::Error& error) {
        return error.what();
    } catch (const std::system_error& error) {
        return error.what();
    }
    return {};
}

/// Passes on up to `most` bytes of each direction; then resets `from`.
void relay(TcpStream& from, TcpStream& to, std::size_t most) {
    try {
        while (most > 0) {
            const std::string some = weft::test::read_text(from, most);
            if (some.empty()) break;
            to.write_all(some);
            most -= some.size();
        }
    } catch (const std::system_error&) {
        // The other direction was quicker.
    }
    try {
        from.linger(0);
        to.linger(0);
    } catch (const std::system_error&) {
        // And has closed both.
    }
    from.close();
    to.close();
}

}  // namespace

TEST_CASE("two talk by TLS, and say when it is over", "[tls]") {
    const Contexts contexts;
    on_all_io([&] {
        auto [client, server] = encrypted(contexts);
        client.write_all("to the server");
        REQUIRE(read_text(server) == "to the server");
        server.write_all("to the client");
        server.shutdown();
        REQUIRE(read_text(client) == "to the client");
        REQUIRE(read_text(client).empty());
    });
}

TEST_CASE("a certificate that is over is refused, and both are told", "[tls]") {
    const Contexts over{-3600};
    on_workers_and_io([&] {
        auto [client, server] = connection();
        auto accepting = weft::spawn([&over, server = std::move(server)]() mutable {
            return complaint_of([&] { tls::Stream::accept(std::move(server), *over.server); });
        });
        const std::string complaint = complaint_of([&, &client = client] {
            tls::Stream::connect(std::move(client), *over.client, "localhost");
        });
        REQUIRE(complaint.find("certificate has expired") != complaint.npos);
        REQUIRE(accepting.get().find("certificate expired") != std::string::npos);
    });
}

TEST_CASE("a connection that ends without saying so was cut", "[tls]") {
    const Contexts contexts;
    on_workers_and_io([&] {
        auto pair = encrypted(contexts);
        auto server = std::make_unique<tls::Stream>(std::move(pair.server));
        server->write_all("the first half");
        server.reset();
        REQUIRE(read_text(pair.client) == "the first half");
        REQUIRE(complaint_of([&] { read_text(pair.client); }) == "the connection was cut");
    });
}

// Method: a relay between the two lets some bytes through, and resets both then.
TEST_CASE("a reset at any step of a handshake ends it on both sides", "[tls][reset]") {
    const Contexts contexts;
    on_workers_and_io([&] {
        const std::size_t before = open_fds();
        for (const std::size_t most : {0, 1, 5, 100, 250, 400, 600, 800, 1000}) {
            INFO("bytes: " << most);
            auto [client, client_side] = connection();
            auto [server_side, server] = connection();
            auto accepting = weft::spawn([&contexts, server = std::move(server)]() mutable {
                return complaint_of([&] {
                    auto stream = tls::Stream::accept(std::move(server), *contexts.server);
                    read_text(stream);
                });
            });
            auto there = weft::spawn([&] { relay(client_side, server_side, most); });
            auto back = weft::spawn([&] { relay(server_side, client_side, most); });
            const std::string complaint = complaint_of([&, &client = client] {
                auto stream =
                    tls::Stream::connect(std::move(client), *contexts.client, "localhost");
                read_text(stream);
            });
            REQUIRE_FALSE(complaint.empty());
            REQUIRE_FALSE(accepting.get().empty());
            there.join();
            back.join();
        }
        REQUIRE(open_fds() == before);
    });
}

TEST_CASE("every call of TLS gives up at its deadline", "[tls][deadline]") {
    const Contexts contexts;
    on_workers_and_io([&] {
        const auto times_out = [](auto&& call) {
            REQUIRE(is(error_of(call), std::errc::timed_out));
        };
        auto [client, silent_server] = connection();
        auto [silent_client, server] = connection();
        times_out([&, &server = server] {
            tls::Stream::accept(std::move(server), *contexts.server, 3ms);
        });
        times_out([&, &client = client] {
            tls::Stream::connect(std::move(client), *contexts.client, "localhost", 3ms);
        });
        auto pair = encrypted(contexts);
        times_out([&] { read_text(pair.client, 3ms); });
        const std::string much(20'000'000, 'x');
        times_out([&] { pair.server.write_all(much, 3ms); });
    });
}

TEST_CASE("a handshake with a silent peer is cancelled", "[tls][cancel]") {
    const Contexts contexts;
    on_all_io([&] {
        auto [client, server] = connection();
        auto accepting = waiting(
            [&, &server = server] { tls::Stream::accept(std::move(server), *contexts.server); });
        accepting.cancel();
        REQUIRE_THROWS_AS(accepting.get(), weft::Cancelled);
        REQUIRE(weft::test::read_text(client).empty());
    });
}
