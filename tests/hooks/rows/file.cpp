// The rows of opening, closing, locking and syncing.
#include "hooks/rows/rows.hpp"
#include "support/scratch.hpp"

#include <aio.h>
#include <sys/file.h>
#include <sys/mman.h>

#include <array>
#include <cstring>

namespace weft::test {

namespace {

Fd file_of(const Scratch& scratch, int flags = O_RDWR) {
    return Fd{::open(scratch.path().c_str(), flags | O_CREAT, 0600)};
}

/// As `call(path, flags)`, without a mode.
template <class Call>
void opens(Seen& seen, Call&& call) {
    const HalfMapped memory;
    const Scratch scratch;
    const auto open = [&](const char* path, int flags) { return opened(call(path, flags)); };
    file_of(scratch);
    seen.of("there", [&] { return open(scratch.path().c_str(), O_RDWR); });
    seen.of("nowhere", [&] { return open("/nonexistent/weft", O_RDONLY); });
    seen.of("no name", [&] { return open("", O_RDONLY); });
    seen.of("a directory", [&] { return open("/", O_WRONLY); });
    seen.of("none", [&] { return open(scratch.path().c_str(), O_RDONLY | O_DIRECTORY); });
    seen.of("too long", [&] { return open(std::string(5000, 'x').c_str(), O_RDONLY); });
    if (may_be_bad) seen.of("EFAULT", [&] { return open(memory.bad<char>(), O_RDONLY); });
}

/// As `call(path, flags, mode)`.
template <class Call>
void opens_and_makes(Seen& seen, Call&& call) {
    opens(seen, [&](const char* path, int flags) { return call(path, flags, mode_t{0}); });
    const Scratch scratch;
    const int make = O_RDWR | O_CREAT | O_EXCL;
    seen.of("made", [&] { return opened(call(scratch.path().c_str(), make, mode_t{0640})); });
    seen.of("again", [&] { return opened(call(scratch.path().c_str(), make, mode_t{0640})); });
    struct stat status {};
    ::stat(scratch.path().c_str(), &status);
    seen.note("mode", status.st_mode & 0777);
}

/// As `call(directory, path, flags)`.
template <class Call>
void opens_in(Seen& seen, Call&& call) {
    opens(seen, [&](const char* path, int flags) { return call(AT_FDCWD, path, flags); });
    const Fd root{::open("/", O_PATH)};
    const Scratch scratch;
    const Fd file = file_of(scratch);
    seen.of("in a directory", [&] { return opened(call(root, "etc/passwd", O_RDONLY)); });
    seen.of("in a file", [&] { return opened(call(file, "etc", O_RDONLY)); });
    seen.of("in none", [&] { return opened(call(-1, "etc", O_RDONLY)); });
}

template <class Call>
void creates(Seen& seen, Call&& call) {
    opens_and_makes(seen, [&](const char* path, int, mode_t mode) { return call(path, mode); });
}

/// What brings a file to its disk.
template <class Call>
void syncs(Seen& seen, Call&& call) {
    with_bad_fds(seen, call);
    const Scratch scratch;
    const Fd file = file_of(scratch);
    put(file);
    seen.of("file", [&] { return call(file); });
    const Pair pipe = pipe_ends();
    seen.of("pipe", [&] { return call(pipe.b); });
}

template <class Call>
void locks_part(Seen& seen, Call&& call) {
    with_bad_fds(seen, [&](int fd) { return call(fd, F_TEST, 1); });
    const Scratch scratch;
    const Fd file = file_of(scratch);
    for (const int command : {F_TEST, F_LOCK, F_TLOCK, F_ULOCK, 77}) {
        seen.of(std::to_string(command), [&] { return call(file, command, 10); });
    }
    seen.of("to the end", [&] { return call(file, F_LOCK, 0); });
    seen.of("before the beginning", [&] { return call(file, F_LOCK, -10); });
    const Fd read_only = file_of(scratch, O_RDONLY);
    seen.of("O_RDONLY", [&] { return call(read_only, F_LOCK, 10); });
}

/// As `call(fd, command, argument)`.
template <class Call>
void controls(Seen& seen, Call&& call) {
    const HalfMapped memory;
    with_bad_fds(seen, [&](int fd) { return call(fd, F_GETFD, 0L); });
    const Scratch scratch;
    const Fd file = file_of(scratch);
    struct flock lock {};
    lock.l_type = F_WRLCK;
    for (const int command : {F_SETLK, F_SETLKW, F_GETLK}) {
        seen.of("lock", [&] { return call(file, command, reinterpret_cast<long>(&lock)); });
        if (!may_be_bad) continue;
        const auto bad = reinterpret_cast<long>(memory.bad());
        seen.of("EFAULT", [&] { return call(file, command, bad); });
    }
    lock.l_type = 77;
    seen.of("no lock", [&] { return call(file, F_SETLKW, reinterpret_cast<long>(&lock)); });
    seen.of("flags", [&] { return call(file, F_GETFL, 0L); });
    seen.of("dup", [&] { return opened(static_cast<int>(call(file, F_DUPFD_CLOEXEC, 0L))); });
    seen.of("dup -1", [&] { return call(file, F_DUPFD, -1L); });
    seen.of("none", [&] { return call(file, 7777, 0L); });
}

template <class Call>
void closes(Seen& seen, Call&& call) {
    seen.of("-1", [&] { return call(-1); });
    seen.of("closed", [&] { return call(987); });
    Fd open{::open("/dev/null", O_RDONLY)};
    seen.of("open", [&] { return call(open.release()); });
}

/// As `call(from, to)`.
template <class Call>
void duplicates(Seen& seen, Call&& call) {
    Pair pair = sockets();
    const Fd null{::open("/dev/null", O_RDWR)};
    seen.note("over another", call(null, pair.a) == pair.a);
    char data[4];
    seen.of("which was closed", [&] { return ::read(pair.b, data, 4); });
    seen.of("from -1", [&] { return call(-1, pair.b); });
    seen.of("from a closed one", [&] { return call(987, pair.b); });
    seen.of("to -1", [&] { return call(null, -1); });
    seen.of("to more than there may be", [&] { return call(null, 1 << 30); });
    seen.note("to itself", call(null, null) == null);
}

/// One read of POSIX's asynchronous I/O.
template <class Block>
struct Asynchronous {
    explicit Asynchronous(const Fd& fd) {
        block.aio_fildes = fd;
        block.aio_buf = data.data();
        block.aio_nbytes = data.size();
        block.aio_lio_opcode = LIO_READ;
    }
    std::array<char, 4> data{};
    Block block{};
};

/// As `call(list, count, timeout)`, after `read(block)` and until `error(block)` is none.
template <class Block, class Call, class Start>
void suspends(Seen& seen, Call&& call, Start&& start) {
    const Fd zero{::open("/dev/zero", O_RDONLY)};
    Asynchronous<Block> one{zero};
    const Block* const list[2] = {&one.block, nullptr};
    seen.of("started", [&] { return start(&one.block); });
    seen.of("done", [&] { return call(list, 2, nullptr); });
    const timespec wrong{0, -1};
    seen.of("done, wrong time", [&] { return call(list, 1, &wrong); });
    const Pair pipe = pipe_ends();
    Asynchronous<Block> late{pipe.a};
    const Block* const waiting[1] = {&late.block};
    const timespec brief{0, 1'000'000};
    seen.of("started", [&] { return start(&late.block); });
    seen.of("in vain", [&] { return call(waiting, 1, &brief); });
    put(pipe.b, "here");
    seen.of("comes", [&] { return call(waiting, 1, nullptr); });
}

/// As `call(mode, list, count, event)`.
template <class Block, class Call>
void lists(Seen& seen, Call&& call) {
    const Fd zero{::open("/dev/zero", O_RDONLY)};
    Asynchronous<Block> one{zero};
    Block* const list[2] = {&one.block, nullptr};
    seen.of("no mode", [&] { return call(77, list, 2, nullptr); });
    seen.of("waits", [&] { return call(LIO_WAIT, list, 2, nullptr); });
    seen.of("none", [&] { return call(LIO_WAIT, nullptr, 0, nullptr); });
    one.block.aio_fildes = -1;
    seen.of("bad fd", [&] { return call(LIO_WAIT, list, 1, nullptr); });
}

}  // namespace

#define WEFT_FILE_ROW(name, test)                                                 \
    WEFT_ROW(name) {                                                              \
        test(seen, [](auto&&... arguments) { return row_##name(arguments...); }); \
    }
WEFT_FILE_ROW(open, opens_and_makes)
WEFT_FILE_ROW(open64, opens_and_makes)
WEFT_FILE_ROW(__open, opens_and_makes)
WEFT_FILE_ROW(__open64, opens_and_makes)
WEFT_FILE_ROW(__open_2, opens)
WEFT_FILE_ROW(__open64_2, opens)
WEFT_FILE_ROW(__openat_2, opens_in)
WEFT_FILE_ROW(__openat64_2, opens_in)
WEFT_ROW(openat) {
    opens_in(seen, [](auto&&... arguments) { return row_openat(arguments..., 0); });
    opens_and_makes(seen, [](auto&&... arguments) { return row_openat(AT_FDCWD, arguments...); });
}
WEFT_ROW(openat64) {
    opens_in(seen, [](auto&&... arguments) { return row_openat64(arguments..., 0); });
    opens_and_makes(seen, [](auto&&... arguments) { return row_openat64(AT_FDCWD, arguments...); });
}
WEFT_FILE_ROW(creat, creates)
WEFT_FILE_ROW(creat64, creates)

WEFT_FILE_ROW(fsync, syncs)
WEFT_FILE_ROW(fdatasync, syncs)
WEFT_FILE_ROW(syncfs, syncs)
WEFT_ROW(sync) {
    row_sync();
    seen.note("came back", 1);
}
WEFT_ROW(msync) {
    const HalfMapped memory;
    char* const page = memory.end(4096);
    seen.of("mapped", [&] { return row_msync(page, 4096, MS_SYNC); });
    seen.of("not aligned", [&] { return row_msync(page + 1, 1, MS_SYNC); });
    seen.of("no flags", [&] { return row_msync(page, 4096, MS_SYNC | MS_ASYNC); });
    seen.of("nothing", [&] { return row_msync(page, 0, MS_SYNC); });
    seen.of("not mapped", [] { return row_msync(reinterpret_cast<void*>(4096), 4096, MS_SYNC); });
}
WEFT_FILE_ROW(tcdrain, syncs)
WEFT_ROW(tcsendbreak) {
    with_bad_fds(seen, [](int fd) { return row_tcsendbreak(fd, 0); });
}
WEFT_ROW(tcsetattr) {
    const termios settings{};
    for (const int when : {TCSANOW, TCSADRAIN, TCSAFLUSH, 77}) {
        with_bad_fds(seen, [&](int fd) { return row_tcsetattr(fd, when, &settings); });
    }
}

WEFT_ROW(flock) {
    with_bad_fds(seen, [](int fd) { return row_flock(fd, LOCK_UN); });
    const Scratch scratch;
    const Fd file = file_of(scratch);
    const Fd again = file_of(scratch);
    seen.of("exclusive", [&] { return row_flock(file, LOCK_EX); });
    seen.of("taken", [&] { return row_flock(again, LOCK_SH | LOCK_NB); });
    seen.of("no operation", [&] { return row_flock(file, 77); });
    seen.of("shared", [&] { return row_flock(file, LOCK_SH); });
    seen.of("by both", [&] { return row_flock(again, LOCK_SH); });
}
WEFT_FILE_ROW(lockf, locks_part)
WEFT_FILE_ROW(lockf64, locks_part)
WEFT_FILE_ROW(fcntl, controls)
WEFT_FILE_ROW(__fcntl, controls)
WEFT_FILE_ROW(fcntl64, controls)

WEFT_FILE_ROW(close, closes)
WEFT_FILE_ROW(__close, closes)
WEFT_FILE_ROW(dup2, duplicates)
WEFT_FILE_ROW(__dup2, duplicates)
WEFT_ROW(dup3) {
    duplicates(seen, [](int from, int to) { return row_dup3(from, to, O_CLOEXEC); });
    seen.of("flags", [] { return row_dup3(0, 1, 1); });
}

WEFT_ROW(aio_suspend) {
    suspends<aiocb>(
        seen, [](auto&&... arguments) { return row_aio_suspend(arguments...); }, &::aio_read);
}
WEFT_ROW(aio_suspend64) {
    suspends<aiocb64>(
        seen, [](auto&&... arguments) { return row_aio_suspend64(arguments...); }, &::aio_read64);
}
WEFT_ROW(lio_listio) {
    lists<aiocb>(seen, [](auto&&... arguments) { return row_lio_listio(arguments...); });
}
WEFT_ROW(lio_listio64) {
    lists<aiocb64>(seen, [](auto&&... arguments) { return row_lio_listio64(arguments...); });
}

}  // namespace weft::test
