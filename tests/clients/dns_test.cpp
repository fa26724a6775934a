// getaddrinfo and its like against a name server that takes its time, in a network of one's own.
#include "clients/crowd.hpp"
#include "clients/web_gate.hpp"

#include <arpa/inet.h>
#include <netdb.h>

using namespace weft::test;

namespace {

/// slow_dns.py holds all questions back.
struct DnsGate : Gate {
    DnsGate() { line.ask("close\n"); }
    std::size_t waiting(std::size_t wanted) override {
        return line.ask(std::to_string(wanted) + "\n").empty() ? 0 : wanted;
    }
    void open() override { line.ask("open\n"); }
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

TEST_CASE("who is cancelled leaves the look-up behind", "[clients][dns]") {
    require_nothing_left_open([] {
        DnsGate gate;
        const auto errors =
            interrupted(gate, by_getaddrinfo, [](auto& fibers) { weft::cancel_all(fibers); });
        require_all_say(errors, "Operation canceled [thrown]");
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
