#include "support/process.hpp"
#include "support/errors.hpp"
#include "support/fd.hpp"
#include "support/runtime.hpp"
#include "support/tcp.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/fiber.hpp>
#include <weft/io/process.hpp>
#include <weft/io/wait.hpp>

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <signal.h>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::io::Arguments;
using weft::io::CommandFailed;
using weft::io::Completed;
using weft::io::ExitStatus;
using weft::io::Process;
using weft::io::ProcessGroup;
using weft::io::ProcessOptions;
using weft::io::run;
using weft::io::Stdio;

namespace {

using Variables = weft::io::Environment;

constexpr ProcessOptions piped() {
    return {.input = Stdio::pipe(), .output = Stdio::pipe(), .errors = Stdio::pipe()};
}

Process shell(std::string_view script, const ProcessOptions& options = {}) {
    return Process::start({"/bin/sh", "-c", script}, options);
}

Completed run_shell(std::string_view script, const weft::io::RunOptions& options = {}) {
    return run({"/bin/sh", "-c", script}, options);
}

bool is_child(int pid) {
    siginfo_t info{};
    const auto id = static_cast<id_t>(pid);
    return ::waitid(P_PID, id, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0;
}

/// Nothing is left of the processes that `body` started, and no descriptor.
template <class Body>
void leaves_nothing(Body&& body) {
    // A thread has a descriptor of its own from its first wait on.
    std::array<std::byte, 1> nothing{};
    auto pipe = weft::io::Pipe::open();
    REQUIRE(is(error_of([&] { pipe.reader.read(nothing, 1ms); }), std::errc::timed_out));
    pipe = {};
    run({"true"});
    const std::size_t fds = open_fds();
    body();
    REQUIRE(open_fds() == fds);
    siginfo_t info{};
    REQUIRE(::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == -1);
    REQUIRE(errno == ECHILD);
}

template <class Body>
void on_workers_and_threads(Body&& body) {
    on_workers_and_io([&] { leaves_nothing(body); });
    std::thread{[&] { leaves_nothing(body); }}.join();
}

std::string text_of(weft::io::PipeReader& reader) {
    std::string text(4096, '\0');
    text.resize(reader.read(std::as_writable_bytes(std::span{text})));
    return text;
}

/// Until the process has said a line, so that it is where its script wants it.
void await_word(Process& process) { REQUIRE(!text_of(process.output()).empty()); }

/// A script that begins when a line is written to the other end of `held`.
Process held_back(const std::string& script, int held) {
    ProcessOptions options = piped();
    options.fds = {{held, 7}};
    return shell("read x <&7; " + script, options);
}

std::string large_text() {
    std::string text;
    while (text.size() < (1u << 20)) text += std::to_string(text.size()) + '\n';
    return text;
}

}  // namespace

// --- starting ---

TEST_CASE("a process tells its exit code or the signal that killed it", "[os][process]") {
    on_workers_and_threads([] {
        REQUIRE(Process::start({"true"}).wait() == ExitStatus::exited(0));
        REQUIRE(Process::start({"true"}).wait().success());
        REQUIRE(shell("exit 47").wait() == ExitStatus::exited(47));
        REQUIRE(shell("exit 47").wait().describe() == "exit code 47");
        const ExitStatus killed = shell("kill -TERM $$").wait();
        REQUIRE(killed == ExitStatus::killed(SIGTERM));
        REQUIRE(killed.code() == -1);
        REQUIRE_FALSE(killed.success());
        REQUIRE(killed.describe() == "killed by SIGTERM");
        REQUIRE(ExitStatus::killed(SIGSEGV, true).describe() == "killed by SIGSEGV (core dumped)");
        REQUIRE(ExitStatus::killed(40).describe() == "killed by signal 40");
    });
}

TEST_CASE("a core that was not dumped is not told", "[os][process]") {
    on_workers_and_io([] {
        const auto status = run_shell("ulimit -c 0; kill -SEGV $$").status;
        REQUIRE(status == ExitStatus::killed(SIGSEGV));
        REQUIRE_FALSE(status.dumped_core());
    });
    REQUIRE(ExitStatus::killed(SIGSEGV, true).dumped_core());
    REQUIRE(ExitStatus::killed(SIGSEGV, true).describe() == "killed by SIGSEGV (core dumped)");
}

TEST_CASE("a program that is not there or cannot run is told by name", "[os][process]") {
    on_workers_and_threads([] {
        const auto error = [](const Arguments& arguments, const ProcessOptions& options = {}) {
            return error_of([&] { Process::start(arguments, options); });
        };
        REQUIRE(is(error({"weft-is-not-there"}), std::errc::no_such_file_or_directory));
        REQUIRE(is(error({"/not/there"}), std::errc::no_such_file_or_directory));
        REQUIRE(is(error({""}), std::errc::no_such_file_or_directory));
        REQUIRE(is(error({"/etc/passwd"}), std::errc::permission_denied));
        REQUIRE(is(error({"/tmp"}), std::errc::permission_denied));
        REQUIRE(
            is(error({"true"}, {.directory = "/not/there"}), std::errc::no_such_file_or_directory));
        REQUIRE(is(error({"true"}, {.input = Stdio::fd(9999)}), std::errc::bad_file_descriptor));
        const auto says = [](const Arguments& arguments, const ProcessOptions& options) {
            try {
                Process::start(arguments, options);
            } catch (const std::system_error& told) {
                return std::string{told.what()};
            }
            return std::string{};
        };
        REQUIRE(
            says({"weft-is-not-there", "x"}, piped()).starts_with("start \"weft-is-not-there\":"));
        REQUIRE(says({"true"}, {.directory = "/not/there"})
                    .starts_with("start \"true\" in directory \"/not/there\":"));
    });
}

TEST_CASE("what fails to start leaves nothing, however often", "[os][process]") {
    on_workers_and_threads([] {
        for (int i = 0; i < 100; ++i) {
            REQUIRE_THROWS_AS(Process::start({"/not/there"}, piped()), std::system_error);
        }
    });
}

TEST_CASE("what cannot be asked for is refused", "[os][process]") {
    REQUIRE_THROWS_AS(Arguments(std::vector<std::string>{}), std::invalid_argument);
    REQUIRE_THROWS_AS(Arguments({std::string_view{"a\0b", 3}}), std::invalid_argument);
    REQUIRE_THROWS_AS(Variables{}.set("", "x"), std::invalid_argument);
    REQUIRE_THROWS_AS(Variables{}.set("a=b", "x"), std::invalid_argument);
    REQUIRE_THROWS_AS((weft::io::PassedFds{{0, 2}}), std::invalid_argument);
    leaves_nothing([] {
        REQUIRE_THROWS_AS(Process::start({"true"}, {.input = Stdio::to_output()}),
                          std::invalid_argument);
        REQUIRE_THROWS_AS(Process::start({"true"}, {.output = Stdio::to_output()}),
                          std::invalid_argument);
        REQUIRE_THROWS_AS(Process::start({"true"}, {.errors = Stdio::fd(-1)}),
                          std::invalid_argument);
    });
}

TEST_CASE("a child has the arguments, directory and environment it is given", "[os][process]") {
    on_workers_and_threads([] {
        const Environment ours{"WEFT_OURS", "here"};
        const std::vector<std::string> words{"printf", "%s|", "a b", "", "c"};
        REQUIRE(run(words).output == "a b||c|");
        REQUIRE(run({"pwd"}, {.process = {.directory = "/usr/bin"}}).output == "/usr/bin\n");
        const auto with = [](const Variables& environment) {
            return run_shell("echo $WEFT_OURS-$NEW", {.process = {.environment = environment}})
                .output;
        };
        REQUIRE(with({}) == "here-\n");
        REQUIRE(with(Variables{}.set("NEW", "1").set("NEW", "2=2")) == "here-2=2\n");
        REQUIRE(with(Variables{}.unset("WEFT_OURS").set("NEW", "1")) == "-1\n");
        const auto exact = Variables::empty().set("A", "").set("PATH", "/not/there:/usr/bin:/bin");
        REQUIRE(run({"env"}, {.process = {.environment = exact}}).output ==
                "A=\nPATH=/not/there:/usr/bin:/bin\n");
    });
}

TEST_CASE("a program is looked for in the PATH of the child", "[os][process]") {
    leaves_nothing([] {
        const auto nowhere = Variables{}.set("PATH", "/not/there:/etc/passwd");
        REQUIRE(is(error_of([&] { Process::start({"true"}, {.environment = nowhere}); }),
                   std::errc::no_such_file_or_directory));
        REQUIRE(Process::start({"true"}, {.environment = Variables::empty()}).wait().success());
        // What may not be run is no reason not to look further on, but is remembered.
        const auto forbidden = Variables{}.set("PATH", "/etc");
        REQUIRE(is(error_of([&] { Process::start({"passwd"}, {.environment = forbidden}); }),
                   std::errc::permission_denied));
        const auto later = Variables{}.set("PATH", "/etc::/usr/bin:/bin");
        REQUIRE(
            Process::start({"passwd", "--help"}, {.environment = later, .output = Stdio::null()})
                .wait()
                .success());
    });
}

TEST_CASE("streams are inherited, nothing, a descriptor or the output", "[os][process]") {
    on_workers_and_threads([] {
        auto [a, b] = pipe_ends(O_CLOEXEC);
        REQUIRE(
            shell("cat; echo out; echo err >&2",
                  {.input = Stdio::null(), .output = Stdio::fd(b), .errors = Stdio::to_output()})
                .wait()
                .success());
        b.reset();
        weft::io::PipeReader reader{a.release()};
        REQUIRE(text_of(reader) == "out\nerr\n");

        // Each other's number, which needs a third.
        auto [c, d] = pipe_ends(O_CLOEXEC);
        ProcessOptions crossed{
            .input = Stdio::null(), .output = Stdio::fd(STDERR_FILENO), .errors = Stdio::fd(d)};
        REQUIRE(shell("echo crossed >&2", crossed).wait().success());
        d.reset();
        weft::io::PipeReader other{c.release()};
        REQUIRE(text_of(other) == "crossed\n");
    });
}

TEST_CASE("processes are joined to a pipeline by weft's own pipes", "[os][process]") {
    on_workers_and_threads([] {
        // The second waits for its input, which must not be EAGAIN.
        auto [held, go] = pipe_ends(O_CLOEXEC);
        Process first = held_back("seq 30", held);
        Process second = Process::start(
            {"grep", "7"}, {.input = Stdio::fd(first.output().fd()), .output = Stdio::pipe()});
        auto [reader, writer] = weft::io::Pipe::open();
        Process third = Process::start({"tr", "7", "x"}, {.input = Stdio::fd(second.output().fd()),
                                                          .output = Stdio::fd(writer.fd())});
        for (Process* each : {&first, &second}) each->output().close();
        writer.close();
        put(go, "\n");
        REQUIRE(third.wait().success());
        REQUIRE(text_of(reader) == "x\n1x\n2x\n");
        REQUIRE(first.wait().success());
        REQUIRE(second.wait().success());
    });
}

TEST_CASE("a child gets the descriptors it is given, by number, and no others", "[os][process]") {
    on_workers_and_threads([] {
        auto [a, b] = pipe_ends();  // without O_CLOEXEC: somebody forgot
        const Completed done = run({"ls", "/proc/self/fd"}, {.process = {.fds = {{b, 7}, {a, 9}}}});
        REQUIRE(done.output == "0\n1\n2\n3\n7\n9\n");  // 3 is the directory
        REQUIRE(run_shell("echo by seven >&7", {.process = {.fds = {{b, 7}}}}).status.success());
        weft::io::PipeReader reader{a.release()};
        REQUIRE(text_of(reader) == "by seven\n");
    });
}

TEST_CASE("a child has no signal blocked or ignored", "[os][process]") {
    // Unless this one runs under nohup, which is for its children, too.
    const auto hangup = ::signal(SIGHUP, SIG_DFL);
    on_workers_and_threads([] {
        struct sigaction ignore {};
        struct sigaction before {};
        ignore.sa_handler = SIG_IGN;
        ::sigaction(SIGUSR2, &ignore, &before);
        const auto status = run({"grep", "-E", "SigBlk|SigIgn", "/proc/self/status"}).output;
        ::sigaction(SIGUSR2, &before, nullptr);
        REQUIRE(status == "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
        REQUIRE(run_shell("yes | head -n 1").output == "y\n");  // needs SIGPIPE
    });
    ::signal(SIGHUP, hangup);
}

TEST_CASE("a child of a program that survives its terminal does so, too", "[os][process]") {
    leaves_nothing([] {
        const auto before = ::signal(SIGHUP, SIG_IGN);
        const Completed done = run({"grep", "SigIgn", "/proc/self/status"});
        ::signal(SIGHUP, before);
        REQUIRE(done.output == "SigIgn:\t0000000000000001\n");
    });
}

TEST_CASE("a child may have a group or a session of its own", "[os][process]") {
    on_workers_and_threads([] {
        const auto start = [](ProcessGroup group) {
            ProcessOptions options = piped();
            options.group = group;
            return Process::start({"cat"}, options);
        };
        const Process inherited = start(ProcessGroup::inherited);
        REQUIRE(::getpgid(inherited.pid()) == ::getpgrp());
        REQUIRE(::getsid(inherited.pid()) == ::getsid(0));
        const Process own = start(ProcessGroup::own);
        REQUIRE(::getpgid(own.pid()) == own.pid());
        REQUIRE(::getsid(own.pid()) == ::getsid(0));
        const Process session = start(ProcessGroup::session);
        REQUIRE(::getpgid(session.pid()) == session.pid());
        REQUIRE(::getsid(session.pid()) == session.pid());
    });
}

namespace {

/// Pipes get the numbers of the standard streams, and the child's are others.
int without_standard_streams() {
    ::close(STDIN_FILENO);
    ::close(STDOUT_FILENO);
    ::close(STDERR_FILENO);
    const std::string text = large_text();
    const Completed all = shell("tee /dev/stderr", piped()).communicate(text);
    if (all.output != text || all.errors != text) return 1;
    // What it should inherit is not there, and nothing else may be.
    Process deaf = shell("ls /proc/self/fd >&2", {.errors = Stdio::pipe()});
    const Completed fds = deaf.communicate();
    return fds.errors == "0\n1\n2\n" ? 0 : 2;  // the directory; its output; its errors
}
const Child streamless{"process: streams", &without_standard_streams};

}  // namespace

TEST_CASE("a process without standard streams starts others", "[os][process]") {
    const Outcome outcome = streamless.run();
    INFO(outcome.describe());
    REQUIRE(outcome.exited_with(0));
}

// --- waiting ---

TEST_CASE("a wait ends at its deadline, and others go on", "[os][process]") {
    on_workers_and_threads([] {
        Process process = Process::start({"cat"}, piped());
        REQUIRE_FALSE(process.wait(1ms).has_value());
        REQUIRE_FALSE(process.poll().has_value());
        process.input().close();
        REQUIRE(process.wait(1h) == ExitStatus::exited(0));
        REQUIRE(process.poll() == ExitStatus::exited(0));
    });
}

TEST_CASE("everybody who waits for a process is told the same", "[os][process]") {
    on_workers_and_io([] {
        Process process = shell("read x; exit 3", piped());
        std::vector<weft::Fiber<ExitStatus>> waiting;
        for (int i = 0; i < 10; ++i) waiting.push_back(weft::spawn([&] { return process.wait(); }));
        std::optional<ExitStatus> of_thread;
        std::thread thread{[&] { of_thread = process.wait(); }};
        until_in_flight(10);
        process.input().write_all("go\n");
        for (auto& each : waiting) REQUIRE(each.get() == ExitStatus::exited(3));
        thread.join();
        REQUIRE(of_thread == ExitStatus::exited(3));
    });
}

TEST_CASE("a cancelled wait leaves the process to others", "[os][process]") {
    on_workers_and_io([] {
        Process process = Process::start({"cat"}, piped());
        auto waiting = weft::spawn([&] { process.wait(); });
        until_in_flight(1);
        waiting.cancel();
        REQUIRE_THROWS_AS(waiting.get(), weft::Cancelled);
        process.input().close();
        REQUIRE(process.wait().success());
    });
}

TEST_CASE("a status that somebody else took away is no_child_process", "[os][process]") {
    on_workers_and_threads([] {
        Process process = Process::start({"true"});
        int status = 0;
        REQUIRE(::waitpid(process.pid(), &status, 0) == process.pid());
        REQUIRE(is(error_of([&] { process.wait(); }), std::errc::no_child_process));
        REQUIRE(is(error_of([&] { process.poll(); }), std::errc::no_child_process));
        REQUIRE_FALSE(process.kill());
    });
}

namespace {

int ignore_children() {
    ::signal(SIGCHLD, SIG_IGN);
    int wrong = 0;
    weft::run([&] {
        const auto code = error_of([] { Process::start({"true"}).wait(); });
        wrong += code == std::errc::no_child_process ? 0 : 1;
        { Process killed = Process::start({"cat"}, piped()); }
        try {
            Process::start({"/not/there"});
            wrong += 2;
        } catch (const std::system_error& error) {
            wrong += error.code() == std::errc::no_such_file_or_directory ? 0 : 4;
        }
    });
    return wrong;
}
const Child ignoring{"process: SIGCHLD", &ignore_children};

}  // namespace

TEST_CASE("a program that ignores SIGCHLD is told that a status is lost", "[os][process]") {
    const Outcome outcome = ignoring.run();
    INFO(outcome.describe());
    REQUIRE(outcome.exited_with(0));
}

// --- signals ---

TEST_CASE("signals reach a process, and nobody once it was waited for", "[os][process]") {
    on_workers_and_threads([] {
        Process trapping = shell("trap 'exit 5' USR1; echo ready; while :; do sleep 0.01; done",
                                 {.output = Stdio::pipe(), .group = ProcessGroup::own});
        await_word(trapping);
        REQUIRE(trapping.send_signal(SIGUSR1));
        REQUIRE(trapping.wait() == ExitStatus::exited(5));
        REQUIRE_FALSE(trapping.send_signal(SIGUSR1));
        REQUIRE_FALSE(trapping.signal_group(SIGUSR1));

        Process first = Process::start({"cat"}, piped());
        REQUIRE(first.terminate());
        REQUIRE(first.wait() == ExitStatus::killed(SIGTERM));
        Process second = Process::start({"cat"}, piped());
        REQUIRE(second.kill());
        REQUIRE(second.wait() == ExitStatus::killed(SIGKILL));
        REQUIRE(is(error_of([&] { Process::start({"cat"}, piped()).send_signal(1000); }),
                   std::errc::invalid_argument));
        REQUIRE_THROWS_AS(second.signal_group(SIGTERM), std::logic_error);
    });
}

TEST_CASE("a signal to its group reaches what a process has started", "[os][process]") {
    on_workers_and_threads([] {
        Process process = shell("sleep 1000 & echo ready; wait",
                                {.output = Stdio::pipe(), .group = ProcessGroup::own});
        await_word(process);
        REQUIRE(process.signal_group(SIGTERM));
        REQUIRE(text_of(process.output()).empty());  // nobody has it open any more
        REQUIRE(process.wait() == ExitStatus::killed(SIGTERM));
    });
}

TEST_CASE("no signal goes to the group of a process that was waited for", "[os][process]") {
    on_workers_and_threads([] {
        Process process = shell("sleep 1000 & echo $!; exit 0",
                                {.output = Stdio::pipe(), .group = ProcessGroup::own});
        const int orphan = std::stoi(text_of(process.output()));
        REQUIRE(process.wait().success());
        REQUIRE_FALSE(process.signal_group(SIGTERM));  // the number may be another's
        REQUIRE(::kill(orphan, SIGKILL) == 0);
    });
}

// --- the end of a handle ---

TEST_CASE("a process that nobody waited for is killed with its handle", "[os][process]") {
    on_workers_and_threads([] {
        int pid = 0;
        {
            Process process = Process::start({"cat"}, piped());
            pid = process.pid();
            REQUIRE(is_child(pid));
        }
        REQUIRE_FALSE(is_child(pid));
        Process again = Process::start({"cat"}, piped());
        pid = again.pid();
        again = Process::start({"true"});
        REQUIRE_FALSE(is_child(pid));
        REQUIRE(again.wait().success());
    });
}

TEST_CASE("a process that is given up lives, and is the caller's", "[os][process]") {
    on_workers_and_threads([] {
        const int pid = shell("exit 9").release();
        int status = 0;
        REQUIRE(::waitpid(pid, &status, 0) == pid);
        REQUIRE(WEXITSTATUS(status) == 9);
    });
}

TEST_CASE("a process that dies with its parent ends with the thread that started it",
          "[os][process]") {
    std::optional<Process> process;
    std::thread{[&] {
        process = Process::start({"sleep", "1000"}, {.dies_with_parent = true});
    }}.join();
    REQUIRE(process->wait() == ExitStatus::killed(SIGKILL));
}

TEST_CASE("a child made by fork that drops its copy of a handle leaves the process alone",
          "[os][process]") {
    on_workers_and_threads([] {
        for (const ProcessGroup group : {ProcessGroup::inherited, ProcessGroup::own}) {
            ProcessOptions options = piped();
            options.group = group;
            Process killed = Process::start({"cat"}, options);
            Process moved = Process::start({"cat"}, options);
            const auto in_child = [&] {
                const auto error = error_of([&] { killed.kill_and_collect(); });
                { const Process gone = std::move(moved); }
                return is(error, std::errc::no_child_process) ? 0 : 1;
            };
            const pid_t child = ::fork();
            // What sanitizers do about threads after a fork is their own affair.
            if (child == 0) ::_exit(under_sanitizer ? 0 : in_child());
            int status = -1;
            REQUIRE(::waitpid(child, &status, 0) == child);
            REQUIRE(status == 0);
            REQUIRE(killed.communicate("lives").output == "lives");
            REQUIRE(moved.communicate("on").output == "on");
        }
    });
}

// --- communicate ---

TEST_CASE("a megabyte goes to a process and back at once", "[os][process]") {
    on_workers_and_threads([] {
        const std::string text = large_text();
        const Completed done = Process::start({"cat"}, piped()).communicate(text);
        REQUIRE(done.output == text);
        REQUIRE(done.errors.empty());
        REQUIRE_FALSE(done.truncated);
        const Completed both = shell("tee /dev/stderr", piped()).communicate(text);
        REQUIRE(both.output == text);
        REQUIRE(both.errors == text);
    });
}

TEST_CASE("a process need not read what it is given", "[os][process]") {
    on_workers_and_threads([] {
        const Completed done = shell("echo no; exit 4", piped()).communicate(large_text());
        REQUIRE(done.output == "no\n");
        REQUIRE(done.status == ExitStatus::exited(4));
        // Also when it closes its input and goes on.
        REQUIRE(shell("exec 0<&-; echo on", piped()).communicate(large_text()).output == "on\n");
    });
}

TEST_CASE("communicate() goes on where its deadline or its cancellation left it", "[os][process]") {
    on_workers_and_threads([] {
        const std::string text = large_text();
        Process process =
            shell("echo first; read x; cat", {.input = Stdio::pipe(), .output = Stdio::pipe()});
        auto done = process.communicate("", weft::Deadline::Clock::time_point{});
        REQUIRE_FALSE(done.has_value());
        REQUIRE(process.wait().success());
        REQUIRE(process.communicate("does not count").output == "first\n");

        auto [held, go] = pipe_ends(O_CLOEXEC);
        Process slow = held_back("cat", held);
        for (int i = 0; i < 3; ++i) REQUIRE_FALSE(slow.communicate(text, 1ms).has_value());
        put(go, "\n");
        while (!done) done = slow.communicate("", 1ms);
        REQUIRE(done->output == text);

        Process asked = Process::start({"cat"}, piped());
        const weft::Deadline now{weft::Deadline::Clock::time_point{}};
        for (done.reset(); !done; done = asked.communicate(text, now)) std::this_thread::yield();
        REQUIRE(done->output == text);
    });
    on_workers_and_io([] {
        const std::string text = large_text();
        auto [held, go] = pipe_ends(O_CLOEXEC);
        Process slow = held_back("cat", held);
        auto talking = weft::spawn([&] { slow.communicate(text); });
        until_in_flight(1);
        talking.cancel();
        REQUIRE_THROWS_AS(talking.get(), weft::Cancelled);
        put(go, "\n");
        REQUIRE(slow.communicate().output == text);
    });
}

TEST_CASE("of more output than is asked for the beginning is kept", "[os][process]") {
    on_workers_and_threads([] {
        ProcessOptions few = piped();
        few.most_output = 10;
        const Completed done = shell("seq 1000000; echo err >&2", few).communicate();
        REQUIRE(done.output == "1\n2\n3\n4\n5\n");
        REQUIRE(done.errors == "err\n");
        REQUIRE(done.truncated);
        REQUIRE(done.status.success());
    });
}

TEST_CASE("a process that writes without end is left at the deadline", "[os][process]") {
    on_workers_and_threads([] {
        ProcessOptions few = piped();
        few.most_output = 1000;
        Process process = Process::start({"yes"}, few);
        REQUIRE_FALSE(process.communicate("", 5ms).has_value());
    });
}

// --- run ---

TEST_CASE("run() gives a command its input and collects what it writes", "[os][process]") {
    on_workers_and_threads([] {
        REQUIRE(run({"cat"}).output.empty());
        const Completed done = run({"sort"}, {.input = "b\na\n"});
        REQUIRE(done.output == "a\nb\n");
        REQUIRE(done.status.success());
        REQUIRE_FALSE(done.timed_out);
        REQUIRE(run_shell("echo out; echo err >&2; exit 2").errors == "err\n");
        REQUIRE(run_shell("echo both; echo err >&2", {.process = {.errors = Stdio::to_output()}})
                    .output == "both\nerr\n");
    });
}

TEST_CASE("run() throws what a command said when asked to check it", "[os][process]") {
    on_workers_and_threads([] {
        const auto failure = [](std::string_view script) -> std::string {
            try {
                run_shell(script, {.check = true});
                return {};
            } catch (const CommandFailed& failed) {
                return failed.what();
            }
        };
        REQUIRE(failure("true").empty());
        REQUIRE(failure("echo why >&2; exit 3") ==
                "\"/bin/sh -c echo why >&2; exit 3\": exit code 3: why");
        const std::string much = failure("seq 100000 >&2; kill -9 $$");
        REQUIRE(much.find("killed by SIGKILL: ") != std::string::npos);
        REQUIRE(much.ends_with("\n99999\n100000"));
        REQUIRE(much.size() < 1200);
    });
}

TEST_CASE("run() kills a command at its deadline or time limit", "[os][process]") {
    on_workers_and_threads([] {
        const Completed done = run({"sleep", "1000"}, {.time_limit = 1ms});
        REQUIRE(done.timed_out);
        REQUIRE(done.status == ExitStatus::killed(SIGKILL));
        REQUIRE(run({"sleep", "1000"}, {.time_limit = 1h}, 1ms).timed_out);
        REQUIRE_THROWS_AS(run({"sleep", "1000"}, {.check = true}, 1ms), CommandFailed);
    });
}

TEST_CASE("of a killed process what it wrote is kept, and nobody else is waited for",
          "[os][process]") {
    on_workers_and_threads([] {
        auto [a, b] = pipe_ends(O_CLOEXEC);
        weft::io::PipeReader ready{a.release()};
        ProcessOptions options = piped();
        options.fds = {{b, 7}};
        Process process =
            shell("sleep 1000 & echo $!; echo err >&2; echo ready >&7; wait", options);
        REQUIRE_FALSE(process.communicate("", 1ms).has_value());
        REQUIRE(text_of(ready) == "ready\n");
        const Completed done = process.kill_and_collect();
        REQUIRE(done.status == ExitStatus::killed(SIGKILL));
        REQUIRE(done.errors == "err\n");
        const int orphan = std::stoi(done.output);
        REQUIRE(::kill(orphan, SIGKILL) == 0);
    });
}

TEST_CASE("of a killed process all that is in its pipes is kept, however large they are",
          "[os][process]") {
    on_workers_and_threads([] {
        Process process =
            shell("read go; head -c 900000 /dev/zero; echo ready >&2; exec sleep 1000", piped());
        REQUIRE(::fcntl(process.output().fd(), F_SETPIPE_SZ, 1 << 20) == 1 << 20);
        process.input().write_all("go\n");
        REQUIRE(text_of(process.errors()) == "ready\n");
        const Completed done = process.kill_and_collect();
        REQUIRE(done.output == std::string(900'000, '\0'));
        REQUIRE_FALSE(done.truncated);
    });
}

TEST_CASE("who kills a process may leave its end to a later call", "[os][process][deadline]") {
    on_workers_and_io([] {
        const auto passed = weft::Deadline::Clock::time_point{};
        auto process = shell("echo out; exec sleep 1000", {.output = Stdio::pipe()});
        REQUIRE(weft::io::wait_readable(process.output().fd()));
        std::optional<Completed> done = process.kill_and_collect(passed);
        if (!done) done = process.kill_and_collect(1h);
        REQUIRE(done->status == ExitStatus::killed(SIGKILL));
        REQUIRE(done->output == "out\n");
        REQUIRE(process.kill_and_collect(passed)->status == done->status);
    });
}

TEST_CASE("a cancelled fiber kills a process, and another collects it", "[os][process][cancel]") {
    on_workers_and_io([] {
        auto process = shell("exec sleep 1000", {});
        auto killer = weft::spawn([&process] {
            try {
                weft::this_fiber::sleep_for(1h);
            } catch (const weft::Cancelled&) {
                process.kill_and_collect();
            }
        });
        until_waiting(killer);
        killer.cancel();
        REQUIRE_THROWS_AS(killer.get(), weft::Cancelled);
        REQUIRE(process.kill_and_collect().status == ExitStatus::killed(SIGKILL));
    });
}

TEST_CASE("a cancelled run() leaves no process", "[os][process]") {
    on_workers_and_io([] {
        leaves_nothing([] {
            auto running = weft::spawn([] { run({"sleep", "1000"}); });
            until_in_flight(1);
            running.cancel();
            REQUIRE_THROWS_AS(running.get(), weft::Cancelled);
        });
    });
}

// --- many ---

TEST_CASE("hundreds of children at once leave no zombie and no descriptor", "[os][process]") {
    const int count = under_sanitizer ? 100 : 500;
    on_workers_and_io([count] {
        leaves_nothing([count] {
            std::vector<Process> all;
            for (int i = 0; i < count; ++i) all.push_back(Process::start({"cat"}, piped()));
            std::vector<weft::Fiber<>> fibers;
            for (Process& process : all) {
                fibers.push_back(weft::spawn([&process] {
                    const std::string text = std::to_string(process.pid());
                    const Completed done = process.communicate(text);
                    if (done.output != text) throw std::runtime_error{"not what was said"};
                }));
            }
            for (auto& fiber : fibers) fiber.get();
        });
    });
}

TEST_CASE("children started on all workers and threads at once keep apart", "[os][process]") {
    on_workers_and_io([] {
        leaves_nothing([] {
            std::vector<weft::Fiber<>> fibers;
            for (int i = 0; i < 40; ++i) {
                fibers.push_back(weft::spawn([i] {
                    const std::string text = std::to_string(i);
                    if (run({"cat"}, {.input = text}).output != text) {
                        throw std::runtime_error{"not what was said"};
                    }
                }));
            }
            std::thread thread{[] {
                for (int i = 0; i < 10; ++i) run({"cat"}, {.input = "x"});
            }};
            for (auto& fiber : fibers) fiber.get();
            thread.join();
        });
    });
}
