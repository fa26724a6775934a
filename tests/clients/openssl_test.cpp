// OpenSSL on plain blocking sockets, as s_client has it, in fibers.
#include "clients/crowd.hpp"
#include "clients/peers.hpp"
#include "clients/web_gate.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <memory>

using namespace weft::test;

namespace {

struct Delete {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
    void operator()(BIO* stream) const { BIO_free_all(stream); }
};
using Stream = std::unique_ptr<BIO, Delete>;

SSL_CTX* context() {
    static const std::unique_ptr<SSL_CTX, Delete> made = [] {
        ::signal(SIGPIPE, SIG_IGN);  // as s_client does: OpenSSL writes by write()
        std::unique_ptr<SSL_CTX, Delete> context{SSL_CTX_new(TLS_client_method())};
        SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
        REQUIRE(SSL_CTX_load_verify_file(context.get(), server("WEFT_TEST_CA").c_str()) == 1);
        return context;
    }();
    return made.get();
}

/// What this fiber's queue of errors says first, which is then empty.
std::string first_error() {
    const auto code = ERR_get_error();
    const int system_error = errno;
    ERR_clear_error();
    if (code != 0) return ERR_error_string(code, nullptr);
    return std::string{"system: "} + std::strerror(system_error);
}

/// Nothing is done yet.
Stream stream_to(const std::string& port) {
    Stream stream{BIO_new_ssl_connect(context())};
    BIO_set_conn_hostname(stream.get(), ("127.0.0.1:" + port).c_str());
    SSL* ssl = nullptr;
    BIO_get_ssl(stream.get(), &ssl);
    SSL_set_mode(ssl, SSL_MODE_AUTO_RETRY);
    return stream;
}

Stream connect(const std::string& port) {
    Stream stream = stream_to(port);
    return BIO_do_handshake(stream.get()) == 1 ? std::move(stream) : nullptr;
}

/// The body of the answer, or what OpenSSL says is wrong.
std::string get(BIO* stream, const std::string& target) {
    const auto request = "GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n";
    if (BIO_write(stream, request.data(), static_cast<int>(request.size())) <= 0) {
        return first_error();
    }
    std::string answer;
    while (answer.find("\r\n\r\n") == std::string::npos || answer.ends_with("\r\n\r\n")) {
        char buffer[4096];
        const int size = BIO_read(stream, buffer, sizeof buffer);
        if (size <= 0) return first_error();
        answer.append(buffer, static_cast<std::size_t>(size));
    }
    return answer.substr(answer.find("\r\n\r\n") + 4);
}

std::string slow_request(std::size_t number) {
    const Stream stream = connect(server("WEFT_TEST_HTTPS"));
    if (stream == nullptr) return first_error();
    const auto say = std::to_string(number);
    if (const auto said = get(stream.get(), "/gate?say=" + say); said != say) return said;
    const auto said = get(stream.get(), "/sleep?ms=200&say=again" + say);
    return said == "again" + say ? "" : said;
}

/// How a conversation ends that is broken off in the middle of an answer.
std::string end_of(const char* target) {
    const Stream stream = connect(server("WEFT_TEST_HTTPS"));
    if (stream == nullptr) return first_error();
    if (const auto said = get(stream.get(), target); said != "half") return said;
    char byte = 0;
    return BIO_read(stream.get(), &byte, 1) == 0 ? "closed" : first_error();
}

}  // namespace

TEST_CASE("200 conversations over TLS wait in the server at once", "[clients][openssl]") {
    context();
    require_nothing_left_open([] {
        WebGate gate;
        require_all_at_once("OpenSSL, handshake, a gate and 200 ms", gate, slow_request);
    });
}

TEST_CASE("a cancelled conversation fails as OpenSSL says it", "[clients][openssl]") {
    require_nothing_left_open([] {
        WebGate gate;
        const auto errors =
            interrupted(gate, slow_request, [](auto& fibers) { weft::cancel_all(fibers); });
        require_all_say(errors, "Operation canceled");
        require_all_say(errors, "[thrown]");
    });
}

TEST_CASE("each fiber has a queue of OpenSSL errors of its own", "[clients][openssl]") {
    require_nothing_left_open([] {
        const BadPeer babbles{BadPeer::Does::babble};
        const auto mistaken = [&](std::size_t) -> std::string {
            const Stream stream = connect(std::to_string(babbles.port()));
            weft::this_fiber::sleep_for(1ms);  // others err meanwhile
            if (stream != nullptr) return "connected";
            const auto first = ERR_get_error();
            const auto second = ERR_get_error();
            if (ERR_GET_REASON(first) != SSL_R_WRONG_VERSION_NUMBER) return "another error";
            return second == 0 ? "" : "another fiber's error";
        };
        run_hooked([&] {
            auto fibers = spawn_requests(mistaken, 50);
            for (auto& each : fibers) REQUIRE(each.get() == "");
        });
    });
}

TEST_CASE("a Timeout ends a conversation, and SO_RCVTIMEO does", "[clients][openssl]") {
    require_nothing_left_open([] {
        run_hooked([] {
            const Stream stream = connect(server("WEFT_TEST_HTTPS"));
            REQUIRE(stream != nullptr);
            bool thrown = false;
            std::string said;
            try {
                const weft::Timeout limit{50ms};
                said = get(stream.get(), "/sleep?ms=60000");
                weft::this_fiber::check_cancelled();
            } catch (const weft::TimedOut&) {
                thrown = true;
            }
            require_all_say({said}, "Operation canceled");
            REQUIRE(thrown);

            const Stream limited = connect(server("WEFT_TEST_HTTPS"));
            REQUIRE(limited != nullptr);
            int fd = -1;
            BIO_get_fd(limited.get(), &fd);
            const timeval brief{0, 50'000};
            REQUIRE(::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &brief, sizeof brief) == 0);
            require_all_say({get(limited.get(), "/sleep?ms=60000")}, "temporarily unavailable");
            REQUIRE(BIO_should_retry(limited.get()));
        });
    });
}

TEST_CASE("a reset connection fails as ever", "[clients][openssl]") {
    require_nothing_left_open([] {
        run_hooked([] {
            const BadPeer resets{BadPeer::Does::reset};
            const Stream stream = stream_to(std::to_string(resets.port()));
            REQUIRE(BIO_do_handshake(stream.get()) <= 0);
            const auto said = first_error();
            INFO("said: " << said);
            // Of the handshake's calls either a write or a read is told first.
            REQUIRE((said.ends_with("Connection reset by peer") || said.ends_with("Broken pipe")));
        });
    });
}

TEST_CASE("conversations broken off and reset fail as ever", "[clients][openssl]") {
    require_nothing_left_open([] {
        run_hooked([] {
            REQUIRE(end_of("/close") == "closed");
            require_all_say({end_of("/reset")}, "Connection reset by peer");
        });
    });
}

// The last: it ends the server.
TEST_CASE("conversations fail when the server is killed", "[clients][openssl]") {
    const std::size_t before = open_fds();
    {
        WebGate gate;
        const auto errors = killed(gate, slow_request, "WEFT_TEST_WEB_PID", SIGKILL);
        require_all_say(errors, "unexpected eof while reading");
    }
    REQUIRE(open_fds() == before);
}
