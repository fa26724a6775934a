#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/wait_queue.hpp>

#include <cstddef>
#include <new>
#include <optional>
#include <utility>

namespace weft::detail {

class Exchange;

/// What a channel must know of its values. A value comes as a T, lies in the buffer
/// as a T, and is received into an empty std::optional<T>.
struct ValueType {
    std::size_t size;
    std::size_t align;
    void (*keep)(void* place, void* value);    // move-constructs a T
    void (*deliver)(void* slot, void* value);  // moves it into the optional
    void (*destroy)(void* place) noexcept;
};

template <class T>
inline constexpr ValueType value_type_of{
    sizeof(T), alignof(T),
    [](void* place, void* value) { ::new (place) T(std::move(*static_cast<T*>(value))); },
    [](void* slot, void* value) {
        static_cast<std::optional<T>*>(slot)->emplace(std::move(*static_cast<T*>(value)));
    },
    [](void* place) noexcept { static_cast<T*>(place)->~T(); }};

/// What one who waits at a channel has on its stack, for the other.
struct Meeting {
    enum class End : unsigned char { served, closed, sent_back };

    void* value = nullptr;  // the sender's T, or the receiver's optional
    End end = End::served;  // written by who claimed the waiter
};

/// A channel of values of any type. See src/sync/channel.hpp.
class WEFT_API ChannelCore {
public:
    /// Throws std::bad_alloc, std::bad_array_new_length.
    ChannelCore(const ValueType& type, std::size_t capacity);
    ChannelCore(const ChannelCore&) = delete;
    ChannelCore& operator=(const ChannelCore&) = delete;
    ~ChannelCore();  // asserts that nobody waits

    std::size_t size() const noexcept;
    std::size_t capacity() const noexcept { return capacity_; }
    bool closed() const noexcept;
    bool drained() const noexcept;

    // Of a channel, or of none, which is nil: never ready. See SendOnly and RecvOnly.
    static bool send(ChannelCore* channel, void* value, Deadline deadline);
    static bool try_send(ChannelCore* channel, void* value);
    static void recv(ChannelCore* channel, void* slot, Deadline deadline);
    static void try_recv(ChannelCore* channel, void* slot);
    static void close(ChannelCore* channel);

private:
    friend class Exchange;

    template <auto begin>
    bool exchange(WaitList& waiting, void* value, Deadline deadline, const char* reason);
    template <auto begin>
    bool try_exchange(void* value);
    void* place(std::size_t index) const noexcept;
    void push(void* value);
    void pop(void* slot);

    mutable SpinLock lock_;
    bool closed_ = false;    // guarded by lock_, as are all below but the constants
    WaitList senders_;       // empty while there is room
    WaitList receivers_;     // empty while there is a value
    std::size_t first_ = 0;  // in the buffer
    std::size_t size_ = 0;
    const std::size_t capacity_;
    const ValueType& type_;
    void* const buffer_;
};

}  // namespace weft::detail
