// getaddrinfo and its like against a name server that takes its time, in a network of one's own.
#include "clients/crowd.hpp"
#include "clients/web_gate.hpp"

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <resolv.h>

using namespace weft::test;

namespace {

/// slow_dns.py holds all questions back. It echoes each command when that is done.
struct DnsGate : Gate {
    DnsGate() { tell("close\n"); }
    std::size_t waiting(std::size_t wanted) override {
        const auto command = std::to_string(wanted) + "\n";
        return line.ask(command) == command ? wanted : 0;
    }
    void open() override { tell("open\n"); }
    void tell(const std::string& command) {
        if (const auto echo = line.ask(command); echo != command) {
            FAIL("the name server echoed '" << echo << "' to '" << command << "'");
        }
    }
    Line line{std::stoi(server("WEFT_TEST_DNS"))};
};

std::string name_of(std::size_t number) { return "h" + std::to_string(number) + ".test"; }
std::string address_of(std::size_t number) {
    return "10.1." + std::to_string(number / 256) + "." + std::to_string(number % 256);
}

std::string text_of(const void* address) {
    char text[INET_ADDRSTRLEN] = {};
    inet_ntop(AF_INET, address, text, sizeof text);
    return text;
}

std::string by_getaddrinfo(std::size_t number) {
    addrinfo hints{};
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int code = getaddrinfo(name_of(number).c_str(), "80", &hints, &found);
    if (code == EAI_SYSTEM) return std::strerror(errno);
    if (code != 0) return gai_strerror(code);
    const auto text = text_of(&reinterpret_cast<sockaddr_in*>(found->ai_addr)->sin_addr);
    freeaddrinfo(found);
    return text == address_of(number) ? "" : text;
}

std::string by_gethostbyname(std::size_t number) {
    const hostent* const found = gethostbyname(name_of(number).c_str());
    if (found == nullptr) return hstrerror(h_errno);
    const auto text = text_of(found->h_addr_list[0]);
    return text == address_of(number) ? "" : text;
}

/// Whether the last record of an answer has the address.
bool has_address(const unsigned char* answer, int size, std::size_t number) {
    return size > 4 && text_of(answer + size - 4) == address_of(number);
}

/// Asks the name server for an address, which has `seconds` to answer.
std::string by_resolver(std::size_t number, int seconds) {
    struct __res_state state {};
    if (res_ninit(&state) != 0) return "not initialised";
    state.retrans = seconds;
    unsigned char answer[512];
    const int size =
        res_nquery(&state, name_of(number).c_str(), ns_c_in, ns_t_a, answer, sizeof answer);
    const int error = h_errno;
    res_nclose(&state);
    if (size < 0) return hstrerror(error);
    return has_address(answer, size, number) ? "" : "wrong";
}

}  // namespace

TEST_CASE("200 names are looked up at once", "[clients][dns]") {
    require_nothing_left_open([] {
        DnsGate gate;
        require_all_at_once("getaddrinfo", gate, by_getaddrinfo);
    });
}

TEST_CASE("gethostbyname has a result for each fiber", "[clients][dns]") {
    require_nothing_left_open([] {
        DnsGate gate;
        require_all_at_once("gethostbyname", gate, by_gethostbyname);
    });
}

TEST_CASE("the resolver's own call waits for the name server", "[clients][dns]") {
    require_nothing_left_open([] {
        DnsGate gate;
        require_all_at_once("res_nquery", gate,
                            [](auto number) { return by_resolver(number, 30); });
    });
}

TEST_CASE("each of the resolver's calls is answered", "[clients][dns]") {
    DnsGate{}.open();
    run_hooked([] {
        const auto name = name_of(7);
        const char* const text = name.c_str();
        unsigned char query[512];
        const int size = res_mkquery(ns_o_query, text, ns_c_in, ns_t_a, nullptr, 0, nullptr, query,
                                     sizeof query);
        unsigned char got[512];
        const int room = sizeof got;
        REQUIRE(has_address(got, res_query(text, ns_c_in, ns_t_a, got, room), 7));
        REQUIRE(has_address(got, res_search(text, ns_c_in, ns_t_a, got, room), 7));
        REQUIRE(has_address(got, res_send(query, size, got, room), 7));
        struct __res_state state {};
        REQUIRE(res_ninit(&state) == 0);
        REQUIRE(has_address(got, res_nsearch(&state, text, ns_c_in, ns_t_a, got, room), 7));
        REQUIRE(has_address(got, res_nsend(&state, query, size, got, room), 7));
        res_nclose(&state);
    });
}

TEST_CASE("who is cancelled leaves the look-up behind", "[clients][dns]") {
    const auto cancel = [](auto& fibers) { weft::cancel_all(fibers); };
    require_nothing_left_open([&] {
        DnsGate gate;
        const auto errors = interrupted(gate, by_getaddrinfo, cancel);
        require_all_say(errors, "Operation canceled [thrown]");
    });
    require_nothing_left_open([&] {
        DnsGate gate;
        const auto errors = interrupted(gate, by_gethostbyname, cancel);
        require_all_say(errors, std::string{hstrerror(TRY_AGAIN)} + " [thrown]");
    });
}

TEST_CASE("a Timeout and the resolver's own time-out end a look-up", "[clients][dns]") {
    require_nothing_left_open([] {
        DnsGate gate;
        run_hooked([] {
            bool thrown = false;
            std::string said;
            try {
                const weft::Timeout limit{50ms};
                said = by_getaddrinfo(1);
                weft::this_fiber::check_cancelled();
            } catch (const weft::TimedOut&) {
                thrown = true;
            }
            REQUIRE(said == "Operation canceled");
            REQUIRE(thrown);
            REQUIRE(by_resolver(2, 1) == hstrerror(TRY_AGAIN));
        });
        gate.open();
    });
}

TEST_CASE("a name that does not exist fails as ever", "[clients][dns]") {
    DnsGate{}.open();
    run_hooked([] {
        addrinfo* found = nullptr;
        REQUIRE(getaddrinfo("nobody.test", nullptr, nullptr, &found) == EAI_NONAME);
        REQUIRE(gethostbyname("nobody.test") == nullptr);
        REQUIRE(h_errno == HOST_NOT_FOUND);
    });
}

// The last: it ends the server.
TEST_CASE("look-ups fail when the name server is killed", "[clients][dns]") {
    const std::size_t before = open_fds();
    {
        DnsGate gate;
        // Nobody tells who waits already that there will be no answer: their time-out does.
        const auto errors = killed(
            gate, [](auto number) { return by_resolver(number, 3); }, "WEFT_TEST_DNS_PID", SIGKILL);
        require_all_say(errors, hstrerror(TRY_AGAIN));
        run_hooked([] {
            REQUIRE(by_getaddrinfo(1) == gai_strerror(EAI_AGAIN));
            REQUIRE(by_gethostbyname(1) == hstrerror(TRY_AGAIN));
        });
    }
    REQUIRE(open_fds() == before);
}
