// A server that stops gracefully: on SIGTERM or Ctrl-C it accepts nobody any more, and ends when
// those who are there have gone. Here a client of its own sends it, in the middle of a visit.
#include <weft/io/signals.hpp>
#include <weft/io/tcp.hpp>
#include <weft/weft.hpp>

#include <cstdio>
#include <system_error>

#include <signal.h>
#include <unistd.h>

namespace io = weft::io;

void echo(io::TcpStream peer) {
    std::byte buffer[4096];
    while (const std::size_t size = peer.read(buffer)) {
        peer.write_all(std::span{buffer}.first(size));
    }
}

void serve(io::TcpListener& listener) {
    weft::TaskGroup visitors;
    try {
        for (;;) visitors.start_soon(echo, listener.accept());
    } catch (const std::system_error& error) {
        if (error.code() != std::errc::bad_file_descriptor) throw;  // it was not closed
    }
    visitors.join();
    std::puts("the last visitor has gone");
}

void visit(const io::Address& server, weft::Event& stopping) {
    auto stream = io::TcpStream::connect(server);
    char answer[5];
    const auto say = [&](std::string_view text) {
        stream.write_all(text);
        stream.read_exactly(std::as_writable_bytes(std::span{answer}));
        std::printf("answer: %.5s\n", answer);
    };
    say("hello");
    ::kill(::getpid(), SIGTERM);  // as an operator would
    stopping.wait();
    say("again");
}

int main() {
    weft::run([] {
        io::Signals stop{SIGINT, SIGTERM};
        io::TcpListener listener{io::Address::loopback_v4(0)};
        weft::Event stopping;
        auto server = weft::spawn([&] { serve(listener); });
        auto client = weft::spawn([&] { visit(listener.local_address(), stopping); });
        std::printf("stopping: %s\n", stop.wait().number == SIGTERM ? "SIGTERM" : "Ctrl-C");
        listener.close();
        stopping.set();
        client.get();
        server.get();
    });
}
