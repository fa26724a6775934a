// The rows of reading and writing, and of what moves data from one descriptor to another.
#include "hooks/rows/rows.hpp"
#include "support/scratch.hpp"

#include <sys/eventfd.h>
#include <sys/mman.h>

namespace weft::test {

namespace {

Fd file_of(const Scratch& scratch, int flags = O_RDWR) {
    const Fd made{::open(scratch.path().c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600)};
    put(made, "0123456789");
    return Fd{::open(scratch.path().c_str(), flags)};
}

/// As `call(fd, data, size, offset)`.
template <class Call>
void reads_at(Seen& seen, Call&& call) {
    const HalfMapped memory;
    char* const data = memory.end(8);
    with_bad_fds(seen, [&](int fd) { return call(fd, data, 8, 0); });
    const Pair pipe = pipe_ends();
    seen.of("pipe", [&] { return call(pipe.a, data, 8, 0); });
    const Scratch scratch;
    const Fd file = file_of(scratch);
    seen.of("some", [&] { return call(file, data, 3, 4); });
    seen.note("which is", std::string(data, 3));
    seen.of("the last", [&] { return call(file, data, 8, 8); });
    seen.of("beyond", [&] { return call(file, data, 8, 100); });
    seen.of("far beyond", [&] { return call(file, data, 8, off_t{1} << 62); });
    seen.of("nothing", [&] { return call(file, data, 0, 0); });
    seen.of("at -2", [&] { return call(file, data, 8, -2); });
    seen.of("all", [&] { return call(file, data, std::size_t{1} << 62, 5); });
    if (may_be_bad) {
        seen.of("EFAULT", [&] { return call(file, memory.template bad<char>(), 8, 0); });
        seen.of("in part", [&] { return call(file, memory.end(3), 8, 0); });
    }
    const Fd write_only = file_of(scratch, O_WRONLY);
    seen.of("O_WRONLY", [&] { return call(write_only, data, 8, 0); });
}

template <class Call>
void writes_at(Seen& seen, Call&& call) {
    const HalfMapped memory;
    char* const data = memory.end(8);
    with_bad_fds(seen, [&](int fd) { return call(fd, data, 8, 0); });
    const Pair pipe = pipe_ends();
    seen.of("pipe", [&] { return call(pipe.b, data, 8, 0); });
    const Scratch scratch;
    const Fd file = file_of(scratch);
    seen.of("some", [&] { return call(file, data, 3, 4); });
    seen.of("beyond", [&] { return call(file, data, 8, 100); });
    seen.of("nothing", [&] { return call(file, data, 0, 0); });
    seen.of("at -2", [&] { return call(file, data, 8, -2); });
    if (may_be_bad) {
        seen.of("EFAULT", [&] { return call(file, memory.template bad<char>(), 8, 0); });
    }
    seen.note("size", ::lseek(file, 0, SEEK_END));
    const Fd read_only = file_of(scratch, O_RDONLY);
    seen.of("O_RDONLY", [&] { return call(read_only, data, 8, 0); });
}

/// The vector forms, as `call(fd, pieces, count, offset)`.
template <class Call>
void reads_pieces_at(Seen& seen, Call&& call) {
    reads_at(seen, [&](int fd, char* data, std::size_t size, off_t offset) {
        const iovec piece{data, size};
        return call(fd, &piece, 1, offset);
    });
    const Scratch scratch;
    const Fd file = file_of(scratch);
    counts_pieces(seen, [&](auto&&... pieces) { return call(file, pieces..., 0); });
}
template <class Call>
void writes_pieces_at(Seen& seen, Call&& call) {
    writes_at(seen, [&](int fd, char* data, std::size_t size, off_t offset) {
        const iovec piece{data, size};
        return call(fd, &piece, 1, offset);
    });
    const Scratch scratch;
    const Fd file = file_of(scratch);
    counts_pieces(seen, [&](auto&&... pieces) { return call(file, pieces..., 0); });
}

/// From one to another, as `call(from, to, size)`.
template <class Call>
void moves(Seen& seen, Call&& call) {
    const Scratch scratch;
    const Fd file = file_of(scratch);
    Pair pipe = pipe_ends();
    const Pair sink = pipe_ends();
    with_bad_fds(seen, [&](int fd) { return call(fd, sink.b, 8); });
    with_bad_fds(seen, [&](int fd) { return call(file, fd, 8); });
    seen.of("file to pipe", [&] { return call(file, sink.b, 4); });
    put(pipe.b, "hello");
    seen.of("pipe to pipe", [&] { return call(pipe.a, sink.b, 4); });
    seen.of("nothing", [&] { return call(pipe.a, sink.b, 0); });
    seen.of("pipe to itself", [&] { return call(pipe.a, pipe.b, 1); });
    seen.of("file to itself", [&] { return call(file, file, 4); });
    pipe.b.reset();
    seen.of("closed peer", [&] { return call(pipe.a, sink.b, 8); });
    seen.of("and its end", [&] { return call(pipe.a, sink.b, 8); });
    char data[32];
    set_nonblocking(sink.a);
    seen.of("moved", [&] { return ::read(sink.a, data, sizeof data); });
}

/// With an offset of its own, as `call(from, offset, to, size)`.
template <class Call>
void moves_from(Seen& seen, Call&& call) {
    const HalfMapped memory;
    const Scratch scratch;
    const Fd file = file_of(scratch);
    const Pair sink = pipe_ends();
    off_t offset = 7;
    seen.of("from 7", [&] { return call(file, &offset, sink.b, 100); });
    seen.note("then", offset);
    offset = -2;
    seen.of("from -2", [&] { return call(file, &offset, sink.b, 100); });
    if (may_be_bad) seen.of("EFAULT", [&] { return call(file, memory.bad<off_t>(), sink.b, 8); });
}

}  // namespace

WEFT_ROW(read) {
    receives(seen, [](auto&&... arguments) { return row_read(arguments...); });
}
WEFT_ROW(__read) {
    receives(seen, [](auto&&... arguments) { return row___read(arguments...); });
}
WEFT_ROW(__read_chk) {
    receives(seen, [](int fd, char* data, std::size_t size) {
        return row___read_chk(fd, data, size, size);
    });
}
WEFT_ROW(readv) {
    receives(seen, [](int fd, char* data, std::size_t size) {
        const iovec piece{data, size};
        return row_readv(fd, &piece, 1);
    });
    const Scratch scratch;
    const Fd file = file_of(scratch);
    counts_pieces(seen, [&](auto&&... pieces) { return row_readv(file, pieces...); });
}
WEFT_ROW(write) {
    sends(seen, [](auto&&... arguments) { return row_write(arguments...); });
}
WEFT_ROW(__write) {
    sends(seen, [](auto&&... arguments) { return row___write(arguments...); });
}
WEFT_ROW(writev) {
    sends(seen, [](int fd, char* data, std::size_t size) {
        const iovec piece{data, size};
        return row_writev(fd, &piece, 1);
    });
    const Scratch scratch;
    const Fd file = file_of(scratch);
    counts_pieces(seen, [&](auto&&... pieces) { return row_writev(file, pieces...); });
}

#define WEFT_READ_ROW(name)                                                           \
    WEFT_ROW(name) {                                                                  \
        reads_at(seen, [](auto&&... arguments) { return row_##name(arguments...); }); \
    }
WEFT_READ_ROW(pread)
WEFT_READ_ROW(pread64)
WEFT_READ_ROW(__pread64)
WEFT_ROW(__pread_chk) {
    reads_at(seen, [](int fd, char* data, std::size_t size, off_t offset) {
        return row___pread_chk(fd, data, size, offset, size);
    });
}
WEFT_ROW(__pread64_chk) {
    reads_at(seen, [](int fd, char* data, std::size_t size, off_t offset) {
        return row___pread64_chk(fd, data, size, offset, size);
    });
}

#define WEFT_WRITE_ROW(name)                                                           \
    WEFT_ROW(name) {                                                                   \
        writes_at(seen, [](auto&&... arguments) { return row_##name(arguments...); }); \
    }
WEFT_WRITE_ROW(pwrite)
WEFT_WRITE_ROW(pwrite64)
WEFT_WRITE_ROW(__pwrite64)

/// With what comes after the offset.
#define WEFT_PIECES_ROW(name, test, ...)                                \
    WEFT_ROW(name) {                                                    \
        test(seen, [](auto&&... arguments) {                            \
            return row_##name(arguments... __VA_OPT__(, ) __VA_ARGS__); \
        });                                                             \
    }
WEFT_PIECES_ROW(preadv, reads_pieces_at)
WEFT_PIECES_ROW(preadv64, reads_pieces_at)
WEFT_PIECES_ROW(preadv2, reads_pieces_at, 0)
WEFT_PIECES_ROW(preadv64v2, reads_pieces_at, 0)
WEFT_PIECES_ROW(pwritev, writes_pieces_at)
WEFT_PIECES_ROW(pwritev64, writes_pieces_at)
WEFT_PIECES_ROW(pwritev2, writes_pieces_at, 0)
WEFT_PIECES_ROW(pwritev64v2, writes_pieces_at, 0)

WEFT_ROW(eventfd_read) {
    eventfd_t value = 0;
    with_bad_fds(seen, [&](int fd) { return row_eventfd_read(fd, &value); });
    const Fd event{::eventfd(5, EFD_NONBLOCK)};
    seen.of("5", [&] { return row_eventfd_read(event, &value); });
    seen.note("is", static_cast<long>(value));
    seen.of("none", [&] { return row_eventfd_read(event, &value); });
}
WEFT_ROW(eventfd_write) {
    with_bad_fds(seen, [](int fd) { return row_eventfd_write(fd, 1); });
    const Fd event{::eventfd(5, EFD_NONBLOCK)};
    for (const eventfd_t value : {eventfd_t{0}, eventfd_t{7}, ~eventfd_t{0}, ~eventfd_t{1}}) {
        seen.of("add", [&] { return row_eventfd_write(event, value); });
    }
}

WEFT_ROW(tee) {
    moves(seen, [](int from, int to, std::size_t size) { return row_tee(from, to, size, 0); });
    seen.of("flags", [] { return row_tee(-1, -1, 1, ~0U); });
}
WEFT_ROW(splice) {
    moves(seen, [](int from, int to, std::size_t size) {
        return row_splice(from, nullptr, to, nullptr, size, 0);
    });
    moves_from(seen, [](int from, off_t* offset, int to, std::size_t size) {
        return row_splice(from, offset, to, nullptr, size, 0);
    });
    seen.of("flags", [] { return row_splice(-1, nullptr, -1, nullptr, 1, ~0U); });
}
WEFT_ROW(sendfile) {
    moves(seen,
          [](int from, int to, std::size_t size) { return row_sendfile(to, from, nullptr, size); });
    moves_from(seen, [](int from, off_t* offset, int to, std::size_t size) {
        return row_sendfile(to, from, offset, size);
    });
}
WEFT_ROW(sendfile64) {
    moves(seen, [](int from, int to, std::size_t size) {
        return row_sendfile64(to, from, nullptr, size);
    });
    moves_from(seen, [](int from, off_t* offset, int to, std::size_t size) {
        return row_sendfile64(to, from, offset, size);
    });
}
WEFT_ROW(copy_file_range) {
    moves(seen, [](int from, int to, std::size_t size) {
        return row_copy_file_range(from, nullptr, to, nullptr, size, 0);
    });
    seen.of("flags", [] { return row_copy_file_range(0, nullptr, 1, nullptr, 1, 1); });
}
WEFT_ROW(vmsplice) {
    char data[8] = "given";
    const iovec piece{data, 5};
    with_bad_fds(seen, [&](int fd) { return row_vmsplice(fd, &piece, 1, 0); });
    Pair pipe = pipe_ends();
    seen.of("in", [&] { return row_vmsplice(pipe.b, &piece, 1, 0); });
    seen.of("out", [&] { return row_vmsplice(pipe.a, &piece, 1, 0); });
    counts_pieces(seen, [&](const iovec* pieces, int count) {
        return row_vmsplice(pipe.b, pieces, static_cast<std::size_t>(count), 0);
    });
    pipe.a.reset();
    seen.of("closed peer", [&] { return row_vmsplice(pipe.b, &piece, 1, 0); });
}

}  // namespace weft::test
