// What is done to names, and whole files. Layer: os. Uses: io.
//
// All of it asks the disk, and so goes through the driver: 10 us where it is in memory.
#include <weft/io/file_system.hpp>

#include "os/call.hpp"
#include "os/file_status.hpp"
#include "os/path.hpp"

#include <weft/io/file.hpp>

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <limits>
#include <string>
#include <system_error>

namespace weft::io {

using detail::checked_path;
using detail::perform_on_path;

namespace {

FileStatus status_as(std::string_view path, std::uint32_t flags, Deadline deadline) {
    const std::string name = checked_path(path);
    struct statx found {};
    const Request request{.code = Request::Code::statx,
                          .buffer = name.c_str(),
                          .length = detail::status_mask,
                          .flags = flags,
                          .extra = &found};
    perform_on_path(request, path, "ask the status of", deadline);
    return detail::to_status(found);
}

/// A request with two paths.
void perform_on_two(Request::Code code, std::string_view first, std::string_view second,
                    std::uint32_t flags, const char* operation, Deadline deadline) {
    const std::string one = checked_path(first);
    const std::string other = checked_path(second);
    const Request request{.code = code,
                          .buffer = one.c_str(),
                          .flags = flags,
                          .extra = const_cast<char*>(other.c_str())};
    const std::string both = one + "\" as \"" + other;
    perform_on_path(request, both, operation, deadline);
}

void unlink_as(std::string_view path, std::uint32_t flags, const char* operation,
               Deadline deadline) {
    const std::string name = checked_path(path);
    const Request request{.code = Request::Code::unlinkat, .buffer = name.c_str(), .flags = flags};
    perform_on_path(request, path, operation, deadline);
}

/// The path without its last part; empty when it has but one.
std::string_view parent_of(std::string_view path) {
    const std::size_t last = path.find_last_not_of('/');
    if (last == path.npos) return {};
    const std::size_t slash = path.find_last_of('/', last);
    if (slash == path.npos) return {};
    const std::size_t end = path.find_last_not_of('/', slash);
    return path.substr(0, end == path.npos ? 1 : end + 1);
}

}  // namespace

FileStatus status(std::string_view path, Deadline deadline) { return status_as(path, 0, deadline); }

FileStatus symlink_status(std::string_view path, Deadline deadline) {
    return status_as(path, AT_SYMLINK_NOFOLLOW, deadline);
}

bool exists(std::string_view path, Deadline deadline) {
    try {
        status(path, deadline);
        return true;
    } catch (const std::system_error& error) {
        const int code = error.code().value();
        if (code == ENOENT || code == ENOTDIR) return false;
        throw;
    }
}

void permissions(std::string_view path, std::uint32_t mode, Deadline deadline) {
    const std::string name = checked_path(path);
    auto set = [&]() noexcept { return system_call<::chmod>(name.c_str(), mode_t{mode}); };
    perform_on_path(detail::Blocking{set}.request(), path, "set the permissions of", deadline);
}

void owner(std::string_view path, std::int64_t user, std::int64_t group, Deadline deadline) {
    const std::string name = checked_path(path);
    const uid_t to_user = detail::to_id(user);
    const gid_t to_group = detail::to_id(group);
    auto set = [&]() noexcept { return system_call<::chown>(name.c_str(), to_user, to_group); };
    perform_on_path(detail::Blocking{set}.request(), path, "set the owner of", deadline);
}

void times(std::string_view path, std::optional<FileStatus::Time> accessed,
           std::optional<FileStatus::Time> modified, Deadline deadline) {
    const std::string name = checked_path(path);
    const detail::FileTimes times{accessed, modified};
    auto set = [&]() noexcept {
        return system_call<::utimensat>(AT_FDCWD, name.c_str(), times.values(), 0);
    };
    perform_on_path(detail::Blocking{set}.request(), path, "set the times of", deadline);
}

void rename(std::string_view from, std::string_view to, Rename how, Deadline deadline) {
    constexpr std::uint32_t flags[] = {0, RENAME_NOREPLACE, RENAME_EXCHANGE};
    perform_on_two(Request::Code::renameat, from, to, flags[static_cast<std::size_t>(how)],
                   "rename", deadline);
}

void remove(std::string_view path, Deadline deadline) { unlink_as(path, 0, "remove", deadline); }

void remove_directory(std::string_view path, Deadline deadline) {
    unlink_as(path, AT_REMOVEDIR, "remove the directory", deadline);
}

void link(std::string_view file, std::string_view path, Deadline deadline) {
    perform_on_two(Request::Code::linkat, file, path, 0, "link", deadline);
}

void symlink(std::string_view target, std::string_view path, Deadline deadline) {
    perform_on_two(Request::Code::symlinkat, target, path, 0, "link symbolically", deadline);
}

std::string read_link(std::string_view path, Deadline deadline) {
    const std::string name = checked_path(path);
    std::string text(PATH_MAX, '\0');  // no link says more
    auto read = [&]() noexcept {
        return system_call<::syscall>(SYS_readlinkat, long{AT_FDCWD}, name.c_str(), text.data(),
                                      text.size());
    };
    text.resize(static_cast<std::size_t>(
        perform_on_path(detail::Blocking{read}.request(), path, "read the link", deadline)));
    return text;
}

// --- directories ---

void make_directory(std::string_view path, std::uint32_t permissions, Deadline deadline) {
    const std::string name = checked_path(path);
    const Request request{
        .code = Request::Code::mkdirat, .buffer = name.c_str(), .length = permissions};
    perform_on_path(request, path, "make the directory", deadline);
}

namespace {

/// Whether it was not there.
bool make_or_find(std::string_view path, std::uint32_t permissions, Deadline deadline) {
    try {
        make_directory(path, permissions, deadline);
        return true;
    } catch (const std::system_error& error) {
        const bool there = error.code().value() == EEXIST;
        if (there && status(path, deadline).is_directory()) return false;
        throw;
    }
}

}  // namespace

bool make_directories(std::string_view path, std::uint32_t permissions, Deadline deadline) {
    try {
        return make_or_find(path, permissions, deadline);
    } catch (const std::system_error& error) {
        if (error.code().value() != ENOENT || parent_of(path).empty()) throw;
    }
    make_directories(parent_of(path), permissions, deadline);
    // Once: in /proc that is the answer though the parent is there.
    return make_or_find(path, permissions, deadline);
}

// --- whole files ---

namespace {

constexpr std::size_t no_limit = std::numeric_limits<std::size_t>::max() / 4;  // can be doubled

void check_size(std::size_t size, std::size_t most, std::string_view path) {
    if (size <= most) return;
    const std::string what = "read at most " + std::to_string(most) + " bytes of";
    detail::throw_path_error(-EFBIG, detail::describe(what.c_str(), path));
}

}  // namespace

std::string read_file(std::string_view path, Deadline deadline) {
    return read_file(path, no_limit, deadline);
}

// Until it ends, since files of /proc do not know their size.
std::string read_file(std::string_view path, std::size_t most, Deadline deadline) {
    constexpr std::size_t least = 4096;
    most = std::min(most, no_limit);
    File file = File::open(path, OpenMode::read, 0, deadline);
    // Files of /sys say more than they have. Room for one byte more, so that the end is seen
    // without growing.
    const std::size_t expected = file.size();
    std::string text(std::min(std::max(expected, least), most) + 1, '\0');
    for (std::size_t size = 0;;) {
        size += file.read_exactly(std::as_writable_bytes(std::span{text}).subspan(size), deadline);
        check_size(size, most, path);
        if (size < text.size()) {
            text.resize(size);
            return text;
        }
        if (deadline.passed()) detail::throw_path_error(-ETIMEDOUT, detail::describe("read", path));
        text.resize(std::min(2 * size, most + 1));
    }
}

void write_file(std::string_view path, std::span<const std::byte> data, std::uint32_t permissions,
                Deadline deadline) {
    constexpr OpenMode fresh = OpenMode::write | OpenMode::create | OpenMode::truncate;
    File::open(path, fresh, permissions, deadline).write_all(data, deadline);
}

}  // namespace weft::io
