// StreamServer. Layer: os. Uses: sync, task.
//
// For each listener there is one turn to accept. A fiber of serve() takes it and gives the
// pool a task with it, waiting while the pool is full; the task accepts a connection, gives
// the turn up, and goes on to handle the connection. So nothing is accepted that no
// fiber can handle, and a connection stays in the fiber that accepted it.
//
// Invariants
//  1. A Turn is in one place: the accepting fiber's hand, or a task's. Its end gives it
//     back, also that of a task which never ran.
//  2. serve() closes the listeners only when nobody takes turns any more; then it waits
//     for all tasks. So a task finds its Source alive.
#include <weft/io/stream_server.hpp>

#include "sched/worker.hpp"
#include "task/fiber_end.hpp"

#include <weft/cancelled.hpp>
#include <weft/fiber.hpp>
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

}  // namespace

// --- Turn ---

StreamServerBase::Turn::~Turn() {
    if (accepted_) server_->open_.fetch_sub(1, std::memory_order_relaxed);
    give_up();
}

void StreamServerBase::Turn::give_up() noexcept {
    if (source_ == nullptr) return;
    source_->in_vain_.store(!accepted_, std::memory_order_relaxed);
    std::exchange(source_, nullptr)->turn_.release();
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
    std::list<Fiber<>> acceptors;
    std::exception_ptr interruption;
    try {
        for_each_source([&](Source& source) {
            acceptors.push_back(
                spawn({.name = "acceptor"}, [this, &source] { accept_all(source); }));
        });
        stop_.wait();
    } catch (...) {
        interruption = std::current_exception();
    }
    for (Fiber<>& acceptor : acceptors) acceptor.cancel();
    {
        const this_fiber::Shield shield;
        for (Fiber<>& acceptor : acceptors) acceptor.join();
    }
    for_each_source([](Source& source) { source.close(); });
    const bool all_ended = end_connections(interruption);
    if (interruption != nullptr) std::rethrow_exception(interruption);
    if (failure_ != nullptr) std::rethrow_exception(failure_);
    return all_ended;
}

/// Returns whether they ended by themselves. What interrupts the caller meanwhile ends the
/// grace, and is left in `interruption`.
bool StreamServerBase::end_connections(std::exception_ptr& interruption) noexcept {
    pool_.close();
    bool all_ended = false;
    if (interruption == nullptr) {
        try {
            all_ended = pool_.join(Deadline{grace_});
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
void StreamServerBase::accept_all(Source& source) {
    try {
        for (std::chrono::milliseconds pause = shortest_pause;;) {
            source.turn_.acquire();
            if (source.in_vain_.exchange(false)) {
                this_fiber::sleep_for(pause);
                pause = std::min(2 * pause, longest_pause);
            } else {
                pause = shortest_pause;
            }
            give_turn(source);
        }
    } catch (const Cancelled&) {
        throw;
    } catch (...) {
        end_with(std::current_exception());
    }
}

/// To a task of the pool. Without memory for its fiber the turn comes back in vain.
void StreamServerBase::give_turn(Source& source) {
    Turn turn{*this, source};
    try {
        pool_.submit([this, turn = std::move(turn)]() mutable { take_one(turn); });
    } catch (const std::bad_alloc&) {
    } catch (const std::system_error& error) {
        if (error.code() != std::errc::not_enough_memory) throw;
    }
}

/// In a fiber of the pool.
void StreamServerBase::take_one(Turn& turn) noexcept {
    Source& source = *turn.source_;
    try {
        source.take_one(turn);
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
