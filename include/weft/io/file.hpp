#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/descriptor.hpp>
#include <weft/detail/export.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace weft::io {

/// What may be done with a file, and what opening it does to it. Joined by |.
enum class OpenMode : std::uint32_t {
    read = 1,
    write = 2,
    append = 4,      ///< every write goes to the end
    create = 8,      ///< made if it is not there
    exclusive = 16,  ///< with create: it must not be there
    truncate = 32,   ///< emptied
};

constexpr OpenMode operator|(OpenMode a, OpenMode b) noexcept {
    return static_cast<OpenMode>(static_cast<std::uint32_t>(a) | static_cast<std::uint32_t>(b));
}
constexpr bool has(OpenMode set, OpenMode flag) noexcept {
    return (static_cast<std::uint32_t>(set) & static_cast<std::uint32_t>(flag)) != 0;
}

struct FileStatus {
    std::uint64_t size = 0;  ///< in bytes
    std::uint32_t mode = 0;  ///< permissions: 0644 and the like
    std::chrono::system_clock::time_point modified;
    bool is_regular = false;
    bool is_directory = false;
};

/// An open file.
///
/// Blocking calls suspend the calling fiber, on a plain thread the thread. Each
/// is a cancellation point and takes a Deadline; a time-out throws
/// std::system_error(errc::timed_out). The kernel may be unable to stop what it
/// has begun with a disk: then the call returns later, with its result.
///
/// Thread safety: pread(), pwrite(), sync() and status() from many fibers at
/// once; read() and write() share one position and so want one fiber; close()
/// from any, which ends what is in flight with EBADF.
/// Lifetime: the destructor closes. It and a move must not race with other
/// calls, but for those that a close() has ended.
class WEFT_API File {
public:
    File() noexcept = default;
    /// Takes over a descriptor.
    explicit File(int fd) noexcept : descriptor_{fd} {}
    File(File&&) noexcept = default;
    File& operator=(File&&) noexcept = default;

    /// Opens `path`. `permissions` are those of a file that is created, less
    /// the process's umask.
    /// Throws std::system_error that names the path, std::invalid_argument for
    /// a `mode` with neither read nor write or a path with a zero byte in it.
    static File open(std::string_view path, OpenMode mode = OpenMode::read,
                     std::uint32_t permissions = 0644, Deadline deadline = Deadline::never());

    /// What `path` names, symbolic links followed. Throws std::system_error.
    static FileStatus status_of(std::string_view path, Deadline deadline = Deadline::never());

    /// Reads at the current position and moves it.
    /// Returns how much, 0 at the end of the file or for an empty buffer.
    std::size_t read(std::span<std::byte> buffer, Deadline deadline = Deadline::never());
    /// Reads until `buffer` is full or the file ends. Returns how much.
    std::size_t read_exactly(std::span<std::byte> buffer, Deadline deadline = Deadline::never());
    /// Reads at `offset`; the position stays. Returns as read().
    std::size_t pread(std::span<std::byte> buffer, std::uint64_t offset,
                      Deadline deadline = Deadline::never());

    /// Writes at the current position and moves it. Returns how much, at least
    /// one byte. Throws std::system_error: no_space_on_device, ...
    std::size_t write(std::span<const std::byte> data, Deadline deadline = Deadline::never());
    /// Writes all of it. When it throws, a part may have been written.
    void write_all(std::span<const std::byte> data, Deadline deadline = Deadline::never());
    void write_all(std::string_view text, Deadline deadline = Deadline::never()) {
        write_all(std::as_bytes(std::span{text.data(), text.size()}), deadline);
    }
    /// Writes at `offset`; the position stays. On a file opened with append the
    /// system ignores the offset.
    std::size_t pwrite(std::span<const std::byte> data, std::uint64_t offset,
                       Deadline deadline = Deadline::never());

    /// Sets the current position, from the file's beginning. Never blocks.
    void seek(std::uint64_t offset);

    /// Does not wait for a disk.
    FileStatus status() const;
    std::uint64_t size() const { return status().size; }

    /// Waits until all that was written is on the disk.
    void sync(Deadline deadline = Deadline::never());
    /// The same, but for what is not needed to read it back: times, owner.
    void sync_data(Deadline deadline = Deadline::never());

    /// Closes. What other fibers have in flight here ends with EBADF first.
    /// Idempotent. Never throws; not a cancellation point.
    void close() noexcept { descriptor_.close(); }

    bool is_open() const noexcept { return descriptor_.get() >= 0; }
    int fd() const noexcept { return descriptor_.get(); }
    /// Gives the descriptor up. Requires: nothing in flight.
    int release() noexcept { return descriptor_.release(); }

private:
    mutable weft::detail::Descriptor descriptor_;
};

}  // namespace weft::io
