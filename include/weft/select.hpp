#pragma once

#include <weft/channel.hpp>
#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/invoke.hpp>
#include <weft/detail/select_case.hpp>
#include <weft/event.hpp>
#include <weft/fiber_ref.hpp>

#include <cstddef>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

namespace weft {

namespace detail {

template <class... Cases>
concept SelectCases = sizeof...(Cases) > 0 &&
                      (std::is_base_of_v<SelectCase, std::remove_reference_t<Cases>> && ...);

}  // namespace detail

/// The same as below, of cases that are chosen at run time; each may be there once.
WEFT_API std::size_t select(std::span<SelectCase* const> cases);

/// Waits for the first of several things, and does what belongs to it. (Go's select.)
///
///     select(on_recv(jobs, [&](std::optional<Job> job) { ... }),
///            on_send(results, std::move(result), [&] { ... }),
///            after(50ms, [&] { ... }));
///
/// Of the cases that are ready one is chosen by chance, each with the same
/// probability, and it alone happens: of the others no value is taken or sent. If none
/// is ready, the case of otherwise() is chosen, or else it waits for the first to
/// become so; and the case of after() is chosen when nothing else came in time, so
/// never while another is ready. A case at a nil channel is never ready. At a closed
/// channel on_recv() is, with nothing; so is on_send(), and throws if it is chosen.
///
/// Then the callback of that case is run, by the caller, when nothing waits any more;
/// what it returns is dropped. Neither waiting nor choosing allocates.
///
/// Blocks: until a case is ready. Cancellation point.
/// Returns the index of the case, when its callback has returned.
/// Throws ChannelClosed; Cancelled; what moving the value throws: then nothing was
/// sent or received. Throws what the callback throws.
template <class... Cases>
requires detail::SelectCases<Cases...> std::size_t select(Cases&&... cases) {
    SelectCase* const all[] = {&cases...};
    return select(std::span<SelectCase* const>{all});
}

namespace detail {

struct Nothing {
    void operator()() const noexcept {}
};

/// What an on_send() keeps of the value it is given: lvalues and small things as a
/// copy, so that they may change; what is to be moved as a reference.
template <class T, class Given>
using SentAs =
    std::conditional_t<std::is_same_v<Given, T> && !std::is_trivially_copyable_v<T>, T&&, T>;

template <class T, class F>
class RecvCase final : public ChannelRecvCase {
public:
    RecvCase(ChannelCore* channel, F callback)
        : ChannelRecvCase{channel}, callback_(std::move(callback)) {
        meeting_.value = &value_;
    }
    RecvCase(RecvCase&& other) : RecvCase{other.channel_, std::move(other.callback_)} {}

private:
    void run() override {
        const Emptied at_end{value_};
        callback_(std::move(value_));
    }

    struct Emptied {
        ~Emptied() { value.reset(); }
        std::optional<T>& value;
    };
    std::optional<T> value_;
    F callback_;
};

template <class T, class Kept, class F>
class SendCase final : public ChannelSendCase {
public:
    SendCase(ChannelCore* channel, Kept&& value, F callback)
        : ChannelSendCase{channel},
          value_(std::forward<Kept>(value)),
          callback_(std::move(callback)) {
        meeting_.value = &value_;
    }
    SendCase(SendCase&& other)
        : SendCase{other.channel_, std::forward<Kept>(other.value_), std::move(other.callback_)} {}

private:
    void run() override {
        callback_();
        comes_back();
    }

    Kept value_;
    F callback_;
};

/// A case without a value.
template <class Base, class F>
class PlainCase final : public Base {
public:
    template <class... What>
    explicit PlainCase(F callback, What&&... what)
        : Base{std::forward<What>(what)...}, callback_(std::move(callback)) {}

private:
    void run() override {
        callback_();
        comes_back();
    }

    F callback_;
};

}  // namespace detail

/// Receives, and calls `callback(std::optional<T>)`: with nothing when the channel is
/// closed and all was taken.
template <class T, class F>
auto on_recv(RecvOnly<T> channel, F callback) {
    static_assert(std::is_invocable_v<F&, std::optional<T>>,
                  "the callback gets a std::optional, with nothing from a closed channel");
    return detail::RecvCase<T, F>{detail::core_of(channel), std::move(callback)};
}

/// Sends `value`, and calls `callback()`. Of an lvalue, and of what is trivially
/// copyable, a copy is made at once. An rvalue is moved from only if this case is
/// chosen; it must live as long as the case, as a temporary in the call of select() does.
template <class T, class U, class F = detail::Nothing>
auto on_send(SendOnly<T> channel, U&& value, F callback = {}) {
    using Kept = detail::SentAs<T, U>;
    return detail::SendCase<T, Kept, F>{
        detail::core_of(channel), static_cast<Kept>(std::forward<U>(value)), std::move(callback)};
}

/// Calls `callback()` once the deadline has passed and nothing else is ready. Of
/// several the first to pass counts.
template <class F = detail::Nothing>
auto after(Deadline deadline, F callback = {}) {
    return detail::PlainCase<detail::AfterCase, F>{std::move(callback), deadline};
}

/// Calls `callback()` once the event is set.
template <class F = detail::Nothing>
auto on_event(Event& event, F callback = {}) {
    return detail::PlainCase<detail::EventCase, F>{std::move(callback), event};
}

/// Calls `callback()` once the fiber has ended. Its result, or exception, is left
/// to its handle. Requires: it stands for a fiber; select() throws
/// std::system_error(resource_deadlock_would_occur) when that is the caller.
template <class F = detail::Nothing>
auto on_join(FiberRef fiber, F callback = {}) {
    return detail::PlainCase<detail::JoinCase, F>{std::move(callback), std::move(fiber)};
}

/// Calls `callback()` if no other case is ready: with it, select() never blocks.
template <class F = detail::Nothing>
auto otherwise(F callback = {}) {
    return detail::PlainCase<detail::OtherwiseCase, F>{std::move(callback)};
}

}  // namespace weft
