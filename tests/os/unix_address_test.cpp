#include "support/catch.hpp"

#include <weft/io/address.hpp>
#include <weft/io/unix_address.hpp>

#include <stdexcept>
#include <string>

#include <sys/socket.h>
#include <sys/un.h>

using weft::io::Address;
using weft::io::UnixAddress;

TEST_CASE("a Unix address is a path, an abstract name, or none", "[os][unix]") {
    const UnixAddress path{"/run/x.sock"};
    REQUIRE(path.is_path());
    REQUIRE(path.name() == "/run/x.sock");
    REQUIRE(path.to_string() == "/run/x.sock");

    const std::string binary{"a\0b", 3};
    const auto abstract = UnixAddress::abstract(binary);
    REQUIRE(abstract.is_abstract());
    REQUIRE_FALSE(abstract.is_path());
    REQUIRE(abstract.name() == binary);
    REQUIRE(abstract.to_string() == "@a@b");

    const UnixAddress none;
    REQUIRE(none.is_unnamed());
    REQUIRE(none.name().empty());
    REQUIRE(none.to_string() == "(unnamed)");
}

TEST_CASE("Unix addresses are equal when their kind and name are", "[os][unix]") {
    REQUIRE(UnixAddress{"x"} == UnixAddress{"x"});
    REQUIRE_FALSE(UnixAddress{"x"} == UnixAddress{"xy"});
    REQUIRE_FALSE(UnixAddress{"x"} == UnixAddress::abstract("x"));
    REQUIRE_FALSE(UnixAddress::abstract("") == UnixAddress{});
    REQUIRE(UnixAddress::abstract("x") == UnixAddress::abstract("x"));
}

TEST_CASE("a Unix address survives being the system's", "[os][unix]") {
    for (const auto& address :
         {UnixAddress{}, UnixAddress{"/x"}, UnixAddress::abstract("x"),
          UnixAddress::abstract(std::string(107, '\0')), UnixAddress{std::string(108, 'p')}}) {
        INFO(address.to_string());
        REQUIRE(address.size() <= sizeof(sockaddr_un));
        REQUIRE(UnixAddress::from(address.data(), address.size()) == address);
    }
}

TEST_CASE("what cannot name a Unix socket is refused", "[os][unix]") {
    REQUIRE_THROWS_AS(UnixAddress{""}, std::invalid_argument);
    REQUIRE_THROWS_AS(UnixAddress{std::string(109, 'p')}, std::invalid_argument);
    REQUIRE_THROWS_AS((UnixAddress{std::string{"a\0b", 3}}), std::invalid_argument);
    REQUIRE_THROWS_AS(UnixAddress::abstract(std::string(108, 'p')), std::invalid_argument);
    const auto foreign = Address::loopback_v4(1);
    REQUIRE_THROWS_AS(UnixAddress::from(foreign.data(), foreign.size()), std::invalid_argument);
}
