#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/descriptor.hpp>
#include <weft/detail/export.hpp>
#include <weft/io/file_status.hpp>
#include <weft/io/stream.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace weft::io {

namespace detail {
struct DescriptorOf;
}

/// What may be done with a file, and what opening it does to it. Joined by |.
enum class OpenMode : std::uint32_t {
    read = 1,
    write = 2,
    append = 4,      ///< every write goes to the end
    create = 8,      ///< made if it is not there
    exclusive = 16,  ///< with create: it must not be there
    truncate = 32,   ///< emptied
    /// Past the page cache: buffers, offsets and lengths must be aligned as
    /// FileStatus::direct_memory and direct_offset say.
    direct = 64,
    sync = 128,       ///< each write waits until it is on the disk
    sync_data = 256,  ///< the same, but for times and owner
    /// The path is a directory: a file without a name in it, which goes when it is
    /// closed, unless link() gives it a name.
    nameless = 512,
    no_follow = 1024,  ///< fails (ELOOP) if the path's last part is a symbolic link
};

constexpr OpenMode operator|(OpenMode a, OpenMode b) noexcept {
    return static_cast<OpenMode>(static_cast<std::uint32_t>(a) | static_cast<std::uint32_t>(b));
}
constexpr bool has(OpenMode set, OpenMode flag) noexcept {
    return (static_cast<std::uint32_t>(set) & static_cast<std::uint32_t>(flag)) != 0;
}

/// What File::allocate() does to a range.
enum class Allocate : std::uint8_t {
    extend,      ///< gives it room on the disk; the file grows to its end
    keep_size,   ///< the same, but the file's size stays
    punch_hole,  ///< takes its room back; it reads as zeros; the size stays
    zero,        ///< makes it read as zeros, with room; the file grows to its end
};

/// How a file is going to be used. See posix_fadvise(2).
enum class Advice : std::uint8_t { normal, random, sequential, will_need, dont_need };

/// Where File::seek() counts from. `data` and `hole`: the next such place at or after.
enum class SeekFrom : std::uint8_t { begin, current, end, data, hole };

enum class FileLock : std::uint8_t { shared, exclusive };

/// An open file.
///
/// Blocking calls suspend the calling fiber, on a plain thread the thread. Each
/// is a cancellation point and takes a Deadline; a time-out throws
/// std::system_error(errc::timed_out). The kernel may be unable to stop what it
/// has begun with a disk: then the call returns later, with its result. On a plain
/// thread deadlines hold for pipes and terminals only.
///
/// What fails throws std::system_error whose text has the operation and the path.
/// Past RLIMIT_FSIZE it is file_too_large; a plain thread that has not blocked
/// SIGXFSZ gets the signal, too.
///
/// Thread safety: what names an offset, sync() and status() from many fibers at
/// once; what uses the position wants one fiber; close() from any, which ends what
/// is in flight with EBADF.
/// Lifetime: the destructor closes. It and a move must not race with other
/// calls, but for those that a close() has ended.
class WEFT_API File {
public:
    File() noexcept = default;
    /// Takes over an open file, whether O_NONBLOCK is set or not; -1 for none.
    explicit File(int fd) noexcept;
    File(File&&) noexcept = default;
    File& operator=(File&& other) noexcept;
    ~File() { close(); }

    /// Opens `path`. `permissions` are those of a file that is created, less
    /// the process's umask.
    ///
    /// Blocks: for the disk; of a FIFO, until somebody has its other end open, which the
    /// system does not always tell: it is looked at after 1 ms, later every 64 ms.
    /// Throws std::system_error; std::invalid_argument for a `mode` with neither
    /// read nor write or a path with a zero byte in it.
    static File open(std::string_view path, OpenMode mode = OpenMode::read,
                     std::uint32_t permissions = 0644, Deadline deadline = Deadline::never());

