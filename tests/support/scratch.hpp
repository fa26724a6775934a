// A place on the disk for a test's files.
#pragma once

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

namespace weft::test {

/// A directory of its own, which goes with it and all that is in it.
class Scratch {
public:
    explicit Scratch(std::string_view where = "/tmp")
        : directory_{std::string{where}.append("/weft-test-XXXXXX")} {
        if (::mkdtemp(directory_.data()) == nullptr) {
            throw std::system_error{errno, std::system_category(), "mkdtemp"};
        }
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() { std::filesystem::remove_all(directory_); }

    std::string path(std::string_view name = "file") const {
        return directory_ + '/' + std::string{name};
    }
    const std::string& directory() const { return directory_; }

private:
    std::string directory_;
};

}  // namespace weft::test
