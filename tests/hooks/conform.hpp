// Comparing hooked calls with libc's own: the same body is run on a plain thread, where the
// hooks step aside, and in a fiber.
#pragma once

#include "support/catch.hpp"
#include "support/runtime.hpp"

#include <weft/hooks.hpp>
#include <weft/weft.hpp>

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace weft::test {

/// What a body saw, in words: results, errors and what was written for it.
class Seen {
public:
    /// Makes `call()`, with an errno that nobody else sets, and notes result and errno.
    template <class Call>
    long of(const std::string& what, Call&& call) {
        errno = untouched;
        const long result = static_cast<long>(call());
        const int error = errno;
        text_ += what + " = " + std::to_string(result);
        text_ += error == untouched ? "" : " errno " + std::to_string(error);
        text_ += '\n';
        return result;
    }
    void note(const std::string& what, long value) {
        text_ += what + ": " + std::to_string(value) + '\n';
    }
    void note(const std::string& what, const std::string& value) {
        text_ += what + ": " + value + '\n';
    }
    const std::string& text() const { return text_; }

private:
    static constexpr int untouched = 9999;
    std::string text_;
};

using Body = std::function<void(Seen&)>;

/// Runs `body` on a plain thread and in fibers of 1, 2 and 8 workers, on io_uring and epoll:
/// it must see the same.
inline void conforms(const Body& body) {
    hooks::patch_all();
    Seen plain;
    std::thread{[&] { body(plain); }}.join();
    on_workers_and_io([&] {
        Seen fiber;
        weft::spawn([&] { body(fiber); }).get();
        CHECK(fiber.text() == plain.text());
    });
}

/// ASan looks at what a call is given, and ends the program where the kernel says EFAULT.
inline constexpr bool may_be_bad = !under_asan;

/// Beside the body's own thread or fiber: a fiber in a fiber, a thread on a thread.
template <class F>
class Beside {
public:
    explicit Beside(F run) {
        if (this_fiber::is_fiber()) {
            fiber_.emplace(weft::spawn(std::move(run)));
        } else {
            thread_ = std::thread{std::move(run)};
        }
    }
    Beside(const Beside&) = delete;
    Beside& operator=(const Beside&) = delete;
    ~Beside() { join(); }
    void join() {
        if (fiber_) fiber_->join();
        fiber_.reset();
        if (thread_.joinable()) thread_.join();
    }

private:
    std::optional<weft::Fiber<>> fiber_;
    std::thread thread_;
};

/// Two pages, of which only the first may be touched. (Unmapped, the other would soon be
/// somebody's.)
class HalfMapped {
public:
    HalfMapped()
        : pages_{static_cast<char*>(::mmap(nullptr, 2 * size, PROT_READ | PROT_WRITE,
                                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))} {
        ::mprotect(pages_ + size, size, PROT_NONE);
    }
    HalfMapped(const HalfMapped&) = delete;
    HalfMapped& operator=(const HalfMapped&) = delete;
    ~HalfMapped() { ::munmap(pages_, 2 * size); }
    /// Not to be touched.
    template <class T = void>
    T* bad() const {
        return reinterpret_cast<T*>(pages_ + size);
    }
    /// The last `count` bytes that are.
    char* end(std::size_t count) const { return pages_ + size - count; }

private:
    static constexpr std::size_t size = 4096;
    char* const pages_;
};

}  // namespace weft::test