    /// Reads at the current position and moves it.
    /// Returns how much, 0 at the end of the file or for an empty buffer.
    std::size_t read(std::span<std::byte> buffer, Deadline deadline = Deadline::never());
    /// The same into several buffers, filled in order: the first 16 that are not empty.
    std::size_t read(std::span<const MutableBuffer> buffers, Deadline deadline = Deadline::never());
    /// Reads until `buffer` is full or the file ends. Returns how much.
    std::size_t read_exactly(std::span<std::byte> buffer, Deadline deadline = Deadline::never());

    /// These three at `offset`; the position stays.
    std::size_t pread(std::span<std::byte> buffer, std::uint64_t offset,
                      Deadline deadline = Deadline::never());
    std::size_t pread(std::span<const MutableBuffer> buffers, std::uint64_t offset,
                      Deadline deadline = Deadline::never());
    std::size_t pread_exactly(std::span<std::byte> buffer, std::uint64_t offset,
                              Deadline deadline = Deadline::never());

    /// Writes at the current position and moves it. Returns how much, at least
    /// one byte. Throws std::system_error: no_space_on_device, ...
    std::size_t write(std::span<const std::byte> data, Deadline deadline = Deadline::never());
    /// The same from several buffers: of the first 16 that are not empty.
    std::size_t write(std::span<const ConstBuffer> buffers, Deadline deadline = Deadline::never());
    /// Writes all of it. When it throws, a part may have been written.
    void write_all(std::span<const std::byte> data, Deadline deadline = Deadline::never());
    void write_all(std::span<const ConstBuffer> buffers, Deadline deadline = Deadline::never());
    void write_all(std::string_view text, Deadline deadline = Deadline::never()) {
        write_all(std::as_bytes(std::span{text.data(), text.size()}), deadline);
    }

    /// These at `offset`; the position stays. On a file opened with append the
    /// system ignores the offset.
    std::size_t pwrite(std::span<const std::byte> data, std::uint64_t offset,
                       Deadline deadline = Deadline::never());
    std::size_t pwrite(std::span<const ConstBuffer> buffers, std::uint64_t offset,
                       Deadline deadline = Deadline::never());
    void pwrite_all(std::span<const std::byte> data, std::uint64_t offset,
                    Deadline deadline = Deadline::never());

    /// Sets the current position. Returns it, from the beginning.
    /// Blocks: from `data` and `hole`, for the disk; these are cancellation points and take no
    /// Deadline. Else never.
    /// Throws std::system_error: no_such_device_or_address when there is no more data.
    std::uint64_t seek(std::int64_t offset, SeekFrom from = SeekFrom::begin);
    /// The current position. Never blocks.
    std::uint64_t tell() const;

    /// Makes it `size` bytes long: cuts it off, or lets it end in zeros.
    void truncate(std::uint64_t size, Deadline deadline = Deadline::never());
    /// Throws std::system_error: no_space_on_device; operation_not_supported where
    /// the file system cannot do it.
    void allocate(std::uint64_t offset, std::uint64_t length, Allocate how = Allocate::extend,
                  Deadline deadline = Deadline::never());
    /// `length` 0: to the end of the file.
    void advise(Advice advice, std::uint64_t offset = 0, std::uint64_t length = 0,
                Deadline deadline = Deadline::never());

    /// Does not wait for a disk; the thread may wait for another machine if that has the file.
    FileStatus status() const;
    std::uint64_t size() const { return status().size; }

    /// Copies `length` bytes from `offset` on to `to_offset` of `to`, fewer if this file
    /// ends, and not through memory where the file systems can do without. No position
    /// moves. Returns how many.
    ///
    /// Requires: ranges of the same file do not overlap. Of files opened with direct the offsets
    /// are aligned; `length` only for one to copy to.
    /// Blocks: for the disks. Cancellation point, looked at after each 16 MiB, as is the
    /// deadline. When it throws, some were copied.
    std::uint64_t copy_range(std::uint64_t offset, std::uint64_t length, File& to,
                             std::uint64_t to_offset, Deadline deadline = Deadline::never());

