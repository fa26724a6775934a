// The kernel as it might be: an older one, or one with a bad day. For programs that are linked
// with kernel_args of tests/meson.build: the library's calls of liburing and of syscall() come
// here first.
//
// A request is changed before it is submitted, so that its answer is the kernel's own all the
// same: it is made shorter, or a NOP that ends with an error. Not reached: what io/attempt.cpp
// calls without libc; weft::simulate() cuts that short.
//
// WEFT_TEST_KERNEL is what the whole program meets: "6.1" and "least" know no more than that
// version, or than weft needs; "interrupting" ends every third request with EINTR.
#pragma once

#include <cstdint>

namespace weft::test {

/// What a request may meet.
enum class Mishap : std::uint8_t {
    none,
    interrupted,  // EINTR, having done nothing
    again,        // EAGAIN, where io_uring says that instead of waiting, or the call does not wait
    cut,          // less is moved than could be
    failed,       // any error
};

/// While it lives, every third request meets `mishap`; each one, if they are to fail.
class Mishaps {
public:
    explicit Mishaps(Mishap mishap, int error = 0);
    Mishaps(const Mishaps&) = delete;
    Mishaps& operator=(const Mishaps&) = delete;
    ~Mishaps();

    /// How many did since.
    static int met() noexcept;
};

/// While it lives, system calls of that number made by syscall() fail.
class RefusedCall {
public:
    RefusedCall(long number, int error);
    RefusedCall(const RefusedCall&) = delete;
    RefusedCall& operator=(const RefusedCall&) = delete;
    ~RefusedCall();

    /// How many did since.
    static int met() noexcept;
};

/// Whether NOPs can be made to fail here (Linux 6.11): else only `cut` reaches the ring.
bool nops_can_fail();

}  // namespace weft::test
