// All that moves bytes, while requests are interrupted, given up, cut short or fail: see
// support/kernel.hpp. Only streams through epoll meet nothing here, but in simulations
// (os/tcp_test.cpp).
#include "support/kernel.hpp"

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/scratch.hpp"
#include "support/tcp.hpp"

#include <weft/fiber.hpp>
#include <weft/io/connect.hpp>
#include <weft/io/directory.hpp>
#include <weft/io/file.hpp>
#include <weft/io/file_system.hpp>
#include <weft/io/pipe.hpp>
#include <weft/io/process.hpp>
#include <weft/io/send_file.hpp>
#include <weft/io/splice.hpp>
#include <weft/io/udp.hpp>
#include <weft/io/wait.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

using namespace weft::test;
using weft::Io;
using weft::io::Address;
using weft::io::ConstBuffer;
using weft::io::File;
using weft::io::MutableBuffer;
using weft::io::OpenMode;
using weft::io::Pipe;
using weft::io::TcpListener;
using weft::io::TcpStream;
using weft::io::UdpSocket;

namespace {

constexpr OpenMode fresh = OpenMode::read | OpenMode::write | OpenMode::create | OpenMode::truncate;

bool reaches_all(Io io) { return io == Io::epoll || nops_can_fail(); }

/// Runs `body` on all workers and drivers, on a bad day of each kind.
template <class Body>
void on_bad_days(Body&& body) {
    for (const Io io : available_io()) {
        for (const Mishap mishap : {Mishap::interrupted, Mishap::again, Mishap::cut}) {
            if (mishap != Mishap::cut && !reaches_all(io)) continue;
            INFO("io: " << name_of(io) << ", mishap: " << static_cast<int>(mishap));
            const Mishaps day{mishap};
            // Which of the threads' calls is the third is theirs to say: one that can be met, in
            // time.
            do {
                on_workers(body, io);
            } while (Mishaps::met() == 0);
        }
    }
}

}  // namespace

