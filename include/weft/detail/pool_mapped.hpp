// What Pool::imap() and imap_unordered() return.
#pragma once

#include <weft/cancelled.hpp>
#include <weft/deadline.hpp>
#include <weft/detail/invoke.hpp>
#include <weft/detail/pool_job.hpp>
#include <weft/future.hpp>
#include <weft/queue.hpp>

#include <atomic>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

namespace weft::detail {

/// Stands for a call that must not wait.
inline constexpr Deadline at_once{Deadline::Clock::time_point::min()};

/// A call of `fn` with a copy of an item.
template <class F, class Item>
auto bind_item(const F& fn, Item&& item) {
    return [fn = fn, item = std::decay_t<Item>(std::forward<Item>(item))]() mutable {
        return detail::invoke(fn, std::move(item));
    };
}

/// Results in the order in which they were asked for.
template <class R>
class InOrder {
public:
    InOrder() = default;
    InOrder(const InOrder&) = delete;
    InOrder& operator=(const InOrder&) = delete;
    ~InOrder() {
        while (auto future = futures_.try_get()) future->cancel();
    }

    template <class Pool, class Call>
    bool ask(Pool& pool, Deadline deadline, Call&& call) {
        Future<R> future = pool.submit_by(deadline, std::forward<Call>(call));
        return future && futures_.put(std::move(future));
    }
    R next(std::size_t& pending) {
        futures_.peek().wait();  // interrupted in it, the result is still to come
        auto future = futures_.try_get();
        --pending;
        return future->take();
    }

private:
    Queue<Future<R>> futures_;
};

/// Results in the order in which they come.
template <class R>
class AsTheyCome {
    /// Of a call that was not made neither is there.
    struct Outcome {
        std::optional<R> value;
        std::exception_ptr error;
    };
    struct Shared {
        Queue<Outcome> outcomes;
        std::atomic<bool> abandoned{false};
    };

    template <class Call>
    class Delivery : public KnowsOfDrop {
    public:
        Delivery(Call call, std::shared_ptr<Shared> to)
            : call_(std::move(call)), to_{std::move(to)} {}
        Delivery(Delivery&&) = default;
        ~Delivery() {
            if (to_ != nullptr) deliver({});
        }
        void operator()() {
            Outcome outcome;
            try {
                if (!to_->abandoned.load(std::memory_order_relaxed)) outcome.value.emplace(call_());
            } catch (...) {
                outcome.error = std::current_exception();
            }
            deliver(std::move(outcome));
        }
        void dropped(std::exception_ptr error) noexcept {
            deliver({std::nullopt, std::move(error)});
        }

    private:
        void deliver(Outcome&& outcome) {
            const auto to = std::move(to_);
            to->outcomes.try_put(std::move(outcome));
        }

        Call call_;
        std::shared_ptr<Shared> to_;
    };

public:
    AsTheyCome() = default;
    AsTheyCome(const AsTheyCome&) = delete;
    AsTheyCome& operator=(const AsTheyCome&) = delete;
    ~AsTheyCome() { shared_->abandoned.store(true, std::memory_order_relaxed); }

    template <class Pool, class Call>
    bool ask(Pool& pool, Deadline deadline, Call&& call) {
        ++not_taken_;
        Delivery<std::decay_t<Call>> delivery{std::forward<Call>(call), shared_};
        if (!pool.submit_by(deadline, std::move(delivery))) return false;
        --not_taken_;
        return true;
    }
    R next(std::size_t& pending) {
        for (;;) {
            Outcome outcome = shared_->outcomes.get();
            const bool is_void = outcome.error == nullptr && !outcome.value && not_taken_ > 0;
            if (is_void) {
                --not_taken_;
                continue;
            }
            --pending;
            if (outcome.error != nullptr) std::rethrow_exception(outcome.error);
            if (!outcome.value) throw Cancelled{};
            return std::move(*outcome.value);
        }
    }

private:
    std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
    std::size_t not_taken_ = 0;  // by the pool, but delivered all the same, empty
};

/// A range of the results of one call for each item. To be used by one fiber at a time.
template <class Pool, class F, class Range, template <class> class Arrivals>
class Mapped {
    using Items = std::remove_reference_t<Range>;
    using At = decltype(std::begin(std::declval<Items&>()));
    using End = decltype(std::end(std::declval<Items&>()));
    using Call = decltype(bind_item(std::declval<const F&>(), *std::declval<At&>()));

public:
    using value_type = std::invoke_result_t<Call&>;
    static_assert(std::is_object_v<value_type>, "imap() is about results");

    Mapped(Pool& pool, F fn, Range&& range)
        : pool_{pool}, fn_(std::move(fn)), range_(std::forward<Range>(range)) {}
    Mapped(const Mapped&) = delete;
    Mapped& operator=(const Mapped&) = delete;

    /// The next result, or nothing after the last. Blocks: until it is there. Cancellation
    /// point: the same result is next then. Throws what its task threw; the one after it is
    /// next.
    std::optional<value_type> next() {
        fill();
        if (pending_ == 0) return std::nullopt;
        return arrivals_.next(pending_);
    }

    struct Last {};
    class Iterator {
    public:
        using value_type = Mapped::value_type;
        using difference_type = std::ptrdiff_t;
        explicit Iterator(Mapped& results) : results_{&results}, value_{results.next()} {}
        value_type& operator*() const noexcept { return *value_; }
        value_type* operator->() const noexcept { return &*value_; }
        Iterator& operator++() {
            value_.reset();
            auto next = results_->next();
            if (next) value_.emplace(std::move(*next));
            return *this;
        }
        void operator++(int) { ++*this; }
        friend bool operator==(const Iterator& at, Last) noexcept { return !at.value_; }

    private:
        Mapped* results_;
        mutable std::optional<value_type> value_;
    };
    Iterator begin() { return Iterator{*this}; }
    Last end() noexcept { return {}; }

private:
    // Waits only if there would be nothing to wait for otherwise.
    void fill() {
        for (; pending_ < 2 * pool_.size() && !(at_ == end_); ++at_, ++pending_) {
            const Deadline deadline = pending_ == 0 ? Deadline::never() : at_once;
            if (!arrivals_.ask(pool_, deadline, bind_item(fn_, *at_))) return;
        }
    }

    Pool& pool_;
    const F fn_;
    Range range_;
    At at_ = std::begin(range_);
    const End end_ = std::end(range_);
    std::size_t pending_ = 0;
    Arrivals<value_type> arrivals_;
};

}  // namespace weft::detail
