// How many random reads of 4 KiB a second, for how much CPU time, with a given number of
// them under way at once? Layer: benchmarks.
//
//   files [--dir=.] [--size=256] [--caches=cached,direct] [--depths=1,32,128]
//         [--peers=ring,weft,weft-epoll,threads] [--rounds=5] [--seconds=0.5]
//
// Method. A file of `size` MiB without a name is made in `dir`, and is gone with this
// process. `cached`: all of it is in the page cache; `direct`: none of it, and reads go
// past it (O_DIRECT). A peer reads blocks of it in random order for some time:
//   ring        by hand: io_uring, `depth` reads in flight, one enter per turn
//   weft        `depth` fibers on one worker, over io_uring
//   weft-epoll  the same without io_uring: a few threads of the runtime's read
//   threads     `depth` threads that call pread: a pool without the cost of its queue
// Each time in a process of its own, and in an order that rotates from round to round. To
// compare what one CPU can do, run it under `taskset -c 0`.
//
// Prints one JSON object for each peer, cache, depth and round;
// `compare.py --report=FILE --reference=ring` makes tables of them. CPU time is of all
// threads, the kernel's for io_uring among them.
#include "common/arguments.hpp"
#include "common/json.hpp"
#include "common/measure.hpp"
#include "net/exchange.hpp"
#include "net/histogram.hpp"
#include "net/ring.hpp"

#include <weft/fiber.hpp>
#include <weft/io/file.hpp>
#include <weft/runtime.hpp>

#include <fcntl.h>
#include <sys/wait.h>

#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace {

using bench::fail;
using bench::now_ns;

constexpr std::size_t block_size = 4096;

/// What a peer is to do.
struct Plan {
    std::string path;
    std::uint64_t blocks;  // of the file
    bool direct;
    unsigned depth;
    std::uint64_t seed;
    std::uint64_t end_ns;

    int open_flags() const noexcept { return O_RDONLY | O_CLOEXEC | (direct ? O_DIRECT : 0); }
};

/// Where to read next, and how long the reads took. One thread.
class Reads {
public:
    Reads(const Plan& plan, std::uint64_t seed) noexcept : plan_{plan}, random_{seed} {}

    std::uint64_t next_offset() noexcept {
        return bench::next_random(random_) % plan_.blocks * block_size;
    }

    /// Returns whether there is time for another one.
    bool add(std::uint64_t started_ns, std::uint64_t ended_ns) noexcept {
        latencies_.add(ended_ns - started_ns);
        return ended_ns < plan_.end_ns;
    }

    const bench::Histogram& latencies() const noexcept { return latencies_; }

private:
    const Plan& plan_;
    std::uint64_t random_;
    bench::Histogram latencies_;
};

/// A block for each of the reads that are under way.
class Buffers {
public:
    explicit Buffers(unsigned depth) : memory_{depth * block_size} {}
    std::span<std::byte> block(std::size_t index) const noexcept {
        return memory_.bytes().subspan(index * block_size, block_size);
    }

private:
    bench::PageBuffer memory_;
};

void expect_block(std::int64_t bytes) {
    if (bytes == static_cast<std::int64_t>(block_size)) return;
    errno = bytes < 0 ? static_cast<int>(-bytes) : EIO;
    fail("read");
}

// --- the peers: each returns the latencies of its reads ---

/// `depth` reads in flight; a completed one is replaced at once.
class RingReader {
public:
    explicit RingReader(const Plan& plan)
        : file_{open(plan.path.c_str(), plan.open_flags())},
          buffers_{plan.depth},
          started_ns_(plan.depth),
          reads_{plan, plan.seed} {
        if (file_.get() < 0) fail("open");
        for (std::size_t i = 0; i < plan.depth; ++i) start(i, now_ns());
    }

    const bench::Histogram& run() {
        while (in_flight_ > 0) {
            ring_.submit_and_wait();
            ring_.drain([this](const io_uring_cqe& completion) {
                expect_block(completion.res);
                completed(completion.user_data);
            });
        }
        return reads_.latencies();
    }

private:
    void start(std::size_t index, std::uint64_t now) {
        const auto block = buffers_.block(index);
        io_uring_sqe& entry = ring_.next();
        io_uring_prep_read(&entry, file_.get(), block.data(), block_size, reads_.next_offset());
        io_uring_sqe_set_data64(&entry, index);
        started_ns_[index] = now;
        ++in_flight_;
    }

