#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/fd.hpp"
#include "support/namespaces.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/scratch.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/diag.hpp>
#include <weft/fiber.hpp>
#include <weft/io/connect.hpp>
#include <weft/io/resolve.hpp>
#include <weft/this_fiber.hpp>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <chrono>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::io::Address;
using weft::io::Family;
using weft::io::resolve;
using weft::io::ResolveError;

// The first, for it counts threads.
TEST_CASE("numbers need no look-up", "[os][resolve]") {
    on_workers_and_io([] {
        const auto v4 = resolve("127.0.0.1", "80");
        REQUIRE(v4.size() == 1);
        REQUIRE(v4[0] == Address{"127.0.0.1", 80});
        REQUIRE(resolve("::1", "", {.family = Family::v6})[0] == Address{"::1", 0});
        REQUIRE(resolve("192.0.2.1", "65535")[0] == Address{"192.0.2.1", 65535});
        REQUIRE(error_of([] { resolve("::1", "80", {.family = Family::v4}); }) ==
                ResolveError::other_family);
        REQUIRE(threads_named("resolve") == 0);
    });
}

TEST_CASE("names of this machine and its services are found", "[os][resolve]") {
    on_workers_and_io([] {
        const auto local = resolve("localhost", "4711");
        REQUIRE(std::ranges::any_of(local, [](const Address& each) {
            return each == Address{"127.0.0.1", 4711} || each == Address{"::1", 4711};
        }));
        REQUIRE(resolve("127.0.0.1", "http")[0].port() == 80);
        REQUIRE(resolve("127.1", "80")[0] == Address{"127.0.0.1", 80});
        for (const Address& each : resolve("", "80")) {
            REQUIRE((each == Address::loopback_v4(80) || each == Address::loopback_v6(80)));
        }
        for (const Address& each : resolve("", "80", {.passive = true})) {
            REQUIRE((each == Address::any_v4(80) || each == Address::any_v6(80)));
        }
        REQUIRE(threads_named("resolve") > 0);
    });
    REQUIRE(resolve("localhost", "1")[0].port() == 1);  // on a plain thread
}

TEST_CASE("what cannot be found is an error with host and service", "[os][resolve]") {
    on_workers_and_io([] {
        try {
            resolve("no.numbers", "80", {.numeric_only = true});
            FAIL("resolved");
        } catch (const std::system_error& error) {
            REQUIRE(error.code() == ResolveError::not_found);
            const std::string text = error.what();
            REQUIRE(text.find("\"no.numbers\"") != text.npos);
            REQUIRE(text.find("\"80\"") != text.npos);
        }
        REQUIRE(error_of([] { resolve("127.0.0.1", "no such service"); }) ==
                ResolveError::bad_service);
        for (const char* no_port : {"65536", "70000", "99999999999999999999", "-1", "+80", " 80"}) {
            INFO(no_port);
            REQUIRE(error_of([&] { resolve("127.0.0.1", no_port); }) == ResolveError::bad_service);
            REQUIRE(error_of([&] { resolve("localhost", no_port); }) == ResolveError::bad_service);
        }
        REQUIRE_THROWS_AS(resolve(std::string_view{"a\0b", 3}, "80"), std::invalid_argument);
        REQUIRE(weft::io::resolve_category().message(-3) != "");
    });
}

TEST_CASE("many ask at once, of few threads", "[os][resolve]") {
    on_workers_and_io([] {
        std::vector<weft::Fiber<bool>> fibers;
        for (int i = 0; i < 200; ++i) {
            fibers.push_back(weft::spawn([] { return !resolve("localhost", "80").empty(); }));
        }
        for (auto& each : fibers) REQUIRE(each.get());
        REQUIRE(threads_named("resolve") <= weft::io::most_lookups);
    });
}

TEST_CASE("names are found in a simulation", "[os][resolve]") {
    on_seeds(5, [](std::uint64_t) {
        REQUIRE(resolve("localhost", "80")[0].port() == 80);
        REQUIRE(resolve("localhost", "80", 1h)[0].port() == 80);
    });
}

// --- with a name server of its own ---

namespace {

/// Answers for names that begin with "known", denies those that begin with "none", and all
/// others once it is told to.
class NameServer {
public:
    NameServer() : fd_{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)} {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(53);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) std::abort();
        std::thread{[this] { serve(); }}.detach();
    }

    int questions() const { return questions_; }
    /// Of what it has no answer for: says nothing for now; denies it.
    void be_silent() {
        const std::lock_guard hold{lock_};
        silent_ = true;
    }
    void speak() {
        const std::lock_guard hold{lock_};
        silent_ = false;
        for (auto& question : held_) reply(question);
        held_.clear();
    }

private:
    struct Question {
        std::array<unsigned char, 512> packet{};
        std::size_t size = 0;
        sockaddr_in from{};
    };

    [[noreturn]] void serve() {
        for (;;) {
            Question question;
            socklen_t size = sizeof question.from;
            const ssize_t got = ::recvfrom(fd_, question.packet.data(), 400, 0,
                                           reinterpret_cast<sockaddr*>(&question.from), &size);
            if (got < 17) continue;
            question.size = static_cast<std::size_t>(got);
            ++questions_;
            const std::lock_guard hold{lock_};
            const std::string_view name = name_in(question);
            if (silent_ && name != "known" && !name.starts_with("none")) {
                held_.push_back(question);
            } else {
                reply(question);
            }
        }
    }

    static std::string_view name_in(const Question& question) {
        return {reinterpret_cast<const char*>(question.packet.data()) + 13, 5};
    }

    void reply(Question& question) const {
        answer(question);
        ::sendto(fd_, question.packet.data(), question.size, 0,
                 reinterpret_cast<const sockaddr*>(&question.from), sizeof question.from);
    }

    /// Makes the answer of the question.
    static void answer(Question& question) {
        unsigned char* const packet = question.packet.data();
        const bool known = name_in(question) == "known";
        std::size_t end = 12;
        while (end < question.size && packet[end] != 0) end += packet[end] + 1u;
        const bool wants_v4 = packet[end + 2] == 1;  // type A
        end += 5;
        question.size = end;
        packet[2] = 0x81;
        packet[3] = known ? 0x80 : 0x83;  // NXDOMAIN
        std::memset(packet + 6, 0, 6);
        if (!known || !wants_v4) return;
        packet[7] = 1;
        const unsigned char record[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1};
        std::memcpy(packet + end, record, sizeof record);
        question.size = end + sizeof record;
    }

    const int fd_;
    std::atomic<int> questions_{0};
    std::mutex lock_;
    // --- guarded by lock_ ---
    bool silent_ = false;
    std::vector<Question> held_;
};

