// What <threads.h> has other than pthreads. Layer: hooks. Uses: libc.
//
// Its objects are pthreads' in glibc, which calls those within itself: no hook sees that.
#pragma once

#include <cerrno>

#include <pthread.h>
#include <threads.h>

namespace weft::hooks::detail {

static_assert(sizeof(mtx_t) == sizeof(pthread_mutex_t));
static_assert(sizeof(cnd_t) == sizeof(pthread_cond_t));

inline pthread_mutex_t& pthreads(mtx_t& mutex) noexcept {
    return reinterpret_cast<pthread_mutex_t&>(mutex);
}
inline pthread_cond_t& pthreads(cnd_t& condition) noexcept {
    return reinterpret_cast<pthread_cond_t&>(condition);
}
inline pthread_once_t& pthreads(once_flag& flag) noexcept {
    return reinterpret_cast<pthread_once_t&>(flag);
}

/// What it says where pthreads say `error`.
inline int thrd_result(int error) noexcept {
    switch (error) {
        case 0: return thrd_success;
        case ENOMEM: return thrd_nomem;
        case ETIMEDOUT: return thrd_timedout;
        case EBUSY: return thrd_busy;
        default: return thrd_error;
    }
}

}  // namespace weft::hooks::detail