TEST_CASE("files are written, read, copied and sent whole on a bad day", "[os][file][mishap]") {
    const std::size_t before = open_fds();
    on_bad_days([] {
        const Scratch scratch;
        const auto data = pattern(200'000);
        auto file = File::open(scratch.path(), fresh);
        const ConstBuffer parts[] = {{data.data(), 7}, {data.data() + 7, data.size() - 7}};
        file.write_all(parts);
        file.write_all(std::span{data});
        REQUIRE(file.tell() == 2 * data.size());
        file.pwrite_all(std::span{data}, 2 * data.size());
        file.sync();

        auto copy = File::open(scratch.path("copy"), fresh);
        REQUIRE(file.copy_range(0, 3 * data.size(), copy, 0) == 3 * data.size());
        auto log = File::open(scratch.path("log"), OpenMode::append | OpenMode::create);
        REQUIRE(copy.copy_range(0, data.size(), log, 0) == data.size());
        log.write_all("end");
        REQUIRE(weft::io::read_file(scratch.path("log")).size() == data.size() + 3);

        std::vector<std::byte> got(3 * data.size() + 1);
        REQUIRE(copy.read_exactly(got) == 3 * data.size());
        for (std::size_t at = 0; at < 3 * data.size(); at += data.size()) {
            REQUIRE(std::equal(data.begin(), data.end(), got.begin() + static_cast<long>(at)));
        }
        auto [client, server] = connection();
        auto sent = weft::spawn([&file, &server = server, size = data.size()] {
            const auto count = send_file(server, file, 0, 10 * size);
            server.close();
            return count;
        });
        REQUIRE(client.read_exactly(got) == 3 * data.size());
        REQUIRE(sent.get() == 3 * data.size());

        weft::io::rename(scratch.path("copy"), scratch.path("moved"));
        file.truncate(10);
        REQUIRE(weft::io::status(scratch.path()).size == 10);
        REQUIRE(weft::io::list_directory(scratch.directory()).size() == 3);
    });
    REQUIRE(open_fds() == before);
}

TEST_CASE("streams carry everything on a bad day", "[os][tcp][mishap]") {
    on_bad_days([] {
        TcpListener listener{Address::loopback_v4(0)};
        const Address where[] = {listener.local_address()};
        auto connecting = weft::spawn([&] { return weft::io::connect(where); });
        auto server = listener.accept();
        auto client = connecting.get();
        const auto data = pattern(300'000);
        auto writer = weft::spawn([&] {
            const ConstBuffer parts[] = {{data.data(), 100'000}, {data.data() + 100'000, 200'000}};
            client.write_all(std::span{data});
            client.write_all(parts);
            client.close();
        });
        std::vector<std::byte> got(data.size());
        REQUIRE(server.read_exactly(got) == data.size());
        REQUIRE(got == data);
        got.clear();
        for (;;) {
            std::array<std::byte, 5000> room;
            const MutableBuffer both[] = {{room.data(), 2000}, {room.data() + 2000, 3000}};
            const auto lent = server.receive();
            got.insert(got.end(), lent.bytes().begin(), lent.bytes().end());
            const std::size_t some = server.read(both);
            got.insert(got.end(), room.begin(), room.begin() + static_cast<long>(some));
            if (some == 0) break;
        }
        REQUIRE(got == data);
        writer.get();
    });
}

TEST_CASE("pipes and splices lose nothing on a bad day", "[os][pipe][splice][mishap]") {
    on_bad_days([] {
        const Scratch scratch;
        const auto data = pattern(300'000);
        auto from = File::open(scratch.path(), fresh);
        from.write_all(std::span{data});
        Pipe first = Pipe::open();
        Pipe second = Pipe::open();
        auto feeding = weft::spawn([&] {
            for (std::size_t at = 0; at < data.size();) {
                at += splice(from, at, first.writer, data.size() - at);
            }
            first.writer.write_all(std::span{data});
            first.writer.close();
        });
        auto relaying = weft::spawn([&] {
            while (splice(first.reader, second.writer, data.size()) > 0) {
            }
            second.writer.close();
        });
        std::vector<std::byte> got(data.size());
        REQUIRE(second.reader.read_exactly(got) == data.size());
        REQUIRE(got == data);
        auto to = File::open(scratch.path("to"), fresh);
        while (splice(second.reader, to, data.size()) > 0) {
        }
        REQUIRE(to.pread_exactly(got, 0) == data.size());
        REQUIRE(got == data);
        feeding.get();
        relaying.get();
    });
}

TEST_CASE("datagrams come whole on a bad day", "[os][udp][mishap]") {
    on_bad_days([] {
        UdpSocket here{Address::loopback_v4(0)};
        UdpSocket there{Address::loopback_v4(0)};
        const Address to = there.local_address();
        std::array<std::byte, 4> memory[8];
        for (int round = 0; round < 20; ++round) {
            auto receiver = weft::spawn([&] { return there.receive_from(memory[0]); });
            here.send_to(bytes_of("one"), to);
            const auto one = receiver.get();
            REQUIRE(one.size == 3);
            REQUIRE(one.sender == here.local_address());

            const weft::io::OutgoingDatagram out[] = {
                {bytes_of("a"), &to}, {bytes_of("bb"), &to}, {bytes_of("ccc"), &to}};
            for (std::size_t sent = 0; sent < std::size(out);) {
                sent += here.send_many(std::span{out}.subspan(sent));
            }
            for (std::size_t size = 1; size <= std::size(out);) {
                weft::io::IncomingDatagram in[4];
                for (std::size_t i = 0; i < std::size(in); ++i) in[i].buffer = memory[i];
                const std::size_t count = there.receive_many(in);
                for (std::size_t i = 0; i < count; ++i) REQUIRE(in[i].received.size == size++);
            }
        }
    });
}

TEST_CASE("a process is told and tells everything on a bad day", "[os][process][mishap]") {
    const std::size_t before = open_fds();
    on_bad_days([] {
        const std::string text(300'000, 'x');
        const auto done = weft::io::run({"cat"}, {.input = text});
        REQUIRE(done.status.success());
        REQUIRE(done.output == text);
    });
    REQUIRE(open_fds() == before);
}

namespace {

struct Call {
    const char* name;
    bool by_syscall;  // through epoll, too
    std::function<void()> make;
};

/// Each fails with `error`, which says so, and what it was made on serves after it.
void each_call_fails(Io io, int error) {
    const Scratch scratch;
    auto file = File::open(scratch.path(), fresh);
    file.write_all("text");
    auto [client, server] = connection();
    TcpListener listener{Address::loopback_v4(0)};
    const Address where = listener.local_address();
    UdpSocket udp{Address::loopback_v4(0)};
    Pipe pipe = Pipe::open();
    Pipe other = Pipe::open();
    other.writer.write_all("x");
    std::array<std::byte, 8> room;
    weft::io::IncomingDatagram in[] = {{.buffer = room, .received = {}}};
    const ConstBuffer parts[] = {{"a", 1}, {"b", 1}};
    const Call calls[] = {
        {"File::open", false, [&] { File::open(scratch.path()); }},
        {"File::read", true, [&] { file.read(room); }},
        {"File::write_all", false, [&] { file.write_all("x"); }},
        {"File::sync", false, [&] { file.sync(); }},
        {"File::truncate", false, [&] { file.truncate(4); }},
        {"status", false, [&] { weft::io::status(scratch.path()); }},
        {"TcpStream::connect", false, [&] { TcpStream::connect(where); }},
        {"connect", false,
         [&] {
             weft::io::connect({&where, 1});
         }},
        {"accept", true, [&] { listener.accept(); }},
        {"read", false, [&, &client = client] { client.read(room); }},
        {"receive", false, [&client = client] { client.receive(); }},
        {"write_all", true, [&parts, &client = client] { client.write_all(parts); }},
        {"readable", false, [&] { (void)weft::io::wait_readable(pipe.reader.fd()); }},
        {"PipeReader::read", false, [&] { pipe.reader.read(room); }},
        {"PipeWriter::write", true, [&] { pipe.writer.write_all(bytes_of("x")); }},
        {"splice", true, [&] { splice(other.reader, pipe.writer, 1); }},
        {"receive_from", false, [&] { udp.receive_from(room); }},
        {"send_to", true, [&] { udp.send_to(bytes_of("x"), udp.local_address()); }},
        {"receive_many", true, [&] { udp.receive_many(in); }},
    };
    const std::size_t before = open_fds();
    for (const Call& call : calls) {
        if (io == Io::epoll && !call.by_syscall) continue;
        INFO(call.name);
        std::error_code code;
        {
            const Mishaps all{Mishap::failed, error};
            code = error_of(call.make);
        }
        REQUIRE(code == std::error_code(error, std::system_category()));
    }
    REQUIRE(open_fds() == before);
    REQUIRE(weft::io::read_file(scratch.path()) == "text");
    client.write_all("still there");
    REQUIRE(read_text(server) == "still there");
    splice(other.reader, pipe.writer, 1);
    REQUIRE(pipe.reader.read(room) == 1);
}

}  // namespace

TEST_CASE("errors that nobody knows reach who called, and harm nothing", "[os][mishap]") {
    for (const Io io : available_io()) {
        if (!reaches_all(io)) continue;
        INFO("io: " << name_of(io));
        // ERESTARTSYS, which the kernel keeps to itself, and what is no error's number.
        for (const int error : {512, 4000}) {
            // Its text lies in memory that glibc keeps for the thread, whose fibers TSan tells
            // apart.
            if (under_tsan) continue;
            on_workers([=] { each_call_fails(io, error); }, io);
        }
    }
}
