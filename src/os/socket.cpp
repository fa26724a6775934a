// Layer: os. Uses: io.
#include <weft/io/socket.hpp>

#include "os/socket_call.hpp"

namespace weft::io {

using detail::get_option;
using detail::set_option;

void Socket::receive_buffer(int bytes) {
    set_option(descriptor_, SOL_SOCKET, SO_RCVBUF, bytes, "SO_RCVBUF");
}

int Socket::receive_buffer() const {
    return get_option<int>(descriptor_, SOL_SOCKET, SO_RCVBUF, "SO_RCVBUF");
}

void Socket::send_buffer(int bytes) {
    set_option(descriptor_, SOL_SOCKET, SO_SNDBUF, bytes, "SO_SNDBUF");
}

int Socket::send_buffer() const {
    return get_option<int>(descriptor_, SOL_SOCKET, SO_SNDBUF, "SO_SNDBUF");
}

}  // namespace weft::io