    void completed(std::size_t index) {
        --in_flight_;
        const std::uint64_t now = now_ns();
        if (reads_.add(started_ns_[index], now)) start(index, now);
    }

    bench::Ring ring_;
    bench::Descriptor file_;
    Buffers buffers_;
    std::vector<std::uint64_t> started_ns_;
    Reads reads_;
    unsigned in_flight_ = 0;
};

/// On one worker, so that all fibers may share `reads`.
void read_by_fibers(const Plan& plan, Reads& reads) {
    using weft::io::OpenMode;
    const OpenMode mode = plan.direct ? OpenMode::read | OpenMode::direct : OpenMode::read;
    weft::io::File file = weft::io::File::open(plan.path, mode);
    const Buffers buffers{plan.depth};
    std::vector<weft::Fiber<>> fibers;
    for (unsigned i = 0; i < plan.depth; ++i) {
        fibers.push_back(weft::spawn([&file, &reads, block = buffers.block(i)] {
            std::uint64_t started = 0;
            std::uint64_t now = now_ns();
            do {
                started = now;
                file.pread_exactly(block, reads.next_offset());
                now = now_ns();
            } while (reads.add(started, now));
        }));
    }
    weft::join_all(fibers);
}

void read_by_thread(int file, Reads& reads) {
    const Buffers buffers{1};
    std::uint64_t started = 0;
    std::uint64_t now = now_ns();
    do {
        started = now;
        const auto offset = static_cast<off_t>(reads.next_offset());
        expect_block(pread(file, buffers.block(0).data(), block_size, offset));
        now = now_ns();
    } while (reads.add(started, now));
}

bench::Histogram read_by_threads(const Plan& plan) {
    const bench::Descriptor file{open(plan.path.c_str(), plan.open_flags())};
    if (file.get() < 0) fail("open");
    std::mutex mutex;
    bench::Histogram all;  // guarded by mutex
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < plan.depth; ++i) {
        threads.emplace_back([&, i] {
            Reads reads{plan, plan.seed + i};
            read_by_thread(file.get(), reads);
            const std::lock_guard lock{mutex};
            all.add(reads.latencies());
        });
    }
    for (std::thread& thread : threads) thread.join();
    return all;
}

// --- measuring them ---

struct Line {
    std::string peer;
    bool direct;
    unsigned depth;
    int round;
};

class Measurement {
public:
    Measurement(Line line, Plan plan, double seconds)
        : line_{std::move(line)}, plan_{std::move(plan)}, seconds_{seconds} {}

    /// Prints the result.
    void run() {
        if (line_.peer == "weft") return run_weft(weft::Io::uring);
        if (line_.peer == "weft-epoll") return run_weft(weft::Io::epoll);
        begin();
        if (line_.peer == "ring") return print(RingReader{plan_}.run());
        if (line_.peer == "threads") return print(read_by_threads(plan_));
        std::fprintf(stderr, "no peer is called %s\n", line_.peer.c_str());
        std::exit(1);
    }

private:
    void run_weft(weft::Io io) {
        weft::Options options;
        options.workers = 1;
        options.io = io;
        weft::run(
            [this] {
                begin();
                Reads reads{plan_, plan_.seed};
                read_by_fibers(plan_, reads);
                print(reads.latencies());
            },
            options);
    }

    void begin() noexcept {
        start_cpu_ns_ = bench::process_cpu_ns();
        start_ns_ = now_ns();
        plan_.end_ns = start_ns_ + static_cast<std::uint64_t>(seconds_ * 1e9);
    }

