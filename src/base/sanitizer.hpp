// What the sanitizers must be told about fibers; nothing in plain builds.
// Layer: base. Uses: nothing.
//
// TSan: switches are announced without synchronising (flag 1), and the edges
// that exist are named one by one: a waker releases the party it wakes, the
// party acquires itself. The scheduler's own queues run Unobserved: they would
// make edges between fibers that user code must not rely on, and so hide races.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define WEFT_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define WEFT_TSAN 1
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer) && !defined(WEFT_ASAN)
#define WEFT_ASAN 1
#endif
#if __has_feature(thread_sanitizer) && !defined(WEFT_TSAN)
#define WEFT_TSAN 1
#endif
#endif

#if defined(WEFT_ASAN)
extern "C" {
void __sanitizer_start_switch_fiber(void** fake_stack_save, const void* bottom, std::size_t size);
void __sanitizer_finish_switch_fiber(void* fake_stack, const void** bottom, std::size_t* size);
void __asan_unpoison_memory_region(const volatile void* begin, std::size_t size);
}
#endif

#if defined(WEFT_TSAN)
extern "C" {
void* __tsan_get_current_fiber(void);
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void AnnotateIgnoreSyncBegin(const char* file, int line);
void AnnotateIgnoreSyncEnd(const char* file, int line);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
// For the functions around a switch, which begin on one stack and end on another.
#define WEFT_NO_TSAN __attribute__((no_sanitize("thread")))
// Those of them to be inlined, which is impossible where the callers are instrumented.
#define WEFT_SWITCH_INLINE WEFT_NO_TSAN
#else
#define WEFT_NO_TSAN
#define WEFT_SWITCH_INLINE [[gnu::always_inline]] inline
#endif

namespace weft::detail {

#if defined(WEFT_TSAN)
inline void tsan_acquire(const void* p) noexcept { __tsan_acquire(const_cast<void*>(p)); }
inline void tsan_release(const void* p) noexcept { __tsan_release(const_cast<void*>(p)); }

/// A scope of scheduler internals: neither reported nor a source of edges.
class Unobserved {
public:
    Unobserved() noexcept {
        AnnotateIgnoreSyncBegin(__FILE__, __LINE__);
        AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
        AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    }
    Unobserved(const Unobserved&) = delete;
    Unobserved& operator=(const Unobserved&) = delete;
    ~Unobserved() {
        AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
        AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
        AnnotateIgnoreSyncEnd(__FILE__, __LINE__);
    }
};
#else
inline void tsan_acquire(const void*) noexcept {}
inline void tsan_release(const void*) noexcept {}
struct [[maybe_unused]] Unobserved {
    Unobserved() noexcept {}
    ~Unobserved() {}
};
#endif

}  // namespace weft::detail
