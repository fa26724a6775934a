// What a process is asked for, and how it ended. Layer: os. Uses: libc.
#include <weft/io/process.hpp>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

namespace weft::io {

namespace {

void check_text(std::string_view text) {
    if (text.find('\0') != std::string_view::npos) {
        throw std::invalid_argument("weft: a zero byte in what a process is given");
    }
}

}  // namespace

Arguments::Arguments(std::initializer_list<std::string_view> words) {
    for (const std::string_view word : words) add(word);
    check();
}

void Arguments::add(std::string_view word) {
    check_text(word);
    words_.append(word).push_back('\0');
}

void Arguments::check() const {
    if (words_.empty()) throw std::invalid_argument("weft: a process without a program");
}

std::string Arguments::to_string() const {
    std::string text{words_, 0, words_.size() - 1};
    std::replace(text.begin(), text.end(), '\0', ' ');
    return text;
}

Environment Environment::empty() {
    Environment nothing;
    nothing.inherits_ = false;
    return nothing;
}

void Environment::add(std::string_view name, std::string_view rest) {
    check_text(name);
    check_text(rest);
    if (name.empty() || name.find('=') != std::string_view::npos) {
        throw std::invalid_argument("weft: an environment variable without a name");
    }
    changes_.append(name).append(rest).push_back('\0');
}

Environment& Environment::set(std::string_view name, std::string_view value) {
    add(name, std::string{"="}.append(value));
    return *this;
}

Environment& Environment::unset(std::string_view name) {
    add(name, {});
    return *this;
}

PassedFds::PassedFds(std::initializer_list<PassedFd> fds) {
    if (fds.size() > most) throw std::invalid_argument("weft: too many descriptors for a process");
    for (const PassedFd& fd : fds) {
        if (fd.ours < 0 || fd.theirs < 3) {
            throw std::invalid_argument("weft: a descriptor for a process has a wrong number");
        }
        fds_[count_++] = fd;
    }
}

std::string ExitStatus::describe() const {
    if (signal_ == 0) return "exit code " + std::to_string(code_);
    const char* name = sigabbrev_np(signal_);
    std::string text = "killed by ";
    name != nullptr ? text.append("SIG").append(name)
                    : text.append("signal ").append(std::to_string(signal_));
    return core_ ? text + " (core dumped)" : text;
}

}  // namespace weft::io
