// Channel: an operation on one, in two steps. Layer: sync. Uses: base, park.
//
// The first step is taken under the channel's lock, by select() maybe under those of
// all its channels. What is left then is a matter between two parties and needs no lock:
// the one that came second has claimed the first, so that it stays where it is, and
// moves the value from one's stack to the other's.
//
// Invariants
//  1. Nobody waits to receive while a value is in the buffer, nor to send while there
//     is room. Nobody waits for either once the channel is closed. (Nor does one wait
//     to send while another waits to receive; but a select() may wait for both.)
//  2. A value is in one place: with its sender until it was moved, then in the buffer,
//     or with its receiver. A claimed waiter is told, before it is resumed, what came
//     of it (Meeting); the claim alone says nothing.
//
// A move that throws: who came second and has something to lose by it gets the
// exception; the other is sent back to wait, before those who have come since. Only
// when a sender is moved up into the buffer, the receiver that made room has its
// value, and the sender is sent back to do it by itself.
#pragma once

#include "park/park.hpp"
#include "park/wake_list.hpp"

#include <weft/detail/channel_core.hpp>

#include <optional>

namespace weft::detail {

/// That of a waiter of a channel.
inline Meeting& meeting_of(const Waiter& waiter) noexcept {
    return *static_cast<Meeting*>(waiter.slot);
}

/// One operation on a channel. At most one begins, if it does not throw.
class Exchange {
public:
    /// Requires: the channel's lock is held. Returns whether it needs no wait; if
    /// so, finish() follows when the lock has been released.
    /// Throws ChannelClosed, and what moving a value throws.
    bool begin_send(ChannelCore& channel, void* value);
    bool begin_recv(ChannelCore& channel, void* slot);

    /// The channel may be gone when it returns.
    /// Throws what moving a value throws; then nothing was sent or received.
    void finish();

    /// Where to wait, when nothing began.
    static SpinLock& lock_of(ChannelCore& channel) noexcept { return channel.lock_; }
    static WaitList& senders_of(ChannelCore& channel) noexcept { return channel.senders_; }
    static WaitList& receivers_of(ChannelCore& channel) noexcept { return channel.receivers_; }

private:
    bool meet(ChannelCore& channel, WaitList& waiting) noexcept;
    void take_up_senders(ChannelCore& channel) noexcept;

    // One that was claimed, and what to move between it and the caller.
    std::optional<Claimed> other_;
    void (*deliver_)(void* slot, void* value) = nullptr;
    void* slot_ = nullptr;
    void* value_ = nullptr;
    // Who got something else by the way.
    WakeList taken_up_;
};

}  // namespace weft::detail
