#pragma once

#include <weft/io/file.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace server {

/// A regular file that is open for reading.
struct OpenFile {
    weft::io::File file;
    std::uint64_t size;
};

/// The files of one directory tree.
///
/// Nothing outside of it is reached: a path is walked one name at a time, ".."
/// is no name, and symbolic links are not followed, wherever they lead.
class StaticFiles {
public:
    /// Throws std::system_error that names the directory.
    explicit StaticFiles(const std::string& directory);
    StaticFiles(const StaticFiles&) = delete;
    StaticFiles& operator=(const StaticFiles&) = delete;
    ~StaticFiles();

    /// Opens "a/b.txt" below the directory.
    /// Throws Refusal: not_found, forbidden, service_unavailable (no descriptor left).
    OpenFile open(std::string_view path) const;

private:
    int root_;
};

/// By the extension; application/octet-stream when it says nothing.
std::string_view content_type_of(std::string_view path) noexcept;

}  // namespace server
