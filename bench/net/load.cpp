// The load generator: one thread, a closed loop over many connections, each of
// which sends the next request when the answer to the last has come in.
// Layer: benchmarks, net.
//
//   load --port=7000 --conns=64 --size=64 --secs=1 --warm=0.3 [--rate=20000]
//        [--pid=SERVER] [--idle=10000] [--http=1] [--name=LABEL] [--workers=LABEL]
//
// With --rate, an open loop: so many requests are due per second, each on the connection that
// rests longest, and a latency begins when its request was due, not when it could be sent. It
// spins then, so that it is never late itself.
//
// With --idle, as many connections beside those ask once, before the others begin, and
// are silent then; "idle_b" is what each of them added to the memory of process SERVER,
// resident and page tables. (The kernel's part of a socket is not in it.)
//
// Prints one JSON object: requests per second, latency quantiles, CPU time per
// request of the server (of process SERVER, all threads) and of the client.
// "others_util" is the CPU use of everybody else: above 0.1 the run is spoilt.
#include "common/arguments.hpp"
#include "common/json.hpp"
#include "common/measure.hpp"
#include "net/cpu_use.hpp"
#include "net/epoll.hpp"
#include "net/histogram.hpp"
#include "net/sockets.hpp"

#include <fcntl.h>
#include <strings.h>

#include <deque>
#include <span>
#include <string>
#include <vector>

namespace {

using bench::fail;

struct Settings {
    int port;
    int connections;
    int idle;  // connections beside those
    int size;
    double seconds;
    double warm_up;
    double rate;  // requests due per second; 0: as many as are answered
    int server;
    bool http;
    std::string name;  // of the server, for the result
    int workers;       // of the server, for the result

    explicit Settings(const bench::Arguments& arguments)
        : port{arguments.integer("port", 7000)},
          connections{arguments.integer("conns", 64)},
          idle{arguments.integer("idle", 0)},
          size{arguments.integer("size", 64)},
          seconds{arguments.number("secs", 1)},
          warm_up{arguments.number("warm", 0.3)},
          rate{arguments.number("rate", 0)},
          server{arguments.integer("pid", 0)},
          http{arguments.integer("http", 0) != 0},
          name{arguments.text("name", "server")},
          workers{arguments.integer("workers", 1)} {}
};

/// The length of the HTTP response that `text` begins with, or 0 while unknown.
std::size_t response_length(const std::string& text) {
    constexpr std::string_view field = "content-length:";
    const std::size_t header_end = text.find("\r\n\r\n");
    if (header_end == std::string::npos) return 0;
    for (std::size_t at = 0; at + field.size() < header_end; ++at) {
        if (strncasecmp(text.data() + at, field.data(), field.size()) != 0) continue;
        const long body = std::atol(text.c_str() + at + field.size());
        return header_end + 4 + static_cast<std::size_t>(body);
    }
    std::fputs("the response has no Content-Length\n", stderr);
    std::exit(1);
}

void send_blocking(int fd, const std::string& request) {
    if (send(fd, request.data(), request.size(), MSG_NOSIGNAL) < 0) fail("send");
}

std::size_t receive_blocking(int fd, std::span<char> buffer) {
    const ssize_t received = recv(fd, buffer.data(), buffer.size(), 0);
    if (received <= 0) fail("recv");
    return static_cast<std::size_t>(received);
}

/// Asks once, blocking, to learn how long each response will be.
std::size_t learn_response_length(int fd, const std::string& request) {
    send_blocking(fd, request);
    std::string response;
    char part[4096];
    for (;;) {
        response.append(part, receive_blocking(fd, part));
        const std::size_t length = response_length(response);
        if (length != 0 && response.size() >= length) return length;
    }
}

struct Connection {
    bench::Descriptor socket;
    std::size_t received = 0;   // of the current response
    std::uint64_t sent_ns = 0;  // when its request was sent, or due
};

class LoadGenerator {
public:
    explicit LoadGenerator(const Settings& settings) : settings_{settings}, received_(1 << 17) {
        for (int i = 0; i < settings_.connections; ++i) {
            connections_.push_back({bench::connect_to_loopback(settings_.port)});
        }
        if (settings_.http) {
            request_ = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
            response_length_ = learn_response_length(connections_[0].socket.get(), request_);
        } else {
            request_.assign(static_cast<std::size_t>(settings_.size), 'x');
            response_length_ = request_.size();
        }
        if (settings_.idle > 0) make_idle_ones();
    }

    void run() {
        start_all();
        run_for(settings_.warm_up);
        recording_ = true;
        const CpuUse before = cpu_use();
        const std::uint64_t start = bench::now_ns();
        run_for(settings_.seconds);
        recording_ = false;
        const auto elapsed = static_cast<double>(bench::now_ns() - start);
        report(elapsed, cpu_use().since(before));
    }

private:
    using CpuUse = bench::CpuUse;

    double server_memory_b() const {
        const auto status = "/proc/" + std::to_string(settings_.server) + "/status";
        const long kb = bench::status_field(status, "VmRSS") + bench::status_field(status, "VmPTE");
        return static_cast<double>(kb) * 1024;
    }

