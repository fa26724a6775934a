#pragma once

#include <array>

namespace server {

/// A moment in the form of the Date field, "Sun, 06 Nov 1994 08:49:37 GMT".
struct HttpDate {
    std::array<char, 30> text = {};
};

/// Now. Never suspends. Any thread.
HttpDate http_date() noexcept;

}  // namespace server
