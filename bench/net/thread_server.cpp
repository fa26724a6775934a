// A thread per connection with blocking calls: the simplest server there is,
// and what it costs. Layer: benchmarks, net.
//
//   thread_server --port=7000 [--http=1]
#include "common/arguments.hpp"
#include "net/exchange.hpp"
#include "net/sockets.hpp"

#include <pthread.h>

namespace {

bench::Protocol protocol = bench::Protocol::echo;  // fixed before the first thread

bool send_all(int fd, std::span<const std::byte> data) {
    while (!data.empty()) {
        const ssize_t sent = send(fd, data.data(), data.size(), MSG_NOSIGNAL);
        if (sent <= 0) return false;
        data = data.subspan(static_cast<std::size_t>(sent));
    }
    return true;
}

void converse(int fd) {
    const bench::Descriptor socket{fd};
    bench::Exchange exchange{protocol};
    for (;;) {
        const auto space = exchange.space();
        const ssize_t received = recv(fd, space.data(), space.size(), 0);
        if (received <= 0) return;
        if (!send_all(fd, exchange.answer(static_cast<std::size_t>(received)))) return;
    }
}

void* thread_body(void* fd) {
    converse(static_cast<int>(reinterpret_cast<std::intptr_t>(fd)));
    return nullptr;
}

}  // namespace

int main(int count, char** values) {
    const bench::Arguments arguments{count, values};
    if (arguments.integer("http", 0) != 0) protocol = bench::Protocol::http;
    bench::raise_descriptor_limit();
    const auto listener =
        bench::listen_on_loopback(arguments.integer("port", 7000), bench::Blocking::yes);

    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 65'536);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (;;) {
        const int fd = accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) continue;
        pthread_t thread;
        void* argument = reinterpret_cast<void*>(static_cast<std::intptr_t>(fd));
        if (pthread_create(&thread, &attributes, thread_body, argument) != 0) close(fd);
    }
}
