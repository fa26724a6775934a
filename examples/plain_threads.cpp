// A server that knows nothing of weft: a thread for each connection, blocking calls.
//
//   plain_threads [PORT]                       threads
//   weft-run --threads plain_threads [PORT]    the same file, fibers
//
// It answers each line with the number of lines that all connections have sent.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>

namespace {

std::mutex mutex;
long lines = 0;  // guarded by mutex

void serve(int fd) {
    char buffer[4096];
    for (ssize_t size = 0; (size = ::read(fd, buffer, sizeof buffer)) > 0;) {
        long count = 0;
        {
            const std::lock_guard hold{mutex};
            for (ssize_t i = 0; i < size; ++i) lines += buffer[i] == '\n' ? 1 : 0;
            count = lines;
        }
        const std::string answer = std::to_string(count) + '\n';
        if (::write(fd, answer.data(), answer.size()) < 0) break;
    }
    ::close(fd);
}

}  // namespace

int main(int argc, char** argv) {
    std::signal(SIGPIPE, SIG_IGN);
    const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
    const int yes = 1;
    ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(argc > 1 ? std::atoi(argv[1]) : 0));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener, any, sizeof address) != 0 || ::listen(listener, 1024) != 0) {
        std::perror("plain_threads");
        return 1;
    }
    socklen_t size = sizeof address;
    ::getsockname(listener, any, &size);
    std::printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    std::fflush(stdout);
    for (;;) {
        const int fd = ::accept(listener, nullptr, nullptr);
        if (fd >= 0) std::thread{serve, fd}.detach();
    }
}