/// Whether a fiber of that name waits for room in the queue of look-ups.
bool waits_for_room(const std::string& name) {
    const Fd dump{::memfd_create("dump", MFD_CLOEXEC)};
    weft::dump_fibers(dump);
    std::string text(static_cast<std::size_t>(::lseek(dump, 0, SEEK_CUR)), '\0');
    text.resize(static_cast<std::size_t>(::pread(dump, text.data(), text.size(), 0)));
    const auto begin = text.find('"' + name + '"');
    return text.substr(begin, text.find("\nfiber ", begin) - begin).find("Queue::put") !=
           std::string::npos;
}

/// As many as are looked up and may wait at once, and one more.
void ask_for_more_than_may_wait(Expectations& all, NameServer& server) {
    server.be_silent();
    std::vector<weft::Fiber<>> crowd;
    for (std::size_t i = 0; i < weft::io::most_lookups + weft::io::most_waiting_lookups; ++i) {
        crowd.push_back(weft::spawn([] { resolve("silent.test", "80"); }));
    }
    until_all_waiting(crowd);
    auto beyond = weft::spawn(weft::SpawnOptions{.name = "beyond"},
                              [] { return resolve("known.test", "80").size(); });
    until_waiting(beyond);
    all.expect(waits_for_room("beyond"), "no more than that may wait for a thread");
    const auto late = error_of([] { resolve("known.test", "80", 1ms); });
    all.expect(is(late, std::errc::timed_out), "so does another, to its deadline");
    for (auto& each : crowd) each.cancel();
    for (auto& each : crowd) each.join();
    server.speak();
    all.expect(beyond.get() == 1, "who waited for room is served");
}

void ask_name_server(Expectations& all, NameServer& server) {
    const auto found = resolve("known.test", "80");
    all.expect(found.size() == 1 && found[0] == Address("127.0.0.1", 80), "known.test is found");
    all.expect(error_of([] { resolve("none.test", "80"); }) == ResolveError::not_found,
               "none.test is not found");
    weft::io::TcpListener listener{Address::loopback_v4(0)};
    const auto port = std::to_string(listener.local_address().port());
    all.expect(weft::io::connect("known.test", port).is_open(), "known.test is connected to");

    server.be_silent();
    const auto late = error_of([] { resolve("silent.test", "80", 20ms); });
    all.expect(is(late, std::errc::timed_out), "silent.test: " + late.message());

    const int before = server.questions();
    auto waiter = weft::spawn([] { resolve("silent.test", "80"); });
    while (server.questions() == before) weft::this_fiber::sleep_for(1ms);
    waiter.cancel();
    bool cancelled = false;
    try {
        waiter.get();
    } catch (const weft::Cancelled&) {
        cancelled = true;
    }
    all.expect(cancelled, "a cancelled look-up ends");

    std::vector<weft::Fiber<std::error_code>> crowd;
    for (int i = 0; i < 40; ++i) {
        crowd.push_back(
            weft::spawn([] { return error_of([] { resolve("silent.test", "80", 100ms); }); }));
    }
    for (auto& each : crowd) {
        all.expect(is(each.get(), std::errc::timed_out), "one of a crowd times out");
    }
    all.expect(threads_named("resolve") <= weft::io::most_lookups, "threads are limited");
    server.speak();
    ask_for_more_than_may_wait(all, server);
    all.expect(!resolve("known.test", "80").empty(), "threads are free again");
}

int ask_in_namespaces() {
    const Scratch scratch;
    if (!enter_namespaces(CLONE_NEWNS | CLONE_NEWNET) || !bring_loopback_up()) {
        return not_permitted;
    }
    const bool replaced = replace_file("/etc/resolv.conf", scratch.path("resolv"),
                                       "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n") &&
                          replace_file("/etc/nsswitch.conf", scratch.path("nss"),
                                       "hosts: files dns\nservices: files\n");
    if (!replaced) return not_permitted;
    Expectations all;
    static NameServer server;
    for (const weft::Io io : available_io()) {
        weft::run([&] { ask_name_server(all, server); }, {.workers = 2, .io = io});
    }
    ::umount("/etc/resolv.conf");
    ::umount("/etc/nsswitch.conf");
    return all.wrong();
}

// Without an orderly exit, for some look-ups go on.
const Child child_with_name_server{"name server", []() -> int { std::_Exit(ask_in_namespaces()); }};

}  // namespace

TEST_CASE("a name server is asked without a worker, as long as there is time, and not by all",
          "[os][resolve]") {
    const auto outcome = child_with_name_server.run();
    INFO(outcome.describe());
    if (outcome.exited_with(not_permitted)) SKIP("no namespaces of one's own are to be had");
    REQUIRE(outcome.exited_with(0));
}
