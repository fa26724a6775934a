// The epoll driver's own sockets, which stay registered: nothing that comes is missed.
#include "io/descriptor.hpp"
#include "io/epoll_rig.hpp"

#include <cstring>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

using namespace weft;
using namespace weft::test;

namespace {

/// A descriptor of weft's own, in use.
struct Own {
    explicit Own(int fd) : descriptor{fd} { use.emplace(descriptor); }
    explicit Own(Fd fd) : Own{fd.release()} {}
    void close() {
        use.reset();
        descriptor.close();
    }

    Descriptor descriptor;
    std::optional<Use> use;
};

/// A receive on one, of up to `size` bytes.
struct OwnReader {
    explicit OwnReader(Own& own, std::size_t size = 16)
        : buffer(size, '\0'),
          operation{Request{.code = Code::recv,
                            .fd = own.descriptor.get(),
                            .buffer = buffer.data(),
                            .length = static_cast<std::uint32_t>(size)},
                    &*own.use} {}
    std::string_view await() {
        const int size = operation.await();
        return {buffer.data(), static_cast<std::size_t>(std::max(size, 0))};
    }

    std::string buffer;
    Operation operation;
};

/// What one receive brings.
std::string receive(Rig& rig, Own& own, std::size_t size = 16) {
    OwnReader reader{own, size};
    rig.driver.submit(reader.operation);
    rig.drive();
    return std::string{reader.await()};
}

/// So that the socket is registered and nothing is known to be there.
void wait_once(Rig& rig, Own& own, int peer) {
    OwnReader reader{own};
    rig.driver.submit(reader.operation);
    REQUIRE(rig.driver.in_flight() == 1);
    put(peer, "first");
    rig.drive();
    REQUIRE(reader.await() == "first");
}

/// Of which a receive that ends short has brought all there was.
Pair tcp_sockets() {
    const Listener listener;
    Fd client = listener.connect();
    return {Fd{::accept4(listener.fd, nullptr, nullptr, SOCK_CLOEXEC)}, std::move(client)};
}

/// Sends `text`, and a descriptor with it.
void put_with_fd(int socket, std::string_view text) {
    std::string bytes{text};
    iovec piece{bytes.data(), bytes.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr& head = *CMSG_FIRSTHDR(&message);
    head.cmsg_level = SOL_SOCKET;
    head.cmsg_type = SCM_RIGHTS;
    head.cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(&head), &socket, sizeof socket);
    REQUIRE(::sendmsg(socket, &message, 0) == static_cast<ssize_t>(bytes.size()));
}

}  // namespace

TEST_CASE("what comes between two receives is found", "[io][epoll][kept]") {
    Rig rig;
    Pair pair = tcp_sockets();
    Own own{std::move(pair.a)};
    wait_once(rig, own, pair.b);
    SECTION("reported before the second") {
        put(pair.b, "more");
        rig.driver.wait(5s);
    }
    SECTION("not reported yet") { put(pair.b, "more"); }
    CHECK(receive(rig, own) == "more");
}

TEST_CASE("a receive that left something is followed by one that finds it", "[io][epoll][kept]") {
    Rig rig;
    Pair pair = tcp_sockets();
    Own own{std::move(pair.a)};
    wait_once(rig, own, pair.b);
    put(pair.b, "abcdef");
    CHECK(receive(rig, own, 4) == "abcd");
    CHECK(receive(rig, own, 2) == "ef");  // as much as was asked for: there may be more
    OwnReader reader{own, 4};
    rig.driver.submit(reader.operation);
    CHECK(rig.driver.in_flight() == 1);
    put(pair.b, "g");
    rig.drive();
    CHECK(reader.await() == "g");
}

TEST_CASE("an end that was reported with the last bytes is seen after them", "[io][epoll][kept]") {
    Rig rig;
    Pair pair = tcp_sockets();
    Own own{std::move(pair.a)};
    OwnReader reader{own};
    rig.driver.submit(reader.operation);
    put(pair.b, "last");
    REQUIRE(::shutdown(pair.b, SHUT_WR) == 0);
    rig.drive();
    CHECK(reader.await() == "last");
    CHECK(receive(rig, own).empty());
    CHECK(receive(rig, own).empty());
}

TEST_CASE("an end after the last bytes were read is seen", "[io][epoll][kept]") {
    Rig rig;
    Pair pair = tcp_sockets();
    Own own{std::move(pair.a)};
    wait_once(rig, own, pair.b);
    OwnReader reader{own};
    rig.driver.submit(reader.operation);
    CHECK(rig.driver.in_flight() == 1);
    REQUIRE(::shutdown(pair.b, SHUT_WR) == 0);
    rig.drive();
    CHECK(reader.await().empty());
}

