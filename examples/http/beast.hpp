// Boost.Beast, and what it needs to know of weft's streams.
#pragma once

#include <weft/io/stream.hpp>

#include <boost/asio/error.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

/// The end of the stream, as Beast expects to be told of it.
template <>
struct weft::io::EndOfStream<boost::system::error_code> {
    static boost::system::error_code value() { return boost::asio::error::eof; }
};

namespace server {

namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace net = boost::asio;

}  // namespace server
