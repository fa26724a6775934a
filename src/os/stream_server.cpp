// StreamServer. Layer: os. Uses: sync, task.
//
// For each listener there is an Acceptor, or one on each worker, which has one turn to accept.
// Its fiber takes the turn and gives the pool a task with it, waiting while the pool is full;
// the task accepts a connection, gives the turn up, and goes on to handle the connection. So
// nothing is accepted that no fiber can handle, and a connection stays in the fiber that
// accepted it.
//
// Invariants
//  1. A Turn is in one place: its Acceptor's hand, or a task's. Its end gives it back, also
//     that of a task which never ran.
//  2. serve() closes the listeners only when nobody takes turns any more; then it waits
//     for all tasks. So a task finds its Acceptor and its Source alive.
#include <weft/io/stream_server.hpp>

#include "sched/scheduler.hpp"
#include "sched/worker.hpp"
#include "task/fiber_end.hpp"

#include <weft/cancelled.hpp>
#include <weft/fiber.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>

#include <algorithm>
#include <list>
#include <new>
#include <system_error>

namespace weft::io {

namespace {

// Until the next turn after one in vain; twice as long each time.
constexpr std::chrono::milliseconds shortest_pause{5};
constexpr std::chrono::milliseconds longest_pause{1000};

template <class F>
Fiber<> spawn_acceptor_on(std::size_t worker, const F& body) {
    detail::FiberCore* const fiber =
        detail::make_fiber(nullptr, {.name = "acceptor", .pinned = true}, body);
    fiber->home = static_cast<std::uint16_t>(worker);
    detail::start_fiber(fiber);
    return Fiber<>{fiber};
}

}  // namespace

/// A fiber that lets one after the other accept, and its turn.
class StreamServerBase::Acceptor {
public:
    explicit Acceptor(Source& of) noexcept : source{of} {}

    Source& source;
    Semaphore turn{1};
    std::atomic<bool> in_vain{false};  // the latest turn came back with nothing accepted
    Fiber<> fiber;
};

class StreamServerBase::Acceptors : public std::list<Acceptor> {};

// --- Turn ---

StreamServerBase::Turn::~Turn() {
    if (accepted_) server_->open_.fetch_sub(1, std::memory_order_relaxed);
    give_up();
}

void StreamServerBase::Turn::give_up() noexcept {
    if (acceptor_ == nullptr) return;
    acceptor_->in_vain.store(!accepted_, std::memory_order_relaxed);
    std::exchange(acceptor_, nullptr)->turn.release();
}

void StreamServerBase::Turn::accepted() noexcept {
    accepted_ = true;
    server_->accepted_.fetch_add(1, std::memory_order_relaxed);
    server_->open_.fetch_add(1, std::memory_order_relaxed);
    give_up();
}

// --- StreamServerBase ---

StreamServerBase::Source::~Source() = default;
StreamServerBase::~StreamServerBase() = default;

void StreamServerBase::add(std::unique_ptr<Source> source) noexcept {
    source->next_ = std::move(sources_);
    sources_ = std::move(source);
}

template <class F>
void StreamServerBase::for_each_source(F&& f) {
    for (Source* source = sources_.get(); source != nullptr; source = source->next_.get()) {
        f(*source);
    }
}

bool StreamServerBase::serve() {
    Acceptors acceptors;
    std::exception_ptr interruption;
    try {
        start_acceptors(acceptors);
        stop_.wait();
    } catch (...) {
        interruption = std::current_exception();
    }
    for (Acceptor& acceptor : acceptors) acceptor.fiber.cancel();
    {
        const this_fiber::Shield shield;
        for (Acceptor& acceptor : acceptors) acceptor.fiber.join();
    }
    for_each_source([](Source& source) { source.close(); });
    const bool all_ended = end_connections(interruption);
    if (interruption != nullptr) std::rethrow_exception(interruption);
    if (failure_ != nullptr) std::rethrow_exception(failure_);
    return all_ended;
}

void StreamServerBase::start(Acceptor& acceptor, std::size_t worker) {
    const auto body = [this, &acceptor] { accept_all(acceptor); };
    acceptor.fiber = options_.accept_on_each_worker ? spawn_acceptor_on(worker, body)
                                                    : spawn({.name = "acceptor"}, body);
}

/// Those of one listener take no places of the pool that another needs. Where each may have fewer
/// than there are workers, they begin at different ones.
void StreamServerBase::start_acceptors(Acceptors& acceptors) {
    std::size_t listeners = 0;
    for_each_source([&](Source&) { ++listeners; });
    const std::size_t workers = detail::Worker::current()->scheduler().workers();
    const std::size_t most = options_.accept_on_each_worker ? workers : 1;
    const std::size_t each = std::clamp<std::size_t>(pool_.size() / listeners, 1, most);
    std::size_t worker = 0;
    for_each_source([&](Source& source) {
        for (std::size_t i = 0; i < each; ++i, ++worker) {
            Acceptor& acceptor = acceptors.emplace_back(source);
            try {
                start(acceptor, worker % workers);
            } catch (...) {
                acceptors.pop_back();
                throw;
            }
        }
    });
}

/// Returns whether they ended by themselves. What interrupts the caller meanwhile ends the
/// grace, and is left in `interruption`.
bool StreamServerBase::end_connections(std::exception_ptr& interruption) noexcept {
    pool_.close();
    bool all_ended = false;
    if (interruption == nullptr) {
        try {
            all_ended = pool_.join(Deadline{options_.grace});
        } catch (...) {
            interruption = std::current_exception();
        }
    }
    if (all_ended) return true;
    pool_.terminate();
    const this_fiber::Shield shield;
    pool_.join();
    return false;
}

/// In a fiber of its own, until that is cancelled.
void StreamServerBase::accept_all(Acceptor& acceptor) {
    try {
        for (std::chrono::milliseconds pause = shortest_pause;;) {
            acceptor.turn.acquire();
            if (acceptor.in_vain.exchange(false)) {
                this_fiber::sleep_for(pause);
                pause = std::min(2 * pause, longest_pause);
            } else {
                pause = shortest_pause;
            }
            give_turn(acceptor);
        }
    } catch (const Cancelled&) {
        throw;
    } catch (...) {
        end_with(std::current_exception());
    }
}

/// To a task of the pool. Without memory for its fiber the turn comes back in vain.
void StreamServerBase::give_turn(Acceptor& acceptor) {
    Turn turn{*this, acceptor};
    try {
        pool_.submit([this, turn = std::move(turn)]() mutable { take_one(turn); });
    } catch (const std::bad_alloc&) {
    } catch (const std::system_error& error) {
        if (error.code() != std::errc::not_enough_memory) throw;
    }
}

/// In a fiber of the pool.
void StreamServerBase::take_one(Turn& turn) noexcept {
    try {
        turn.acceptor_->source.take_one(turn);
    } catch (...) {
        const std::exception_ptr error = std::current_exception();
        if (turn.accepted_)
            return detail::report_unhandled(*detail::Worker::current()->fiber(), error);
        const bool closed = stop_.is_set();
        if (!closed && !detail::is_cancellation(error)) end_with(error);
    }
}

void StreamServerBase::end_with(std::exception_ptr error) noexcept {
    if (!failed_.exchange(true)) failure_ = std::move(error);
    stop_.set();
}

}  // namespace weft::io
