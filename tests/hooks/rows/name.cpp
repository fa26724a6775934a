// The rows of looking names up: those that a file knows, and questions that are never sent.
#include "hooks/rows/rows.hpp"

#include <arpa/nameser.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>

namespace weft::test {

namespace {

std::string text_of(const hostent* entry) {
    if (entry == nullptr) return "none, " + std::to_string(h_errno);
    return entry->h_name + (' ' + std::to_string(entry->h_length));
}

const in_addr_t here = htonl(INADDR_LOOPBACK);

/// As `call(entry, room, size, found, error)`.
template <class Call>
void finds_host(Seen& seen, Call&& call) {
    for (const std::size_t size : {std::size_t{1024}, std::size_t{4}}) {
        hostent entry{};
        hostent* found = &entry;
        char room[1024];
        int error = -7;
        const int result = call(&entry, room, size, &found, &error);
        seen.note("result", result);
        seen.note("error", result == 0 ? 0 : error);
        seen.note("found", found == nullptr ? "none" : text_of(found));
    }
}

/// As `call(name, class, type, answer, room)`. Without room nothing is sent.
template <class Call>
void asks(Seen& seen, Call&& call) {
    unsigned char answer[HFIXEDSZ] = {};
    const auto ask = [&](const std::string& what, const std::string& name, int room) {
        seen.of(what, [&] { return call(name.c_str(), ns_c_in, ns_t_a, answer, room); });
        seen.note("h_errno", h_errno);
    };
    ask("no room", "localhost", 4);
    ask("less than none", "localhost", -1);
    ask("too long a name", std::string(2000, 'x'), 4);
    ask("bad name", "a..b", 4);
}

/// As `call(name, domain, class, type, answer, room)`.
template <class Call>
void asks_in_domain(Seen& seen, Call&& call) {
    for (const char* domain : {static_cast<const char*>(nullptr), "example"}) {
        asks(seen, [&](const char* name, auto... how) { return call(name, domain, how...); });
    }
}

/// As `call(query, size, answer, room)`.
template <class Call>
void sends_query(Seen& seen, Call&& call) {
    unsigned char query[512];
    const int size = ::res_mkquery(ns_o_query, "localhost", ns_c_in, ns_t_a, nullptr, 0, nullptr,
                                   query, sizeof query);
    unsigned char answer[HFIXEDSZ] = {};
    seen.note("query", size);
    seen.of("no room", [&] { return call(query, size, answer, 4); });
    seen.of("less than none", [&] { return call(query, size, answer, -1); });
}

/// A state of the caller's own.
struct State {
    State() { ::res_ninit(&state); }
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State() { ::res_nclose(&state); }
    struct __res_state state {};
};

std::string text_of(const passwd* user) { return user == nullptr ? "nobody" : user->pw_dir; }
std::string text_of(const spwd* user) { return user == nullptr ? "nobody" : user->sp_namp; }
std::string text_of(const group* found) { return found == nullptr ? "none" : found->gr_name; }

template <class Entry, class Call>
void finds_entry(Seen& seen, Call&& call) {
    for (const std::size_t size : {std::size_t{1024}, std::size_t{4}}) {
        Entry entry{};
        Entry* found = nullptr;
        char room[1024];
        seen.of("result", [&] { return call(&entry, room, size, &found); });
        seen.note("found", text_of(found));
    }
}

}  // namespace

WEFT_ROW(getaddrinfo) {
    const auto look_up = [&](const char* host, const char* service, int family, int flags) {
        addrinfo hints{};
        hints.ai_family = family;
        hints.ai_flags = flags;
        addrinfo* found = nullptr;
        seen.of("result", [&] { return row_getaddrinfo(host, service, &hints, &found); });
        for (auto* each = found; each != nullptr; each = each->ai_next) {
            seen.note("address", each->ai_family * 100 + each->ai_socktype);
        }
        if (found != nullptr) ::freeaddrinfo(found);
    };
    look_up("localhost", "http", AF_INET, 0);
    look_up("localhost", nullptr, AF_INET, AI_CANONNAME);
    look_up("localhost", "no-such-service", AF_INET, 0);
    look_up("localhost", nullptr, 77, 0);
    look_up("localhost", nullptr, AF_INET, 1 << 20);
    look_up(nullptr, nullptr, AF_INET, 0);
}
WEFT_ROW(getnameinfo) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(80);
    address.sin_addr.s_addr = here;
    char host[64] = "";
    char service[64] = "";
    for (const socklen_t room : {64U, 2U, 0U}) {
        seen.of("result", [&] {
            return row_getnameinfo(reinterpret_cast<sockaddr*>(&address), sizeof address, host,
                                   room, service, room, 0);
        });
        seen.note(host, service);
    }
}
WEFT_ROW(gethostbyname) {
    for (const char* name : {"localhost", "127.0.0.1", ""}) {
        seen.note(name, text_of(row_gethostbyname(name)));
    }
}
WEFT_ROW(gethostbyname2) {
    for (const int family : {AF_INET, AF_UNIX}) {
        seen.note("localhost", text_of(row_gethostbyname2("localhost", family)));
    }
}
WEFT_ROW(gethostbyaddr) {
    for (const socklen_t length : {4U, 3U}) {
        seen.note("here", text_of(row_gethostbyaddr(&here, length, AF_INET)));
    }
    seen.note("no family", text_of(row_gethostbyaddr(&here, 4, AF_UNIX)));
}
WEFT_ROW(gethostbyname_r) {
    finds_host(seen, [](auto&&... into) { return row_gethostbyname_r("localhost", into...); });
}
WEFT_ROW(gethostbyname2_r) {
    finds_host(seen,
               [](auto&&... into) { return row_gethostbyname2_r("localhost", AF_INET, into...); });
}
WEFT_ROW(gethostbyaddr_r) {
    finds_host(seen,
               [](auto&&... into) { return row_gethostbyaddr_r(&here, 4, AF_INET, into...); });
}

