// Reads and writes of files, pipes, terminals and other descriptors in fibers, as libc's.
#include "hooks/conform.hpp"
#include "support/fd.hpp"
#include "support/scratch.hpp"
#include "support/terminal.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <climits>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

using namespace weft::test;

namespace {

/// Reads, writes and the like, of eight bytes.
void try_all(Seen& seen, const std::string& what, int fd) {
    std::array<char, 8> data{};
    const iovec pieces[2] = {{data.data(), 3}, {data.data() + 3, 5}};
    off_t offset = 0;
    seen.of(what + " read", [&] { return ::read(fd, data.data(), 8); });
    seen.note("which is", std::string{data.data(), 8});
    seen.of(what + " readv", [&] { return ::readv(fd, pieces, 2); });
    seen.of(what + " pread", [&] { return ::pread(fd, data.data(), 8, 2); });
    seen.of(what + " pread -1", [&] { return ::pread(fd, data.data(), 8, -1); });
    seen.of(what + " preadv", [&] { return ::preadv(fd, pieces, 2, 3); });
    seen.of(what + " preadv2", [&] { return ::preadv2(fd, pieces, 2, -1, 0); });
    seen.of(what + " preadv2 flags", [&] { return ::preadv2(fd, pieces, 2, 0, 1 << 20); });
    seen.of(what + " write", [&] { return ::write(fd, data.data(), 8); });
    seen.of(what + " writev", [&] { return ::writev(fd, pieces, 2); });
    seen.of(what + " pwrite", [&] { return ::pwrite(fd, data.data(), 8, 4); });
    seen.of(what + " pwritev", [&] { return ::pwritev(fd, pieces, 2, 5); });
    seen.of(what + " pwritev2", [&] { return ::pwritev2(fd, pieces, 2, -1, RWF_APPEND); });
    seen.of(what + " read 0", [&] { return ::read(fd, data.data(), 0); });
    seen.of(what + " write 0", [&] { return ::write(fd, data.data(), 0); });
    seen.of(what + " read huge", [&] { return ::read(fd, data.data(), SIZE_MAX); });
    seen.of(what + " write huge", [&] { return ::write(fd, data.data(), SIZE_MAX); });
    seen.of(what + " pread huge", [&] { return ::pread(fd, data.data(), SIZE_MAX, 0); });
    seen.of(what + " sendfile", [&] { return ::sendfile(fd, fd, &offset, 8); });
    seen.of(what + " splice", [&] { return ::splice(fd, nullptr, fd, nullptr, 8, 0); });
    seen.of(what + " tee", [&] { return ::tee(fd, fd, 8, 0); });
    seen.of(what + " fsync", [&] { return ::fsync(fd); });
    seen.of(what + " fdatasync", [&] { return ::fdatasync(fd); });
    seen.of(what + " position", [&] { return ::lseek(fd, 0, SEEK_CUR); });
    seen.of(what + " copy", [&] { return ::copy_file_range(fd, nullptr, -1, nullptr, 8, 0); });
    seen.of(what + " tcdrain", [&] { return ::tcdrain(fd); });
    seen.of(what + " flags", [&] { return ::fcntl(fd, F_GETFL); });
}

std::string whole(const std::string& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

Fd file_of(const std::string& path, std::string_view text, int flags = 0) {
    Fd fd{::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | flags, 0600)};
    put(fd, text);
    ::lseek(fd, 0, SEEK_SET);
    return fd;
}

TEST_CASE("transfers: descriptors of every kind answer as in libc", "[hooks][file]") {
    conforms([](Seen& seen) {
        const Scratch scratch;
        try_all(seen, "-1", -1);
        try_all(seen, "closed", 987);
        for (const char* path : {"/dev/null", "/dev/zero", "/", "/proc/self/status"}) {
            const Fd reading{::open(path, O_RDONLY)};
            try_all(seen, std::string{path} + " r", reading);
            const Fd writing{::open(path, O_WRONLY)};
            try_all(seen, std::string{path} + " w", writing);
        }
        const Fd full{::open("/dev/full", O_RDWR)};
        try_all(seen, "/dev/full", full);
        const Fd path{::open("/tmp", O_PATH)};
        try_all(seen, "O_PATH", path);
        const Fd file = file_of(scratch.path(), "0123456789abcdefghijklmnopqrstuvwxyz");
        try_all(seen, "file", file);
        seen.note("the file", whole(scratch.path()));
        const Fd appended = file_of(scratch.path("a"), "0123456789abcdefghij", O_APPEND);
        try_all(seen, "O_APPEND", appended);
        seen.note("the file", whole(scratch.path("a")));
        const Fd event{::eventfd(1, EFD_NONBLOCK)};
        try_all(seen, "eventfd", event);
        const Fd timer{::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)};
        try_all(seen, "timerfd", timer);
        sigset_t none;
        sigemptyset(&none);
        const Fd signals{::signalfd(-1, &none, SFD_NONBLOCK)};
        try_all(seen, "signalfd", signals);
        const Fd changes{::inotify_init1(IN_NONBLOCK)};
        try_all(seen, "inotify", changes);
    });
}

