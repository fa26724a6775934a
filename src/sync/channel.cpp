// Layer: sync. Uses: base, park.
#include "sync/channel.hpp"

#include "base/assert.hpp"
#include "sched/worker.hpp"

#include <weft/channel.hpp>

#include <limits>
#include <new>
#include <stdexcept>

namespace weft {

const char* ChannelClosed::what() const noexcept { return "weft: the channel is closed"; }

namespace detail {

namespace {

void* allocate(const ValueType& type, std::size_t capacity) {
    if (capacity == 0) return nullptr;
    if (capacity > std::numeric_limits<std::ptrdiff_t>::max() / type.size) {
        throw std::bad_array_new_length{};
    }
    return ::operator new (capacity* type.size, std::align_val_t{type.align});
}

// Of a nil channel: nothing but the deadline comes.
bool wait_in_vain(Deadline deadline, const char* reason) {
    sleep_until_deadline(deadline, Purpose{reason, nullptr});
    return false;
}

}  // namespace

// --- Exchange ---

bool Exchange::begin_send(ChannelCore& channel, void* value) {
    if (channel.closed_) throw ChannelClosed{};
    if (meet(channel, channel.receivers_)) {
        slot_ = meeting_of(**other_).value;
        value_ = value;
        return true;
    }
    if (channel.size_ == channel.capacity_) return false;
    channel.push(value);
    return true;
}

bool Exchange::begin_recv(ChannelCore& channel, void* slot) {
    if (channel.size_ > 0) {
        channel.pop(slot);
        take_up_senders(channel);
        return true;
    }
    if (meet(channel, channel.senders_)) {
        slot_ = slot;
        value_ = meeting_of(**other_).value;
        return true;
    }
    return channel.closed_;
}

// Claims the one who waits first, if any.
bool Exchange::meet(ChannelCore& channel, WaitList& waiting) noexcept {
    while (Waiter* const first = waiting.front()) {
        auto other = waiting.claim(*first);
        if (!other) continue;
        WEFT_ASSERT(channel.size_ == 0);
        other_.emplace(std::move(*other));
        deliver_ = channel.type_.deliver;
        return true;
    }
    return false;
}

// One of them, unless its move throws.
void Exchange::take_up_senders(ChannelCore& channel) noexcept {
    while (channel.size_ < channel.capacity_) {
        auto sender = channel.senders_.claim_front();
        if (!sender) return;
        Meeting& meeting = meeting_of(**sender);
        try {
            channel.push(meeting.value);
        } catch (...) {
            meeting.end = Meeting::End::sent_back;
        }
        taken_up_.add(std::move(*sender));
    }
}

void Exchange::finish() {
    if (!other_) return taken_up_.resume_all();
    try {
        deliver_(slot_, value_);
    } catch (...) {
        meeting_of(**other_).end = Meeting::End::sent_back;
        std::move(*other_).resume();
        throw;
    }
    std::move(*other_).resume();
}

// --- ChannelCore ---

ChannelCore::ChannelCore(const ValueType& type, std::size_t capacity)
    : capacity_{capacity}, type_{type}, buffer_{allocate(type, capacity)} {}

ChannelCore::~ChannelCore() {
    for (; size_ > 0; --size_) type_.destroy(place(first_++));
    ::operator delete (buffer_, std::align_val_t{type_.align});
}

// `index` counts on beyond the buffer's end.
void* ChannelCore::place(std::size_t index) const noexcept {
    if (index >= capacity_) index -= capacity_;
    return static_cast<std::byte*>(buffer_) + index * type_.size;
}

void ChannelCore::push(void* value) {
    WEFT_ASSERT(size_ < capacity_);
    type_.keep(place(first_ + size_), value);
    ++size_;
}

void ChannelCore::pop(void* slot) {
    WEFT_ASSERT(size_ > 0);
    void* const first = place(first_);
    type_.deliver(slot, first);
    type_.destroy(first);
    if (++first_ == capacity_) first_ = 0;
    --size_;
}

std::size_t ChannelCore::size() const noexcept {
    const Held held{lock_};
    return size_;
}

bool ChannelCore::closed() const noexcept {
    const Held held{lock_};
    return closed_;
}

bool ChannelCore::drained() const noexcept {
    const Held held{lock_};
    return closed_ && size_ == 0;
}

template <auto begin>
bool ChannelCore::try_exchange(void* value) {
    Held held{lock_};
    Exchange exchange;
    if (!(exchange.*begin)(*this, value)) return false;
    held.unlock();
    exchange.finish();
    return true;
}

// False at the deadline.
template <auto begin>
bool ChannelCore::exchange(WaitList& waiting, void* value, Deadline deadline, const char* reason) {
    check_interrupt();
    for (bool sent_back = false;; sent_back = true) {
        Held held{lock_};
        Exchange exchange;
        if ((exchange.*begin)(*this, value)) {
            held.unlock();
            exchange.finish();
            Worker::consume_budget();
            return true;
        }
        Meeting meeting{value};
        Waiter self;
        self.slot = &meeting;
        self.goes_first = sent_back;
        if (!park_or_throw(held, waiting, self, deadline, Purpose{reason, this})) return false;
        if (meeting.end == Meeting::End::sent_back) continue;
        if (meeting.end == Meeting::End::closed && &waiting == &senders_) throw ChannelClosed{};
        return true;
    }
}

bool ChannelCore::send(ChannelCore* channel, void* value, Deadline deadline) {
    if (channel == nullptr) return wait_in_vain(deadline, "Channel::send to a nil channel");
    return channel->exchange<&Exchange::begin_send>(channel->senders_, value, deadline,
                                                    "Channel::send");
}

void ChannelCore::recv(ChannelCore* channel, void* slot, Deadline deadline) {
    if (channel == nullptr) {
        wait_in_vain(deadline, "Channel::recv of a nil channel");
        return;
    }
    channel->exchange<&Exchange::begin_recv>(channel->receivers_, slot, deadline, "Channel::recv");
}

bool ChannelCore::try_send(ChannelCore* channel, void* value) {
    return channel != nullptr && channel->try_exchange<&Exchange::begin_send>(value);
}

void ChannelCore::try_recv(ChannelCore* channel, void* slot) {
    if (channel != nullptr) channel->try_exchange<&Exchange::begin_recv>(slot);
}

void ChannelCore::close(ChannelCore* channel) {
    if (channel == nullptr) throw std::logic_error{"weft: close() of a nil channel"};
    WakeList woken;
    {
        const Held held{channel->lock_};
        if (channel->closed_) throw ChannelClosed{};
        channel->closed_ = true;
        for (WaitList* const waiting : {&channel->receivers_, &channel->senders_}) {
            while (auto waiter = waiting->claim_front()) {
                meeting_of(**waiter).end = Meeting::End::closed;
                woken.add(std::move(*waiter));
            }
        }
    }
    woken.resume_all();
}

}  // namespace detail
}  // namespace weft
