// libcurl, unmodified, in fibers: easy and multi, HTTP and HTTPS.
#include "clients/crowd.hpp"
#include "clients/peers.hpp"
#include "clients/web_gate.hpp"

#include <curl/curl.h>

#include <memory>

using namespace weft::test;

namespace {

// CURL and CURLM are both void.
template <auto cleanup>
struct Delete {
    void operator()(void* handle) const { cleanup(handle); }
};
using Easy = std::unique_ptr<CURL, Delete<&curl_easy_cleanup>>;
using Multi = std::unique_ptr<CURLM, Delete<&curl_multi_cleanup>>;

/// One request, to be made by an easy or a multi handle.
class Transfer {
public:
    explicit Transfer(const std::string& url) {
        static const bool ready = curl_global_init(CURL_GLOBAL_ALL) == CURLE_OK;
        REQUIRE(ready);
        curl_easy_setopt(easy(), CURLOPT_URL, url.c_str());
        curl_easy_setopt(easy(), CURLOPT_CAINFO, server("WEFT_TEST_CA").c_str());
        curl_easy_setopt(easy(), CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(easy(), CURLOPT_WRITEDATA, this);
        curl_easy_setopt(easy(), CURLOPT_WRITEFUNCTION, &Transfer::append);
    }
    Transfer(const Transfer&) = delete;
    Transfer& operator=(const Transfer&) = delete;

    CURL* easy() const { return easy_.get(); }
    CURLcode perform() { return curl_easy_perform(easy()); }
    const std::string& text() const { return text_; }

private:
    static std::size_t append(char* data, std::size_t one, std::size_t size, void* self) {
        static_cast<Transfer*>(self)->text_.append(data, one * size);
        return size;
    }

    Easy easy_{curl_easy_init()};
    std::string text_;
};

std::string url(const char* scheme, const std::string& target) {
    const bool tls = std::string{scheme} == "https";
    return std::string{scheme} +
           "://127.0.0.1:" + server(tls ? "WEFT_TEST_HTTPS" : "WEFT_TEST_HTTP") + target;
}

std::string error_of(CURLcode code) {
    return code == CURLE_OK ? "" : std::to_string(code) + ": " + curl_easy_strerror(code);
}

/// A request that waits at the gate, and another one on the same connection. By curl_easy_perform.
Request easy_request(const char* scheme) {
    return [scheme](std::size_t number) -> std::string {
        const auto say = std::to_string(number);
        Transfer transfer{url(scheme, "/gate?say=" + say)};
        if (const auto code = transfer.perform(); code != CURLE_OK) return error_of(code);
        const auto next = url(scheme, "/sleep?ms=200&say=+" + say);
        curl_easy_setopt(transfer.easy(), CURLOPT_URL, next.c_str());
        if (const auto code = transfer.perform(); code != CURLE_OK) return error_of(code);
        return transfer.text() == say + " " + say ? "" : "wrong: " + transfer.text();
    };
}

constexpr std::size_t per_multi = 5;

/// Runs all to their end by curl_multi_poll. What went wrong.
std::string perform_all(std::vector<std::unique_ptr<Transfer>>& transfers) {
    const Multi multi{curl_multi_init()};
    for (auto& each : transfers) curl_multi_add_handle(multi.get(), each->easy());
    std::string error;
    for (int running = 1; running > 0 && error.empty();) {
        CURLMcode code = curl_multi_perform(multi.get(), &running);
        if (code == CURLM_OK && running > 0) {
            code = curl_multi_poll(multi.get(), nullptr, 0, 30'000, nullptr);
        }
        if (code != CURLM_OK) error = curl_multi_strerror(code);
    }
    for (int left = 0; const CURLMsg* message = curl_multi_info_read(multi.get(), &left);) {
        if (error.empty()) error = error_of(message->data.result);
    }
    for (auto& each : transfers) curl_multi_remove_handle(multi.get(), each->easy());
    return error;
}

/// Several requests of one fiber at once, by one multi handle.
Request multi_request(const char* scheme) {
    return [scheme](std::size_t number) -> std::string {
        std::vector<std::unique_ptr<Transfer>> transfers;
        for (std::size_t i = 0; i < per_multi; ++i) {
            transfers.push_back(std::make_unique<Transfer>(
                url(scheme, "/gate?say=" + std::to_string(number * per_multi + i))));
        }
        if (auto error = perform_all(transfers); !error.empty()) return error;
        for (std::size_t i = 0; i < per_multi; ++i) {
            if (transfers[i]->text() != std::to_string(number * per_multi + i)) return "wrong";
        }
        return {};
    };
}

/// Waits for `each` times as many requests as there are fibers.
template <std::size_t each>
struct GateOfSeveral : WebGate {
    std::size_t waiting(std::size_t wanted) override {
        return WebGate::waiting(wanted * each) / each;
    }
};
using MultiGate = GateOfSeveral<per_multi>;

struct Way {
    const char* scheme;
    bool multi;
};
constexpr Way ways[] = {{"http", false}, {"https", false}, {"http", true}, {"https", true}};

/// One request, which libcurl itself ends after `limit_ms` if that is not 0. What went wrong.
std::string request(const Way& way, const std::string& target, long limit_ms = 0) {
    std::vector<std::unique_ptr<Transfer>> one;
    one.push_back(std::make_unique<Transfer>(url(way.scheme, target)));
    curl_easy_setopt(one.front()->easy(), CURLOPT_TIMEOUT_MS, limit_ms);
    return way.multi ? perform_all(one) : error_of(one.front()->perform());
}

/// What all of `errors` have to say is one of these.
void require_all_are(const std::vector<std::string>& errors, std::vector<CURLcode> codes) {
    for (const auto& each : errors) {
        INFO("said: " << each);
        REQUIRE(std::any_of(codes.begin(), codes.end(),
                            [&](CURLcode code) { return each.starts_with(error_of(code)); }));
    }
}

}  // namespace

TEST_CASE("200 requests wait in the server at once", "[clients][curl]") {
    for (const char* scheme : {"http", "https"}) {
        require_nothing_left_open([&] {
            WebGate gate;
            const auto what = std::string{"libcurl easy, "} + scheme + ", a gate and 200 ms";
            require_all_at_once(what.c_str(), gate, easy_request(scheme));
        });
    }
}

TEST_CASE("40 multi handles with 5 requests each wait at once", "[clients][curl]") {
    for (const char* scheme : {"http", "https"}) {
        require_nothing_left_open([&] {
            MultiGate gate;
            const auto what = std::string{"libcurl multi, "} + scheme;
            require_all_at_once(what.c_str(), gate, multi_request(scheme), crowd_size / per_multi);
        });
    }
}

TEST_CASE("a cancelled request fails as libcurl says it", "[clients][curl]") {
    const auto cancel = [](auto& fibers) { weft::cancel_all(fibers); };
    for (const char* scheme : {"http", "https"}) {
        require_nothing_left_open([&] {
            WebGate gate;
            const auto errors = interrupted(gate, easy_request(scheme), cancel);
            // libcurl has no code for it: what fails is its poll().
            require_all_are(errors, {CURLE_BAD_FUNCTION_ARGUMENT, CURLE_UNRECOVERABLE_POLL});
            require_all_say(errors, "[thrown]");
        });
        require_nothing_left_open([&] {
            MultiGate gate;
            const auto errors = interrupted(gate, multi_request(scheme), cancel, 8);
            require_all_say(errors, curl_multi_strerror(CURLM_UNRECOVERABLE_POLL));
            require_all_say(errors, "[thrown]");
        });
    }
}

TEST_CASE("a Timeout and libcurl's own time-out end a request", "[clients][curl]") {
    for (const Way& way : ways) {
        INFO(way.scheme << (way.multi ? " multi" : " easy"));
        require_nothing_left_open([&] {
            run_hooked([&] {
                bool thrown = false;
                std::string error;
                try {
                    const weft::Timeout limit{50ms};
                    error = request(way, "/sleep?ms=60000");
                    weft::this_fiber::check_cancelled();
                } catch (const weft::TimedOut&) {
                    thrown = true;
                }
                INFO(error);
                REQUIRE_FALSE(error.empty());
                REQUIRE(thrown);
                require_all_are({request(way, "/sleep?ms=60000", 50)}, {CURLE_OPERATION_TIMEDOUT});
            });
        });
    }
}

TEST_CASE("connections broken off and reset fail as ever", "[clients][curl]") {
    for (const Way& way : ways) {
        INFO(way.scheme << (way.multi ? " multi" : " easy"));
        require_nothing_left_open([&] {
            run_hooked([&] {
                require_all_are({request(way, "/close")}, {CURLE_PARTIAL_FILE});
                require_all_are({request(way, "/reset")}, {CURLE_RECV_ERROR});
            });
        });
    }
}

TEST_CASE("connections refused, reset at once and of no protocol fail as ever", "[clients][curl]") {
    require_nothing_left_open([] {
        int port = 0;
        run_hooked([&] {
            const BadPeer resets{BadPeer::Does::reset};
            port = resets.port();
            const auto code = Transfer{"http://127.0.0.1:" + std::to_string(port)}.perform();
            REQUIRE((code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR ||
                     code == CURLE_COULDNT_CONNECT));
            const BadPeer babbles{BadPeer::Does::babble};
            REQUIRE(Transfer{"https://127.0.0.1:" + std::to_string(babbles.port())}.perform() ==
                    CURLE_SSL_CONNECT_ERROR);
        });
        run_hooked([&] {
            REQUIRE(Transfer{"http://127.0.0.1:" + std::to_string(port)}.perform() ==
                    CURLE_COULDNT_CONNECT);
        });
    });
}

TEST_CASE("a name is looked up by libcurl's own thread", "[clients][curl]") {
    require_nothing_left_open([] {
        run_hooked([] {
            for (auto& each : spawn_requests(
                     [](std::size_t) {
                         const auto port = server("WEFT_TEST_HTTP");
                         Transfer transfer{"http://localhost:" + port + "/say?say=here"};
                         curl_easy_setopt(transfer.easy(), CURLOPT_IPRESOLVE, CURL_IPRESOLVE_V4);
                         const auto code = transfer.perform();
                         return transfer.text() == "here" ? "" : error_of(code);
                     },
                     20)) {
                REQUIRE(each.get().empty());
            }
        });
    });
}

// The last: it ends the server.
TEST_CASE("requests fail when the server is killed", "[clients][curl]") {
    // Each way as often as the others: of four fibers two make one request, two several.
    const auto by_turns = [](std::size_t number) {
        const Way& way = ways[number % 4];
        return (way.multi ? multi_request(way.scheme) : easy_request(way.scheme))(number);
    };
    const std::size_t before = open_fds();
    {
        GateOfSeveral<(1 + per_multi) / 2> gate;
        const auto errors = killed(gate, by_turns, "WEFT_TEST_WEB_PID", SIGKILL, 40);
        require_all_are(errors, {CURLE_GOT_NOTHING, CURLE_RECV_ERROR});
    }
    REQUIRE(open_fds() == before);
}
