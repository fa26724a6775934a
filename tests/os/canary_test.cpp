// No memory is touched once its owner has been told that the call is over.
//
// Method: fibers receive into their stacks and are told to go, by a deadline, a Timeout or a
// cancellation, at the very time that something arrives. What they received into is painted
// over then, and so is the stack below, where the call had what is its own (a message's head, an
// address, room for control data); only after that is it made sure that all has arrived.
#include "base/random.hpp"
#include "io/operation.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/fd.hpp"
#include "support/runtime.hpp"
#include "support/scratch.hpp"
#include "support/seed.hpp"
#include "support/tcp.hpp"

#include <weft/cancelled.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/io/file.hpp>
#include <weft/io/pipe.hpp>
#include <weft/io/udp.hpp>
#include <weft/io/unix.hpp>
#include <weft/this_fiber.hpp>
#include <weft/timeout.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sys/socket.h>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::Deadline;
using weft::detail::Cancellable;
using weft::detail::Operation;
using weft::detail::Random;
using weft::detail::Request;
using weft::io::Address;
using weft::io::File;
using weft::io::MutableBuffer;
using weft::io::OpenMode;

namespace {

constexpr std::byte paint{0xa5};
constexpr int rounds = under_sanitizer ? 40 : 150;

/// All that a call may be given to fill in.
struct Room {
    std::array<std::byte, 64> bytes;
    sockaddr_storage name;
    socklen_t name_size;
    iovec piece;
    msghdr message;
    alignas(cmsghdr) std::array<std::byte, 128> control;
};
static_assert(std::is_trivially_copyable_v<Room>);

bool is_painted(std::span<const std::byte> memory) {
    return std::ranges::all_of(memory, [](std::byte each) { return each == paint; });
}

std::span<std::byte> memory_of(Room& room) { return std::as_writable_bytes(std::span{&room, 1}); }

/// Whether what lies on the stack from here on keeps its paint while `wait()` waits.
template <class Wait>
[[gnu::noinline]] bool stays_untouched(Wait&& wait) {
    std::array<std::byte, 8192> below;
    below.fill(paint);
    asm volatile("" : : "r"(below.data()) : "memory");
    wait();
    asm volatile("" : : "r"(below.data()) : "memory");
    return is_painted(below);
}

/// A call that receives, and what makes it do so.
struct Kind {
    const char* name;
    std::function<void(Room&, Deadline)> receive;
    std::function<void()> send;
};

void perform_or_throw(const Request& request, Deadline deadline) {
    Operation operation{request};
    const int result =
        weft::detail::perform(operation, deadline, Cancellable::yes, "what a canary watches");
    if (result < 0) throw std::system_error(-result, std::system_category());
    if (request.code == Request::Code::accept) ::close(result);
}

/// What each is received from.
struct Sources {
    Connection stream = connection();
    Connection vectored = connection();
    std::pair<weft::io::UnixStream, weft::io::UnixStream> with_fds = weft::io::UnixStream::pair();
    Pair messages = sockets(SOCK_DGRAM);
    weft::io::Pipe pipe = weft::io::Pipe::open();
    weft::io::UdpSocket udp{Address::loopback_v4(0)};
    weft::io::TcpListener listener{Address::loopback_v4(0)};
    std::vector<weft::io::TcpStream> clients;
    const Scratch scratch;
    File file = File::open(scratch.path(), OpenMode::read | OpenMode::write | OpenMode::create);

    Sources() {
        file.write_all("what lies on the disk");
        file.sync();
    }

