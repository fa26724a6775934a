#include "support/catch.hpp"
#include "support/fd.hpp"
#include "support/namespaces.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/tcp.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/io/udp.hpp>

#include <array>
#include <functional>
#include <thread>

#include <netinet/in.h>
#include <sys/socket.h>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::Deadline;
using weft::io::Address;
using weft::io::IncomingDatagram;
using weft::io::interface_index;
using weft::io::OutgoingDatagram;
using weft::io::ReceivedFrom;
using weft::io::UdpSocket;

namespace {

struct Two {
    UdpSocket a{Address::loopback_v4(0)};
    UdpSocket b{Address::loopback_v4(0)};
};

std::string receive_text(UdpSocket& socket, Deadline deadline = Deadline::never()) {
    std::string text(100, '\0');
    text.resize(socket.receive(std::as_writable_bytes(std::span{text}), deadline).size);
    return text;
}

Address nobody() { return UdpSocket{Address::loopback_v4(0)}.local_address(); }

/// Every call that waits until there is a datagram.
std::vector<std::function<void(UdpSocket&, Deadline)>> receives() {
    return {
        [](UdpSocket& socket, Deadline d) { receive_text(socket, d); },
        [](UdpSocket& socket, Deadline d) {
            std::array<std::byte, 10> buffer;
            socket.receive_from(buffer, d);
        },
        [](UdpSocket& socket, Deadline d) {
            std::array<std::byte, 10> buffer;
            IncomingDatagram one[] = {{.buffer = buffer}};
            socket.receive_many(one, d);
        },
    };
}

/// A socket bound to all addresses, and at which of them it is asked.
struct Asked {
    Address server;
    Address at;
    Address told;  ///< what the server is told
};

std::vector<Asked> asked() {
    const Address second{"127.0.0.2", 0};
    const Address six = Address::loopback_v6(0);
    return {{.server = Address::any_v4(0), .at = second, .told = second},
            {.server = Address::any_v6(0), .at = second, .told = Address{"::ffff:127.0.0.2", 0}},
            {.server = Address::any_v6(0), .at = six, .told = six}};
}

struct Meeting {
    explicit Meeting(const Asked& asked)
        : server{asked.server},
          client{UdpSocket::connected({asked.at.host(), server.local_address().port()})} {}

    UdpSocket server;
    UdpSocket client;
};

/// Two on the ends of a wire have joined a group, that at the near one is sent to. What one does
/// not get is known by what it gets next.
void send_along_wire(Expectations& all) {
    UdpSocket near{Address{"ff02::77:1%near", 0}};
    const auto port = near.local_address().port();
    UdpSocket far{Address{"ff02::77:1%far", port}};
    near.join(near.local_address());
    far.join(far.local_address());
    UdpSocket sender{Address::any_v6(0)};
    sender.multicast_interface(interface_index("near"));
    const auto send = [&](std::string_view text) {
        sender.send_to(bytes_of(text), Address{"ff02::77:1", port});
    };
    const auto expect = [&](UdpSocket& socket, const std::string& text) {
        const std::string got = receive_text(socket);
        all.expect(got == text, "\"" + text + "\" is received, not \"" + got + '"');
    };
    send("both");
    expect(near, "both");
    expect(far, "both");
    sender.multicast_loop(false);
    send("the far one");
    expect(far, "the far one");
    sender.multicast_loop(true);
    sender.multicast_hops(0);
    send("the near one");
    expect(near, "the near one");
    near.leave(near.local_address());
    sender.multicast_hops(-1);
    send("who has not left");
    expect(far, "who has not left");
    near.join(near.local_address());
    send("both again");
    expect(near, "both again");
    expect(far, "both again");
    sender.multicast_interface(interface_index("far"));
    send("by the far end");
    expect(near, "by the far end");
    expect(far, "by the far end");
}

/// Asked by a group, the far end answers; the near one thanks from where it got that. All are
/// addresses that mean nothing without an interface.
void answer_along_wire(Expectations& all) {
    const Address group{"ff02::77:2%far", 0};
    UdpSocket far{Address::any_v6(0)};
    UdpSocket near{Address::any_v6(0)};
    for (auto* socket : {&far, &near}) socket->tell_destination(true);
    far.join(group);
    near.multicast_interface(interface_index("near"));
    std::array<std::byte, 10> buffer;
    near.send_to(bytes_of("who?"), Address{"ff02::77:2", far.local_address().port()});
    const auto question = far.receive_from(buffer);
    all.expect(question.destination == group,
               "the group is told, not " + question.destination.to_string());
    all.expect(question.interface == interface_index("far"), "it came by the far end");
    far.send_to(bytes_of("I"), question.sender);
    const auto answer = near.receive_from(buffer);
    all.expect(answer.interface == interface_index("near"), "the answer came by the near end");
    near.send_from(bytes_of("thanks"), answer.destination, answer.sender);
    const auto thanks = far.receive_from(buffer);
    all.expect(thanks.sender == question.sender, "thanks come from " + question.sender.to_string() +
                                                     ", not " + thanks.sender.to_string());
}

const Child child_with_wire{
    "wire", [] {
        if (!enter_namespaces(CLONE_NEWNET) || !bring_loopback_up() || !Wire::lay("near", "far")) {
            return not_permitted;
        }
        Expectations all;
        for (const weft::Io io : available_io()) {
            weft::run(
                [&] {
                    send_along_wire(all);
                    answer_along_wire(all);
                },
                {.workers = 2, .io = io});
        }
        return all.wrong();
    }};

}  // namespace

