#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/io/pipe.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace weft::io {

/// A program and its arguments, copied: {"sort", "-n"}.
class WEFT_API Arguments {
public:
    /// Throws std::invalid_argument when there is none, or for a zero byte in one.
    Arguments(std::initializer_list<std::string_view> words);
    /// Of any range of texts.
    template <class Range>
    requires(!std::is_same_v<std::remove_cvref_t<Range>, Arguments> &&
             requires(const Range& range) { std::string_view{*std::begin(range)}; })
        Arguments(const Range& range) {
        for (const auto& word : range) add(word);
        check();
    }

    void add(std::string_view word);
    std::string_view program() const noexcept { return words_.c_str(); }
    /// One after the other, a zero byte behind each.
    const std::string& words() const noexcept { return words_; }
    /// For people: separated by spaces.
    std::string to_string() const;

private:
    void check() const;
    std::string words_;
};

/// The environment of a child: what this process has when the child is started, and
/// changes to it; or one of its own.
class WEFT_API Environment {
public:
    Environment() noexcept = default;
    /// Has nothing but what is set.
    static Environment empty();

    /// Throws std::invalid_argument for a name that is empty or has a '=', and for a zero
    /// byte. The last change of a name counts.
    Environment& set(std::string_view name, std::string_view value);
    Environment& unset(std::string_view name);

    bool inherits() const noexcept { return inherits_; }
    /// "NAME=value" or "NAME", to be unset; one after the other, a zero byte behind each.
    const std::string& changes() const noexcept { return changes_; }

private:
    void add(std::string_view name, std::string_view rest);
    bool inherits_ = true;
    std::string changes_;
};

/// What one of a child's standard streams is.
class Stdio {
public:
    enum class Kind : unsigned char { automatic, inherit, null, pipe, fd, output };

    /// start() inherits; run() gives it nothing to read, and collects what it writes.
    constexpr Stdio() noexcept = default;
    /// That of this process.
    static constexpr Stdio inherit() noexcept { return {Kind::inherit, -1}; }
    /// /dev/null.
    static constexpr Stdio null() noexcept { return {Kind::null, -1}; }
    /// A pipe, whose other end is Process::input(), output() or errors().
    static constexpr Stdio pipe() noexcept { return {Kind::pipe, -1}; }
    /// A descriptor, which stays the caller's. The end of a pipe that does not block, as
    /// weft's own, is given to the child as one that does. Requires: it is open until start()
    /// returns.
    static constexpr Stdio fd(int number) noexcept { return {Kind::fd, number}; }
    /// Of `errors` alone: the same as the output ("2>&1").
    static constexpr Stdio to_output() noexcept { return {Kind::output, -1}; }

    constexpr Kind kind() const noexcept { return kind_; }
    constexpr int number() const noexcept { return number_; }
    /// *this, or `kind` if it is automatic.
    constexpr Stdio or_else(Stdio other) const noexcept {
        return kind_ == Kind::automatic ? other : *this;
    }

private:
    constexpr Stdio(Kind kind, int number) noexcept : kind_{kind}, number_{number} {}
    Kind kind_ = Kind::automatic;
    int number_ = -1;
};

/// A descriptor that a child gets besides its standard streams.
struct PassedFd {
    int ours;
    int theirs;  ///< its number there, 3 or more
};

/// Up to 16 of them.
class WEFT_API PassedFds {
public:
    static constexpr std::size_t most = 16;
    PassedFds() noexcept = default;
    /// Throws std::invalid_argument when there are too many, or a number is no good.
    PassedFds(std::initializer_list<PassedFd> fds);
    const PassedFd* begin() const noexcept { return fds_; }
    const PassedFd* end() const noexcept { return fds_ + count_; }

private:
    PassedFd fds_[most] = {};
    std::size_t count_ = 0;
};

/// Whom a child shares signals of the terminal with.
enum class ProcessGroup : unsigned char {
    inherited,  ///< with this process
    own,        ///< with its own children
    session,    ///< the same, and it has no terminal
};

