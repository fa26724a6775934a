// Layer: runtime. Uses: base, context, io.
#include "runtime/settings.hpp"

#include "context/stack.hpp"
#include "io/offload.hpp"
#include "runtime/cpus.hpp"

#include <weft/cancelled.hpp>

#include <cxxabi.h>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <typeinfo>

namespace weft::detail {

namespace {

constexpr unsigned most_threads = 1024;
constexpr std::size_t default_stack_size = (256 << 10) - Stack::guard_size;
constexpr std::size_t default_main_stack_size = 8 << 20;
constexpr std::uint64_t default_spin_us = 20;
constexpr std::uint64_t most_spin_us = 1'000'000;

[[noreturn]] void refuse(const std::string& what, std::string_view value, const char* wanted) {
    throw std::invalid_argument{"weft: " + what + "=" + std::string{value} + ": " + wanted};
}

std::optional<std::uint64_t> number_from(const char* variable) {
    const char* text = std::getenv(variable);
    if (text == nullptr || *text == '\0') return std::nullopt;
    const std::string_view all{text};
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(all.data(), all.data() + all.size(), value);
    if (error != std::errc{} || end != all.data() + all.size()) {
        refuse(variable, all, "not a whole number");
    }
    return value;
}

Io io_from_environment() {
    const char* text = std::getenv("WEFT_IO");
    if (text == nullptr) return Io::automatic;
    const std::string_view all{text};
    if (all == "auto" || all.empty()) return Io::automatic;
    if (all == "uring") return Io::uring;
    if (all == "epoll") return Io::epoll;
    refuse("WEFT_IO", all, "one of auto, uring, epoll is wanted");
}

std::uint32_t resolve_threads(unsigned asked, const char* option, const char* variable,
                              std::size_t otherwise) {
    const std::uint64_t count = asked != 0 ? asked : number_from(variable).value_or(otherwise);
    if (count == 0 || count > most_threads) {
        refuse(asked != 0 ? option : variable, std::to_string(count),
               "from 1 to 1024 are possible");
    }
    return static_cast<std::uint32_t>(count);
}

// Refused here rather than at the first spawn.
std::size_t checked_stack(const char* source, std::size_t size) {
    if (size > StackPool::usable_size(StackPool::max_shift)) {
        refuse(source, std::to_string(size), "larger than the largest stack there can be");
    }
    return size;
}

std::size_t resolve_stack_size(std::size_t asked) {
    if (asked != 0) return checked_stack("Options::stack_size", asked);
    return checked_stack("WEFT_STACK_SIZE",
                         number_from("WEFT_STACK_SIZE").value_or(default_stack_size));
}

std::chrono::nanoseconds resolve_spin(std::chrono::microseconds asked, bool a_cpu_for_each) {
    const bool by_option = asked.count() >= 0;
    const std::uint64_t us = by_option ? static_cast<std::uint64_t>(asked.count())
                                       : number_from("WEFT_SPIN_US").value_or(default_spin_us);
    if (us > most_spin_us) {
        refuse(by_option ? "Options::spin" : "WEFT_SPIN_US", std::to_string(us),
               "at most 1000000, a second, is possible");
    }
    return std::chrono::microseconds{a_cpu_for_each ? us : 0};
}

std::string readable_name(const std::type_info& type) {
    const std::unique_ptr<char, decltype(&std::free)> name{
        abi::__cxa_demangle(type.name(), nullptr, nullptr, nullptr), &std::free};
    return name != nullptr ? name.get() : type.name();
}

// The default of Options::on_unhandled. Put together first and written at once,
// so that reports of several workers do not mix.
void report_on_stderr(std::uint64_t id, std::string_view name, std::exception_ptr error) {
    std::string text = "weft: unhandled exception in fiber \"" +
                       (name.empty() ? std::string{"(unnamed)"} : std::string{name}) + "\" (id " +
                       std::to_string(id) + "): ";
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& e) {
        text += readable_name(typeid(e)) + ": " + e.what();
    } catch (const Cancelled&) {
        text += "weft::Cancelled, of another fiber or a future: this one was not cancelled";
    } catch (...) {
        text += readable_name(*abi::__cxa_current_exception_type());
    }
    text += "\n";
    std::fputs(text.c_str(), stderr);
}

}  // namespace

Settings resolve(const Options& options) {
    const Cpus cpus = usable_cpus();
    Settings settings{};
    settings.workers =
        resolve_threads(options.workers, "Options::workers", "WEFT_WORKERS", cpus.workers);
    settings.file_threads = resolve_threads(options.file_threads, "Options::file_threads",
                                            "WEFT_FILE_THREADS", Offload::default_threads);
    settings.stack_size = resolve_stack_size(options.stack_size);
    settings.main_stack_size = checked_stack(
        "Options::main_stack_size",
        options.main_stack_size != 0 ? options.main_stack_size : default_main_stack_size);
    settings.io = options.io != Io::automatic ? options.io : io_from_environment();
    settings.on_unhandled =
        options.on_unhandled != nullptr ? options.on_unhandled : report_on_stderr;
    settings.spin = resolve_spin(options.spin, settings.workers <= cpus.allowed);
    settings.force_migrate = number_from("WEFT_FORCE_MIGRATE").value_or(0) != 0;
    settings.detect_cycles =
        options.detect_cycles || number_from("WEFT_DETECT_CYCLES").value_or(0) != 0;
    settings.watch_lock_order =
        options.watch_lock_order || number_from("WEFT_LOCK_ORDER").value_or(0) != 0;
    return settings;
}

}  // namespace weft::detail