TEST_CASE("what is there beats a cancellation, though no report was fetched",
          "[io][epoll][kept][cancel]") {
    Rig rig;
    Pair pair = sockets();
    Own own{std::move(pair.a)};
    wait_once(rig, own, pair.b);
    put(pair.b, "there");
    OwnReader reader{own};
    rig.driver.submit(reader.operation);
    rig.driver.cancel(reader.operation);
    CHECK(reader.await() == "there");
    OwnReader vain{own};
    rig.driver.submit(vain.operation);
    rig.cancel(vain.operation);
    put(pair.b, "later");
    CHECK(receive(rig, own) == "later");
}

TEST_CASE("a number that weft closed is another socket's the next time",
          "[io][epoll][kept][close]") {
    Rig rig;
    Pair old = sockets();
    const int number = old.a;
    std::optional<Fd> copy;
    SECTION("gone for good") {}
    SECTION("alive in a copy") { copy.emplace(::dup(number)); }
    auto first = std::make_unique<Own>(std::move(old.a));
    wait_once(rig, *first, old.b);
    first->close();

    Pair fresh = sockets();
    REQUIRE(::dup2(fresh.a, number) == number);
    Own second{number};
    OwnReader reader{second};
    rig.driver.submit(reader.operation);
    CHECK(rig.driver.in_flight() == 1);
    if (copy) put(old.b, "for the copy");
    rig.driver.wait(0ms);
    rig.driver.wait(0ms);
    CHECK(rig.driver.in_flight() == 1);
    put(fresh.b, "new");
    rig.drive();
    CHECK(reader.await() == "new");
}

TEST_CASE("a copy of a closed socket does not report for ever", "[io][epoll][kept][close]") {
    Rig rig;
    Pair pair = sockets();
    const Fd copy{::dup(pair.a)};
    Own own{std::move(pair.a)};
    wait_once(rig, own, pair.b);
    own.close();
    put(pair.b, "nobody reads this");
    Pair others = sockets();
    Own waiting{std::move(others.a)};
    OwnReader reader{waiting};
    rig.driver.submit(reader.operation);
    for (int i = 0; i < 3; ++i) rig.driver.wait(0ms);
    const Deadline deadline{20ms};
    rig.driver.wait(deadline);
    CHECK(deadline.passed());
    rig.cancel(reader.operation);
}

TEST_CASE("a socket whose fiber went elsewhere ceases to report", "[io][epoll][kept]") {
    Offload offload;
    EpollDriver here{offload};
    EpollDriver there{offload};
    Pair pair = sockets();
    Own own{std::move(pair.a)};
    const auto receive_by = [&](EpollDriver& driver) {
        OwnReader reader{own};
        driver.submit(reader.operation);
        put(pair.b, "x");
        while (driver.in_flight() > 0) driver.wait(5s);
        REQUIRE(reader.await() == "x");
    };
    receive_by(here);
    for (int i = 0; i < 4; ++i) {
        receive_by(there);
        here.wait(0ms);
    }
    receive_by(there);
    const Deadline deadline{20ms};
    here.wait(deadline);
    CHECK(deadline.passed());
    for (int i = 0; i < 3; ++i) receive_by(here);  // and comes back
    receive_by(there);
}

TEST_CASE("a foreign operation waits beside weft's own", "[io][epoll][kept]") {
    Rig rig;
    Pair pair = sockets();
    const int number = pair.a;
    Own own{std::move(pair.a)};
    wait_once(rig, own, pair.b);
    OwnReader reader{own};
    Operation poll{poll_of(number, POLLIN)};
    SECTION("it comes second") {
        rig.driver.submit(reader.operation);
        rig.driver.submit(poll);
    }
    SECTION("it comes first") {
        rig.driver.submit(poll);
        rig.driver.submit(reader.operation);
    }
    CHECK(rig.driver.in_flight() == 2);
    put(pair.b, "x");
    rig.driver.wait(5s);
    put(pair.b, "y");  // whoever comes first may have taken the other's cause
    rig.drive();
    std::string all{reader.await()};
    CHECK((poll.await() & POLLIN) != 0);
    while (all.size() < 2) all += receive(rig, own);
    CHECK(all == "xy");
    wait_once(rig, own, pair.b);
}

