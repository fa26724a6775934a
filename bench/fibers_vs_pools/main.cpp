// Are fibers better than a thread pool, and for what? The same jobs, on weft's fibers, on a
// thread per task and on pools of several sizes. Layer: benchmarks.
//
//   fibers_vs_pools [--tasks=10,100,1000,10000] [--jobs=sleep,socket,cpu,mixed] [--rounds=3]
//                   [--variants=weft-1,weft-all,threads,pool-8,pool-64,pool-512]
//                   [--longest=5] [--output=fibers_vs_pools.jsonl] [--plot=FILE.svg]
//
// Method. A batch of tasks is submitted as fast as it goes, and waited for. Each variant runs
// each batch in a process of its own, which is forked for it before any thread exists; a round
// runs every variant once, in an order that rotates. The server that the sockets are connected
// to is one more process, and not measured. All variants must come to the same checksum.
// A pool whose threads would sleep for longer than --longest seconds is left out: it does as
// many tasks a second as in a smaller batch.
#include "common/arguments.hpp"
#include "common/json.hpp"
#include "fibers_vs_pools/batch.hpp"
#include "net/servers.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cmath>
#include <cstdlib>
#include <map>
#include <sstream>
#include <stdexcept>

namespace {

using bench::Figures;
using bench::Job;
using bench::Means;
using bench::Variant;
using bench::Work;

const std::vector<Variant> all_variants{
    {"weft-1", Means::fibers, 1},       {"weft-all", Means::fibers, 0},
    {"threads", Means::thread_each, 0}, {"pool-8", Means::pool, 8},
    {"pool-64", Means::pool, 64},       {"pool-512", Means::pool, 512},
};
const std::map<std::string, Job> all_jobs{
    {"sleep", Job::sleep}, {"socket", Job::socket}, {"cpu", Job::cpu}, {"mixed", Job::mixed}};

constexpr int patience_ms = 30'000;  // with one process

std::vector<std::string> split(const std::string& list) {
    std::vector<std::string> parts;
    std::istringstream stream{list};
    for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
    return parts;
}

Variant variant_named(const std::string& name) {
    for (const Variant& variant : all_variants) {
        if (variant.name == name) return variant;
    }
    throw std::invalid_argument{"no such variant: " + name};
}

/// A process that ends when this one does.
pid_t fork_child() {
    std::fflush(stdout);  // or it would be printed twice
    const pid_t child = fork();
    if (child < 0) bench::fail("fork");
    if (child == 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
    return child;
}

/// An echo server in a process of its own.
class Server {
public:
    Server() {
        const bench::Descriptor listener = bench::listen_on_loopback(0, bench::Blocking::no);
        sockaddr_in address{};
        socklen_t size = sizeof address;
        getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
        port_ = ntohs(address.sin_port);
        process_ = fork_child();
        if (process_ == 0) bench::serve_by_epoll(listener.get(), bench::Protocol::echo);
    }
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    ~Server() {
        kill(process_, SIGKILL);
        waitpid(process_, nullptr, 0);
    }

    std::uint16_t port() const noexcept { return port_; }

private:
    std::uint16_t port_ = 0;
    pid_t process_ = 0;
};

Figures not_run(const std::string& why) {
    Figures figures{};
    std::snprintf(figures.not_run, sizeof figures.not_run, "%s", why.c_str());
    return figures;
}

/// What the process wrote, once it did or died; it is gone then.
Figures collect(pid_t process, int pipe_end) {
    pollfd event{pipe_end, POLLIN, 0};
    Figures figures{};
    const bool in_time = poll(&event, 1, patience_ms) > 0;
    const bool complete =
        in_time && read(pipe_end, &figures, sizeof figures) == ssize_t{sizeof figures};
    if (!in_time) kill(process, SIGKILL);
    int status = 0;
    waitpid(process, &status, 0);
    if (complete) return figures;
    if (!in_time) return not_run("no result after " + std::to_string(patience_ms / 1000) + " s");
    Figures failure = not_run("failed with status " + std::to_string(status));
    failure.failed = true;
    return failure;
}

/// One batch in a process of its own.
Figures run_alone(const Variant& variant, const Work& work) {
    int ends[2];
    if (pipe(ends) != 0) bench::fail("pipe");
    const bench::Descriptor from{ends[0]};
    bench::Descriptor to{ends[1]};
    const pid_t child = fork_child();
    if (child == 0) {
        const Figures figures = bench::measure_or_say_why(variant, work);
        const bool written = write(to.get(), &figures, sizeof figures) == ssize_t{sizeof figures};
        _exit(written ? 0 : 1);
    }
    { const bench::Descriptor closed = std::move(to); }  // so that its death ends the pipe
    return collect(child, from.get());
}

/// How long a pool's threads must sleep for these tasks.
double seconds_asleep(const Variant& variant, const Work& work) {
    if (variant.means != Means::pool) return 0;
    if (work.job != Job::sleep && work.job != Job::mixed) return 0;
    return static_cast<double>(work.tasks) * 0.010 / variant.size;
}

void print_json(std::FILE* to, const std::string& job, const Work& work, const Variant& variant,
                int round, const Figures& figures) {
    bench::JsonLine line;
    line.text("bench", "fibers_vs_pools." + job)
        .text("peer", variant.name)
        .number("workers", variant.size)
        .number("tasks", static_cast<double>(work.tasks))
        .number("round", round);
    if (figures.not_run[0] != '\0') {
        line.text("not_run", figures.not_run).print(to);
        return;
    }
    line.value("tasks_per_s", static_cast<double>(work.tasks) / figures.seconds)
        .number("p50_us", figures.p50_us)
        .number("p99_us", figures.p99_us)
        .number("user_ms", figures.user_ms)
        .number("system_ms", figures.system_ms)
        .number("switches", figures.switches)
        .number("peak_rss_mb", figures.peak_mb)
        .text("checksum", std::to_string(figures.checksum))
        .print(to);
}

/// The results of one variant, one of each round; a row of the table.
using Rounds = std::vector<Figures>;

template <class Figure>
double median(const Rounds& rounds, Figure figure) {
    std::vector<float> values;
    for (const Figures& figures : rounds) values.push_back(static_cast<float>(figure(figures)));
    return bench::quantile(values, 0.5);
}

void print_row(const Work& work, const Variant& variant, const Rounds& rounds) {
    std::printf("| %zu | %s |", work.tasks, variant.name.c_str());
    for (const Figures& figures : rounds) {
        if (figures.not_run[0] == '\0') continue;
        std::printf(" not run: %s | | | | | |\n", figures.not_run);
        return;
    }
    const auto tasks = static_cast<double>(work.tasks);
    std::printf(" %.0f | %.3g | %.3g | %.1f | %.0f | %.1f |\n",
                median(rounds, [tasks](const Figures& f) { return tasks / f.seconds; }),
                median(rounds, [](const Figures& f) { return f.p50_us / 1e3; }),
                median(rounds, [](const Figures& f) { return f.p99_us / 1e3; }),
                median(rounds, [](const Figures& f) { return f.user_ms + f.system_ms; }),
                median(rounds, [](const Figures& f) { return f.switches; }),
                median(rounds, [](const Figures& f) { return f.peak_mb; }));
    std::fflush(stdout);
}

/// Everything asked for on the command line.
class Comparison {
public:
    explicit Comparison(const bench::Arguments& arguments)
        : jobs_{split(arguments.text("jobs", "sleep,socket,cpu,mixed"))},
          rounds_{arguments.integer("rounds", 3)},
          longest_{arguments.number("longest", 5)},
          output_{std::fopen(arguments.text("output", "fibers_vs_pools.jsonl").c_str(), "w")} {
        if (output_ == nullptr) bench::fail("--output");
        for (const auto& count : split(arguments.text("tasks", "10,100,1000,10000"))) {
            tasks_.push_back(std::stoul(count));
        }
        const auto names =
            arguments.text("variants", "weft-1,weft-all,threads,pool-8,pool-64,pool-512");
        for (const auto& name : split(names)) variants_.push_back(variant_named(name));
    }
    Comparison(const Comparison&) = delete;
    Comparison& operator=(const Comparison&) = delete;
    ~Comparison() { std::fclose(output_); }

    /// Returns whether all variants did the same work, as far as they could.
    bool run() {
        bool same = true;
        for (const auto& job : jobs_) {
            std::printf("\n**%s, medians of %d rounds**\n\n", job.c_str(), rounds_);
            std::printf("| tasks | on | tasks/s | p50 ms | p99 ms | CPU ms | switches | MB |\n");
            std::printf("|---|---|---|---|---|---|---|---|\n");
            for (const std::size_t tasks : tasks_) {
                same = run_cell(job, {all_jobs.at(job), tasks, server_.port()}) && same;
            }
        }
        return same;
    }

private:
    bool run_cell(const std::string& job, const Work& work) {
        std::vector<Rounds> results(variants_.size());
        for (int round = 0; round < rounds_; ++round) {
            for (std::size_t i = 0; i < variants_.size(); ++i) {
                const std::size_t turn = (i + static_cast<std::size_t>(round)) % variants_.size();
                const Figures figures = run_one(variants_[turn], work);
                print_json(output_, job, work, variants_[turn], round, figures);
                results[turn].push_back(figures);
            }
        }
        for (std::size_t i = 0; i < variants_.size(); ++i)
            print_row(work, variants_[i], results[i]);
        return all_well(results);
    }

    Figures run_one(const Variant& variant, const Work& work) const {
        const double asleep = seconds_asleep(variant, work);
        if (asleep <= longest_) return run_alone(variant, work);
        return not_run(std::to_string(std::lround(asleep)) + " s of sleeping");
    }

    static bool all_well(const std::vector<Rounds>& results) {
        const Figures* first = nullptr;
        for (const Rounds& rounds : results) {
            for (const Figures& figures : rounds) {
                if (figures.failed) return false;
                if (figures.not_run[0] != '\0') continue;
                if (first == nullptr) first = &figures;
                if (figures.checksum == first->checksum) continue;
                std::printf("WRONG RESULT: the checksums differ\n");
                return false;
            }
        }
        return true;
    }

    const std::vector<std::string> jobs_;
    const int rounds_;
    const double longest_;
    std::FILE* const output_;
    std::vector<std::size_t> tasks_;
    std::vector<Variant> variants_;
    const Server server_;
};

/// By plot.py, which says why if it cannot.
void plot(const std::string& results, const std::string& picture) {
    const pid_t child = fork_child();
    if (child == 0) {
        execlp("python3", "python3", PLOT_SCRIPT, results.c_str(), picture.c_str(), nullptr);
        std::perror("no plot: python3");
        _exit(1);
    }
    waitpid(child, nullptr, 0);
}

}  // namespace

int main(int count, char** values) {
    const bench::Arguments arguments{count, values};
    bench::raise_descriptor_limit();
    const bool same = Comparison{arguments}.run();
    const std::string picture = arguments.text("plot", "");
    if (!picture.empty()) plot(arguments.text("output", "fibers_vs_pools.jsonl"), picture);
    return same ? 0 : 1;
}