TEST_CASE("a datagram comes whole, and from whom it is", "[os][udp]") {
    on_all_io([] {
        for (const auto& here : {Address::loopback_v4(0), Address::loopback_v6(0)}) {
            UdpSocket a{here};
            UdpSocket b{here};
            a.send_to(bytes_of("ping"), b.local_address());
            a.send_to({}, b.local_address());
            std::array<std::byte, 100> buffer;
            auto got = b.receive_from(buffer);
            REQUIRE(got.size == 4);
            REQUIRE_FALSE(got.truncated);
            REQUIRE(got.sender == a.local_address());
            got = b.receive_from(buffer);  // an empty one is one, too
            REQUIRE(got.size == 0);
            REQUIRE_FALSE(got.truncated);
            b.send_to(bytes_of("pong"), got.sender);
            REQUIRE(receive_text(a) == "pong");
        }
    });
}

TEST_CASE("a receiver waits for a datagram", "[os][udp]") {
    on_all_io([] {
        Two two;
        auto receiving = waiting([&] { return receive_text(two.a); });
        two.b.send_to(bytes_of("at last"), two.a.local_address());
        REQUIRE(receiving.get() == "at last");
    });
}

TEST_CASE("what is longer than the buffer is cut off, and said to be", "[os][udp]") {
    on_all_io([] {
        Two two;
        for (const std::string_view text : {"longer", "four", "next"}) {
            two.a.send_to(bytes_of(text), two.b.local_address());
        }
        std::array<std::byte, 4> buffer;
        auto got = two.b.receive(buffer);
        REQUIRE(got.size == 4);
        REQUIRE(got.truncated);
        got = two.b.receive(buffer);
        REQUIRE(got.size == 4);
        REQUIRE_FALSE(got.truncated);
        REQUIRE(two.b.receive({}).truncated);
    });
}

TEST_CASE("a connected socket hears its peer alone", "[os][udp]") {
    on_all_io([] {
        Two two;
        UdpSocket stranger{Address::loopback_v4(0)};
        two.a.connect(two.b.local_address());
        REQUIRE(two.a.peer_address() == two.b.local_address());
        stranger.send_to(bytes_of("not heard"), two.a.local_address());
        two.b.send_to(bytes_of("heard"), two.a.local_address());
        REQUIRE(receive_text(two.a) == "heard");
        two.a.send(bytes_of("back"));
        REQUIRE(receive_text(two.b) == "back");

        two.a.disconnect();
        REQUIRE(is(error_of([&] { two.a.peer_address(); }), std::errc::not_connected));
        REQUIRE(is(error_of([&] { two.a.send(bytes_of("to nobody")); }),
                   std::errc::destination_address_required));
        two.a.send_to(bytes_of("hello"), stranger.local_address());
        stranger.send_to(bytes_of("now heard"), two.a.local_address());
        REQUIRE(receive_text(two.a) == "now heard");
    });
}