    void print(const bench::Histogram& latencies) const {
        const auto elapsed_ns = static_cast<double>(now_ns() - start_ns_);
        const auto cpu_ns = static_cast<double>(bench::process_cpu_ns() - start_cpu_ns_);
        const auto reads = static_cast<double>(latencies.total());
        const auto us = [&latencies](double fraction) {
            return static_cast<double>(latencies.quantile(fraction)) / 1e3;
        };
        bench::JsonLine line;
        line.text("bench",
                  (line_.direct ? "read_direct" : "read_cached") + std::to_string(line_.depth))
            .text("peer", line_.peer)
            .text("program", line_.peer)
            .number("workers", 1)
            .number("depth", line_.depth)
            .number("round", line_.round)
            .value("reads_per_s", reads / elapsed_ns * 1e9)
            .number("cpu_us_per_read", cpu_ns / reads / 1e3)
            .number("p50_us", us(0.5))
            .number("p99_us", us(0.99));
        line.print();
    }

    Line line_;
    Plan plan_;
    double seconds_;
    std::uint64_t start_ns_ = 0;
    std::uint64_t start_cpu_ns_ = 0;
};

/// The file to read from: without a name, full of numbers.
class SampleFile {
public:
    SampleFile(const std::string& directory, std::size_t megabytes)
        : file_{open(directory.c_str(), O_TMPFILE | O_RDWR, 0600)},
          chunks_{megabytes},
          chunk_(chunk_size / sizeof(std::uint64_t)) {
        if (file_.get() < 0) fail("a file without a name");
        std::uint64_t random = 1;
        for (std::size_t i = 0; i < chunks_; ++i) {
            for (std::uint64_t& number : chunk_) number = bench::next_random(random);
            expect_chunk(write(file_.get(), chunk_.data(), chunk_size));
        }
        if (fsync(file_.get()) != 0) fail("fsync");
    }

    /// A name of it, for this process and those it forks.
    std::string path() const { return "/proc/self/fd/" + std::to_string(file_.get()); }
    std::uint64_t blocks() const noexcept { return chunks_ * (chunk_size / block_size); }

    void bring_into_cache() {
        for (std::size_t i = 0; i < chunks_; ++i) {
            const auto offset = static_cast<off_t>(i * chunk_size);
            expect_chunk(pread(file_.get(), chunk_.data(), chunk_size, offset));
        }
    }
    void drop_from_cache() const noexcept { posix_fadvise(file_.get(), 0, 0, POSIX_FADV_DONTNEED); }

private:
    static constexpr std::size_t chunk_size = 1 << 20;

    static void expect_chunk(ssize_t bytes) {
        if (bytes != static_cast<ssize_t>(chunk_size)) fail("the file");
    }

    bench::Descriptor file_;
    std::size_t chunks_;
    std::vector<std::uint64_t> chunk_;
};

/// In a process of its own.
void measure_apart(const Line& line, const SampleFile& file, double seconds) {
    const pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) {
        const auto seed = static_cast<std::uint64_t>(line.round) << 32;
        Measurement{line, {file.path(), file.blocks(), line.direct, line.depth, seed, 0}, seconds}
            .run();
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (status != 0) std::exit(1);
}

std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> parts;
    std::istringstream stream{text};
    for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
    return parts;
}

}  // namespace

int main(int count, char** values) {
    const bench::Arguments arguments{count, values};
    const auto megabytes = static_cast<std::size_t>(arguments.integer("size", 256));
    SampleFile file{arguments.text("dir", "."), megabytes};
    const auto peers = split(arguments.text("peers", "ring,weft,weft-epoll,threads"));
    const double seconds = arguments.number("seconds", 0.5);
    for (const std::string& cache : split(arguments.text("caches", "cached,direct"))) {
        const bool direct = cache == "direct";
        direct ? file.drop_from_cache() : file.bring_into_cache();
        for (const std::string& depth : split(arguments.text("depths", "1,32,128"))) {
            const auto reads = static_cast<unsigned>(std::stoul(depth));
            for (int round = 0; round < arguments.integer("rounds", 5); ++round) {
                for (std::size_t turn = 0; turn < peers.size(); ++turn) {
                    const std::size_t peer =
                        (turn + static_cast<std::size_t>(round)) % peers.size();
                    measure_apart({peers[peer], direct, reads, round}, file, seconds);
                }
            }
        }
    }
}
