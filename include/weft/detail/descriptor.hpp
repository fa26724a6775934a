#pragma once

#include <weft/detail/export.hpp>
#include <weft/detail/wait_queue.hpp>

#include <atomic>
#include <cstdint>

namespace weft::detail {

class Use;

/// A file descriptor that may be closed while others use it: what they have in
/// flight ends with EBADF, and the number is given back only when they are
/// done with it. See src/io/descriptor.hpp.
class WEFT_API Descriptor {
public:
    Descriptor() noexcept = default;
    explicit Descriptor(int fd) noexcept : fd_{fd} {}
    /// Requires: nobody uses `other`.
    Descriptor(Descriptor&& other) noexcept { take(other); }
    Descriptor& operator=(Descriptor&& other) noexcept {
        if (this != &other) {
            close();
            take(other);
        }
        return *this;
    }
    ~Descriptor() { close(); }

    /// -1 when there is none.
    int get() const noexcept { return fd_.load(std::memory_order_relaxed); }
    /// Gives the number up, unclosed. Requires: nobody uses it.
    int release() noexcept {
        serial_.store(0, std::memory_order_relaxed);
        set_close_waits(CloseWaits::not_at_all);
        return fd_.exchange(-1, std::memory_order_relaxed);
    }

    /// Ends all use with EBADF, waits for the users, closes. A second close()
    /// at the same time returns at once.
    void close() noexcept;

    /// What closing the number waits for. If for anything, a thread does it: one of a few for a
    /// disk, one of its own for a peer (SO_LINGER) or the machine that has the file.
    enum class CloseWaits : std::uint8_t { not_at_all, for_disk, for_peer };
    void set_close_waits(CloseWaits for_what) noexcept {
        close_waits_.store(for_what, std::memory_order_relaxed);
    }

private:
    friend class Use;
    static constexpr unsigned seat_count = 2;  // one who reads, one who writes

    void take(Descriptor& other) noexcept {
        const CloseWaits for_what = other.close_waits_.load(std::memory_order_relaxed);
        fd_.store(other.release(), std::memory_order_relaxed);
        set_close_waits(for_what);
    }
    bool mark_seats() noexcept;
    void end_early(const Use& use) noexcept;
    void finish_users() noexcept;

    std::atomic<int> fd_{-1};           // written under users_.lock() once it is shared
    std::atomic<bool> closing_{false};  // the same
    std::atomic<CloseWaits> close_waits_{CloseWaits::not_at_all};
    // Of what is open here, no other's ever; 0: nobody asked yet. See Use::serial().
    std::atomic<std::uint64_t> serial_{0};
    // Those under way: in a seat the address of a Use, 0 when it is free, with a mark once
    // its leaving is waited for; the others in a list, guarded by users_.lock().
    std::atomic<std::uintptr_t> seats_[seat_count]{};
    Use* uses_ = nullptr;
    WaitQueue users_;  // while open: users who wait for nothing but close(); then: its caller
};

}  // namespace weft::detail
