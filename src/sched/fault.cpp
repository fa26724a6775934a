// Layer: sched. Uses: base, context, sigaction(2).
#include "sched/fault.hpp"

#include "base/sanitizer.hpp"
#include "sched/fiber_core.hpp"
#include "sched/worker.hpp"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <system_error>

namespace weft::detail {

namespace {

constexpr std::size_t fault_stack_size = 64 << 10;

// ASan, when it looks for use after return, takes every frame below the one that
// runs for one that an exception has left: seen from another stack, all the
// fiber's frames may be below.
#if defined(WEFT_ASAN)
constexpr int urgent_stack = 0;
#else
constexpr int urgent_stack = SA_ONSTACK;
#endif

struct sigaction previous_segv;
struct sigaction previous_bus;

// Text put together without malloc, locale or stdio: usable in a handler.
class SignalText {
public:
    SignalText& operator<<(const char* text) noexcept {
        while (*text != '\0' && size_ < sizeof buffer_) buffer_[size_++] = *text++;
        return *this;
    }
    SignalText& operator<<(std::uint64_t number) noexcept {
        char digits[20];
        int count = 0;
        do {
            digits[count++] = static_cast<char>('0' + number % 10);
            number /= 10;
        } while (number != 0);
        while (count > 0 && size_ < sizeof buffer_) buffer_[size_++] = digits[--count];
        return *this;
    }
    void write_to(int fd) const noexcept {
        if (::write(fd, buffer_, size_) < 0) return;  // nothing left to complain to
    }

private:
    char buffer_[512];
    std::size_t size_ = 0;
};

void report_overflow(const FiberCore& fiber) noexcept {
    const bool own = fiber.side == nullptr;
    SignalText text;
    text << "weft: fiber \"" << (fiber.name() != nullptr ? fiber.name() : "(unnamed)") << "\" (id "
         << fiber.id.load(std::memory_order_relaxed) << ") overflowed "
         << (own ? "its " : "a generator's ")
         << (StackPool::usable_size(fiber.running_stack().shift) >> 10) << " KiB stack; "
         << (own ? "give it more by SpawnOptions::stack_size, or all by Options::stack_size or "
                   "WEFT_STACK_SIZE\n"
                 : "give it more by GeneratorOptions::stack_size\n");
    text.write_to(STDERR_FILENO);
}

void on_fault(int signal, siginfo_t* info, void*) {
    const int saved_errno = errno;
    if (Worker* worker = Worker::current()) {
        const FiberCore* fiber = worker->fiber();
        if (fiber != nullptr && fiber->stack_end != nullptr &&
            fiber->running_stack().guards(info->si_addr)) {
            report_overflow(*fiber);
        }
    }
    // The faulting instruction runs again, under what was there before us; a
    // signal that somebody sent does not come again by itself.
    sigaction(signal, signal == SIGSEGV ? &previous_segv : &previous_bus, nullptr);
    if (info->si_code <= 0) raise(signal);
    errno = saved_errno;
}

// errno is the thread's; TSan takes fibers for threads.
WEFT_NO_TSAN void on_urgent(int) {
    const int saved_errno = errno;
    {
        const Unobserved quiet;  // in whatever fiber it interrupts
        if (Worker* worker = Worker::current()) worker->driver().on_signal();
    }
    errno = saved_errno;
}

void install(int signal, struct sigaction& action, struct sigaction* previous) {
    sigemptyset(&action.sa_mask);
    if (sigaction(signal, &action, previous) != 0) {
        throw std::system_error{errno, std::system_category(), "weft: sigaction"};
    }
}

}  // namespace

void install_fault_handlers() {
    static std::once_flag once;
    std::call_once(once, [] {
        struct sigaction fault {};
        fault.sa_sigaction = on_fault;
        fault.sa_flags = SA_SIGINFO | SA_ONSTACK;
        install(SIGSEGV, fault, &previous_segv);
        install(SIGBUS, fault, &previous_bus);
        struct sigaction urgent {};
        urgent.sa_handler = on_urgent;
        urgent.sa_flags = SA_RESTART | urgent_stack;
        install(SIGURG, urgent, nullptr);
    });
}

FaultStack::FaultStack() {
    memory_ = mmap(nullptr, fault_stack_size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (memory_ == MAP_FAILED) {
        throw std::system_error{errno, std::system_category(),
                                "weft: no memory for a signal stack"};
    }
}

FaultStack::~FaultStack() { munmap(memory_, fault_stack_size); }

void FaultStack::install() noexcept {
    stack_t stack{};
    stack.ss_sp = memory_;
    stack.ss_size = fault_stack_size;
    sigaltstack(&stack, nullptr);
}

void FaultStack::remove() noexcept {
    stack_t off{};
    off.ss_flags = SS_DISABLE;
    sigaltstack(&off, nullptr);
}

}  // namespace weft::detail
