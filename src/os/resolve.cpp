// Names to addresses. Layer: os. Uses: libc, sched, task.
//
// getaddrinfo(3) reads files, asks name servers and sleeps, and nothing ends it. So it
// runs on a thread of a pool of its own, where slow names keep no file waiting, and owns
// what it works on: whoever asked may leave. A simulation, which no other thread takes
// part in, asks by itself.
#include <weft/io/resolve.hpp>

#include "sched/scheduler.hpp"
#include "sched/worker.hpp"
#include "task/pool_of_process.hpp"

#include <weft/thread_pool.hpp>

#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace weft::io {

static_assert(static_cast<int>(ResolveError::bad_flags) == EAI_BADFLAGS);
static_assert(static_cast<int>(ResolveError::not_found) == EAI_NONAME);
static_assert(static_cast<int>(ResolveError::try_again) == EAI_AGAIN);
static_assert(static_cast<int>(ResolveError::failed) == EAI_FAIL);
static_assert(static_cast<int>(ResolveError::no_data) == -5);  // EAI_NODATA: not with POSIX alone
static_assert(static_cast<int>(ResolveError::bad_family) == EAI_FAMILY);
static_assert(static_cast<int>(ResolveError::bad_type) == EAI_SOCKTYPE);
static_assert(static_cast<int>(ResolveError::bad_service) == EAI_SERVICE);
static_assert(static_cast<int>(ResolveError::other_family) == -9);  // EAI_ADDRFAMILY
static_assert(static_cast<int>(ResolveError::out_of_memory) == EAI_MEMORY);

namespace {

class ResolveCategory final : public std::error_category {
public:
    const char* name() const noexcept override { return "weft.resolve"; }
    std::string message(int value) const override { return ::gai_strerror(value); }
};

struct Question {
    std::string host;
    std::string service;
    ResolveOptions options;

    std::string text() const {
        return "resolve \"" + host + '"' +
               (service.empty() ? std::string{} : " service \"" + service + '"');
    }
};

struct Answer {
    std::error_code error;
    std::vector<Address> addresses;
};

[[noreturn]] void fail(const Question& question, std::error_code error) {
    throw std::system_error(error, question.text());
}

int family_of(Family family) noexcept {
    switch (family) {
        case Family::v4: return AF_INET;
        case Family::v6: return AF_INET6;
        case Family::any: break;
    }
    return AF_UNSPEC;
}

addrinfo hints_of(const ResolveOptions& options) noexcept {
    addrinfo hints{};
    hints.ai_family = family_of(options.family);
    hints.ai_socktype = SOCK_STREAM;  // else each comes once for every type
    if (options.configured_only && options.family == Family::any) hints.ai_flags |= AI_ADDRCONFIG;
    if (options.numeric_only) hints.ai_flags |= AI_NUMERICHOST;
    if (options.passive) hints.ai_flags |= AI_PASSIVE;
    return hints;
}

const char* text_or_null(const std::string& text) noexcept {
    return text.empty() ? nullptr : text.c_str();
}

/// On a thread of the pool.
Answer look_up(const Question& question) {
    const addrinfo hints = hints_of(question.options);
    // Both empty would be an error.
    const char* service = question.service.empty() ? "0" : question.service.c_str();
    addrinfo* found = nullptr;
    const int result = ::getaddrinfo(text_or_null(question.host), service, &hints, &found);
    const int reason = errno;
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> keep{found, &::freeaddrinfo};
    Answer answer;
    if (result == EAI_SYSTEM) {
        answer.error = {reason, std::system_category()};
    } else if (result != 0) {
        answer.error = {result, resolve_category()};
    }
    for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
        if (each->ai_family != AF_INET && each->ai_family != AF_INET6) continue;
        answer.addresses.push_back(Address::from(each->ai_addr, each->ai_addrlen));
    }
    if (!answer.error && answer.addresses.empty()) answer.error = ResolveError::no_data;
    return answer;
}

constinit weft::detail::PoolOfProcess lookups{most_lookups, "resolve", most_waiting_lookups};

/// Where nobody but the caller's thread may do anything.
bool is_simulated() noexcept {
    weft::detail::Worker* const worker = weft::detail::Worker::current();
    return worker != nullptr && worker->scheduler().setup().simulated;
}

Answer look_up_elsewhere(const Question& question, Deadline deadline) {
    auto future = lookups.get().submit_by(deadline, look_up, question);
    if (!future) fail(question, {ETIMEDOUT, std::system_category()});
    try {
        if (future.wait(deadline)) return future.take();
    } catch (...) {
        future.cancel();  // if it has not begun
        throw;
    }
    future.cancel();
    fail(question, {ETIMEDOUT, std::system_category()});
}

// --- without a thread ---

std::optional<std::uint16_t> port_of(std::string_view service) noexcept {
    std::uint16_t port = 0;
    if (service.empty()) return port;
    const char* const end = service.data() + service.size();
    const auto [parsed, error] = std::from_chars(service.data(), end, port);
    if (error != std::errc{} || parsed != end) return std::nullopt;
    return port;
}

/// A number that is no port: the system would take what its lower 16 bits say, and after a sign or
/// a space, too.
bool is_no_port(std::string_view service) noexcept {
    const std::size_t first = std::min(service.find_first_not_of(" \t\n\v\f\r+-"), service.size());
    const std::string_view digits = service.substr(first);
    const bool is_number = !digits.empty() && digits.find_first_not_of("0123456789") == digits.npos;
    return is_number && !port_of(service);
}

/// Looks like an address, so that no exception is made for each name that is none.
bool may_be_numeric(std::string_view host) noexcept {
    if (host.find(':') != host.npos) return true;
    return !host.empty() && host.find_first_not_of("0123456789.") == host.npos;
}

std::optional<Address> numeric_address(const Question& question) {
    const auto port = port_of(question.service);
    if (!port || !may_be_numeric(question.host)) return std::nullopt;
    try {
        return Address{question.host, *port};
    } catch (const std::invalid_argument&) {
        return std::nullopt;  // such as 127.1, which getaddrinfo() takes
    }
}

bool is_of(Family family, const Address& address) noexcept {
    return family == Family::any || (family == Family::v6) == address.is_v6();
}

std::string checked(std::string_view text) {
    if (text.find('\0') != text.npos) {
        throw std::invalid_argument("a host or service with a zero byte in it");
    }
    return std::string{text};
}

}  // namespace

const std::error_category& resolve_category() noexcept {
    static const auto& category =
        *new ResolveCategory;  // never destroyed: fibers may run on in exit()
    return category;
}

Results<Address> resolve(std::string_view host, std::string_view service,
                         const ResolveOptions& options, Deadline deadline) {
    this_fiber::check_cancelled();
    const Question question{checked(host), checked(service), options};
    if (is_no_port(question.service)) fail(question, ResolveError::bad_service);
    Answer answer;
    if (const auto numeric = numeric_address(question)) {
        if (!is_of(options.family, *numeric)) fail(question, ResolveError::other_family);
        answer.addresses.push_back(*numeric);
    } else if (is_simulated()) {
        answer = look_up(question);
    } else {
        answer = look_up_elsewhere(question, deadline);
    }
    if (answer.error) fail(question, answer.error);
    Results<Address> addresses{answer.addresses.size()};
    for (const Address& each : answer.addresses) addresses.add([&each] { return each; });
    return addresses;
}

Results<Address> resolve(std::string_view host, std::string_view service, Deadline deadline) {
    return resolve(host, service, ResolveOptions{}, deadline);
}

}  // namespace weft::io