    std::vector<Kind> kinds() {
        return {
            {"read of a stream",
             [this](Room& room, Deadline d) { stream.client.read(room.bytes, d); },
             [this] { stream.server.write_all("x"); }},
            {"vectored read of a stream",
             [this](Room& room, Deadline d) {
                 const MutableBuffer two[] = {{room.bytes.data(), 1}, {room.bytes.data() + 1, 9}};
                 vectored.client.read(two, d);
             },
             [this] { vectored.server.write_all("x"); }},
            {"receive of descriptors",
             [this](Room& room, Deadline d) {
                 weft::io::OwnedFd fds[4];
                 with_fds.first.receive_with_fds(room.bytes, fds, d);
             },
             [this] {
                 const int fds[] = {0, 0};
                 with_fds.second.send_with_fds(bytes_of("x"), fds);
             }},
            {"recvmsg", [this](Room& room, Deadline d) { receive_message(room, d); },
             [this] { put(messages.b, "x"); }},
            {"read of a pipe", [this](Room& room, Deadline d) { pipe.reader.read(room.bytes, d); },
             [this] { pipe.writer.write_all(bytes_of("x")); }},
            {"datagram", [this](Room& room, Deadline d) { udp.receive_from(room.bytes, d); },
             [this] { udp.send_to(bytes_of("x"), udp.local_address()); }},
            {"accept", [this](Room& room, Deadline d) { accept(room, d); },
             [this] {
                 clients.clear();
                 clients.push_back(weft::io::TcpStream::connect(listener.local_address()));
             }},
            {"read of a file",
             [this](Room& room, Deadline d) {
                 file.advise(weft::io::Advice::dont_need);
                 file.pread(room.bytes, 0, d);
             },
             [] {}},
        };
    }

private:
    void receive_message(Room& room, Deadline deadline) {
        room.piece = {room.bytes.data(), room.bytes.size()};
        room.message = {};
        room.message.msg_name = &room.name;
        room.message.msg_namelen = sizeof room.name;
        room.message.msg_iov = &room.piece;
        room.message.msg_iovlen = 1;
        room.message.msg_control = room.control.data();
        room.message.msg_controllen = room.control.size();
        perform_or_throw(
            {.code = Request::Code::recvmsg, .fd = messages.a, .buffer = &room.message}, deadline);
    }
    void accept(Room& room, Deadline deadline) {
        room.name_size = sizeof room.name;
        perform_or_throw({.code = Request::Code::accept,
                          .fd = listener.fd(),
                          .buffer = &room.name,
                          .extra = &room.name_size},
                         deadline);
    }
};

enum class End { deadline, timeout, cancellation };

/// Whether something was received.
bool receives(const Kind& kind, Room& room, End end, std::chrono::microseconds patience) {
    try {
        std::optional<weft::Timeout> limit;
        if (end == End::timeout) limit.emplace(patience);
        kind.receive(room, end == End::deadline ? Deadline{patience} : Deadline::never());
        return true;
    } catch (const weft::TimedOut&) {
    } catch (const weft::Cancelled&) {
    } catch (const std::system_error& error) {
        if (!is(error.code(), std::errc::timed_out)) throw;
    }
    return false;
}

/// What became of one call.
struct Fate {
    bool received = false;
    bool untouched = false;
};

Fate race(const Kind& kind, End end, Random& random) {
    weft::Event begun;
    weft::Event sent;
    const std::chrono::microseconds patience{random.below(60)};
    auto receiver = weft::spawn([&] {
        Room room;
        begun.set();
        const bool received = receives(kind, room, end, patience);
        std::ranges::fill(memory_of(room), paint);
        const weft::this_fiber::Shield cancelled_perhaps;
        const bool untouched = stays_untouched([&] {
            sent.wait();
            const auto rest = std::make_unique<Room>();
            if (!received) kind.receive(*rest, Deadline::never());
        });
        return Fate{received, untouched && is_painted(memory_of(room))};
    });
    begun.wait();
    for (auto turns = random.below(4); turns > 0; --turns) weft::this_fiber::yield();
    const bool late = random.below(2) == 0;
    if (!late && end == End::cancellation) receiver.cancel();
    kind.send();
    if (late && end == End::cancellation) receiver.cancel();
    sent.set();
    return receiver.get();
}

}  // namespace

TEST_CASE("what arrives after a call is over touches nothing", "[os][cancel][deadline][canary]") {
    const std::uint64_t seed = weft::test::seed();
    INFO("WEFT_SEED=" << seed);
    int in_vain = 0;
    on_workers_and_io([&] {
        Random random{seed};
        Sources sources;
        for (const Kind& kind : sources.kinds()) {
            INFO(kind.name);
            for (int round = 0; round < rounds; ++round) {
                for (const End end : {End::deadline, End::timeout, End::cancellation}) {
                    const Fate outcome = race(kind, end, random);
                    REQUIRE(outcome.untouched);
                    in_vain += !outcome.received;
                }
            }
        }
    });
    REQUIRE(in_vain > 0);
}