TEST_CASE("transfers: the ends of a file", "[hooks][file]") {
    conforms([](Seen& seen) {
        const Scratch scratch;
        const std::string text(300'000, 'x');
        const Fd file = file_of(scratch.path(), text);
        std::vector<char> data(500'000);
        const auto position = [&] { seen.note("stands at", ::lseek(file, 0, SEEK_CUR)); };
        // Also when nothing of it is at hand.
        for (const bool at_hand : {true, false}) {
            const auto forget = [&] {
                ::fsync(file);
                if (!at_hand) ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
            };
            ::lseek(file, 299'990, SEEK_SET);
            forget();
            seen.of("the last", [&] { return ::read(file, data.data(), 100); });
            position();
            seen.of("beyond", [&] { return ::read(file, data.data(), 100); });
            position();
            ::lseek(file, 0, SEEK_SET);
            forget();
            seen.of("more than all", [&] { return ::read(file, data.data(), data.size()); });
            position();
            forget();
            seen.of("pread", [&] { return ::pread(file, data.data(), data.size(), 100'000); });
            forget();
            iovec pieces[3] = {{data.data(), 100}, {nullptr, 0}, {data.data() + 100, 400'000}};
            seen.of("preadv", [&] { return ::preadv(file, pieces, 3, 1); });
            ::lseek(file, 7, SEEK_SET);
            forget();
            seen.of("readv", [&] { return ::readv(file, pieces, 3); });
            position();
            seen.note("right", std::string(data.data(), 299'993) == text.substr(7));
        }
        const Fd direct{::open(scratch.path().c_str(), O_RDONLY | O_DIRECT)};
        if (direct >= 0) {
            void* aligned = nullptr;
            REQUIRE(::posix_memalign(&aligned, 4096, 512 << 10) == 0);
            seen.of("O_DIRECT", [&] { return ::read(direct, aligned, 512 << 10); });
            seen.of("not aligned",
                    [&] { return ::read(direct, static_cast<char*>(aligned) + 1, 4096); });
            ::free(aligned);
        }
    });
}

TEST_CASE("transfers: bad buffers are EFAULT", "[hooks][file]") {
    if (!may_be_bad) return;
    conforms([](Seen& seen) {
        const Scratch scratch;
        const HalfMapped memory;
        const Fd file = file_of(scratch.path(), std::string(10'000, 'x'));
        const Pair pipe = pipe_ends();
        put(pipe.b, "hello");
        const Fd event{::eventfd(1, 0)};
        for (const int fd :
             {static_cast<int>(file), static_cast<int>(pipe.a), static_cast<int>(event)}) {
            seen.of("read", [&] { return ::read(fd, memory.bad(), 8); });
            seen.of("readv", [&] { return ::readv(fd, memory.bad<iovec>(), 2); });
            seen.of("pread", [&] { return ::pread(fd, memory.bad(), 8, 0); });
            seen.of("preadv", [&] { return ::preadv(fd, memory.bad<iovec>(), 2, 0); });
        }
        seen.of("half", [&] { return ::read(file, memory.end(10), 100); });
        for (const int fd :
             {static_cast<int>(file), static_cast<int>(pipe.b), static_cast<int>(event)}) {
            seen.of("write", [&] { return ::write(fd, memory.bad(), 8); });
            seen.of("writev", [&] { return ::writev(fd, memory.bad<iovec>(), 2); });
            seen.of("pwrite", [&] { return ::pwrite(fd, memory.bad(), 8, 0); });
            seen.of("pwritev", [&] { return ::pwritev(fd, memory.bad<iovec>(), 2, 0); });
        }
        seen.of("open", [&] { return ::open(memory.bad<char>(), O_RDONLY); });
        seen.of("creat", [&] { return ::creat(memory.bad<char>(), 0600); });
        seen.of("lock", [&] { return ::fcntl(file, F_SETLKW, memory.bad()); });
        seen.of("splice",
                [&] { return ::splice(file, memory.bad<off_t>(), pipe.b, nullptr, 8, 0); });
        seen.of("sendfile", [&] { return ::sendfile(pipe.b, file, memory.bad<off_t>(), 8); });
    });
}

TEST_CASE("transfers: writers of one file do not write over each other", "[hooks][file]") {
    weft::hooks::patch_all();
    on_workers_and_io([] {
        const Scratch scratch;
        for (const int flags : {0, O_APPEND}) {
            const Fd file = file_of(scratch.path(), "", flags);
            std::vector<weft::Fiber<>> writers;
            for (int writer = 0; writer < 4; ++writer) {
                writers.push_back(weft::spawn([&file, writer] {
                    const std::string line(5000, static_cast<char>('a' + writer));
                    for (int i = 0; i < 10; ++i) {
                        CHECK(::write(file, line.data(), line.size()) == 5000);
                    }
                }));
            }
            weft::join_all(writers);
            const std::string text = whole(scratch.path());
            CHECK(text.size() == 4 * 10 * 5000);
            for (std::size_t at = 0; at < text.size(); at += 5000) {
                CHECK(text.find_first_not_of(text[at], at) >= std::min(at + 5000, text.size()));
            }
        }
    });
}

// On one worker, where who has begun a call is in it.
TEST_CASE("transfers: what waits for a thread goes to its own file, whoever closes the number",
          "[hooks][file]") {
    weft::hooks::patch_all();
    for (const auto io : available_io()) {
        weft::run(
            [] {
                const Scratch scratch;
                const std::string data(5000, 'x');
                for (int i = 0; i < 50; ++i) {
                    const int number = file_of(scratch.path("own"), "").release();
                    bool begun = false;
                    auto writer = weft::spawn([&] {
                        begun = true;
                        return ::write(number, data.data(), data.size());
                    });
                    while (!begun) weft::this_fiber::yield();
                    ::close(number);
                    const Fd other = file_of(scratch.path("other"), "");
                    CHECK(writer.get() == 5000);
                    CHECK(whole(scratch.path("other")).empty());
                    CHECK(whole(scratch.path("own")).size() == 5000);
                }
            },
            {.workers = 1, .io = io});
    }
}

TEST_CASE("transfers: who closes the last of a large file lets others run meanwhile",
          "[hooks][file]") {
    weft::hooks::patch_all();
    for (const auto io : available_io()) {
        weft::run(
            [] {
                const auto others_run_while_closing = [](std::size_t size) {
                    const int file = ::memfd_create("large", MFD_CLOEXEC);
                    const std::string data(size, 'x');
                    CHECK(::write(file, data.data(), size) == static_cast<ssize_t>(size));
                    std::atomic<bool> ran{false};
                    auto other = weft::spawn([&] { ran = true; });
                    CHECK(::close(file) == 0);
                    const bool ran_meanwhile = ran;
                    other.join();
                    return ran_meanwhile;
                };
                // The thread may be done before its fiber is about to wait, but not each time.
                while (!others_run_while_closing(4 << 20)) {
                }
                CHECK_FALSE(others_run_while_closing(4 << 10));
            },
            {.workers = 1, .io = io});
    }
}

TEST_CASE("transfers: pipes and FIFOs", "[hooks][file]") {
    conforms([](Seen& seen) {
        const Scratch scratch;
        Pair pipe = pipe_ends();
        std::array<char, 16> data{};
        {
            Beside other{[&] { put(pipe.b, "hello"); }};
            seen.of("read", [&] { return ::read(pipe.a, data.data(), 16); });
        }
        seen.of("wrong end", [&] { return ::write(pipe.a, "x", 1); });
        seen.of("wrong end", [&] { return ::read(pipe.b, data.data(), 1); });
        seen.of("at an offset", [&] { return ::pread(pipe.a, data.data(), 1, 0); });
        std::string got;
        const std::string much(1'000'000, 'y');
        {
            Beside reader{[&] {
                std::vector<char> some(70'000);
                for (long n; (n = ::read(pipe.a, some.data(), some.size())) > 0;) {
                    got.append(some.data(), static_cast<std::size_t>(n));
                }
            }};
            seen.of("write", [&] { return ::write(pipe.b, much.data(), much.size()); });
            iovec pieces[2] = {{const_cast<char*>(much.data()), 500'000},
                               {const_cast<char*>(much.data()), 7}};
            seen.of("writev", [&] { return ::writev(pipe.b, pieces, 2); });
            pipe.b.reset();
        }
        seen.note("got", static_cast<long>(got.size()));
        seen.of("the end", [&] { return ::read(pipe.a, data.data(), 16); });

        ::fcntl(pipe.a, F_SETFL, O_NONBLOCK);
        Pair other = pipe_ends(O_NONBLOCK);
        seen.of("O_NONBLOCK read", [&] { return ::read(other.a, data.data(), 16); });
        seen.of("O_NONBLOCK write", [&] { return ::write(other.b, much.data(), much.size()); });
        seen.of("O_NONBLOCK full", [&] { return ::write(other.b, "x", 1); });

        const std::string path = scratch.path("fifo");
        ::mkfifo(path.c_str(), 0600);
        seen.of("open without a reader",
                [&] { return ::open(path.c_str(), O_WRONLY | O_NONBLOCK); });
        Beside reader{[&] {
            const Fd end{::open(path.c_str(), O_RDONLY)};
            seen.note("read through it", ::read(end, data.data(), 16));
        }};
        const Fd end{::open(path.c_str(), O_WRONLY)};
        const long wrote = ::write(end, "abc", 3);
        reader.join();
        seen.note("wrote", wrote);
    });
}

/// Of `length` bytes each, until there is room for none.
void fill(int pipe, std::size_t length) {
    const std::string filling(length, '.');
    const int flags = ::fcntl(pipe, F_GETFL);
    ::fcntl(pipe, F_SETFL, flags | O_NONBLOCK);
    while (::write(pipe, filling.data(), length) > 0) {
    }
    ::fcntl(pipe, F_SETFL, flags);
}

std::vector<iovec> pieces_of(const std::string& text, std::size_t length) {
    std::vector<iovec> pieces;
    for (std::size_t at = 0; at < text.size(); at += length) {
        pieces.push_back({const_cast<char*>(text.data()) + at, std::min(length, text.size() - at)});
    }
    return pieces;
}

// Method: O_DIRECT makes a packet of each write, of each page of one that is longer, and so shows
// where it was torn.
TEST_CASE("transfers: a gathered write that waits for room in a pipe is one write",
          "[hooks][file]") {
    conforms([](Seen& seen) {
        for (const std::size_t length : {2UL, 3000UL}) {
            const Pair pipe = pipe_ends(O_DIRECT);
            fill(pipe.b, 1);
            const std::string text(4 * length, 'x');
            std::vector<long> packets;
            Beside reader{[&] {
                std::vector<char> room(text.size());
                for (std::size_t got = 0; got < text.size();) {
                    const long n = ::read(pipe.a, room.data(), room.size());
                    if (n <= 0) break;
                    if (n == 1) continue;  // of the filling
                    packets.push_back(n);
                    got += static_cast<std::size_t>(n);
                }
            }};
            const auto pieces = pieces_of(text, length);
            seen.of("writev", [&] { return ::writev(pipe.b, pieces.data(), 4); });
            reader.join();
            for (const long packet : packets) seen.note("packet", packet);
        }
    });
}

TEST_CASE("transfers: a gathered write longer than a pipe comes whole and in order",
          "[hooks][file]") {
    conforms([](Seen& seen) {
        std::string text;
        for (int i = 0; i < 30'000; ++i) text += std::to_string(i) + ' ';
        for (const std::size_t length : {4999UL, 70'000UL}) {
            const Pair pipe = pipe_ends();
            fill(pipe.b, 4096);
            std::string got;
            Beside reader{[&] {
                std::array<char, 3001> room{};
                while (!got.ends_with(text)) {
                    const long n = ::read(pipe.a, room.data(), room.size());
                    if (n <= 0) break;
                    got.append(room.data(), static_cast<std::size_t>(n));
                }
            }};
            auto pieces = pieces_of(text, length);
            pieces.insert(pieces.begin() + 1, {nullptr, 0});
            const int count = static_cast<int>(pieces.size());
            seen.of("writev", [&] { return ::writev(pipe.b, pieces.data(), count); });
            reader.join();
            seen.note("whole", got.ends_with(text));
        }
    });
}

Pair tcp_sockets() {
    sockaddr_in here{};
    here.sin_family = AF_INET;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof here;
    auto* const address = reinterpret_cast<sockaddr*>(&here);
    const Fd listener{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    REQUIRE(::bind(listener, address, size) == 0);
    REQUIRE(::listen(listener, 1) == 0);
    REQUIRE(::getsockname(listener, address, &size) == 0);
    Fd client{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    REQUIRE(::connect(client, address, size) == 0);
    return {Fd{::accept(listener, nullptr, nullptr)}, std::move(client)};
}

TEST_CASE("transfers: of a splice each end waits by its own O_NONBLOCK", "[hooks][file]") {
    conforms([](Seen& seen) {
        const Pair waits = tcp_sockets();
        const Pair of_unix = sockets();
        const Pair pipe_at_once = pipe_ends(O_NONBLOCK);
        const Pair at_once = sockets(SOCK_STREAM | SOCK_NONBLOCK);
        const Pair pipe_waits = pipe_ends();
        const auto move = [](int from, int to) {
            return ::splice(from, nullptr, to, nullptr, 16, 0);
        };
        {
            Beside other{[&] { put(waits.b, "hello"); }};
            seen.of("socket to O_NONBLOCK pipe", [&] { return move(waits.a, pipe_at_once.b); });
        }
        {
            Beside other{[&] { put(pipe_waits.b, "hello"); }};
            seen.of("pipe to O_NONBLOCK socket", [&] { return move(pipe_waits.a, at_once.a); });
        }
        seen.of("Unix socket to O_NONBLOCK pipe", [&] { return move(of_unix.a, pipe_at_once.b); });
        seen.of("O_NONBLOCK socket to pipe", [&] { return move(at_once.a, pipe_waits.b); });
        seen.of("O_NONBLOCK pipe to socket", [&] { return move(pipe_at_once.a, waits.a); });
        seen.of("empty O_NONBLOCK pipe to socket", [&] { return move(pipe_at_once.a, waits.a); });
        seen.of("closed", [&] { return move(waits.a, 987); });
    });
}

TEST_CASE("transfers: splice, tee and sendfile wait for both ends", "[hooks][file]") {
    conforms([](Seen& seen) {
        const Scratch scratch;
        const Fd file = file_of(scratch.path(), std::string(200'000, 'z'));
        const Pair one = pipe_ends();
        const Pair two = pipe_ends();
        const Pair pair = sockets();
        {
            Beside other{[&] { put(one.b, "hello"); }};
            seen.of("tee", [&] { return ::tee(one.a, two.b, 16, 0); });
            seen.of("splice", [&] { return ::splice(one.a, nullptr, two.b, nullptr, 16, 0); });
        }
        std::vector<char> data(300'000);
        seen.of("both", [&] { return ::read(two.a, data.data(), 16); });
        std::size_t got = 0;
        {
            Beside reader{[&] {
                while (got < 200'000) {
                    const long n = ::read(pair.b, data.data(), data.size());
                    if (n <= 0) break;
                    got += static_cast<std::size_t>(n);
                }
            }};
            off_t offset = 0;
            seen.of("sendfile", [&] { return ::sendfile(pair.a, file, &offset, 300'000); });
            seen.note("offset", offset);
        }
        seen.note("got", static_cast<long>(got));
    });
}

TEST_CASE("transfers: a write to a terminal or a FIFO waits for who reads it, on the same worker",
          "[hooks][file]") {
    conforms([](Seen& seen) {
        const std::string text(100'000, 'x');
        const auto goes_through = [&](const char* what, int from, int to) {
            std::atomic<std::size_t> got{0};
            {
                Beside reader{[&] {
                    std::array<char, 4096> piece{};
                    while (got < text.size()) {
                        const ssize_t n = ::read(to, piece.data(), piece.size());
                        if (n <= 0) return;
                        got += static_cast<std::size_t>(n);
                    }
                }};
                std::size_t put = 0;
                while (put < text.size()) {
                    const ssize_t n = ::write(from, text.data() + put, text.size() - put);
                    if (n <= 0) break;
                    put += static_cast<std::size_t>(n);
                }
                seen.note(what, static_cast<long>(put));
            }
            seen.note("got", static_cast<long>(got));
        };
        const weft::test::Terminal terminal;
        const int master = terminal.master;
        const int slave = terminal.slave;
        goes_through("terminal", slave, master);
        const Scratch scratch;
        REQUIRE(::mkfifo(scratch.path().c_str(), 0600) == 0);
        const Fd reader{::open(scratch.path().c_str(), O_RDWR)};
        const Fd writer{::open(scratch.path().c_str(), O_WRONLY)};
        goes_through("FIFO", writer, reader);
    });
}

TEST_CASE("transfers: reads of a terminal end by its time", "[hooks][file]") {
    conforms([](Seen& seen) {
        const weft::test::Terminal terminal;
        const int master = terminal.master;
        const int slave = terminal.slave;
        std::array<char, 16> data{};
        const auto read = [&] { return ::read(slave, data.data(), data.size()); };
        termios how{};
        REQUIRE(::tcgetattr(slave, &how) == 0);
        ::cfmakeraw(&how);
        const auto set = [&](cc_t least, cc_t tenths) {
            how.c_cc[VMIN] = least;
            how.c_cc[VTIME] = tenths;
            REQUIRE(::tcsetattr(slave, TCSANOW, &how) == 0);
        };
        set(0, 0);
        seen.of("at once", read);
        set(0, 1);
        seen.of("after a tenth of a second", read);
        set(3, 1);
        put(master, "ab");
        seen.of("between two", read);
        set(3, 0);
        put(master, "x");
        seen.of("one of three", [&] { return ::read(slave, data.data(), 1); });
        Beside typist{[&] {
            put(master, "c");
            put(master, "de");
        }};
        seen.of("three", read);
    });
}

TEST_CASE("transfers: terminals and events wait, and say what they have", "[hooks][file]") {
    conforms([](Seen& seen) {
        const weft::test::Terminal terminal;
        const int master = terminal.master;
        const int slave = terminal.slave;
        std::array<char, 32> data{};
        {
            Beside typist{[&] { put(master, "line\nrest"); }};
            const long n = seen.of("a line", [&] { return ::read(slave, data.data(), 32); });
            seen.note("which is", std::string{data.data(), static_cast<std::size_t>(n)});
        }
        seen.of("write", [&] { return ::write(slave, "out", 3); });

        const Fd event{::eventfd(0, 0)};
        eventfd_t value = 0;
        {
            Beside other{[&] { ::eventfd_write(event, 5); }};
            seen.of("eventfd_read", [&] { return ::eventfd_read(event, &value); });
        }
        seen.note("value", static_cast<long>(value));
        seen.of("eventfd_write", [&] { return ::eventfd_write(event, ~eventfd_t{1}); });
        {
            Beside other{[&] { ::eventfd_read(event, &value); }};
            seen.of("full", [&] { return ::eventfd_write(event, 9); });
        }
        seen.of("eventfd_write -1", [&] { return ::eventfd_write(event, ~eventfd_t{0}); });

        const Fd timer{::timerfd_create(CLOCK_MONOTONIC, 0)};
        const itimerspec soon{{0, 0}, {0, 1'000'000}};
        ::timerfd_settime(timer, 0, &soon, nullptr);
        std::uint64_t count = 0;
        seen.of("timerfd", [&] { return ::read(timer, &count, sizeof count); });
        seen.note("count", static_cast<long>(count));

        const Scratch scratch;
        const Fd changes{::inotify_init1(0)};
        ::inotify_add_watch(changes, scratch.directory().c_str(), IN_CREATE);
        Beside other{[&] { const Fd made{::creat(scratch.path().c_str(), 0600)}; }};
        alignas(inotify_event) std::array<char, 512> room{};
        seen.of("inotify", [&] { return ::read(changes, room.data(), room.size()); });
    });
}

TEST_CASE("transfers: locks wait for fibers and for processes", "[hooks][file]") {
    conforms([](Seen& seen) {
        const Scratch scratch;
        const Fd file = file_of(scratch.path(), "x");
        const Fd again{::open(scratch.path().c_str(), O_RDWR)};
        seen.of("flock", [&] { return ::flock(file, LOCK_EX); });
        seen.of("taken", [&] { return ::flock(again, LOCK_EX | LOCK_NB); });
        {
            Beside waiter{[&] { seen.of("waited", [&] { return ::flock(again, LOCK_EX); }); }};
            ::flock(file, LOCK_UN);
        }
        seen.of("bad", [&] { return ::flock(file, 77); });
        seen.of("bad fd", [&] { return ::flock(-1, LOCK_EX); });
        struct flock lock {};
        lock.l_type = F_WRLCK;
        seen.of("F_OFD_SETLKW", [&] { return ::fcntl(file, F_OFD_SETLKW, &lock); });
        {
            Beside waiter{[&] {
                struct flock mine {};
                mine.l_type = F_WRLCK;
                seen.of("waited", [&] { return ::fcntl(again, F_OFD_SETLKW, &mine); });
            }};
            lock.l_type = F_UNLCK;
            ::fcntl(file, F_OFD_SETLK, &lock);
        }
        lock.l_type = 99;
        seen.of("F_SETLKW", [&] { return ::fcntl(file, F_SETLKW, &lock); });
        // A child holds the record until it is told to end.
        const Pair ready = pipe_ends(O_CLOEXEC);
        const Pair end = pipe_ends(O_CLOEXEC);
        const pid_t child = ::fork();
        if (child == 0) {
            struct flock all {};
            all.l_type = F_WRLCK;
            ::fcntl(again, F_OFD_SETLK, &(all = {F_UNLCK, 0, 0, 0, 0}));
            all.l_type = F_WRLCK;
            ::fcntl(file, F_SETLKW, &all);
            char byte = 'x';
            (void)!::write(ready.b, &byte, 1);
            (void)!::read(end.a, &byte, 1);
            ::_exit(0);
        }
        char byte = 0;
        seen.of("child has it", [&] { return ::read(ready.a, &byte, 1); });
        seen.of("tried", [&] { return ::lockf(file, F_TLOCK, 1); });
        {
            Beside teller{[&] { put(end.b, "x"); }};
            seen.of("lockf", [&] { return ::lockf(file, F_LOCK, 1); });
        }
        ::waitpid(child, nullptr, 0);
    });
}

TEST_CASE("transfers: a close in another fiber ends what waits with EBADF", "[hooks][file]") {
    weft::hooks::patch_all();
    on_workers_and_io([] {
        for (int round = 0; round < 50; ++round) {
            Pair pair = sockets();
            Pair pipe = pipe_ends();
            int errors[3] = {0, 0, 0};
            auto reader = weft::spawn([&, fd = static_cast<int>(pair.a)] {
                char data[8];
                errors[0] = ::read(fd, data, 8) < 0 ? errno : 0;
            });
            auto piped = weft::spawn([&, fd = static_cast<int>(pipe.a)] {
                char data[8];
                errors[1] = ::read(fd, data, 8) < 0 ? errno : 0;
            });
            auto poller = weft::spawn([&, fd = static_cast<int>(pair.a)] {
                pollfd one{fd, POLLIN, 0};
                errors[2] = ::poll(&one, 1, -1) == 1 ? one.revents : -1;
            });
            for (int i = 0; i < round % 5; ++i) weft::this_fiber::yield();
            pair.a.reset();
            pipe.a.reset();
            reader.join();
            piped.join();
            poller.join();
            CHECK(errors[0] == EBADF);
            CHECK(errors[1] == EBADF);
            CHECK(errors[2] == POLLNVAL);
        }
    });
}

TEST_CASE("transfers: dup2() over what is waited for ends that; a failed one does not",
          "[hooks][file]") {
    weft::hooks::patch_all();
    on_workers_and_io([] {
        Pair pair = sockets();
        const Pair other = sockets();
        int error = 0;
        auto reader = weft::spawn([&] {
            char byte = 0;
            const long n = ::read(pair.a, &byte, 1);
            error = n < 0 ? errno : byte;
        });
        weft::this_fiber::yield();
        CHECK(::dup2(987, pair.a) == -1);
        CHECK(errno == EBADF);
        CHECK(::dup3(other.a, pair.a, 1) == -1);
        CHECK(errno == EINVAL);
        put(pair.b, "k");
        reader.join();
        CHECK(error == 'k');
        put(other.b, "n");
        auto second = weft::spawn([&] {
            char byte = 0;
            const long n = ::read(pair.a, &byte, 1);
            error = n < 0 ? errno : byte;
        });
        weft::this_fiber::yield();
        CHECK(::dup2(other.a, pair.a) == pair.a);
        second.join();
        const bool ended_or_new = error == EBADF || error == 'n';
        CHECK(ended_or_new);
    });
}

}  // namespace
