#include "http/static_files.hpp"

#include "http/exchange.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace server {

namespace {

class Descriptor {
public:
    explicit Descriptor(int fd) noexcept : fd_{fd} {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() { reset(-1); }

    void reset(int fd) noexcept {
        if (const int old = std::exchange(fd_, fd); old >= 0) ::close(old);
    }
    int get() const noexcept { return fd_; }
    int release() noexcept { return std::exchange(fd_, -1); }

private:
    int fd_;
};

[[noreturn]] void refuse(int error) {
    switch (error) {
        case ENOENT:
        case ENOTDIR:
        case ELOOP:  // a symbolic link
        case ENAMETOOLONG:
        case ENXIO:  // a socket
            throw Refusal{http::status::not_found, "no such file"};
        case EACCES:
        case EPERM: throw Refusal{http::status::forbidden, "not allowed to read this file"};
        case EMFILE:
        case ENFILE:
        case ENOMEM:
            throw Refusal{http::status::service_unavailable, "too many files open; try again"};
        default:
            throw std::system_error{error, std::system_category(), "cannot open a static file"};
    }
}

/// Opens one name in a directory. On the worker itself: a look-up is short,
/// and only the reading that follows may wait for the disk.
int open_name(int directory, const std::string& name, int flags) {
    if (name.empty() || name == "." || name == "..") refuse(ENOENT);
    const int fd = ::openat(directory, name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) refuse(errno);
    return fd;
}

std::uint64_t size_of_regular(int fd) {
    struct stat status;
    if (::fstat(fd, &status) != 0) refuse(errno);
    if (!S_ISREG(status.st_mode)) refuse(ENOENT);
    return static_cast<std::uint64_t>(status.st_size);
}

}  // namespace

StaticFiles::StaticFiles(const std::string& directory)
    : root_{::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)} {
    if (root_ < 0) {
        throw std::system_error{errno, std::system_category(), "--root '" + directory + "'"};
    }
}

StaticFiles::~StaticFiles() { ::close(root_); }

OpenFile StaticFiles::open(std::string_view path) const {
    Descriptor below{-1};
    int directory = root_;
    for (auto slash = path.find('/'); slash != path.npos; slash = path.find('/')) {
        below.reset(open_name(directory, std::string{path.substr(0, slash)}, O_PATH | O_DIRECTORY));
        directory = below.get();
        path.remove_prefix(slash + 1);
    }
    // Opening a FIFO must not wait for a writer; reading a file may wait for the disk.
    Descriptor file{open_name(directory, std::string{path}, O_RDONLY | O_NONBLOCK)};
    const auto size = size_of_regular(file.get());
    ::fcntl(file.get(), F_SETFL, 0);
    return OpenFile{weft::io::File{file.release()}, size};
}

std::string_view content_type_of(std::string_view path) noexcept {
    static constexpr std::pair<std::string_view, std::string_view> types[] = {
        {".html", "text/html; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
        {".txt", "text/plain; charset=utf-8"},
        {".md", "text/markdown; charset=utf-8"},
        {".json", "application/json"},
        {".svg", "image/svg+xml"},
        {".png", "image/png"},
        {".jpg", "image/jpeg"},
        {".gif", "image/gif"},
        {".ico", "image/x-icon"},
        {".wasm", "application/wasm"},
        {".pdf", "application/pdf"},
    };
    for (const auto& [extension, type] : types) {
        if (path.ends_with(extension)) return type;
    }
    return "application/octet-stream";
}

}  // namespace server