TEST_CASE("more receives than one report serves are all served", "[io][epoll][kept]") {
    Rig rig;
    const Listener place;  // only for a port that is free for UDP
    Own own{::socket(AF_INET, SOCK_DGRAM, 0)};
    REQUIRE(::bind(own.descriptor.get(), place.as_address(), sizeof place.address) == 0);
    const Fd sender{::socket(AF_INET, SOCK_DGRAM, 0)};
    REQUIRE(::connect(sender, place.as_address(), sizeof place.address) == 0);
    std::vector<std::unique_ptr<OwnReader>> readers;
    for (int i = 0; i < 100; ++i) {
        readers.push_back(std::make_unique<OwnReader>(own));
        rig.driver.submit(readers.back()->operation);
    }
    CHECK(rig.driver.in_flight() == 100);
    for (int i = 0; i < 100; ++i) put(sender, std::to_string(i));
    rig.drive();
    for (int i = 0; i < 100; ++i)
        CHECK(readers[static_cast<std::size_t>(i)]->await() == std::to_string(i));
}

TEST_CASE("a reader and a writer of weft's own wait on one socket", "[io][epoll][kept]") {
    Rig rig;
    Pair pair = sockets();
    Own own{std::move(pair.a)};
    const std::vector<char> filler(1 << 20, 'x');
    OwnReader reader{own};
    rig.driver.submit(reader.operation);
    Operation writer{Request{.code = Code::send,
                             .fd = own.descriptor.get(),
                             .buffer = filler.data(),
                             .length = static_cast<std::uint32_t>(filler.size()),
                             .flags = MSG_WAITALL},
                     &*own.use};
    rig.driver.submit(writer);
    CHECK(rig.driver.in_flight() == 2);
    put(pair.b, "in");
    std::vector<char> sink(1 << 20);
    std::size_t got = 0;
    while (rig.driver.in_flight() > 0 || got < filler.size()) {
        rig.driver.wait(0ms);
        const ssize_t some = ::recv(pair.b, sink.data(), sink.size(), MSG_DONTWAIT);
        got += some > 0 ? static_cast<std::size_t>(some) : 0;
    }
    CHECK(writer.await() == static_cast<int>(filler.size()));
    CHECK(reader.await() == "in");
}

TEST_CASE("one that asks not to wait is answered, though nothing is known to be there",
          "[io][epoll][kept]") {
    Rig rig;
    Pair pair = sockets();
    Own own{std::move(pair.a)};
    wait_once(rig, own, pair.b);
    char byte = 0;
    Operation impatient{Request{.code = Request::Code::recv,
                                .fd = own.descriptor.get(),
                                .buffer = &byte,
                                .length = 1,
                                .flags = MSG_DONTWAIT},
                        &*own.use};
    rig.driver.submit(impatient);
    CHECK(rig.driver.in_flight() == 0);
    CHECK(impatient.await() == -EAGAIN);
    wait_once(rig, own, pair.b);
}

TEST_CASE("what waits on a socket that others closed ends with EBADF", "[io][epoll][kept][close]") {
    Rig rig;
    Pair pair = sockets();
    const int number = pair.a;
    Own own{std::move(pair.a)};
    OwnReader reader{own};
    rig.driver.submit(reader.operation);
    CHECK(rig.driver.in_flight() == 1);
    REQUIRE(::close(number) == 0);  // as nobody should
    Operation writer{Request{.code = Request::Code::send, .fd = number, .buffer = "x", .length = 1},
                     &*own.use};
    rig.driver.submit(writer);
    CHECK(writer.await() == -EBADF);
    rig.cancel(reader.operation, -EBADF);
    own.use.reset();
    own.descriptor.release();
}

TEST_CASE("what follows urgent data is found", "[io][epoll][kept]") {
    Rig rig;
    Pair pair = tcp_sockets();
    const Fd& client = pair.b;
    Own own{std::move(pair.a)};
    OwnReader reader{own};
    rig.driver.submit(reader.operation);
    put(client, "before");
    REQUIRE(::send(client, "!", 1, MSG_OOB) == 1);
    put(client, "after");
    rig.drive();
    std::string all{reader.await()};
    while (all.size() < 11) all += receive(rig, own);
    CHECK(all == "beforeafter");
}

TEST_CASE("a receive that a passed descriptor cut short is followed by one that finds the rest",
          "[io][epoll][kept]") {
    Rig rig;
    Pair pair = sockets();
    Own own{std::move(pair.a)};
    wait_once(rig, own, pair.b);
    put_with_fd(pair.b, "one");
    put(pair.b, "two");
    CHECK(receive(rig, own) == "one");
    OwnReader reader{own};
    rig.driver.submit(reader.operation);
    for (int i = 0; i < 3 && rig.driver.in_flight() > 0; ++i) rig.driver.wait(0ms);
    REQUIRE(rig.driver.in_flight() == 0);
    CHECK(reader.await() == "two");
}
