#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/channel_core.hpp>
#include <weft/detail/export.hpp>

#include <cstddef>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace weft {

template <class T>
class SendOnly;
template <class T>
class RecvOnly;

namespace detail {
/// Null: nil.
template <class T>
ChannelCore* core_of(const SendOnly<T>&) noexcept;
template <class T>
ChannelCore* core_of(const RecvOnly<T>&) noexcept;
}  // namespace detail

/// Thrown where a channel is used that is closed, as it must not be any more.
class WEFT_API ChannelClosed : public std::exception {
public:
    const char* what() const noexcept override;
};

/// The sending side of a channel: a Channel<T> seen from there, copied at will.
/// (Go's chan<- T.) One that was default-constructed is nil: it sends nothing, ever.
///
/// Thread safety: every const member, from any fiber or plain thread.
/// Lifetime: must not be used after its Channel is gone.
template <class T>
class SendOnly {
public:
    using value_type = T;

    SendOnly() noexcept = default;

    /// Sends `value`: to the receiver that waits first, or into the buffer. It is
    /// moved from only if it was sent.
    ///
    /// Blocks: until a receiver takes it, or there is room. Cancellation point.
    /// Returns false if `deadline` passes first.
    /// Throws ChannelClosed if the channel is closed, before or meanwhile; Cancelled;
    /// what moving a T throws. Then it was not sent.
    bool send(T&& value, Deadline deadline = Deadline::never()) const {
        return detail::ChannelCore::send(core_, &value, deadline);
    }
    bool send(const T& value, Deadline deadline = Deadline::never())
        const requires std::is_copy_constructible_v<T> {
        T copy(value);
        return send(std::move(copy), deadline);
    }

    /// Sends `value` if that needs no waiting; else it is left as it is. Never blocks.
    /// Throws as send() does, but not Cancelled.
    bool try_send(T&& value) const { return detail::ChannelCore::try_send(core_, &value); }
    bool try_send(const T& value) const requires std::is_copy_constructible_v<T> {
        T copy(value);
        return try_send(std::move(copy));
    }

    /// No value will be sent any more; those in the buffer can still be received.
    /// Wakes everybody who waits: receivers get nothing, senders ChannelClosed.
    ///
    /// Never blocks. Throws ChannelClosed if it was closed before; std::logic_error
    /// of a nil channel.
    void close() const { detail::ChannelCore::close(core_); }

    /// Whether close() was called. Never blocks.
    bool closed() const noexcept { return core_ != nullptr && core_->closed(); }

    /// How many values are in the buffer: a moment's truth. Never blocks.
    std::size_t size() const noexcept { return core_ == nullptr ? 0 : core_->size(); }
    /// How many have room there.
    std::size_t capacity() const noexcept { return core_ == nullptr ? 0 : core_->capacity(); }

    /// Whether it stands for a channel.
    explicit operator bool() const noexcept { return core_ != nullptr; }
    /// Whether it is the same channel.
    friend bool operator==(const SendOnly& a, const SendOnly& b) noexcept {
        return a.core_ == b.core_;
    }

protected:
    explicit SendOnly(detail::ChannelCore& core) noexcept : core_{&core} {}

private:
    friend detail::ChannelCore* detail::core_of<T>(const SendOnly&) noexcept;

    detail::ChannelCore* core_ = nullptr;
};

/// The receiving side of a channel: a Channel<T> seen from there, copied at will.
/// (Go's <-chan T.) One that was default-constructed is nil: nothing comes, ever.
///
/// Thread safety: every const member, from any fiber or plain thread.
/// Lifetime: must not be used after its Channel is gone.
template <class T>
class RecvOnly {
public:
    using value_type = T;
    class Iterator;
    struct End {};

    RecvOnly() noexcept = default;

    /// Takes the value that was sent first.
    ///
    /// Blocks: until one is sent, or the channel closed. Cancellation point.
    /// Returns nothing when the channel is closed and all was taken, or if `deadline`
    /// passes first; drained() tells which: while it is false, there may be more.
    /// Throws Cancelled; what moving a T throws. Then none was taken.
    std::optional<T> recv(Deadline deadline = Deadline::never()) const {
        std::optional<T> value;
        detail::ChannelCore::recv(core_, &value, deadline);
        return value;
    }