    /// Each asks once. What the server needs for any connection at all, it needs for the
    /// first one, which is asked before.
    void make_idle_ones() {
        ask_once(connections_[0].socket.get());
        const double before_b = server_memory_b();
        for (int i = 0; i < settings_.idle; ++i) {
            idle_.push_back(bench::connect_to_loopback(settings_.port));
            ask_once(idle_.back().get());
        }
        idle_b_ = (server_memory_b() - before_b) / settings_.idle;
    }

    void ask_once(int fd) {
        send_blocking(fd, request_);
        for (std::size_t got = 0; got < response_length_;) got += receive_blocking(fd, received_);
    }

    void start_all() {
        for (Connection& connection : connections_) {
            fcntl(connection.socket.get(), F_SETFL, O_NONBLOCK);
            epoll_.add(connection.socket.get(), EPOLLIN | EPOLLET, &connection);
            if (settings_.rate > 0) {
                resting_.push_back(&connection);
            } else {
                send_request(connection, bench::now_ns());
            }
        }
        due_ns_ = bench::now_ns();
    }

    void run_for(double seconds) {
        const auto end = bench::now_ns() + static_cast<std::uint64_t>(seconds * 1e9);
        do {
            if (settings_.rate > 0) send_what_is_due();
            for (const epoll_event& event : settings_.rate > 0 ? epoll_.look() : epoll_.wait()) {
                receive(*static_cast<Connection*>(event.data.ptr));
            }
        } while (bench::now_ns() < end);
    }

    void send_what_is_due() {
        while (due_ns_ <= bench::now_ns() && !resting_.empty()) {
            send_request(*resting_.front(), due_ns_);
            resting_.pop_front();
            due_ns_ += static_cast<std::uint64_t>(1e9 / settings_.rate);
        }
    }

    /// One receive per edge: at most one response is on its way.
    void receive(Connection& connection) {
        const ssize_t received =
            recv(connection.socket.get(), received_.data(), received_.size(), 0);
        if (received < 0 && errno == EAGAIN) return;
        if (received <= 0) fail("recv");
        connection.received += static_cast<std::size_t>(received);
        if (connection.received < response_length_) return;
        const std::uint64_t now = bench::now_ns();
        if (recording_) latencies_.add(now - connection.sent_ns);
        if (settings_.rate > 0) {
            resting_.push_back(&connection);
        } else {
            send_request(connection, now);
        }
    }

    void send_request(Connection& connection, std::uint64_t since) {
        connection.received = 0;
        connection.sent_ns = since;
        std::size_t sent = 0;
        while (sent < request_.size()) {
            const ssize_t taken = send(connection.socket.get(), request_.data() + sent,
                                       request_.size() - sent, MSG_NOSIGNAL);
            if (taken < 0 && errno != EAGAIN) fail("send");
            if (taken > 0) sent += static_cast<std::size_t>(taken);
        }
    }

    CpuUse cpu_use() const {
        return {settings_.server != 0 ? bench::cpu_ns_of(settings_.server) : 0,
                bench::process_cpu_ns(), bench::machine_busy_ns()};
    }

    void report(double elapsed_ns, const CpuUse& used) const {
        const auto requests = static_cast<double>(latencies_.total());
        const auto us = [this](double fraction) {
            return static_cast<double>(latencies_.quantile(fraction)) / 1e3;
        };
        const auto server = static_cast<double>(used.server_ns);
        const auto client = static_cast<double>(used.client_ns);
        bench::JsonLine line;
        line.text("bench", settings_.http ? "http" : "echo")
            .text("peer", settings_.name)
            .number("workers", settings_.workers)
            .number("conns", settings_.connections)
            .number("size", settings_.size)
            .value("requests_per_s", requests / elapsed_ns * 1e9)
            .number("p50_us", us(0.5))
            .number("p99_us", us(0.99))
            .number("p999_us", us(0.999))
            .number("server_cpu_ns", server / requests)
            .number("client_cpu_ns", client / requests)
            .number("server_util", server / elapsed_ns)
            .number("client_util", client / elapsed_ns)
            .number("others_util", static_cast<double>(used.others_ns()) / elapsed_ns);
        if (settings_.idle > 0) line.number("idle", settings_.idle).number("idle_b", idle_b_);
        line.print();
    }

    Settings settings_;
    std::vector<Connection> connections_;
    std::deque<Connection*> resting_;  // with a rate: those that wait for their turn
    std::uint64_t due_ns_ = 0;         // the same: when the next request is due
    std::vector<bench::Descriptor> idle_;
    double idle_b_ = 0;  // what each of them added to the server's memory
    bench::Epoll epoll_;
    std::string request_;
    std::size_t response_length_ = 0;
    std::vector<char> received_;
    bool recording_ = false;
    bench::Histogram latencies_;
};

}  // namespace

int main(int count, char** values) {
    bench::raise_descriptor_limit();
    LoadGenerator{Settings{bench::Arguments{count, values}}}.run();
}
