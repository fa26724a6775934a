// What a test may ask about its own process, and about one of its own making.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace weft::test {

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool under_asan = true;
#else
inline constexpr bool under_asan = false;
#endif
#if defined(__SANITIZE_THREAD__)
inline constexpr bool under_tsan = true;
#else
inline constexpr bool under_tsan = false;
#endif
/// A sanitizer maps terabytes, handles faults itself, and is slow.
inline constexpr bool under_sanitizer = under_asan || under_tsan;

// --- this process ---

inline std::size_t entries_of(const char* directory) {
    namespace fs = std::filesystem;
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator{directory}, fs::directory_iterator{}));
}
inline std::size_t open_fds() { return entries_of("/proc/self/fd"); }
/// Those on their way out are not counted, though they may be listed after their join.
inline std::size_t threads() {
    constexpr unsigned exiting = 4;  // PF_EXITING
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/task"}) {
        std::string line;
        std::getline(std::ifstream{entry.path() / "stat"}, line);
        std::istringstream rest{line.substr(line.rfind(')') + 1)};
        std::string skipped;
        for (int i = 0; i < 6; ++i) rest >> skipped;
        unsigned flags = exiting;
        rest >> flags;
        if (rest && (flags & exiting) == 0) ++count;
    }
    return count;
}

/// How many threads of this process are named so.
inline std::size_t threads_named(std::string_view prefix) {
    std::size_t count = 0;
    for (const auto& task : std::filesystem::directory_iterator{"/proc/self/task"}) {
        std::ifstream file{task.path() / "comm"};
        std::string name;
        std::getline(file, name);
        if (name.starts_with(prefix)) ++count;
    }
    return count;
}

inline std::size_t mappings() {
    std::ifstream file{"/proc/self/maps"};
    std::size_t count = 0;
    for (std::string line; std::getline(file, line);) ++count;
    return count;
}

/// A line of /proc/self/status in KiB, such as "VmRSS:".
inline std::size_t status_kib(std::string_view field) {
    std::ifstream file{"/proc/self/status"};
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with(field)) return std::stoul(line.substr(field.size()));
    }
    return 0;
}

/// Leaves this process `more` bytes of address space beyond what it uses now.
inline void limit_address_space(std::size_t more) {
    const rlim_t limit = status_kib("VmSize:") * 1024 + more;
    const rlimit both{limit, limit};
    if (::setrlimit(RLIMIT_AS, &both) != 0) {
        throw std::system_error{errno, std::system_category(), "setrlimit"};
    }
}

/// Whether the byte can be read. Asks the kernel, so that a guard does no harm.
inline bool readable(const void* address) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
        throw std::system_error{errno, std::system_category(), "pipe2"};
    }
    const bool was_read = ::write(ends[1], address, 1) == 1;
    ::close(ends[0]);
    ::close(ends[1]);
    return was_read;
}

/// Sets an environment variable as long as it lives.
class Environment {
public:
    Environment(const char* name, const char* value) : name_{name} {
        if (const char* old = std::getenv(name)) old_ = old;
        ::setenv(name, value, 1);
    }
    Environment(const Environment&) = delete;
    Environment& operator=(const Environment&) = delete;
    ~Environment() {
        if (old_) {
            ::setenv(name_, old_->c_str(), 1);
        } else {
            ::unsetenv(name_);
        }
    }

private:
    const char* name_;
    std::optional<std::string> old_;
};

/// How long a test program may take, in seconds.
inline unsigned time_limit() {
    const char* text = std::getenv("WEFT_TEST_SECONDS");
    return text == nullptr ? 120 : static_cast<unsigned>(std::atoi(text));
}

// --- a process of its own ---

/// How a child ended, and what it wrote to stderr.
struct Outcome {
    int status = 0;
    std::string errors;

    bool exited_with(int code) const { return WIFEXITED(status) && WEXITSTATUS(status) == code; }
    bool killed_by(int signal) const { return WIFSIGNALED(status) && WTERMSIG(status) == signal; }
    bool says(std::string_view text) const { return errors.find(text) != std::string::npos; }
    std::string describe() const {
        const std::string end = WIFEXITED(status)
                                    ? "exit code " + std::to_string(WEXITSTATUS(status))
                                    : "signal " + std::to_string(WTERMSIG(status));
        return end + ", stderr: " + errors;
    }
};

/// What a test does in a process of its own, because it ends or spoils it: the
/// test program is run again and calls the body instead of the tests. One that
/// hangs is killed by SIGALRM, within the time of a test. To be defined at namespace scope.
class Child {
public:
    using Body = int (*)();

    Child(std::string_view name, Body body) : name_{name}, body_{body}, next_{first()} {
        first() = this;
    }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;

    /// Runs it to its end.
    Outcome run() const {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) {
            throw std::system_error{errno, std::system_category(), "pipe2"};
        }
        const pid_t pid = start(ends[1]);
        ::close(ends[1]);
        Outcome outcome;
        char buffer[4096];
        for (ssize_t n; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
            outcome.errors.append(buffer, static_cast<std::size_t>(n));
        }
        ::close(ends[0]);
        ::waitpid(pid, &outcome.status, 0);
        return outcome;
    }

    /// For main(): the exit code, if this process is to be a child.
    static std::optional<int> requested() {
        const char* name = std::getenv(variable);
        if (name == nullptr) return std::nullopt;
        ::unsetenv(variable);
        ::alarm(time_limit() / 3);
        for (const Child* child = first(); child != nullptr; child = child->next_) {
            if (child->name_ == name) return child->body_();
        }
        return 127;
    }

private:
    static constexpr const char* variable = "WEFT_TEST_CHILD";

    static Child*& first() {
        static Child* head = nullptr;
        return head;
    }

    pid_t start(int errors) const {
        const Environment which{variable, name_.c_str()};
        posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
        char self[] = "/proc/self/exe";
        char* const arguments[] = {self, nullptr};
        pid_t pid = -1;
        const int error = ::posix_spawn(&pid, self, &actions, nullptr, arguments, environ);
        ::posix_spawn_file_actions_destroy(&actions);
        if (error != 0) throw std::system_error{error, std::system_category(), "posix_spawn"};
        return pid;
    }

    const std::string name_;
    const Body body_;
    Child* const next_;
};

}  // namespace weft::test
