#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/fiber.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string_view>
#include <type_traits>
#include <utility>

namespace weft {

namespace detail {
class Scheduler;
struct RuntimeParts;
/// The calling fiber is what main_fiber() returns from now on.
WEFT_API void become_main() noexcept;
}  // namespace detail

/// What the workers sleep on and I/O goes through.
enum class Io : std::uint8_t {
    automatic,  ///< io_uring where the kernel allows it and has memory for it, else epoll; a
                ///< warning says why
    uring,      ///< io_uring, or the Runtime's constructor throws std::system_error
    epoll,      ///< epoll for sockets and a few threads for files
};

/// Told of an exception that left a fiber and that nobody can take any more.
/// Called in that fiber, or by whoever drops its handle; must not throw.
using UnhandledHandler = void (*)(std::uint64_t id, std::string_view name,
                                  std::exception_ptr error);

/// How a runtime is made. What is left at its default is taken from the
/// environment variable named beside it, if that is set; a malformed variable
/// makes the constructor throw std::invalid_argument.
struct Options {
    /// OS threads that run fibers; 0: WEFT_WORKERS, else the CPUs this process
    /// may use (affinity and cgroup quota respected). At most 1024.
    unsigned workers = 0;
    /// Usable bytes of a fiber's stack; 0: WEFT_STACK_SIZE, else 192 KiB.
    /// Reserved, not committed: only pages that are touched take memory.
    std::size_t stack_size = 0;
    /// The same for the fiber that weft::run() starts; 0: 8 MiB.
    std::size_t main_stack_size = 0;
    /// WEFT_IO=auto|uring|epoll.
    Io io = Io::automatic;
    /// OS threads for what no driver can wait for: through epoll all that is done to files,
    /// through io_uring what rings do not know, such as listing directories and locking. They are
    /// started when there is none idle, and stay; what finds all of them busy waits for one.
    /// 0: WEFT_FILE_THREADS, else 8. At most 1024.
    unsigned file_threads = 0;
    /// For how long at most a worker looks for more to do before it sleeps, where that
    /// found some of late and there is a CPU for each worker; 0: never. Negative:
    /// WEFT_SPIN_US, else 20. What comes within it is served some microseconds earlier, and
    /// one who asks again and again gets more answers; but a server with requests that far
    /// apart keeps its CPU busy all the time.
    std::chrono::microseconds spin{-1};
    /// Null: name, type and what() on stderr.
    UnhandledHandler on_unhandled = nullptr;
    /// Or WEFT_DETECT_CYCLES=1. The lock() or join() that would close a cycle of
    /// waits throws Deadlock. For the whole process and for good, once a runtime
    /// asked for it; a contended lock() then takes some 15 ns longer.
    bool detect_cycles = false;
    /// Or WEFT_LOCK_ORDER=1. Warns on stderr, once for each pair, of locks that are
    /// waited for in both orders, though it did not come to a deadlock. For the
    /// whole process and for good, once a runtime asked for it; every lock and
    /// unlock then takes about a microsecond.
    bool watch_lock_order = false;
};

/// Counts since the start, summed over the workers. Each is exact when the
/// runtime is quiet, and momentary else.
struct Counters {
    std::uint64_t spawned = 0;     ///< fibers ever spawned
    std::uint64_t finished = 0;    ///< of those, ended
    std::uint64_t switches = 0;    ///< times a worker went on to another fiber
    std::uint64_t stolen = 0;      ///< fibers taken from another worker's queue
    std::uint64_t sleeps = 0;      ///< times a worker slept in the kernel
    std::uint64_t rescues = 0;     ///< times others served a worker's timers or I/O
    std::uint64_t stacks = 0;      ///< stacks in use now
    std::uint64_t operations = 0;  ///< I/O operations in flight now
};

/// Workers, their queues and rings. Most programs use weft::run() and never
/// see one; several may coexist, and a fiber belongs to one for its life.
///
/// Thread safety: spawn(), fibers() and counters() from any thread.
/// Lifetime: the destructor waits for all non-daemon fibers, cancels the
/// daemons, waits for those and joins the workers. A daemon that waits for ever
/// inside a Shield is reported, and ends the process. Not to be destroyed by one
/// of its own fibers.
class WEFT_API Runtime {
public:
    /// Starts the workers. Throws std::system_error when threads, rings or
    /// memory cannot be had, std::invalid_argument for nonsense in `options`.
    explicit Runtime(const Options& options = {});
    Runtime(const Runtime&) = delete;
    Runtime& operator=(const Runtime&) = delete;
    ~Runtime();

    /// weft::spawn() into this runtime, from any fiber or plain thread.
    template <class F, class... Args>
    requires(!std::is_same_v<std::remove_cvref_t<F>, SpawnOptions>) auto spawn(F&& fn,
                                                                               Args&&... args) {
        return detail::spawn_on(this, SpawnOptions{}, std::forward<F>(fn),
                                std::forward<Args>(args)...);
    }
    template <class F, class... Args>
    auto spawn(const SpawnOptions& options, F&& fn, Args&&... args) {
        return detail::spawn_on(this, options, std::forward<F>(fn), std::forward<Args>(args)...);
    }

    /// Waits for all non-daemon fibers to end. Not to be called by one of its own.
    ///
    /// Blocks: the calling thread, until then. Takes no Deadline: what ends it is that they end.
    /// Throws Deadlock if since the last time no fiber could run and nothing could wake one:
    /// no I/O, timer or plain thread, not even the one that made the Runtime. As
    /// many waits as it took to go on were ended then: by Cancelled, where nothing
    /// else helped by Deadlock.
    void wait();

    /// The runtime of the calling fiber. Throws std::logic_error outside one.
    static Runtime& current();

    unsigned workers() const noexcept;
    /// What was chosen: uring or epoll.
    Io io() const noexcept;
    /// Options::main_stack_size with its default filled in.
    std::size_t main_stack_size() const noexcept;
    Counters counters() const noexcept;
    /// all_fibers() of this runtime, from any thread. Throws std::bad_alloc.
    FiberList fibers() const;

    detail::Scheduler& scheduler() noexcept;

private:
    detail::RuntimeParts* parts_;
};

/// Runs `main()` as the first fiber of a new runtime and returns its result.
///
/// Blocks the calling thread: until main and all non-daemon fibers ended;
/// daemons are then cancelled and waited for.
/// Throws what main threw, after all of that; Deadlock, as Runtime::wait(); and
/// what Runtime's constructor throws.
template <class F>
auto run(F&& main, const Options& options = {}) {
    Runtime runtime{options};
    auto first =
        runtime.spawn(SpawnOptions{.name = "main", .stack_size = runtime.main_stack_size()},
                      [main = std::decay_t<F>(std::forward<F>(main))]() mutable -> decltype(auto) {
                          detail::become_main();
                          return detail::invoke(main);
                      });
    first.join();
    runtime.wait();
    return first.get();
}

}  // namespace weft
