#pragma once

#include <string_view>

namespace server {

/// The time in the form of the Date field, "Sun, 06 Nov 1994 08:49:37 GMT".
/// Valid until the calling fiber is suspended.
std::string_view http_date() noexcept;

}  // namespace server
