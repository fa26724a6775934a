#include "support/hooked.hpp"

#include <weft/event.hpp>
#include <weft/fiber.hpp>

#include <atomic>
#include <cerrno>
#include <future>
#include <latch>
#include <semaphore>
#include <thread>
#include <vector>

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

using namespace weft;
using namespace std::chrono_literals;
using test::on_hooked_seeds;
using test::on_hooked_workers;
using test::until_doing;

namespace {

constexpr const char* waiting = "futex";

struct Word {
    std::atomic<std::uint32_t> value{0};

    long wait(std::uint32_t expected, const timespec* time = nullptr) {
        return syscall(SYS_futex, &value, FUTEX_WAIT_PRIVATE, expected, time, nullptr, 0);
    }
    long wait_for_bits(std::uint32_t bits, const timespec* until = nullptr, int flags = 0) {
        return syscall(SYS_futex, &value, FUTEX_WAIT_BITSET_PRIVATE | flags, 0, until, nullptr,
                       bits);
    }
    long wake(int most) {
        return syscall(SYS_futex, &value, FUTEX_WAKE_PRIVATE, most, nullptr, nullptr, 0);
    }
    long wake_bits(int most, std::uint32_t bits) {
        return syscall(SYS_futex, &value, FUTEX_WAKE_BITSET_PRIVATE, most, nullptr, nullptr, bits);
    }
};

bool waits_in_neither(const FiberRef& fiber) {
    return fiber.doing() != waiting && fiber.doing() != "a call that blocks a thread";
}

}  // namespace

TEST_CASE("as many fibers wake from a futex as were asked for", "[hooks]") {
    on_hooked_seeds([] {
        Word word;
        std::vector<Fiber<long>> fibers;
        for (int i = 0; i < 3; ++i) fibers.push_back(spawn([&] { return word.wait(0); }));
        for (auto& each : fibers) until_doing(each, waiting);
        CHECK(word.wake(1) == 1);
        CHECK(word.wake(10) == 2);
        CHECK(word.wake(1) == 0);
        for (auto& each : fibers) CHECK(each.get() == 0);
        errno = 0;
        CHECK(word.wait(1) == -1);
        CHECK(errno == EAGAIN);
    });
}

TEST_CASE("a futex wakes those whose bits are asked for", "[hooks]") {
    on_hooked_workers([] {
        Word word;
        auto one = spawn([&] { return word.wait_for_bits(1); });
        auto two = spawn([&] { return word.wait_for_bits(6); });
        until_doing(one, waiting);
        until_doing(two, waiting);
        CHECK(word.wake_bits(10, 4) == 1);
        CHECK(two.get() == 0);
        CHECK_FALSE(one.done());
        CHECK(word.wake_bits(10, 1) == 1);
        CHECK(one.get() == 0);
        errno = 0;
        CHECK(word.wait_for_bits(0) == -1);
        CHECK(errno == EINVAL);
    });
}

TEST_CASE("waiting on a futex ends at its moment", "[hooks]") {
    on_hooked_workers([] {
        Word word;
        const timespec soon{0, 1'000'000};
        CHECK(word.wait(0, &soon) == -1);
        CHECK(errno == ETIMEDOUT);
        timespec at{};
        clock_gettime(CLOCK_MONOTONIC, &at);
        errno = 0;
        CHECK(word.wait_for_bits(1, &at) == -1);
        CHECK(errno == ETIMEDOUT);
        clock_gettime(CLOCK_REALTIME, &at);
        errno = 0;
        CHECK(word.wait_for_bits(1, &at, FUTEX_CLOCK_REALTIME) == -1);
        CHECK(errno == ETIMEDOUT);
        const timespec wrong{0, -1};
        CHECK(word.wait(0, &wrong) == -1);
        CHECK(errno == EINVAL);
        CHECK(syscall(SYS_futex, nullptr, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0) == -1);
        CHECK(errno == EFAULT);
    });
}

TEST_CASE("fibers that wait on a futex are woken when it is requeued", "[hooks]") {
    on_hooked_workers([] {
        Word word;
        Word other;
        auto fiber = spawn([&] { return word.wait(0); });
        until_doing(fiber, waiting);
        CHECK(syscall(SYS_futex, &word.value, FUTEX_CMP_REQUEUE_PRIVATE, 0, 1L, &other.value, 0) >=
              0);
        CHECK(fiber.get() == 0);
    });
}

TEST_CASE("a fiber waits on a futex in shared memory that another process wakes", "[hooks]") {
    on_hooked_workers([] {
        void* const memory =
            mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        REQUIRE(memory != MAP_FAILED);
        auto& word = *new (memory) std::atomic<std::uint32_t>{0};
        const auto futex = [&](int operation, long value) {
            return syscall(SYS_futex, &word, operation, value, nullptr, nullptr, 0);
        };
        auto waits = spawn([&] {
            long result = 0;
            while (word.load() == 0 && result == 0) result = futex(FUTEX_WAIT, 0);
            return word.load();
        });
        while (waits_in_neither(waits)) this_fiber::yield();
        if (FiberRef{waits}.doing() == waiting) {
            WARN("not tested: the kernel does not tell of a mapping (before Linux 6.11)");
            word.store(7);
            futex(FUTEX_WAKE, 1);
        }
        const pid_t child = fork();
        if (child == 0) {
            word.store(7);
            futex(FUTEX_WAKE, 1);
            _exit(0);
        }
        CHECK(waits.get() == 7);
        waitpid(child, nullptr, 0);
        munmap(memory, 4096);
    });
}

TEST_CASE("std::future, latch, counting_semaphore and atomic join fibers and threads", "[hooks]") {
    on_hooked_workers([] {
        for (const bool fiber_waits : {true, false}) {
            INFO("the fiber waits: " << fiber_waits);
            std::promise<int> promise;
            std::latch latch{1};
            std::counting_semaphore<8> units{0};
            std::atomic<int> word{0};
            int got = 0;
            const auto wait = [&] {
                got = promise.get_future().get();
                latch.wait();
                units.acquire();
                word.wait(0);
            };
            const auto end = [&] {
                promise.set_value(3);
                latch.count_down();
                units.release();
                word.store(1);
                word.notify_all();
            };
            auto fiber = fiber_waits ? spawn(wait) : spawn(end);
            std::thread thread = fiber_waits ? std::thread{end} : std::thread{wait};
            fiber.join();
            thread.join();
            CHECK(got == 3);
        }
    });
}

TEST_CASE("std::future, latch and atomic join fibers", "[hooks]") {
    on_hooked_workers([] {
        std::promise<int> promise;
        std::latch latch{2};
        std::atomic<int> word{0};
        auto first = spawn([&] {
            const int got = promise.get_future().get();
            latch.arrive_and_wait();
            word.wait(0);
            return got;
        });
        auto second = spawn([&] {
            this_fiber::yield();
            promise.set_value(3);
            latch.arrive_and_wait();
            word.store(1);
            word.notify_one();
        });
        second.join();
        CHECK(first.get() == 3);
    });
}

TEST_CASE("std::async() and its future are waited for by fibers", "[hooks]") {
    on_hooked_workers([] {
        std::vector<Fiber<int>> fibers;
        for (int i = 0; i < 4; ++i) {
            fibers.push_back(
                spawn([i] { return std::async(std::launch::async, [i] { return i; }).get(); }));
        }
        for (int i = 0; i < 4; ++i) CHECK(fibers[static_cast<std::size_t>(i)].get() == i);
    });
}
