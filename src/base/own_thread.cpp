// Layer: base.
#include "base/own_thread.hpp"

namespace weft::detail {

namespace {

constinit thread_local unsigned own_threads = 0;

/// Laundered, as every address of a thread_local that fibers may ask for.
[[gnu::noinline]] unsigned& count() noexcept {
    unsigned* own = &own_threads;
    asm volatile("" : "+r"(own));
    return *own;
}

}  // namespace

bool starts_own_thread() noexcept { return count() != 0; }
StartsOwnThread::StartsOwnThread() noexcept { ++count(); }
StartsOwnThread::~StartsOwnThread() { --count(); }

}  // namespace weft::detail
