// Process::start(): from what is asked for to what launch.hpp does. Layer: os. Uses: io.
#include "os/call.hpp"
#include "os/launch.hpp"
#include "os/path.hpp"
#include "os/process_state.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace weft::io {

using detail::FdMove;
using detail::Launch;
using detail::value_or_throw;

namespace {

/// The texts of a list in which a zero byte is behind each.
std::vector<char*> texts_of(std::string& list) {
    std::vector<char*> texts;
    for (std::size_t at = 0; at < list.size(); at = list.find('\0', at) + 1) {
        texts.push_back(list.data() + at);
    }
    texts.push_back(nullptr);
    return texts;
}

std::string_view name_of(std::string_view setting) noexcept {
    return setting.substr(0, setting.find('='));
}

/// The environment of a child, as the kernel wants it.
class Settings {
public:
    explicit Settings(const Environment& wanted) : changes_{wanted.changes()} {
        if (wanted.inherits()) {
            for (char** each = environ; each != nullptr && *each != nullptr; ++each) {
                list_.push_back(*each);
            }
        }
        for (char* change : texts_of(changes_)) {
            if (change != nullptr) apply(change);
        }
        list_.push_back(nullptr);
    }
    Settings(const Settings&) = delete;
    Settings& operator=(const Settings&) = delete;

    char** list() noexcept { return list_.data(); }

    /// Null if there is none.
    const char* value_of(std::string_view name) const noexcept {
        for (const char* each : list_) {
            if (each == nullptr || name_of(each) != name) continue;
            if (each[name.size()] == '=') return each + name.size() + 1;
        }
        return nullptr;
    }

private:
    void apply(char* change) {
        const std::string_view name = name_of(change);
        std::erase_if(list_, [name](const char* other) { return name_of(other) == name; });
        if (change[name.size()] == '=') list_.push_back(change);
    }

    std::string changes_;
    std::vector<char*> list_;
};

/// Where a program may be: each a path, a zero byte behind it.
std::string places_of(std::string_view program, const char* path) {
    std::string places;
    if (program.empty() || program.find('/') != std::string_view::npos) {
        return places.append(program) + '\0';
    }
    std::string_view left = path != nullptr ? path : "/bin:/usr/bin";
    for (;;) {
        const std::size_t end = left.find(':');
        const std::string_view directory = left.substr(0, end);
        places.append(directory.empty() ? "." : directory).append("/").append(program) += '\0';
        if (end == std::string_view::npos) return places;
        left.remove_prefix(end + 1);
    }
}

void make_blocking(int fd) {
    value_or_throw(system_call<::fcntl>(fd, F_SETFL, 0), "the end of a pipe for a process");
}

/// Programs do not expect O_NONBLOCK, which our ends of pipes have: then another open file
/// of the same pipe, without it. Else, and when that cannot be had, -1.
int reopen_blocking(int fd, int access) {
    struct stat about {};
    const long flags = system_call<::fcntl>(fd, F_GETFL);
    if (flags < 0 || (flags & O_NONBLOCK) == 0) return -1;
    if (system_call<::fstat>(fd, &about) < 0 || !S_ISFIFO(about.st_mode)) return -1;
    const std::string name = "/proc/self/fd/" + std::to_string(fd);
    const long opened = system_call<::syscall>(SYS_openat, long{AT_FDCWD}, name.c_str(),
                                               long{access | O_CLOEXEC | O_NONBLOCK}, 0L);
    if (opened < 0) return -1;
    make_blocking(static_cast<int>(opened));
    return static_cast<int>(opened);
}

/// The child's side of one standard stream, as long as it is needed, and ours if it is a pipe.
class Ends {
public:
    static Ends of_input(Stdio wanted, PipeWriter& ours) {
        if (wanted.kind() == Stdio::Kind::output) {
            throw std::invalid_argument("weft: the input of a process cannot be its output");
        }
        if (wanted.kind() != Stdio::Kind::pipe) return Ends{wanted, O_RDONLY};
        Pipe pipe = Pipe::open();
        ours = std::move(pipe.writer);
        return Ends{pipe.reader.release()};
    }
    static Ends of_output(Stdio wanted, PipeReader& ours) {
        if (wanted.kind() != Stdio::Kind::pipe) return Ends{wanted, O_WRONLY};
        Pipe pipe = Pipe::open();
        ours = std::move(pipe.reader);
        return Ends{pipe.writer.release()};
    }

