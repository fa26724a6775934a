// FdTable: what an epoll driver knows of each descriptor. Layer: io. Uses: base.
//
// By number, in chunks that never move and are never given back; so a record is
// found without hashing and kept without allocation once a number was used.
// Locking: the driver's lock.
#pragma once

#include "io/operation_list.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <vector>

namespace weft::detail {

struct FdRecord {
    /// All but `waiting`.
    void forget() noexcept {
        interest = ready = 0;
        registered = on_edges = always_try = ends_short = false;
        kept_for = 0;
    }

    OperationList waiting;       // for readiness, in order of arrival
    std::uint32_t interest = 0;  // at least what `waiting` waits for
    bool registered = false;     // as far as we know: a close() by others ends it unseen
    bool on_edges = false;       // registered for changes, not one-shot
    bool always_try = false;     // kept: what is told but once was (an end, an error, urgent data)
    bool ends_short = false;     // kept: a receive of less than it could take was of all there is
    std::uint32_t ready = 0;     // kept: what epoll reported and no attempt has found untrue since
    std::uint64_t kept_for = 0;  // Use::serial() for whose file it stays registered; 0: one-shot
};

class FdTable {
public:
    /// The record of `fd`, or null if there never was one.
    FdRecord* find(int fd) noexcept {
        const std::size_t chunk = static_cast<std::size_t>(fd) / chunk_size;
        if (fd < 0 || chunk >= chunks_.size() || chunks_[chunk] == nullptr) return nullptr;
        return &(*chunks_[chunk])[static_cast<std::size_t>(fd) % chunk_size];
    }

    /// The same, made if need be; null when there is no memory. Requires: fd >= 0.
    FdRecord* find_or_make(int fd) noexcept {
        WEFT_ASSERT(fd >= 0);
        if (FdRecord* known = find(fd)) return known;
        const std::size_t chunk = static_cast<std::size_t>(fd) / chunk_size;
        try {
            if (chunk >= chunks_.size()) chunks_.resize(chunk + 1);
            chunks_[chunk] = std::make_unique<Chunk>();
        } catch (const std::exception&) {
            return nullptr;
        }
        return find(fd);
    }

private:
    static constexpr std::size_t chunk_size = 128;
    using Chunk = std::array<FdRecord, chunk_size>;

    std::vector<std::unique_ptr<Chunk>> chunks_;
};

}  // namespace weft::detail