TEST_CASE("a connected socket is told that nobody listens", "[os][udp]") {
    on_workers_and_io([] {
        auto socket = UdpSocket::connected(nobody());
        socket.send(bytes_of("anybody?"));
        REQUIRE(is(error_of([&] { receive_text(socket, 10s); }), std::errc::connection_refused));
        socket.send(bytes_of("anybody?"));
        REQUIRE(is(error_of([&] { socket.send(bytes_of("anybody?")); }),
                   std::errc::connection_refused));
        auto reading = waiting([&] { return error_of([&] { receives()[2](socket, 10s); }); });
        socket.send(bytes_of("anybody?"));
        REQUIRE(is(reading.get(), std::errc::connection_refused));
    });
}

TEST_CASE("errors of datagrams name the address", "[os][udp]") {
    on_workers_and_io([] {
        UdpSocket socket{Address::loopback_v4(0)};
        const Address to = nobody();
        try {
            socket.send_to(std::vector<std::byte>(70'000), to);
            FAIL("sent");
        } catch (const std::system_error& error) {
            REQUIRE(is(error.code(), std::errc::message_size));
            REQUIRE(std::string{error.what()}.find(to.to_string()) != std::string::npos);
        }
        try {
            UdpSocket{socket.local_address()};
            FAIL("bound twice");
        } catch (const std::system_error& error) {
            REQUIRE(is(error.code(), std::errc::address_in_use));
            REQUIRE(std::string{error.what()}.find(socket.local_address().to_string()) !=
                    std::string::npos);
        }
    });
}

TEST_CASE("several datagrams go out and come in at once, in order", "[os][udp]") {
    on_all_io([] {
        Two two;
        const Address to = two.b.local_address();
        constexpr std::size_t count = 70;
        std::vector<OutgoingDatagram> out;
        const auto data = pattern(count);
        for (std::size_t i = 0; i < count; ++i) {
            out.push_back({.data = std::span{data}.subspan(i), .to = &to});
        }
        std::size_t sent = 0;
        while (sent < count) {
            const std::size_t some = two.a.send_many(std::span{out}.subspan(sent));
            REQUIRE(some > 0);
            REQUIRE(some <= 32);
            sent += some;
        }
        std::vector<std::array<std::byte, 60>> buffers(count);
        std::vector<IncomingDatagram> in;
        for (auto& buffer : buffers) in.push_back({.buffer = buffer});
        std::size_t got = 0;
        while (got < count) {
            const std::size_t some = two.b.receive_many(std::span{in}.subspan(got));
            REQUIRE(some > 0);
            REQUIRE(some <= 32);
            got += some;
        }
        for (std::size_t i = 0; i < count; ++i) {
            const auto& received = in[i].received;
            REQUIRE(received.size == std::min<std::size_t>(60, count - i));
            REQUIRE(received.truncated == (count - i > 60));
            REQUIRE(received.sender == two.a.local_address());
            REQUIRE(buffers[i][0] == data[i]);
        }
        REQUIRE(two.a.send_many({}) == 0);
        REQUIRE(two.b.receive_many({}) == 0);
    });
}

TEST_CASE("a datagram tells where it was sent to, if asked", "[os][udp][destination]") {
    on_all_io([] {
        for (const Asked& each : asked()) {
            Meeting two{each};
            two.server.tell_destination(true);
            const auto is_told = [&](const ReceivedFrom& got) {
                return got.destination == each.told && got.interface == interface_index("lo");
            };
            std::array<std::byte, 4> buffers[2];
            auto receiving = waiting([&] { return two.server.receive_from(buffers[0]); });
            two.client.send(bytes_of("four"));
            auto got = receiving.get();
            REQUIRE_FALSE(got.truncated);
            REQUIRE(is_told(got));
            two.client.send(bytes_of("longer"));
            got = two.server.receive_from(buffers[0]);
            REQUIRE(got.truncated);
            REQUIRE(is_told(got));

            const auto passed = Deadline::Clock::now();
            REQUIRE(is(error_of([&] { two.server.receive_from(buffers[0], passed); }),
                       std::errc::timed_out));
            for (int i = 0; i < 2; ++i) two.client.send(bytes_of("many"));
            IncomingDatagram in[] = {{.buffer = buffers[0]}, {.buffer = buffers[1]}};
            std::size_t count = 0;
            while (count < 2) count += two.server.receive_many(std::span{in}.subspan(count));
            for (const auto& datagram : in) REQUIRE(is_told(datagram.received));
        }
    });
}

TEST_CASE("an answer comes from the address that was asked", "[os][udp][destination]") {
    on_all_io([] {
        for (const Asked& each : asked()) {
            Meeting two{each};
            two.server.tell_destination(true);
            two.client.send(bytes_of("who?"));
            std::array<std::byte, 4> buffer;
            const auto got = two.server.receive_from(buffer);
            // It comes from 127.0.0.1, which is not the client's peer.
            if (!each.at.is_v6()) two.server.send_to(bytes_of("not heard"), got.sender);
            two.server.send_from(bytes_of("heard"), got.destination, got.sender);
            REQUIRE(receive_text(two.client) == "heard");
            const OutgoingDatagram one[] = {
                {.data = bytes_of("one"), .to = &got.sender, .from = &got.destination}};
            REQUIRE(two.server.send_many(one) == 1);
            REQUIRE(receive_text(two.client) == "one");
        }
    });
}

TEST_CASE("who does not ask is told no destination, and may answer all the same",
          "[os][udp][destination]") {
    on_workers_and_io([] {
        for (const Asked& each : asked()) {
            UdpSocket server{each.server};
            const Address at{each.at.host(), server.local_address().port()};
            UdpSocket client{each.at.is_v6() ? Address::loopback_v6(0) : Address::loopback_v4(0)};
            for (const bool asked_once : {false, true}) {
                if (asked_once) server.tell_destination(true);
                server.tell_destination(false);
                client.send_to(bytes_of("who?"), at);
                std::array<std::byte, 10> buffer;
                const auto got = server.receive_from(buffer);
                REQUIRE(got.sender.port() == client.local_address().port());
                REQUIRE(got.destination == Address{});
                REQUIRE(got.interface == 0);
                server.send_from(bytes_of("answer"), got.destination, got.sender);
                REQUIRE(client.receive_from(buffer).sender.host() == client.local_address().host());
            }
        }
    });
}

TEST_CASE("a datagram is sent from this machine's addresses alone", "[os][udp][destination]") {
    on_workers_and_io([] {
        UdpSocket four{Address::any_v4(0)};
        UdpSocket six{Address::any_v6(0)};
        const auto refused = [](UdpSocket& socket, const char* from, const char* to) {
            const Address source{from, 0};
            const Address target{to, socket.local_address().port()};
            try {
                socket.send_from(bytes_of("forged"), source, target);
            } catch (const std::system_error& error) {
                INFO(error.what());
                const std::string what = error.what();
                REQUIRE(what.find(from) != std::string::npos);
                REQUIRE(what.find(target.to_string()) != std::string::npos);
                return is(error.code(), std::errc::invalid_argument) ||
                       is(error.code(), std::errc::network_unreachable);
            }
            return false;
        };
        for (const char* from : {"192.0.2.1", "239.255.77.1", "::1", "::ffff:192.0.2.1"}) {
            REQUIRE(refused(four, from, "127.0.0.1"));
            REQUIRE(refused(six, from, "::ffff:127.0.0.1"));
        }
        for (const char* from : {"2001:db8::1", "ff02::1", "127.0.0.1", "::ffff:127.0.0.1"}) {
            REQUIRE(refused(six, from, "::1"));
        }
        for (auto* socket : {&four, &six}) {
            REQUIRE(is(error_of([&] { receive_text(*socket, 0ms); }), std::errc::timed_out));
        }
    });
}

TEST_CASE("a receive of many waits for the first alone", "[os][udp]") {
    on_all_io([] {
        Two two;
        two.a.connect(two.b.local_address());
        std::array<std::byte, 10> buffers[2];
        IncomingDatagram in[] = {{.buffer = buffers[0]}, {.buffer = buffers[1]}};
        auto receiving = waiting([&] { return two.b.receive_many(in); });
        const OutgoingDatagram one[] = {{.data = bytes_of("one")}};
        REQUIRE(two.a.send_many(one) == 1);
        REQUIRE(receiving.get() == 1);
        REQUIRE(in[0].received.size == 3);
    });
}

// On the loopback interface nothing is ever full, so with Unix sockets.
TEST_CASE("a send waits until there is room", "[os][udp]") {
    on_all_io([] {
        Pair pair = sockets(SOCK_DGRAM);
        UdpSocket socket{pair.a.release()};
        const std::vector<std::byte> data(1000);
        const OutgoingDatagram one[] = {{.data = data}};
        const auto at_once = Deadline::Clock::time_point{};
        std::error_code error;
        while (!error) error = error_of([&] { socket.send(data, at_once); });
        REQUIRE(is(error, std::errc::timed_out));
        REQUIRE(is(error_of([&] { socket.send_many(one, at_once); }), std::errc::timed_out));

        auto cancelled = waiting([&] { socket.send(data); });
        cancelled.cancel();
        REQUIRE_THROWS_AS(cancelled.get(), weft::Cancelled);
        auto single = waiting([&] { socket.send(data); });
        auto several = waiting([&] { REQUIRE(socket.send_many(one) == 1); });
        std::array<std::byte, 1000> buffer;
        while (!single.done() || !several.done()) {
            ::recv(pair.b, buffer.data(), buffer.size(), MSG_DONTWAIT);
            weft::this_fiber::yield();
        }
        single.get();
        several.get();

        while (!is(error_of([&] { socket.send(data, at_once); }), std::errc::timed_out)) {
        }
        auto closed = waiting([&] { return error_of([&] { socket.send(data); }); });
        socket.close();
        REQUIRE(is(closed.get(), std::errc::bad_file_descriptor));
    });
}

TEST_CASE("every receive gives up at its deadline", "[os][udp][deadline]") {
    on_workers_and_io([] {
        Two two;
        for (const auto& receive : receives()) {
            const auto begin = Deadline::Clock::now();
            REQUIRE(is(error_of([&] { receive(two.a, begin + 5ms); }), std::errc::timed_out));
            REQUIRE(Deadline::Clock::now() >= begin + 5ms);
            two.b.send_to(bytes_of("there"), two.a.local_address());
            receive(two.a, begin);  // what is there beats a deadline that has passed
        }
    });
}

TEST_CASE("every receive ends when its fiber is cancelled, or the socket closed",
          "[os][udp][cancel][close]") {
    on_all_io([] {
        for (const auto& receive : receives()) {
            Two two;
            auto cancelled = waiting([&] { receive(two.a, Deadline::never()); });
            auto closed =
                waiting([&] { return error_of([&] { receive(two.b, Deadline::never()); }); });
            cancelled.cancel();
            REQUIRE_THROWS_AS(cancelled.get(), weft::Cancelled);
            two.b.close();
            REQUIRE(is(closed.get(), std::errc::bad_file_descriptor));
            REQUIRE(is(error_of([&] { receive(two.b, Deadline::never()); }),
                       std::errc::bad_file_descriptor));
        }
    });
}

TEST_CASE("an interrupted receive loses no datagram", "[os][udp][cancel]") {
    on_all_io([] {
        Two two;
        two.a.connect(two.b.local_address());
        constexpr unsigned count = 100;
        auto sender = weft::spawn([&] {
            for (unsigned i = 0; i < count; ++i) {
                two.a.send(std::array{static_cast<std::byte>(i)});
                weft::this_fiber::yield();
            }
        });
        std::vector<unsigned> got;
        for (std::uint32_t seed = 1; got.size() < count; seed = seed * 1664525u + 1013904223u) {
            auto reader = weft::spawn([&] {
                std::array<std::byte, 2> buffer;
                two.b.receive(buffer);
                got.push_back(std::to_integer<unsigned>(buffer[0]));
            });
            for (std::uint32_t i = seed >> 29; i > 0; --i) weft::this_fiber::yield();
            reader.cancel();
            reader.join();
        }
        sender.get();
        for (unsigned i = 0; i < count; ++i) REQUIRE(got[i] == i);
    });
}

TEST_CASE("broadcasts are sent by who asked to", "[os][udp]") {
    on_workers_and_io([] {
        UdpSocket receiver{Address::any_v4(0)};
        const Address all{"127.255.255.255", receiver.local_address().port()};
        UdpSocket sender{Address::loopback_v4(0)};
        REQUIRE(is(error_of([&] { sender.send_to(bytes_of("all"), all); }),
                   std::errc::permission_denied));
        sender.broadcast(true);
        sender.send_to(bytes_of("all"), all);
        REQUIRE(receive_text(receiver) == "all");
    });
}

TEST_CASE("who joined a group gets what is sent to it, until leaving", "[os][udp][multicast]") {
    on_workers_and_io([] {
        const std::uint32_t lo = interface_index("lo");
        const Address group{"239.255.77.1", 0};
        UdpSocket first{Address::any_v4(0), {.reuse_address = true}};
        UdpSocket second{first.local_address(), {.reuse_address = true}};
        for (auto* socket : {&first, &second}) {
            socket->multicast_all(false);
            socket->join(group, lo);
        }
        UdpSocket sender{Address::loopback_v4(0)};
        sender.multicast_interface(lo);
        sender.multicast_hops(0);
        const Address to{group.host(), first.local_address().port()};
        sender.send_to(bytes_of("all of you"), to);
        REQUIRE(receive_text(first) == "all of you");
        REQUIRE(receive_text(second) == "all of you");

        first.leave(group, lo);
        sender.send_to(bytes_of("you alone"), to);
        REQUIRE(receive_text(second) == "you alone");
        REQUIRE(is(error_of([&] { receive_text(first, 0ms); }), std::errc::timed_out));
    });
}

TEST_CASE("an IPv6 socket joins groups of IPv4, too", "[os][udp][multicast]") {
    on_workers_and_io([] {
        const std::uint32_t lo = interface_index("lo");
        UdpSocket receiver{Address::any_v6(0)};
        receiver.join(Address{"239.255.77.2", 0}, lo);
        UdpSocket sender{Address::loopback_v4(0)};
        sender.multicast_interface(lo);
        sender.multicast_hops(0);
        const Address to{"239.255.77.2", receiver.local_address().port()};
        sender.send_to(bytes_of("to four"), to);
        REQUIRE(receive_text(receiver) == "to four");
        receiver.leave(to, lo);
        REQUIRE(is(error_of([&] { receiver.leave(to, lo); }), std::errc::address_not_available));
    });
}

TEST_CASE("a group is joined once and left once", "[os][udp][multicast]") {
    const std::uint32_t lo = interface_index("lo");
    for (const Address& group : {Address{"239.255.77.1", 0}, Address{"ff01::77:1", 0}}) {
        UdpSocket socket{group.is_v6() ? Address::any_v6(0) : Address::any_v4(0)};
        socket.join(group, lo);
        REQUIRE(is(error_of([&] { socket.join(group, lo); }), std::errc::address_in_use));
        socket.leave(group, lo);
        REQUIRE(is(error_of([&] { socket.leave(group, lo); }), std::errc::address_not_available));
        REQUIRE(is(error_of([&] { socket.join(group, 999'999); }), std::errc::no_such_device));
        REQUIRE(is(error_of([&] { socket.join(Address::loopback_v4(0), lo); }),
                   std::errc::invalid_argument));
    }
}

TEST_CASE("an IPv6 group's scope is the interface, if none is named", "[os][udp][multicast]") {
    const std::uint32_t lo = interface_index("lo");
    const Address plain{"ff02::77:1", 0};
    const Address scoped{"ff02::77:1%lo", 0};
    UdpSocket socket{Address::any_v6(0)};
    socket.join(scoped);
    REQUIRE(is(error_of([&] { socket.join(plain, lo); }), std::errc::address_in_use));
    socket.leave(scoped);
    REQUIRE(is(error_of([&] { socket.leave(plain, lo); }), std::errc::address_not_available));
    REQUIRE(is(error_of([&] { socket.join(scoped, 999'999); }), std::errc::no_such_device));
}

TEST_CASE("an IPv4 socket says that it joins no group of IPv6", "[os][udp][multicast]") {
    UdpSocket socket{Address::any_v4(0)};
    const Address group{"ff02::77:1", 7};
    for (const auto& call : {&UdpSocket::join, &UdpSocket::leave}) {
        try {
            (socket.*call)(group, interface_index("lo"));
            FAIL("joined");
        } catch (const std::system_error& error) {
            REQUIRE(is(error.code(), std::errc::address_family_not_supported));
            REQUIRE(std::string{error.what()}.find(group.to_string()) != std::string::npos);
        }
    }
}

TEST_CASE("what is wrong with a multicast option is told by its name", "[os][udp][multicast]") {
    const auto says = [](auto&& call, std::errc errc, std::string_view option) {
        try {
            call();
        } catch (const std::system_error& error) {
            return is(error.code(), errc) &&
                   std::string_view{error.what()}.find(option) != std::string_view::npos;
        }
        return false;
    };
    UdpSocket four{Address::any_v4(0)};
    UdpSocket six{Address::any_v6(0)};
    for (const int hops : {-2, 256}) {
        REQUIRE(says([&] { four.multicast_hops(hops); }, std::errc::invalid_argument,
                     "IP_MULTICAST_TTL"));
        REQUIRE(says([&] { six.multicast_hops(hops); }, std::errc::invalid_argument,
                     "IPV6_MULTICAST_HOPS"));
    }
    REQUIRE(says([&] { four.multicast_interface(999'999); }, std::errc::address_not_available,
                 "IP_MULTICAST_IF"));
    REQUIRE(says([&] { six.multicast_interface(999'999); }, std::errc::no_such_device,
                 "IPV6_MULTICAST_IF"));
}

TEST_CASE("who sends to a group says whether this machine gets it", "[os][udp][multicast]") {
    UdpSocket four{Address::loopback_v4(0)};
    UdpSocket six{Address::loopback_v6(0)};
    int value = 1;
    socklen_t size = sizeof value;
    four.multicast_loop(false);
    REQUIRE(::getsockopt(four.fd(), IPPROTO_IP, IP_MULTICAST_LOOP, &value, &size) == 0);
    REQUIRE(value == 0);
    value = 1;
    six.multicast_loop(false);
    REQUIRE(::getsockopt(six.fd(), IPPROTO_IPV6, IPV6_MULTICAST_LOOP, &value, &size) == 0);
    REQUIRE(value == 0);
    value = 1;
    six.multicast_all(false);
    REQUIRE(::getsockopt(six.fd(), IPPROTO_IPV6, IPV6_MULTICAST_ALL, &value, &size) == 0);
    REQUIRE(value == 0);
}

TEST_CASE("groups of IPv6 are sent to as far as the sender says", "[os][udp][multicast]") {
    const auto outcome = child_with_wire.run();
    INFO(outcome.describe());
    if (outcome.exited_with(not_permitted)) SKIP("no network of one's own is to be had");
    REQUIRE(outcome.exited_with(0));
}

TEST_CASE("interfaces are found by name", "[os][udp]") {
    REQUIRE(interface_index("lo") > 0);
    REQUIRE(is(error_of([] { interface_index("no such"); }), std::errc::no_such_device));
}

TEST_CASE("options of a UDP socket are what the system says", "[os][udp]") {
    for (const auto& here : {Address::loopback_v4(0), Address::loopback_v6(0)}) {
        UdpSocket socket{here};
        socket.type_of_service(0x20);
        REQUIRE(socket.type_of_service() == 0x20);
        socket.time_to_live(9);
        REQUIRE(socket.time_to_live() == 9);
        socket.receive_buffer(8192);
        REQUIRE(socket.receive_buffer() == 2 * 8192);
        REQUIRE(is(error_of([&] { socket.time_to_live(300); }), std::errc::invalid_argument));
    }
}

TEST_CASE("sockets that share a port do so if both ask to", "[os][udp]") {
    const UdpSocket first{Address::loopback_v4(0), {.reuse_port = true}};
    const UdpSocket second{first.local_address(), {.reuse_port = true}};
    REQUIRE(second.local_address() == first.local_address());
    REQUIRE(is(error_of([&] { UdpSocket{first.local_address()}; }), std::errc::address_in_use));
}

TEST_CASE("UDP sockets leave no descriptor behind", "[os][udp]") {
    on_workers_and_io([] {
        const std::size_t before = open_fds();
        {
            Two two;
            for (const auto& receive : receives()) error_of([&] { receive(two.a, 1ms); });
            error_of([&] { UdpSocket{two.a.local_address()}; });
            error_of([&] { UdpSocket::connected(Address{"255.255.255.255", 9}); });
        }
        REQUIRE(open_fds() == before);
    });
}

TEST_CASE("plain threads use UDP too", "[os][udp]") {
    Two two;
    std::thread sender{[&] { two.a.send_to(bytes_of("thread"), two.b.local_address()); }};
    REQUIRE(receive_text(two.b) == "thread");
    sender.join();
    for (const auto& receive : receives()) {
        REQUIRE(is(error_of([&] { receive(two.a, 1ms); }), std::errc::timed_out));
    }
}
