// Layer: os. Uses: io.
#include <weft/io/owned_fd.hpp>

#include "io/system_call.hpp"

namespace weft::io {

void OwnedFd::close() noexcept {
    if (fd_ >= 0) weft::detail::close_number(release());
}

}  // namespace weft::io
