// Looking users and groups up, compared with libc's own.
#include "hooks/conform.hpp"

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include <grp.h>
#include <pwd.h>

using weft::test::conforms;
using weft::test::Seen;

namespace {

std::string text_of(const passwd* user) {
    return user == nullptr ? "nobody" : std::string{user->pw_name} + ' ' + user->pw_dir;
}
std::string text_of(const group* found) { return found == nullptr ? "none" : found->gr_name; }

/// By `look_up(entry, room, size, found)`.
template <class Entry, class LookUp>
void look_up(Seen& seen, const std::string& what, std::size_t size, LookUp&& look_up) {
    Entry entry{};
    std::array<char, 4096> room;
    Entry* found = nullptr;
    seen.note(what, look_up(&entry, room.data(), size, &found));
    seen.note(what, text_of(found));
}

}  // namespace

TEST_CASE("users and groups are found by name and number, or not", "[hooks][users]") {
    conforms([](Seen& seen) {
        for (const char* name : {"root", "daemon", "no such name"}) {
            seen.note("user", text_of(::getpwnam(name)));
            seen.note("group", text_of(::getgrnam(name)));
            look_up<passwd>(seen, "user_r", 4096,
                            [&](auto... into) { return ::getpwnam_r(name, into...); });
            look_up<group>(seen, "group_r", 4096,
                           [&](auto... into) { return ::getgrnam_r(name, into...); });
        }
        for (const unsigned number : {0u, 1u, 12'345'678u}) {
            seen.note("user", text_of(::getpwuid(number)));
            seen.note("group", text_of(::getgrgid(number)));
            look_up<passwd>(seen, "user_r", 4096,
                            [&](auto... into) { return ::getpwuid_r(number, into...); });
            look_up<group>(seen, "group_r", 4096,
                           [&](auto... into) { return ::getgrgid_r(number, into...); });
        }
        look_up<passwd>(seen, "no room", 4,
                        [&](auto... into) { return ::getpwnam_r("root", into...); });
    });
}

TEST_CASE("what a fiber found stays its own while others look up", "[hooks][users]") {
    weft::hooks::patch_dns();
    weft::test::on_workers([] {
        const passwd* const root = ::getpwuid(0);
        const group* const first = ::getgrgid(0);
        std::vector<weft::Fiber<>> others;
        for (int i = 0; i < 20; ++i) {
            others.push_back(weft::spawn([] {
                const passwd* const daemon = ::getpwnam("daemon");
                weft::this_fiber::yield();
                REQUIRE(text_of(daemon) == "daemon /usr/sbin");
                REQUIRE(text_of(::getgrgid(1)) == "daemon");
            }));
        }
        weft::join_all(others);
        REQUIRE(text_of(root) == "root /root");
        REQUIRE(text_of(first) == "root");
    });
}

TEST_CASE("looking a user up is taken in a fiber", "[hooks][users]") {
    weft::hooks::patch_dns();
    weft::run([] { REQUIRE(text_of(::getpwuid(0)) == "root /root"); });
    for (const auto& symbol : weft::hooks::report().symbols) {
        if (symbol.name == std::string{"getpwuid"}) CHECK(symbol.taken > 0);
    }
}