#define WEFT_ASK_ROW(name, test)                                                  \
    WEFT_ROW(name) {                                                              \
        test(seen, [](auto&&... arguments) { return row_##name(arguments...); }); \
    }
#define WEFT_STATEFUL_ROW(name, test)                                                          \
    WEFT_ROW(name) {                                                                           \
        State own;                                                                             \
        test(seen, [&](auto&&... arguments) { return row_##name(&own.state, arguments...); }); \
    }
WEFT_ASK_ROW(res_query, asks)
WEFT_ASK_ROW(__res_query, asks)
WEFT_ASK_ROW(res_search, asks)
WEFT_ASK_ROW(__res_search, asks)
WEFT_ASK_ROW(res_send, sends_query)
WEFT_ASK_ROW(__res_send, sends_query)
WEFT_STATEFUL_ROW(res_nquery, asks)
WEFT_STATEFUL_ROW(__res_nquery, asks)
WEFT_STATEFUL_ROW(res_nsearch, asks)
WEFT_STATEFUL_ROW(__res_nsearch, asks)
WEFT_STATEFUL_ROW(res_nsend, sends_query)
WEFT_STATEFUL_ROW(__res_nsend, sends_query)

WEFT_ASK_ROW(res_querydomain, asks_in_domain)
WEFT_ASK_ROW(__res_querydomain, asks_in_domain)
WEFT_STATEFUL_ROW(res_nquerydomain, asks_in_domain)
WEFT_STATEFUL_ROW(__res_nquerydomain, asks_in_domain)
WEFT_ROW(gai_suspend) {
    const timespec brief{0, 1'000'000};
    seen.of("none", [&] { return row_gai_suspend(nullptr, 0, &brief); });
}

#define WEFT_ENTRY_ROW(name, type, there, not_there)                                            \
    WEFT_ROW(name) {                                                                            \
        seen.note("there", text_of(row_##name(there)));                                         \
        seen.note("not there", text_of(row_##name(not_there)));                                 \
    }                                                                                           \
    WEFT_ROW(name##_r) {                                                                        \
        finds_entry<type>(seen, [](auto&&... into) { return row_##name##_r(there, into...); }); \
        finds_entry<type>(seen,                                                                 \
                          [](auto&&... into) { return row_##name##_r(not_there, into...); });   \
    }
WEFT_ENTRY_ROW(getpwnam, passwd, "root", "no such name")
WEFT_ENTRY_ROW(getpwuid, passwd, 0, 12'345'678)
WEFT_ENTRY_ROW(getgrnam, group, "root", "no such name")
WEFT_ENTRY_ROW(getgrgid, group, 0, 12'345'678)
WEFT_ENTRY_ROW(getspnam, spwd, "root", "no such name")

WEFT_ROW(getgrouplist) {
    for (const int room : {8, 1, 0}) {
        gid_t groups[8] = {};
        int count = room;
        seen.of("groups", [&] { return row_getgrouplist("root", 7, groups, &count); });
        seen.note("all", count);
        seen.note("first", groups[0]);
    }
}
WEFT_ROW(initgroups) {
    seen.of("result", [] { return row_initgroups("root", 0); });
}

}  // namespace weft::test
