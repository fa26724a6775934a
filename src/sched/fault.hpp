// Fault: signals as far as the scheduler deals with them.
// Layer: sched. Uses: base.
//
// SIGSEGV and SIGBUS: an address in the running fiber's guard is a stack
// overflow. It is reported, on the worker's alternate stack, with the fiber's
// name and what to change; then the disposition that was there before acts.
// SIGURG: the watchdog asks a stuck worker's driver to have the kernel deliver.
// All others are blocked on workers (own_thread.hpp), so that they reach threads that are not.
#pragma once

#include <cstddef>

namespace weft::detail {

/// Installs the handlers, for the whole process, once. Idempotent.
void install_fault_handlers();

/// An alternate signal stack for one thread.
class FaultStack {
public:
    /// Maps it. Throws std::system_error.
    FaultStack();
    FaultStack(const FaultStack&) = delete;
    FaultStack& operator=(const FaultStack&) = delete;
    ~FaultStack();

    /// The calling thread takes its signals on it from now on, or no longer.
    void install() noexcept;
    void remove() noexcept;

private:
    void* memory_ = nullptr;
};

}  // namespace weft::detail
