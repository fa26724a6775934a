#include "support/catch.hpp"

#include <weft/io/address.hpp>

#include <netinet/in.h>
#include <sys/un.h>

#include <stdexcept>

using weft::io::Address;

TEST_CASE("an address is read and written in the usual notation", "[os][address]") {
    REQUIRE(Address{"127.0.0.1", 80}.to_string() == "127.0.0.1:80");
    REQUIRE(Address{"::1", 443}.to_string() == "[::1]:443");
    REQUIRE(Address{"2001:db8:0:0:0:0:0:1", 1}.host() == "2001:db8::1");
    REQUIRE(Address{}.to_string() == "0.0.0.0:0");
    REQUIRE(Address::loopback_v4(9) == Address{"127.0.0.1", 9});
    REQUIRE(Address::loopback_v6(9) == Address{"::1", 9});
    REQUIRE(Address::any_v4(7) == Address{"0.0.0.0", 7});
    REQUIRE(Address::any_v6(7) == Address{"::", 7});
    REQUIRE_FALSE(Address{"127.0.0.1", 1} == Address{"127.0.0.1", 2});
    REQUIRE_FALSE(Address{"0.0.0.0", 1} == Address{"::", 1});
}

TEST_CASE("what is no numeric address is refused by name", "[os][address]") {
    for (const char* host :
         {"localhost", "1.2.3", "1.2.3.4.5", "", ":::", "fe80::1%", "1.2.3.4 "}) {
        INFO(host);
        try {
            const Address address{host, 1};
            FAIL("taken as " << address.to_string());
        } catch (const std::invalid_argument& error) {
            REQUIRE(std::string{error.what()}.find('"' + std::string{host} + '"') !=
                    std::string::npos);
        }
    }
    using namespace std::string_view_literals;
    REQUIRE_THROWS_AS(Address("1.2.3.4\0x"sv, 1), std::invalid_argument);
    REQUIRE_THROWS_AS(Address("::1\0x"sv, 1), std::invalid_argument);
    REQUIRE_THROWS_AS(Address("fe80::1%lo\0x"sv, 1), std::invalid_argument);
}

TEST_CASE("a scope is kept by name", "[os][address]") {
    const Address address{"fe80::1%lo", 5};
    REQUIRE(address.to_string() == "[fe80::1%lo]:5");
    REQUIRE(Address::from(address.data(), address.size()) == address);
}

TEST_CASE("padding does not decide whether addresses are equal", "[os][address]") {
    sockaddr_in given{};
    given.sin_family = AF_INET;
    given.sin_port = htons(80);
    given.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    given.sin_zero[3] = 1;
    REQUIRE(Address::from(reinterpret_cast<const sockaddr*>(&given), sizeof given) ==
            Address::loopback_v4(80));
}

TEST_CASE("a socket address of another family is refused", "[os][address]") {
    sockaddr_un given{};
    given.sun_family = AF_UNIX;
    REQUIRE_THROWS_AS(Address::from(reinterpret_cast<const sockaddr*>(&given), sizeof given),
                      std::invalid_argument);
}
