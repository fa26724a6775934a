// One result as one JSON object on one line. Layer: benchmarks, common.
//
// Keys keep the order in which they were added. Keys and texts are our own
// names, which hold nothing to be escaped; a text that does would be a mistake
// in the benchmark, not bad input.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

namespace bench {

class JsonLine {
public:
    JsonLine& text(std::string_view key, std::string_view value) {
        begin_member(key);
        members_.append("\"").append(value).append("\"");
        return *this;
    }

    JsonLine& number(std::string_view key, double value) {
        char digits[64];
        std::snprintf(digits, sizeof digits, "%.9g", value);
        begin_member(key);
        members_.append(digits);
        return *this;
    }

    /// The figure that reports and comparisons use.
    JsonLine& value(std::string_view unit, double value) {
        return text("unit", unit).number("value", value);
    }

    /// Flushes, because several peers end the process without running destructors.
    void print(std::FILE* to = stdout) const {
        std::fprintf(to, "{%s}\n", members_.c_str());
        std::fflush(to);
    }

private:
    void begin_member(std::string_view key) {
        if (!members_.empty()) members_.append(", ");
        members_.append("\"").append(key).append("\": ");
    }

    std::string members_;
};

}  // namespace bench
