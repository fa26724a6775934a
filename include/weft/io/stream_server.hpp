#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/event.hpp>
#include <weft/fiber_pool.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

namespace weft::io {

struct StreamServerOptions {
    /// How long serve() waits, once it is stopped, for the connections to end by
    /// themselves. nanoseconds::max(): as long as it takes.
    std::chrono::nanoseconds grace = std::chrono::seconds{5};
    /// Each worker accepts for itself, and begins what it accepted, unless another that has
    /// nothing to do is faster: for many workers, and connections that are short. The listener must
    /// allow several accept() at once, as TcpListener and UnixListener do. A pool with fewer places
    /// than that takes lets fewer accept.
    bool accept_on_each_worker = false;
};

/// What StreamServer does with listeners and streams of any kind.
class WEFT_API StreamServerBase {
public:
    StreamServerBase(const StreamServerBase&) = delete;
    StreamServerBase& operator=(const StreamServerBase&) = delete;

    /// Accepts, and has each connection handled, until stop(). Then it closes the
    /// listeners and the pool, gives the connections the grace period, and cancels
    /// those that are still there.
    ///
    /// Blocks: until no connection is left. Cancellation point; interrupted, it gives no
    /// grace. Takes no Deadline: stop() ends it, and StreamServerOptions::grace says how soon.
    /// Requires: called once, by a fiber.
    /// Returns whether all connections ended by themselves.
    /// Throws what made accepting impossible (std::system_error of the listener;
    /// PoolClosed, if somebody else closed the pool); Cancelled. No connection is left
    /// then, either.
    bool serve();

    /// Has serve() come to its end. Idempotent; counts also before serve().
    /// Thread safety: any fiber, also a connection's, any plain thread. Never blocks.
    void stop() noexcept { stop_.set(); }

    /// How many connections were accepted. Momentary.
    std::uint64_t accepted() const noexcept { return accepted_.load(std::memory_order_relaxed); }
    /// How many are being handled. Momentary.
    std::size_t connections() const noexcept { return open_.load(std::memory_order_relaxed); }

protected:
    class Acceptor;
    class Acceptors;
    class Turn;
    /// A listener.
    class WEFT_API Source {
    public:
        Source() = default;
        Source(const Source&) = delete;
        Source& operator=(const Source&) = delete;
        virtual ~Source();
        /// Accepts one, gives the turn up, and handles it.
        virtual void take_one(Turn& turn) = 0;
        virtual void close() noexcept = 0;

    private:
        friend class StreamServerBase;
        std::unique_ptr<Source> next_;
    };

    /// The right to accept. Given up when a connection is there, or with it.
    class WEFT_API Turn {
    public:
        Turn(StreamServerBase& server, Acceptor& acceptor) noexcept
            : server_{&server}, acceptor_{&acceptor} {}
        Turn(Turn&& other) noexcept
            : server_{other.server_},
              acceptor_{std::exchange(other.acceptor_, nullptr)},
              accepted_{std::exchange(other.accepted_, false)} {}
        Turn& operator=(Turn&&) = delete;
        ~Turn();
        /// A connection was accepted.
        void accepted() noexcept;

    private:
        friend class StreamServerBase;
        void give_up() noexcept;

        StreamServerBase* server_;
        Acceptor* acceptor_;  // null: given up
        bool accepted_ = false;
    };

    StreamServerBase(FiberPool& pool, const StreamServerOptions& options) noexcept
        : pool_{pool}, options_{options} {}
    ~StreamServerBase();
    void add(std::unique_ptr<Source> source) noexcept;

private:
    void start_acceptors(Acceptors& acceptors);
    void start(Acceptor& acceptor, std::size_t worker);
    void accept_all(Acceptor& acceptor);
    void give_turn(Acceptor& acceptor);
    void take_one(Turn& turn) noexcept;
    void end_with(std::exception_ptr error) noexcept;
    bool end_connections(std::exception_ptr& interruption) noexcept;
    template <class F>
    void for_each_source(F&& f);

    FiberPool& pool_;
    const StreamServerOptions options_;
    std::unique_ptr<Source> sources_;
    Event stop_;
    std::atomic<std::uint64_t> accepted_{0};
    std::atomic<std::size_t> open_{0};
    std::atomic<bool> failed_{false};
    std::exception_ptr failure_;  // written by who set failed_, read when all have ended
};

/// Accepts connections and has each handled in a fiber of a pool.
/// (gevent.server.StreamServer.)
///
///     weft::FiberPool pool{1000};
///     StreamServer server{TcpListener{Address::any_v4(7000)}, echo, pool};
///     server.serve();
///
/// While all fibers of the pool are busy nothing is accepted: who connects waits in the
/// listener's backlog. A place of the pool is taken before accept() is called, and is the
/// connection's then. So a listener to which nobody connects keeps a place all the time, or,
/// with accept_on_each_worker, as many as there are workers, but no more than the pool's
/// places divided by the listeners; all others may be connections at once. What it keeps, its next
/// connection has, though the rest of the pool is busy. A pool with fewer places than there are
/// listeners lets some of them wait, deaf, for as long as the others keep theirs. Where descriptors
/// run out the listener waits for some to be closed, and where there is no memory for a fiber, or
/// the pool's initializer throws, the server tries again from time to time. `handler(stream)` gets
/// the stream as its own, or by reference; it is closed when the handler is done. What the handler
/// throws goes to the runtime's handler of unhandled exceptions, except for a cancellation, and
/// ends its connection only.
///
/// The pool is the server's: stopping ends it. Several listeners may be served, of
/// one port too (ListenOptions::reuse_port), for the kernel to divide the connections up.
///
/// Listener: has accept(), which returns a stream, and close(), which ends an accept() under
/// way; TcpListener and UnixListener are.
///
/// Thread safety: the handler is called by many fibers at once; add() before serve().
/// Lifetime: must outlive serve(); the pool must outlive the server.
template <class Listener, class Handler>
class StreamServer : public StreamServerBase {
public:
    using Stream = decltype(std::declval<Listener&>().accept());
    static_assert(std::is_invocable_v<Handler&, Stream> || std::is_invocable_v<Handler&, Stream&>,
                  "the handler takes a stream");

    /// Takes the listener over. Throws std::bad_alloc; what moving the handler throws.
    StreamServer(Listener listener, Handler handler, FiberPool& pool,
                 const StreamServerOptions& options = {})
        : StreamServerBase{pool, options}, handler_(std::move(handler)) {
        add(std::move(listener));
    }

    /// Serves this one, too. Before serve(). Throws std::bad_alloc.
    void add(Listener listener) {
        StreamServerBase::add(std::make_unique<Of>(std::move(listener), handler_));
    }

private:
    class Of final : public Source {
    public:
        Of(Listener&& listener, Handler& handler) noexcept
            : listener_{std::move(listener)}, handler_{handler} {}
        void take_one(Turn& turn) override {
            Stream stream = listener_.accept();
            turn.accepted();
            if constexpr (std::is_invocable_v<Handler&, Stream>) {
                handler_(std::move(stream));
            } else {
                handler_(stream);
            }
        }
        void close() noexcept override { listener_.close(); }

    private:
        Listener listener_;
        Handler& handler_;
    };

    Handler handler_;
};

}  // namespace weft::io
