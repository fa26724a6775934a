// Directories. Layer: os. Uses: io.
//
// io_uring has no operation for it, so a thread asks, for 32 KiB of entries at a time:
// some hundred names, and a bound on how long it is kept.
#include <weft/io/directory.hpp>

#include "os/call.hpp"
#include "os/file_status.hpp"
#include "os/path.hpp"

#include <dirent.h>
#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace weft::io {

namespace {

constexpr std::size_t buffer_size = 32 << 10;

bool is_itself_or_parent(const char* name) noexcept {
    return std::strcmp(name, ".") == 0 || std::strcmp(name, "..") == 0;
}

}  // namespace

Directory::Directory(std::string_view path, Deadline deadline)
    : path_{detail::checked_path(path)}, buffer_{std::make_unique<std::byte[]>(buffer_size)} {
    const Request request{.code = Request::Code::openat,
                          .buffer = path_.c_str(),
                          .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC};
    descriptor_ =
        Descriptor{detail::perform_on_path(request, path_, "open the directory", deadline)};
}

void Directory::fill(Deadline deadline) {
    Use use{descriptor_};
    auto read = [&]() noexcept {
        return system_call<::syscall>(SYS_getdents64, use.fd(), buffer_.get(), buffer_size);
    };
    const std::int64_t result =
        detail::perform_on(use, detail::Blocking{read}.request(), deadline, "read a directory");
    if (result < 0) detail::throw_path_error(result, detail::describe("read the directory", path_));
    filled_ = static_cast<std::size_t>(result);
    taken_ = 0;
}

void Directory::sync(Deadline deadline) {
    Use use{descriptor_};
    const Request request{.code = Request::Code::fsync};
    const std::int64_t result = detail::perform_on(use, request, deadline, "sync a directory");
    if (result < 0) detail::throw_path_error(result, detail::describe("sync the directory", path_));
}

const DirectoryEntry* Directory::next(Deadline deadline) {
    for (;;) {
        // Of one that was moved from, or closed, nothing is left.
        if (taken_ == filled_ || descriptor_.get() < 0) fill(deadline);
        if (filled_ == 0) return nullptr;
        const auto& found = *reinterpret_cast<const dirent64*>(buffer_.get() + taken_);
        taken_ += found.d_reclen;
        if (is_itself_or_parent(found.d_name)) continue;
        entry_.name = found.d_name;
        entry_.type = detail::to_type(DTTOIF(static_cast<unsigned>(found.d_type)));
        entry_.inode = found.d_ino;
        return &entry_;
    }
}

Results<DirectoryEntry> list_directory(std::string_view path, Deadline deadline) {
    return list_directory(path, std::numeric_limits<std::size_t>::max(), deadline);
}

Results<DirectoryEntry> list_directory(std::string_view path, std::size_t most, Deadline deadline) {
    std::vector<DirectoryEntry> found;
    Directory all{path, deadline};
    while (const DirectoryEntry* entry = all.next(deadline)) {
        if (found.size() == most) {
            const std::string what = "list at most " + std::to_string(most) + " entries of";
            detail::throw_path_error(-EOVERFLOW, detail::describe(what.c_str(), path));
        }
        found.push_back(*entry);
    }
    Results<DirectoryEntry> results{found.size()};
    for (DirectoryEntry& entry : found) results.add([&entry] { return std::move(entry); });
    return results;
}

}  // namespace weft::io