    /// Takes a value if that needs no waiting. Never blocks. Returns nothing when
    /// there is none now, or will be none: see drained(). Throws what moving a T throws.
    std::optional<T> try_recv() const {
        std::optional<T> value;
        detail::ChannelCore::try_recv(core_, &value);
        return value;
    }

    /// Whether the channel is closed and all was taken. Once true it stays so; of a
    /// recv() that returned nothing, false means that its deadline passed. (Whether it
    /// is closed does not tell: the last values may have come in between.) Never blocks.
    bool drained() const noexcept { return core_ != nullptr && core_->drained(); }

    /// How many values are in the buffer: a moment's truth. Never blocks.
    std::size_t size() const noexcept { return core_ == nullptr ? 0 : core_->size(); }
    /// How many have room there.
    std::size_t capacity() const noexcept { return core_ == nullptr ? 0 : core_->capacity(); }

    /// For range-for: receives until the channel is drained. Each step is a recv().
    Iterator begin() const { return Iterator{*this}; }
    End end() const noexcept { return {}; }

    /// Whether it stands for a channel.
    explicit operator bool() const noexcept { return core_ != nullptr; }
    /// Whether it is the same channel.
    friend bool operator==(const RecvOnly& a, const RecvOnly& b) noexcept {
        return a.core_ == b.core_;
    }

protected:
    explicit RecvOnly(detail::ChannelCore& core) noexcept : core_{&core} {}

private:
    friend detail::ChannelCore* detail::core_of<T>(const RecvOnly&) noexcept;

    detail::ChannelCore* core_ = nullptr;
};

template <class T>
detail::ChannelCore* detail::core_of(const SendOnly<T>& channel) noexcept {
    return channel.core_;
}
template <class T>
detail::ChannelCore* detail::core_of(const RecvOnly<T>& channel) noexcept {
    return channel.core_;
}

/// Holds the value it is at, which may be moved out of it.
template <class T>
class RecvOnly<T>::Iterator {
public:
    using value_type = T;
    using difference_type = std::ptrdiff_t;

    explicit Iterator(RecvOnly channel) : channel_{channel}, value_{channel.recv()} {}

    T& operator*() const noexcept { return *value_; }
    T* operator->() const noexcept { return &*value_; }
    Iterator& operator++() {
        value_.reset();
        value_ = channel_.recv();
        return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& it, End) noexcept { return !it.value_; }

private:
    RecvOnly channel_;
    mutable std::optional<T> value_;
};

/// Hands values from fiber to fiber, and from thread to thread. (Go's chan T.)
///
/// Without a buffer, send() and recv() meet: each waits for the other. With one,
/// send() waits only while it is full, recv() while it is empty. Values come out in
/// the order they went in; who waits is served in order of arrival. What happened
/// before a send() is visible after the recv() that took its value; and what happened
/// before that recv(), after a send() that waited for it.
///
/// T is to be move-constructible; if its move throws, what was to be moved stays
/// where it was, and who was to get it, or to be rid of it, waits on. Values are moved
/// into and out of the buffer under the channel's lock: so a move must not wait.
///
/// A channel does not move. What shares it holds a SendOnly<T> or a RecvOnly<T>, to
/// which it converts, or a reference.
///
/// Thread safety: every member, from any fiber or plain thread.
/// Lifetime: must outlive its waiters; the destructor asserts that none wait. It
/// destroys what is left in the buffer.
template <class T>
class Channel : public SendOnly<T>, public RecvOnly<T> {
    static_assert(std::is_object_v<T> && !std::is_const_v<T>, "a channel of values");
    static_assert(std::is_move_constructible_v<T> && std::is_nothrow_destructible_v<T>);

public:
    using value_type = T;

    /// Throws std::bad_alloc, std::bad_array_new_length.
    explicit Channel(std::size_t capacity = 0)
        : SendOnly<T>{core_}, RecvOnly<T>{core_}, core_{detail::value_type_of<T>, capacity} {}
    Channel(const Channel&) = delete;
    Channel& operator=(const Channel&) = delete;

    std::size_t size() const noexcept { return core_.size(); }
    std::size_t capacity() const noexcept { return core_.capacity(); }

private:
    detail::ChannelCore core_;
};

}  // namespace weft
