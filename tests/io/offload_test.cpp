// The Offload. What keeps a thread busy is the opening of a FIFO, which lasts
// until somebody opens the other end.
#include "io/offload.hpp"

#include "support/catch.hpp"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

using namespace weft::detail;

namespace {

class Fifo {
public:
    Fifo() {
        REQUIRE(::mkdtemp(folder_.data()) != nullptr);
        path_ = folder_ + "/fifo";
        REQUIRE(::mkfifo(path_.c_str(), 0600) == 0);
        directory_ = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY);
        REQUIRE(directory_ >= 0);
    }
    Fifo(const Fifo&) = delete;
    Fifo& operator=(const Fifo&) = delete;
    ~Fifo() {
        ::close(directory_);
        std::filesystem::remove_all(folder_);
    }

    int directory() const { return directory_; }

    /// Lasts until somebody opens the other end.
    Request opening() const { return calling(open_); }
    /// The same, and says so.
    Request long_opening() const { return calling(open_alone_); }

private:
    std::string folder_ = "/tmp/weft-offload-XXXXXX";
    std::string path_;
    int directory_ = -1;
    static int open(void* fifo) noexcept {
        const int fd = ::openat(static_cast<Fifo*>(fifo)->directory_, "fifo", O_RDONLY | O_CLOEXEC);
        return fd >= 0 ? fd : -errno;
    }
    Request calling(BlockingCall& call) const {
        Request request;
        request.code = Request::Code::call;
        request.fd = directory_;
        request.extra = &call;
        return request;
    }
    mutable BlockingCall open_{&open, this};
    mutable BlockingCall open_alone_{&open, this, true};
};

struct statx unused;

Request asking(int directory = AT_FDCWD) {
    Request request;
    request.code = Request::Code::statx;
    request.fd = directory;
    request.buffer = ".";
    request.length = STATX_SIZE;
    request.extra = &unused;
    return request;
}

/// While it lives every opening that has begun, or begins, succeeds.
class Releaser {
public:
    explicit Releaser(const Fifo& fifo) : thread_{[this, &fifo] { run(fifo); }} {}
    Releaser(const Releaser&) = delete;
    Releaser& operator=(const Releaser&) = delete;
    ~Releaser() {
        over_.store(true);
        thread_.join();
    }

private:
    void run(const Fifo& fifo) {
        while (!over_.load()) {
            const int fd = ::openat(fifo.directory(), "fifo", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
            if (fd >= 0) ::close(fd);
            std::this_thread::yield();
        }
    }

    std::atomic<bool> over_{false};
    std::thread thread_;
};

using Operations = std::vector<std::unique_ptr<Operation>>;

/// Each was opened, or was cancelled while that had not begun.
void expect_over(const Operations& openings) {
    for (const auto& each : openings) {
        const int fd = each->await();
        CHECK((fd >= 0 || fd == -ECANCELED));
        if (fd >= 0) ::close(fd);
    }
}

/// As many of `request` as there may be threads; the last may be about to begin.
Operations as_many_as_threads(const Request& request, Offload& offload,
                              std::atomic<std::size_t>& in_flight) {
    Operations openings;
    for (std::size_t i = 0; i < Offload::default_threads; ++i) {
        openings.push_back(std::make_unique<Operation>(request));
        offload.submit(*openings.back(), in_flight);
    }
    return openings;
}

}  // namespace

TEST_CASE("each operation is carried out once, by a bounded number of threads", "[io][offload]") {
    std::atomic<std::size_t> in_flight{0};
    Offload offload;
    CHECK(offload.threads() == 0);
    Operations operations;
    for (int i = 0; i < 1000; ++i) {
        operations.push_back(std::make_unique<Operation>(asking()));
        offload.submit(*operations.back(), in_flight);
    }
    for (const auto& each : operations) CHECK(each->await() == 0);
    CHECK(offload.threads() >= 1);
    CHECK(offload.threads() <= Offload::default_threads);
    offload.stop();
    CHECK(in_flight.load() == 0);
    CHECK(offload.threads() == 0);
}

