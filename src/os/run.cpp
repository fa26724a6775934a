// run(). Layer: os. Uses: nothing but Process.
#include <weft/io/process.hpp>

#include <algorithm>
#include <string>
#include <utility>

namespace weft::io {

namespace {

std::string_view end_of(std::string_view text) noexcept {
    constexpr std::size_t most = 1000;
    while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
    return text.substr(text.size() > most ? text.size() - most : 0);
}

}  // namespace

CommandFailed::CommandFailed(const Arguments& arguments, Completed completed)
    : completed_{std::move(completed)},
      what_{std::string{'"'}
                .append(arguments.to_string())
                .append("\": ")
                .append(completed_.status.describe())} {
    if (completed_.timed_out) what_ += ", out of time";
    const std::string_view errors = end_of(completed_.errors);
    if (!errors.empty()) what_.append(": ").append(errors);
}

Completed run(const Arguments& arguments, const RunOptions& options, Deadline deadline) {
    deadline = std::min(deadline, Deadline{options.time_limit});
    ProcessOptions how = options.process;
    how.input = how.input.or_else(options.input.empty() ? Stdio::null() : Stdio::pipe());
    how.output = how.output.or_else(Stdio::pipe());
    how.errors = how.errors.or_else(Stdio::pipe());
    Process process = Process::start(arguments, how);
    auto finished = process.communicate(options.input, deadline);
    Completed completed = finished ? std::move(*finished) : process.kill_and_collect();
    completed.timed_out = !finished.has_value();
    if (options.check && !(completed.status.success() && !completed.timed_out)) {
        throw CommandFailed{arguments, std::move(completed)};
    }
    return completed;
}

}  // namespace weft::io
