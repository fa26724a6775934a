// A case for each row of the table of hooks: what libc answers a plain thread, a fiber is
// answered. Waiting is tested by the tests of each kind of call; here all names of it are.
//
// Invariant: a row that has no case does not link. So there is no name in the table that
// nobody calls.
#pragma once

#include "hooks/conform.hpp"
#include "hooks/table.hpp"
#include "support/fd.hpp"

#include <fcntl.h>

#include <cstddef>
#include <string>

namespace weft::test {

/// Of every row its symbol, whatever libc's headers make of the name.
#define WEFT_DECLARE_ROW(category, result, name, parameters) \
    extern "C" result row_##name parameters asm(#name);      \
    void case_##name(Seen& seen);
WEFT_HOOKS(WEFT_DECLARE_ROW)
#undef WEFT_DECLARE_ROW

/// Begins the case of a row.
#define WEFT_ROW(name) void case_##name([[maybe_unused]] Seen& seen)

/// Makes `call(fd)` with descriptors that are none, or not of the kind.
template <class Call>
void with_bad_fds(Seen& seen, Call&& call) {
    seen.of("-1", [&] { return call(-1); });
    seen.of("closed", [&] { return call(987); });
    const Fd path{::open("/", O_PATH)};
    seen.of("O_PATH", [&] { return call(path); });
    const Fd directory{::open("/", O_RDONLY)};
    seen.of("directory", [&] { return call(directory); });
}

/// Of a call that opens: 0, for numbers differ; or what it failed with.
inline long opened(int fd) { return fd < 0 ? fd : ::close(fd); }

inline void set_nonblocking(int fd) { ::fcntl(fd, F_SETFL, O_NONBLOCK); }

/// Whatever receives, as `call(fd, data, size)`.
template <class Call>
void receives(Seen& seen, Call&& call) {
    const HalfMapped memory;
    char* const data = memory.end(8);
    with_bad_fds(seen, [&](int fd) { return call(fd, data, 8); });
    Pair pair = sockets();
    put(pair.b, "hello");
    seen.of("some", [&] { return call(pair.a, data, 3); });
    seen.note("which is", std::string(data, 3));
    seen.of("none of some", [&] { return call(pair.a, data, 0); });
    seen.of("all there is", [&] { return call(pair.a, data, std::size_t{1} << 62); });
    seen.note("which is", std::string(data, 2));
    if (may_be_bad) {
        put(pair.b, "hello");
        seen.of("EFAULT", [&] { return call(pair.a, memory.template bad<char>(), 5); });
    }
    {
        Beside other{[&] { put(pair.b, "late"); }};
        const auto end = std::to_string(call(pair.a, data, 8));
        seen.note("waited for", end == "-1" ? "failed" : "came");
    }
    set_nonblocking(pair.a);
    while (call(pair.a, data, 8) > 0) {
    }
    seen.of("O_NONBLOCK", [&] { return call(pair.a, data, 8); });
    pair.b.reset();
    seen.of("closed peer", [&] { return call(pair.a, data, 8); });
}

/// Whatever sends, as `call(fd, data, size)`. SIGPIPE is ignored.
template <class Call>
void sends(Seen& seen, Call&& call) {
    const HalfMapped memory;
    char* const data = memory.end(8);
    with_bad_fds(seen, [&](int fd) { return call(fd, data, 8); });
    Pair pair = sockets();
    seen.of("some", [&] { return call(pair.a, data, 3); });
    seen.of("none", [&] { return call(pair.a, data, 0); });
    char got[8];
    seen.of("came", [&] { return ::recv(pair.b, got, 8, MSG_DONTWAIT); });
    if (may_be_bad) {
        seen.of("EFAULT", [&] { return call(pair.a, memory.template bad<char>(), 5); });
    }
    set_nonblocking(pair.a);
    while (call(pair.a, data, 8) > 0) {
    }
    seen.of("O_NONBLOCK", [&] { return call(pair.a, data, 8); });
    pair.b.reset();
    seen.of("closed peer", [&] { return call(pair.a, data, 8); });
}

/// A vector's count, as `call(pieces, count)`.
template <class Call>
void counts_pieces(Seen& seen, Call&& call) {
    const HalfMapped memory;
    iovec pieces[1025] = {};
    seen.of("no pieces", [&] { return call(nullptr, 0); });
    seen.of("-1 piece", [&] { return call(pieces, -1); });
    seen.of("1024 pieces", [&] { return call(pieces, 1024); });
    seen.of("1025 pieces", [&] { return call(pieces, 1025); });
    if (may_be_bad) seen.of("bad pieces", [&] { return call(memory.template bad<iovec>(), 1); });
}

}  // namespace weft::test
