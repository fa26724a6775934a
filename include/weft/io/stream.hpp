#pragma once

#include <weft/detail/export.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>
#include <type_traits>

namespace weft::io {

/// A piece of memory to fill.
struct MutableBuffer {
    void* data;
    std::size_t size;
};

/// A piece of memory to send.
struct ConstBuffer {
    const void* data;
    std::size_t size;
};

enum class Shutdown : std::uint8_t { read, write, both };

/// What may end a read besides an error of the system.
enum class StreamError : int { end_of_stream = 1 };

WEFT_API const std::error_category& stream_category() noexcept;

inline std::error_code make_error_code(StreamError error) noexcept {
    return {static_cast<int>(error), stream_category()};
}

/// How the end of a stream is told in the error type of the caller. To use
/// weft's streams with Boost.Beast, specialise it once:
///
///     template <>
///     struct weft::io::EndOfStream<boost::system::error_code> {
///         static boost::system::error_code value() { return boost::asio::error::eof; }
///     };
template <class ErrorCode>
struct EndOfStream {
    static_assert(sizeof(ErrorCode) == 0, "specialise weft::io::EndOfStream for this error type");
};

template <>
struct EndOfStream<std::error_code> {
    static std::error_code value() noexcept { return make_error_code(StreamError::end_of_stream); }
};

/// Asio's buffer sequences, or anything whose elements have data() and size(),
/// as a span of buffers: the first 16 that are not empty.
template <class Sequence, class Piece>
class BufferSpan {
public:
    explicit BufferSpan(const Sequence& sequence) {
        if constexpr (requires {
                          sequence.begin();
                          sequence.end();
                      }) {
            const auto end = sequence.end();
            for (auto it = sequence.begin(); it != end && count_ < most_pieces; ++it) add(*it);
        } else {
            add(sequence);
        }
    }

    std::span<const Piece> span() const noexcept { return {pieces_, count_}; }

private:
    static constexpr std::size_t most_pieces = 16;

    template <class Buffer>
    void add(const Buffer& from) {
        if (from.size() == 0) return;
        pieces_[count_++] = Piece{from.data(), from.size()};
    }

    Piece pieces_[most_pieces];
    std::size_t count_ = 0;
};

template <class Sequence>
using MutableBuffers = BufferSpan<Sequence, MutableBuffer>;
template <class Sequence>
using ConstBuffers = BufferSpan<Sequence, ConstBuffer>;

namespace detail {

/// What a failed call reports: of `result`, >= 0 or -errno, in the error type of
/// std, of Boost, or of anything made like those (value and category, the
/// category of the system by default).
template <class ErrorCode>
std::size_t report(std::int64_t result, ErrorCode& error) {
    if (result >= 0) {
        error = ErrorCode{};
        return static_cast<std::size_t>(result);
    }
    error = ErrorCode{static_cast<int>(-result), ErrorCode{}.category()};
    return 0;
}

template <class ErrorCode>
std::size_t report_read(std::int64_t result, bool nothing_asked, ErrorCode& error) {
    if (result == 0 && !nothing_asked) {
        error = EndOfStream<ErrorCode>::value();
        return 0;
    }
    return report(result, error);
}

[[noreturn]] WEFT_API void throw_error(std::int64_t result, const char* what);

/// Throws std::system_error for a `result` below 0.
inline std::size_t value_or_throw(std::int64_t result, const char* what) {
    if (result < 0) throw_error(result, what);
    return static_cast<std::size_t>(result);
}

}  // namespace detail
}  // namespace weft::io

template <>
struct std::is_error_code_enum<weft::io::StreamError> : std::true_type {};
