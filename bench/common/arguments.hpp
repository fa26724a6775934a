// Command line of the form --name=value. Layer: benchmarks, common.
//
// A name that was not given yields its default; there is no error for unknown
// names, so that one command line fits several servers.
#pragma once

#include <cstdlib>
#include <string>
#include <string_view>

namespace bench {

class Arguments {
public:
    Arguments(int count, char** values) noexcept : count_{count}, values_{values} {}

    std::string text(std::string_view name, std::string_view otherwise) const {
        const std::string prefix = "--" + std::string{name} + "=";
        for (int i = 1; i < count_; ++i) {
            const std::string_view argument{values_[i]};
            if (argument.starts_with(prefix)) return std::string{argument.substr(prefix.size())};
        }
        return std::string{otherwise};
    }

    double number(std::string_view name, double otherwise) const {
        const std::string found = text(name, "");
        return found.empty() ? otherwise : std::strtod(found.c_str(), nullptr);
    }

    int integer(std::string_view name, int otherwise) const {
        return static_cast<int>(number(name, otherwise));
    }

private:
    int count_;
    char** values_;
};

/// A number from the environment.
inline long environment_number(const char* name, long otherwise) {
    const char* found = std::getenv(name);
    return found != nullptr ? std::atol(found) : otherwise;
}

}  // namespace bench