    /// Waits until all that was written is on the disk.
    void sync(Deadline deadline = Deadline::never());
    /// The same, but for what is not needed to read it back: times, owner.
    void sync_data(Deadline deadline = Deadline::never());
    /// Waits until what lies in the range is on the disk, if that is where the file
    /// system keeps it anyway: no promise after a crash, but a way not to let too
    /// much pile up. `length` 0: to the end.
    void write_back(std::uint64_t offset = 0, std::uint64_t length = 0,
                    Deadline deadline = Deadline::never());

    /// Locks the file against other openings of it, in this process or another
    /// (flock(2)): advice, which only those heed who ask. One that holds it may
    /// change its kind, and is without it meanwhile.
    ///
    /// Blocks: until nobody holds it against us, which is looked at after 1 ms, later
    /// every 64 ms; not in order of arrival. Cancellation point.
    /// Returns false if `deadline` passes first; then it is not locked.
    bool lock(FileLock kind = FileLock::exclusive, Deadline deadline = Deadline::never());
    /// Does not wait for others, only for a thread that tries: as lock() with a deadline that
    /// has passed. Cancellation point.
    bool try_lock(FileLock kind = FileLock::exclusive);
    /// As does closing it. Blocks: for a thread that does it. Not a cancellation point.
    /// Throws std::system_error: bad_file_descriptor when it is closed.
    void unlock();

    /// Sets its permissions: 0644 and the like.
    void permissions(std::uint32_t mode, Deadline deadline = Deadline::never());
    /// Gives it to another user, another group; -1: as it is.
    void owner(std::int64_t user, std::int64_t group, Deadline deadline = Deadline::never());
    /// Says when it was used and changed last; without a time: as it is.
    void times(std::optional<FileStatus::Time> accessed, std::optional<FileStatus::Time> modified,
               Deadline deadline = Deadline::never());

    /// Gives it another name; for a nameless one, its first.
    /// Throws std::system_error: file_exists.
    void link(std::string_view path, Deadline deadline = Deadline::never());

    /// Closes. What other fibers have in flight here ends with EBADF first.
    /// Blocks: for what a disk is doing of it, for another machine if that has the file, while
    /// what was in it is given back if this was its end; takes no Deadline, for a close cannot
    /// be taken back. Idempotent. Never throws; not a cancellation point.
    void close() noexcept;

    bool is_open() const noexcept { return descriptor_.get() >= 0; }
    /// -1 when it is closed.
    int fd() const noexcept { return descriptor_.get(); }
    /// What it was opened by; empty if it was taken over. Lives as long as *this.
    std::string_view path() const noexcept { return path_; }
    /// Gives the descriptor up. Requires: nothing in flight.
    int release() noexcept { return descriptor_.release(); }

private:
    friend struct detail::DescriptorOf;
    File(int fd, std::string path) noexcept;
    std::size_t read_at(std::span<const MutableBuffer> buffers, std::int64_t offset,
                        Deadline deadline);
    std::size_t read_all_at(std::span<std::byte> buffer, std::int64_t offset, Deadline deadline);
    std::size_t write_at(std::span<const ConstBuffer> buffers, std::size_t skip,
                         std::int64_t offset, Deadline deadline);
    void write_all_at(std::span<const ConstBuffer> buffers, std::int64_t offset, Deadline deadline);
    std::uint64_t copy_plainly(std::uint64_t offset, std::uint64_t length, File& to,
                               std::uint64_t to_offset, Deadline deadline);
    void sync_as(std::uint32_t flags, Deadline deadline);
    std::size_t check(std::int64_t result, const char* operation) const;
    std::size_t check_transfer(std::int64_t result, const char* operation) const;
    std::int64_t checked(std::uint64_t offset, const char* operation) const;
    std::int64_t after(std::int64_t offset, std::size_t done, const char* operation) const;
    [[noreturn]] void fail(std::int64_t result, const char* operation) const;
    bool direct() const noexcept;

    mutable weft::detail::Descriptor descriptor_;
    std::string path_;
    int flags_ = 0;  // O_*: what it was opened with
};

}  // namespace weft::io
