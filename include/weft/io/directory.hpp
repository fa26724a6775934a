#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/descriptor.hpp>
#include <weft/detail/export.hpp>
#include <weft/io/file_status.hpp>
#include <weft/results.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace weft::io {

struct DirectoryEntry {
    std::string name;
    FileType type = FileType::unknown;  ///< of a symbolic link: that; some file systems do not tell
    std::uint64_t inode = 0;
};

/// The names in a directory, one after the other, in no order, without "." and "..". Of
/// one that changes meanwhile, each name that is there all the time comes once.
///
///     for (io::Directory all{"/tmp"}; const auto& entry : all) std::puts(entry.name.c_str());
///
/// Thread safety: one fiber at a time; close() from any, which ends a next() with EBADF.
/// Lifetime: as File's.
class WEFT_API Directory {
public:
    /// Opens it. Blocks: for the disk. Cancellation point.
    /// Throws std::system_error that names it: not_a_directory, timed_out, ...
    explicit Directory(std::string_view path, Deadline deadline = Deadline::never());
    Directory(Directory&&) noexcept = default;
    Directory& operator=(Directory&&) noexcept = default;

    /// The next one, which lives until the next call; null after the last.
    ///
    /// Blocks: for the disk, once for some hundred names. Cancellation point.
    /// Throws std::system_error; then it may be called again.
    const DirectoryEntry* next(Deadline deadline = Deadline::never());

    /// Waits until the names in it are on the disk: those that were made, renamed or removed
    /// before. Cancellation point. Thread safety: also beside next().
    /// Throws std::system_error that names it.
    void sync(Deadline deadline = Deadline::never());

    /// Idempotent. Never throws; not a cancellation point.
    void close() noexcept { descriptor_.close(); }

    struct End {};
    class Iterator {
    public:
        using value_type = DirectoryEntry;
        using difference_type = std::ptrdiff_t;
        explicit Iterator(Directory& from) : from_{&from}, entry_{from.next()} {}
        const DirectoryEntry& operator*() const noexcept { return *entry_; }
        const DirectoryEntry* operator->() const noexcept { return entry_; }
        Iterator& operator++() {
            entry_ = from_->next();
            return *this;
        }
        void operator++(int) { ++*this; }
        friend bool operator==(const Iterator& i, End) noexcept { return i.entry_ == nullptr; }

    private:
        Directory* from_;
        const DirectoryEntry* entry_;
    };

    /// What next() has not returned yet: the iterator blocks and throws as that does, which
    /// takes a deadline, too.
    Iterator begin() { return Iterator{*this}; }
    End end() const noexcept { return {}; }

private:
    void fill(Deadline deadline);

    weft::detail::Descriptor descriptor_;
    std::string path_;
    std::unique_ptr<std::byte[]> buffer_;  // entries as the system writes them
    std::size_t filled_ = 0;
    std::size_t taken_ = 0;
    DirectoryEntry entry_;
};

/// All that is in a directory, however much. Blocks and throws as Directory does.
WEFT_API Results<DirectoryEntry> list_directory(std::string_view path,
                                                Deadline deadline = Deadline::never());
/// The same of a directory of at most `most` entries. Throws value_too_large when it comes upon
/// one more.
WEFT_API Results<DirectoryEntry> list_directory(std::string_view path, std::size_t most,
                                                Deadline deadline = Deadline::never());

}  // namespace weft::io
