// Layer: os. Uses: std.
#include <weft/io/stream.hpp>

#include <string>

namespace weft::io {

namespace {

class StreamCategory final : public std::error_category {
public:
    const char* name() const noexcept override { return "weft.stream"; }
    std::string message(int value) const override {
        return value == static_cast<int>(StreamError::end_of_stream) ? "end of stream"
                                                                     : "unknown stream error";
    }
};

}  // namespace

const std::error_category& stream_category() noexcept {
    static const auto& category =
        *new StreamCategory;  // never destroyed: fibers may run on in exit()
    return category;
}

void detail::throw_error(std::int64_t result, const char* what) {
    throw std::system_error(static_cast<int>(-result), std::system_category(), what);
}

}  // namespace weft::io
