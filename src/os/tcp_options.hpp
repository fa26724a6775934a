// What a socket is told before it connects. Layer: os. Uses: io.
#pragma once

#include <weft/io/tcp.hpp>

namespace weft::io::detail {

/// All but `local`. Throws std::system_error that names the option.
void set_options(TcpStream& stream, const TcpConnectOptions& options);

/// 0, or -errno.
int bind_local(int fd, const Address& local, const Address& peer) noexcept;

}  // namespace weft::io::detail