    /// -1: as it is.
    int fd() const noexcept { return given_ >= 0 ? given_ : owned_.get(); }

private:
    explicit Ends(int end) : owned_{end} { make_blocking(end); }
    Ends(Stdio wanted, int access) {
        switch (wanted.kind()) {
            case Stdio::Kind::null:
                owned_ = Descriptor{static_cast<int>(
                    value_or_throw(system_call<::syscall>(SYS_openat, long{AT_FDCWD}, "/dev/null",
                                                          long{access | O_CLOEXEC}, 0L),
                                   "open /dev/null"))};
                return;
            case Stdio::Kind::fd:
                if (wanted.number() < 0) {
                    throw std::invalid_argument("weft: a stream of a process is no descriptor");
                }
                owned_ = Descriptor{reopen_blocking(wanted.number(), access)};
                given_ = owned_.get() >= 0 ? -1 : wanted.number();
                return;
            case Stdio::Kind::automatic:
            case Stdio::Kind::inherit:
            case Stdio::Kind::pipe:
            case Stdio::Kind::output: return;
        }
    }

    int given_ = -1;
    Descriptor owned_;
};

/// Which descriptor of ours is which of the child's.
class Moves {
public:
    void add(int from, int to) noexcept {
        if (from >= 0) moves_[count_++] = {from, to};
    }
    std::span<FdMove> all() noexcept { return {moves_.data(), count_}; }

private:
    std::array<FdMove, 3 + PassedFds::most> moves_;
    std::size_t count_ = 0;
};

[[noreturn]] void report_failed_launch(const Launch& launch, std::string_view program) {
    std::string what = detail::describe("start", program);
    if (launch.failed == Launch::Step::directory) {
        what += detail::describe(" in directory", launch.directory);
    }
    throw std::system_error(launch.error, std::system_category(), what);
}

}  // namespace

Process Process::start(const Arguments& arguments, const ProcessOptions& options) {
    auto state =
        std::make_unique<State>(options.most_output, options.group != ProcessGroup::inherited);
    std::optional<Ends> ends[3];
    try {
        ends[0] = Ends::of_input(options.input, state->input);
        ends[1] = Ends::of_output(options.output, state->output);
        ends[2] = Ends::of_output(options.errors, state->errors);
    } catch (const std::system_error& error) {
        throw std::system_error(
            error.code(), detail::describe("prepare the standard streams of", arguments.program()));
    }
    const auto& [input, output, errors] = ends;
    Moves moves;
    moves.add(input->fd(), STDIN_FILENO);
    moves.add(output->fd(), STDOUT_FILENO);
    if (options.output.kind() == Stdio::Kind::output) {
        throw std::invalid_argument("weft: the output of a process cannot be its output");
    }
    if (options.errors.kind() == Stdio::Kind::output) {
        moves.add(output->fd() >= 0 ? output->fd() : STDOUT_FILENO, STDERR_FILENO);
    } else {
        moves.add(errors->fd(), STDERR_FILENO);
    }
    for (const PassedFd& fd : options.fds) moves.add(fd.ours, fd.theirs);

    const std::string directory = detail::checked_path(options.directory);
    std::string words = arguments.words();
    std::vector<char*> list = texts_of(words);
    Settings settings{options.environment};
    std::string places = places_of(arguments.program(), settings.value_of("PATH"));
    std::vector<char*> programs = texts_of(places);
    Launch launch{
        .programs = programs.data(),
        .arguments = list.data(),
        .environment = settings.list(),
        .directory = directory.empty() ? nullptr : directory.c_str(),
        .moves = moves.all(),
        .group = options.group,
        .dies_with_parent = options.dies_with_parent,
    };
    detail::start(launch);
    if (launch.error != 0) report_failed_launch(launch, arguments.program());
    state->pid = launch.pid;
    state->pidfd = Descriptor{launch.pidfd};
    return Process{std::move(state)};
}

}  // namespace weft::io
