// Which error a call throws.
#pragma once

#include <system_error>

namespace weft::test {

/// The code of the std::system_error that `body` throws; none if it does not throw.
template <class Body>
std::error_code error_of(Body&& body) {
    try {
        body();
    } catch (const std::system_error& error) {
        return error.code();
    }
    return {};
}

/// Whether `code` is `errc`, told as an error of the system.
inline bool is(std::error_code code, std::errc errc) { return code == errc; }

}  // namespace weft::test