/// How a child is started.
struct ProcessOptions {
    Environment environment = {};
    std::string directory = {};  ///< where it starts; empty: where this process is
    Stdio input = {};
    Stdio output = {};
    Stdio errors = {};
    PassedFds fds = {};
    ProcessGroup group = ProcessGroup::inherited;
    /// It is killed when the thread that started it ends: of a fiber, its worker, so at the
    /// latest with the runtime. What it starts itself is not.
    bool dies_with_parent = false;
    /// What communicate() keeps of the output, and of the errors, in bytes. What comes after
    /// that is read and dropped.
    std::size_t most_output = std::size_t{64} << 20;
};

/// How a process ended.
class WEFT_API ExitStatus {
public:
    static constexpr ExitStatus exited(int code) noexcept { return {code, 0, false}; }
    static constexpr ExitStatus killed(int signal, bool core = false) noexcept {
        return {-1, signal, core};
    }

    /// Whether it exited with 0.
    constexpr bool success() const noexcept { return code_ == 0; }
    /// What it exited with, or -1 if a signal killed it.
    constexpr int code() const noexcept { return code_; }
    /// What killed it, or 0.
    constexpr int signal() const noexcept { return signal_; }
    constexpr bool dumped_core() const noexcept { return core_; }
    /// "exit code 2", "killed by SIGSEGV (core dumped)".
    std::string describe() const;

    friend constexpr bool operator==(const ExitStatus&, const ExitStatus&) noexcept = default;

private:
    constexpr ExitStatus(int code, int signal, bool core) noexcept
        : code_{code}, signal_{signal}, core_{core} {}
    int code_;
    int signal_;
    bool core_;
};

/// What a process left.
struct Completed {
    ExitStatus status;
    std::string output = {};
    std::string errors = {};
    bool truncated = false;  ///< there was more than ProcessOptions::most_output
    bool timed_out = false;  ///< run() killed it at its deadline
};

/// A child process.
///
/// The program is looked up in the PATH of the child's environment unless its name has a
/// '/'. The child gets the descriptors it is meant to get and no others; every signal is at
/// its default there and none is blocked, but SIGHUP stays ignored if it is (nohup). No
/// handler and no code of this process runs in it. Of the runtime's threads that which
/// starts it stands still until the kernel has loaded the program, some 0.5 ms.
///
/// A program that ignores SIGCHLD, or waits for any child (waitpid(-1)), takes the exit
/// status away: wait() throws no_child_process then. Signals go by a pidfd, never to
/// another process that got the number.
///
/// Thread safety: wait(), poll() and the signals from many fibers and plain threads at once;
/// input(), output() and errors() as the pipes they are; communicate() by one, while nobody
/// else uses those.
/// Lifetime: the destructor kills a process that nobody has waited for (with its group, if
/// it has its own) and waits for its end: no zombie, and nothing goes on running that nobody
/// knows of. A process that is killed ends at once, but for a disk that does not answer. One
/// that may not be killed, for it has become another user's, runs on, and is a zombie from its
/// end to that of this process. release() lets it live. The destructor and a move must not race
/// with other calls.
/// fork(): the process stays the parent's. In a child made since then the destructor and a move
/// only close descriptors, kill_and_collect() does not kill, and wait() throws no_child_process.
class WEFT_API Process {
public:
    /// Starts it.
    ///
    /// Blocks: the OS thread, as said above, until the program is loaded; takes no Deadline. Not a
    /// cancellation point.
    /// Throws std::system_error that names the program, or the directory, with the error of
    /// the step that failed: no_such_file_or_directory, permission_denied,
    /// executable_format_error (a script without "#!"), too_many_files_open ...; nothing is
    /// left then. Throws std::invalid_argument for options that cannot be.
    static Process start(const Arguments& arguments, const ProcessOptions& options = {});

    Process(Process&&) noexcept;
    Process& operator=(Process&&) noexcept;
    ~Process();

    int pid() const noexcept;

    /// The ends of its pipes; closed if it has none there. Live as long as *this.
    PipeWriter& input() noexcept;
    PipeReader& output() noexcept;
    PipeReader& errors() noexcept;

