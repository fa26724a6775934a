#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/io/file_status.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

/// What is done to names. Each suspends the calling fiber, on a plain thread the thread,
/// until the disk has answered; is a cancellation point; and throws std::system_error
/// whose text has the operation and the path. A deadline that passes first throws
/// errc::timed_out; the kernel may be unable to stop what it has begun: then the call
/// returns later, with its result. Paths that are not absolute begin at the working
/// directory, which is the process's. Any thread.
namespace weft::io {

/// What rename() does when there is something by the new name.
enum class Rename : std::uint8_t {
    replace,     ///< it goes, unless it is a directory with something in it
    no_replace,  ///< throws file_exists
    exchange,    ///< the two are exchanged; there must be one
};

/// What `path` names, symbolic links followed. Throws no_such_file_or_directory, ...
WEFT_API FileStatus status(std::string_view path, Deadline deadline = Deadline::never());
/// The same, of a symbolic link itself.
WEFT_API FileStatus symlink_status(std::string_view path, Deadline deadline = Deadline::never());
/// Whether there is something by that name, a symbolic link that leads nowhere not counted.
/// What keeps it from telling throws: permission_denied, timed_out, ...
WEFT_API bool exists(std::string_view path, Deadline deadline = Deadline::never());

/// Sets what `path` names, symbolic links followed, to these permissions: 0644 and the like.
WEFT_API void permissions(std::string_view path, std::uint32_t mode,
                          Deadline deadline = Deadline::never());
/// Gives it to another user, another group; -1: as it is.
WEFT_API void owner(std::string_view path, std::int64_t user, std::int64_t group,
                    Deadline deadline = Deadline::never());
/// Says when it was used and changed last; without a time: as it is.
WEFT_API void times(std::string_view path, std::optional<FileStatus::Time> accessed,
                    std::optional<FileStatus::Time> modified,
                    Deadline deadline = Deadline::never());

/// In one step: nobody sees neither or half of it. Both in one file system.
WEFT_API void rename(std::string_view from, std::string_view to, Rename how = Rename::replace,
                     Deadline deadline = Deadline::never());
/// Removes a name of what is no directory, and what it names with its last one; while it is
/// open somewhere it lives on. Throws is_a_directory, ...
WEFT_API void remove(std::string_view path, Deadline deadline = Deadline::never());
/// Removes an empty directory. Throws directory_not_empty, not_a_directory, ...
WEFT_API void remove_directory(std::string_view path, Deadline deadline = Deadline::never());

/// A second name, `path`, of `file`. One that is a symbolic link is not followed. Throws
/// file_exists, cross_device_link, ...
WEFT_API void link(std::string_view file, std::string_view path,
                   Deadline deadline = Deadline::never());
/// A symbolic link, `path`, that says `target`, which need not be there. Throws file_exists.
WEFT_API void symlink(std::string_view target, std::string_view path,
                      Deadline deadline = Deadline::never());
/// What a symbolic link says. Throws invalid_argument for what is none.
WEFT_API std::string read_link(std::string_view path, Deadline deadline = Deadline::never());

/// `permissions` less the process's umask. Throws file_exists, ...
WEFT_API void make_directory(std::string_view path, std::uint32_t permissions = 0777,
                             Deadline deadline = Deadline::never());
/// The same, with the directories it is to be in. Returns whether it was not there.
/// When it throws, some of those may have been made.
WEFT_API bool make_directories(std::string_view path, std::uint32_t permissions = 0777,
                               Deadline deadline = Deadline::never());

/// All that is in a file. Throws also std::bad_alloc: it is as large as the file, without a limit.
WEFT_API std::string read_file(std::string_view path, Deadline deadline = Deadline::never());
/// The same of a file of at most `most` bytes. Throws file_too_large for a larger one, of which it
/// reads no more than one byte beyond.
WEFT_API std::string read_file(std::string_view path, std::size_t most,
                               Deadline deadline = Deadline::never());
/// Makes `data` all that is in a file, which is made if it is not there. Others may see a part
/// of it meanwhile, and nothing waits for the disk. When it throws, what was in it may be gone.
WEFT_API void write_file(std::string_view path, std::span<const std::byte> data,
                         std::uint32_t permissions = 0644, Deadline deadline = Deadline::never());
inline void write_file(std::string_view path, std::string_view text,
                       std::uint32_t permissions = 0644, Deadline deadline = Deadline::never()) {
    write_file(path, std::as_bytes(std::span{text.data(), text.size()}), permissions, deadline);
}

}  // namespace weft::io
