#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/io/address.hpp>
#include <weft/results.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

namespace weft::io {

enum class Family : std::uint8_t { any, v4, v6 };

/// What resolve() is to find.
struct ResolveOptions {
    Family family = Family::any;
    /// Of Family::any: leaves out a family of which this machine has no address but
    /// the loopback's, if it has one of the other.
    bool configured_only = true;
    /// Finds no names: `host` is numbers, or it is an error.
    bool numeric_only = false;
    /// What no host stands for: all interfaces, to listen; else the loopback.
    bool passive = false;
};

/// Why there is no address: getaddrinfo(3)'s EAI_*.
enum class ResolveError : int {
    bad_flags = -1,
    not_found = -2,   ///< no such name
    try_again = -3,   ///< no name server answers
    failed = -4,      ///< a name server refuses
    no_data = -5,     ///< the name has no address
    bad_family = -6,  ///< this machine does not know the family
    bad_type = -7,
    bad_service = -8,   ///< no such service
    other_family = -9,  ///< the name has no address of the family
    out_of_memory = -10,
};

WEFT_API const std::error_category& resolve_category() noexcept;

inline std::error_code make_error_code(ResolveError error) noexcept {
    return {static_cast<int>(error), resolve_category()};
}

/// How many look-ups run at once in the process, a thread each, and how many more wait
/// for one; further callers wait to be let in.
inline constexpr std::size_t most_lookups = 16;
inline constexpr std::size_t most_waiting_lookups = 1024;

/// The addresses of a host, the best first (RFC 6724), each with the service's port. As
/// the system resolves names: /etc/hosts, name servers, ...; `service` is a number or a
/// name of /etc/services; empty: port 0. No `host` is this machine.
///
/// Blocks: until they are found; not at all for a host and a service that are numbers.
/// Cancellation point. An answer that nobody waits for any more is looked up to its end
/// all the same, on its thread, which may take the system's 5 to 30 s.
/// Returns at least one.
/// Throws std::system_error that names both: a ResolveError, timed_out, or what the
/// system reports; std::invalid_argument when there is a zero byte in one.
/// Thread safety: any fiber or thread.
WEFT_API Results<Address> resolve(std::string_view host, std::string_view service,
                                  Deadline deadline = Deadline::never());
WEFT_API Results<Address> resolve(std::string_view host, std::string_view service,
                                  const ResolveOptions& options,
                                  Deadline deadline = Deadline::never());
/// The same, the port by its number.
inline Results<Address> resolve(std::string_view host, std::uint16_t port,
                                Deadline deadline = Deadline::never()) {
    return resolve(host, std::to_string(port), deadline);
}

}  // namespace weft::io

template <>
struct std::is_error_code_enum<weft::io::ResolveError> : std::true_type {};