TEST_CASE("there are no more threads than it may have", "[io][offload]") {
    for (const std::size_t most : {1u, 3u, 20u}) {
        std::atomic<std::size_t> in_flight{0};
        const Fifo fifo;
        Offload offload{most};
        Operations openings;
        for (std::size_t i = 0; i < most + 2; ++i) {
            openings.push_back(std::make_unique<Operation>(fifo.opening()));
            offload.submit(*openings.back(), in_flight);
        }
        CHECK(offload.threads() == most);
        const Releaser releaser{fifo};
        expect_over(openings);
        CHECK(offload.threads() == most);
    }
}

TEST_CASE("what has not begun is cancelled at once, what has goes on", "[io][offload][cancel]") {
    std::atomic<std::size_t> in_flight{0};
    const Fifo fifo;
    Offload offload;
    const Operations openings = as_many_as_threads(fifo.opening(), offload, in_flight);
    Operation first{asking()};
    Operation second{asking()};
    offload.submit(first, in_flight);
    offload.submit(second, in_flight);
    offload.cancel(second);
    CHECK(second.await() == -ECANCELED);
    offload.cancel(second);  // over: nothing happens
    offload.cancel(first);
    CHECK(first.await() == -ECANCELED);
    const Releaser releaser{fifo};
    for (const auto& each : openings) {
        const int fd = each->await();
        CHECK(fd >= 0);
        ::close(fd);
    }
}

TEST_CASE("cancelling races with beginning, and one of the two wins", "[io][offload][cancel]") {
    std::atomic<std::size_t> in_flight{0};
    Offload offload;
    for (int i = 0; i < 2000; ++i) {
        Operation one{asking()};
        Operation two{asking()};
        offload.submit(one, in_flight);
        offload.submit(two, in_flight);
        offload.cancel(i % 2 == 0 ? one : two);
        const int results[] = {one.await(), two.await()};
        for (const int result : results) REQUIRE((result == 0 || result == -ECANCELED));
        REQUIRE(results[i % 2 == 0 ? 1 : 0] == 0);
    }
    offload.stop();
    CHECK(in_flight.load() == 0);
}

TEST_CASE("stopping cancels the queue, lets the running end, joins", "[io][offload]") {
    std::atomic<std::size_t> in_flight{0};
    const Fifo fifo;
    Offload offload;
    const Operations openings = as_many_as_threads(fifo.opening(), offload, in_flight);
    Operation queued{asking()};
    offload.submit(queued, in_flight);
    std::thread stopper{[&] { offload.stop(); }};
    CHECK(queued.await() == -ECANCELED);
    {
        const Releaser releaser{fifo};
        stopper.join();
    }
    expect_over(openings);
    CHECK(in_flight.load() == 0);
    CHECK(offload.threads() == 0);
    offload.stop();
}

TEST_CASE("what waits for others keeps no thread from the rest", "[io][offload]") {
    std::atomic<std::size_t> in_flight{0};
    const Fifo fifo;
    Offload offload;
    const Operations openings = as_many_as_threads(fifo.long_opening(), offload, in_flight);
    Operation other{asking()};
    offload.submit(other, in_flight);
    CHECK(other.await() == 0);
    const Releaser releaser{fifo};
    for (const auto& each : openings) {
        const int fd = each->await();
        CHECK(fd >= 0);
        ::close(fd);
    }
    offload.stop();
    CHECK(in_flight.load() == 0);
}

TEST_CASE("the threads take no signals", "[io][offload]") {
    std::atomic<std::size_t> in_flight{0};
    const Fifo fifo;
    Offload offload;
    {
        const Operations openings = as_many_as_threads(fifo.opening(), offload, in_flight);
        const Releaser releaser{fifo};
        expect_over(openings);
    }
    int found = 0;
    for (const auto& task : std::filesystem::directory_iterator{"/proc/self/task"}) {
        std::ifstream status{task.path() / "status"};
        std::string line;
        bool ours = false;
        while (std::getline(status, line)) {
            if (line.rfind("Name:", 0) == 0) ours = line.find("weft-offload") != line.npos;
            if (!ours || line.rfind("SigBlk:", 0) != 0) continue;
            ++found;
            // All but KILL, STOP and the two that glibc keeps for itself.
            const auto mask = std::stoull(line.substr(7), nullptr, 16);
            CHECK((mask | 0x0000000180040100ULL) == ~0ULL);
        }
    }
    CHECK(found > 0);  // one that is just starting may not have its name yet
}
