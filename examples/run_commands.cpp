// Commands: one run to its end, three joined to a pipeline, many in a pool, and what
// becomes of those that fail or take too long.
#include <weft/io/process.hpp>
#include <weft/io/process_pool.hpp>
#include <weft/runtime.hpp>

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using weft::io::Arguments;
using weft::io::Process;
using weft::io::run;
using weft::io::Stdio;

// seq 1000 | grep 77 | tail -n 3
std::string pipeline() {
    Process seq = Process::start({"seq", "1000"}, {.output = Stdio::pipe()});
    Process grep = Process::start({"grep", "77"},
                                  {.input = Stdio::fd(seq.output().fd()), .output = Stdio::pipe()});
    Process tail = Process::start(
        {"tail", "-n", "3"}, {.input = Stdio::fd(grep.output().fd()), .output = Stdio::pipe()});
    seq.output().close();  // theirs now: lest we keep the pipes open
    grep.output().close();
    const std::string last = tail.communicate().output;
    std::printf("seq: %s, grep: %s\n", seq.wait().describe().c_str(),
                grep.wait().describe().c_str());
    return last;
}

void all_at_once() {
    weft::io::ProcessPool pool{4};
    std::vector<Arguments> commands;
    for (int i = 1; i <= 8; ++i) commands.push_back({"expr", std::to_string(i), "*", "111"});
    for (const auto& done : pool.map(commands)) std::fputs(done.output.c_str(), stdout);
}

int main() {
    weft::run([] {
        std::fputs(run({"sort", "-r"}, {.input = "alder\nbirch\ncedar\n"}).output.c_str(), stdout);
        std::fputs(pipeline().c_str(), stdout);
        all_at_once();

        try {
            run({"sh", "-c", "echo 'no such luck' >&2; exit 3"}, {.check = true});
        } catch (const weft::io::CommandFailed& failed) {
            std::puts(failed.what());
        }
        const auto slow = run({"sleep", "1000"}, {.time_limit = 20ms});
        std::printf("sleep: %s%s\n", slow.status.describe().c_str(),
                    slow.timed_out ? ", out of time" : "");
    });
}