    /// Waits for its end. Pipes are not read: one that is full keeps it from ending.
    ///
    /// Blocks: until it has ended. Cancellation point.
    /// Returns how, or nothing if `deadline` passes first. The same each time.
    /// Throws std::system_error(no_child_process) if the status was taken away.
    std::optional<ExitStatus> wait(Deadline deadline);
    ExitStatus wait() { return *wait(Deadline::never()); }
    /// The same if it has ended. Never blocks.
    std::optional<ExitStatus> poll();

    /// Sends it a signal. Never blocks. Returns false if it has ended, and somebody has
    /// waited for it. Throws std::system_error: invalid_argument, operation_not_permitted.
    bool send_signal(int signal);
    /// The same for its process group, which must be its own (ProcessOptions::group): else
    /// throws std::logic_error.
    bool signal_group(int signal);
    /// Asks it to end (SIGTERM), or ends it (SIGKILL); wait() tells when it has.
    bool terminate() { return send_signal(15); }
    bool kill() { return send_signal(9); }

    /// Writes `input` to it and closes that end; meanwhile reads its output and its errors
    /// to their ends, and waits for its own. Those of the three that are no pipes are left
    /// alone. That it does not read all of its input is no error.
    ///
    /// Blocks: until it has ended, and nobody has its output open any more. Cancellation point.
    /// Returns nothing if `deadline` passes first. Then, and when it was cancelled, the
    /// process runs on, nothing is lost, and the next call goes on where this one was: its
    /// `input` does not count.
    /// Throws as wait().
    std::optional<Completed> communicate(std::string_view input, Deadline deadline);
    Completed communicate(std::string_view input = {}) {
        return *communicate(input, Deadline::never());
    }

    /// Kills it, with its group if it has its own, and waits for its end. Returns what
    /// communicate() has read by then and what is in the pipes; what other processes may
    /// still write to them is not waited for.
    ///
    /// Blocks: until it has ended, at once but for a disk that does not answer. Cancellation
    /// point. Returns nothing if `deadline` passes first; then, and when it was cancelled, the
    /// process is killed, and the next call goes on. Throws as wait(); and
    /// std::system_error(operation_not_permitted) if it runs on, for it is another user's.
    std::optional<Completed> kill_and_collect(Deadline deadline);
    Completed kill_and_collect() { return *kill_and_collect(Deadline::never()); }

    /// Gives the process up, and returns its pid: the caller is to wait for it. Its pipes are
    /// closed. Never blocks. Afterwards, as after a move, it may be assigned to or destroyed.
    int release() noexcept;

private:
    struct State;
    explicit Process(std::unique_ptr<State> state) noexcept;
    std::unique_ptr<State> state_;
};

/// How run() runs a command.
struct RunOptions {
    std::string input = {};  ///< what it reads, unless process.input says otherwise
    ProcessOptions process = {};
    bool check = false;  ///< throw CommandFailed unless it exits with 0
    Deadline::Clock::duration time_limit = Deadline::Clock::duration::max();
};

/// Thrown by run(), if asked to, for a command that failed.
class WEFT_API CommandFailed : public std::exception {
public:
    CommandFailed(const Arguments& arguments, Completed completed);
    /// The command, how it ended, and the end of what it wrote to its errors.
    const char* what() const noexcept override { return what_.c_str(); }
    const Completed& completed() const noexcept { return completed_; }

private:
    Completed completed_;
    std::string what_;
};

/// Runs a command to its end, and collects what it writes.
///
/// Blocks: until it has ended, as Process::communicate() does. Cancellation point: then it is
/// killed, and waited for. At `deadline`, or after the time limit, it is killed as well (with
/// its group, if it has its own), and what it has written is returned, with `timed_out`.
/// Throws as Process::start() and Process::kill_and_collect(); CommandFailed, if asked to.
WEFT_API Completed run(const Arguments& arguments, const RunOptions& options = {},
                       Deadline deadline = Deadline::never());

}  // namespace weft::io
