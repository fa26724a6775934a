// What stack.hpp promises: sizes, guards, reuse, and promises that are kept.
#include "context/stack.hpp"

#include "support/catch.hpp"
#include "support/process.hpp"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

#include <signal.h>

using namespace weft::detail;
using weft::test::Child;
using weft::test::Outcome;
using weft::test::readable;

namespace {

constexpr std::uint8_t shift = 18;  // slots of 256 KiB, 256 to a slab
constexpr std::uint32_t per_slab = 256;
constexpr std::size_t page = 4096;

// Reserves and acquires; what it has it gives back.
class Stacks {
public:
    explicit Stacks(StackPool& pool) : pool_{pool} {}
    Stacks(const Stacks&) = delete;
    Stacks& operator=(const Stacks&) = delete;
    ~Stacks() { give_back(); }

    void take(std::uint32_t count, std::uint8_t of = shift) {
        pool_.reserve(of, count);
        while (count > 0) {
            Stack batch[16];
            const auto taken = pool_.acquire(of, batch, std::min(count, 16u));
            for (std::uint32_t i = 0; i < taken; ++i) all.push_back(batch[i]);
            count -= taken;
        }
    }
    void give_back() {
        for (const Stack& stack : all) {
            pool_.release(&stack, 1);
            pool_.unreserve(stack.shift, 1);
        }
        all.clear();
    }

    std::vector<Stack> all;

private:
    StackPool& pool_;
};

bool guard_is_whole(const Stack& stack) {
    for (const std::byte* at = stack.slot(); at < stack.bottom(); at += page) {
        if (readable(at) || readable(at + page - 1)) return false;
    }
    return readable(stack.bottom()) && readable(stack.top() - 1);
}

// Makes madvise() with `advice`, and mprotect() to nothing if asked, fail from now on.
void refuse(std::uint32_t advice, bool protection_too) {
    const auto argument = [](unsigned i) {
        return static_cast<std::uint32_t>(offsetof(seccomp_data, args) + i * 8);
    };
    const std::uint32_t mprotect_number = protection_too ? SYS_mprotect : ~0u;
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, mprotect_number, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument(2)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, advice, 2, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument(2)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PROT_NONE, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter{std::size(program), program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
        std::exit(77);
    }
}

constexpr std::uint32_t guard_install = 102;

const Child reader{"reads a guard", [] {
                       StackPool pool;
                       Stacks stacks{pool};
                       stacks.take(1);
                       auto* const last =
                           static_cast<volatile std::byte*>(stacks.all[0].bottom()) - 1;
                       return static_cast<int>(*last);
                   }};

const Child protected_by_mprotect{
    "guards without advice", [] {
        refuse(guard_install, false);
        StackPool pool;
        Stacks stacks{pool};
        const auto before = weft::test::mappings();
        stacks.take(100);
        const bool all_whole = std::all_of(stacks.all.begin(), stacks.all.end(), guard_is_whole);
        return all_whole && weft::test::mappings() >= before + 100 ? 0 : 1;
    }};

const Child unprotected{"no guards to be had", [] {
                            refuse(guard_install, true);
                            StackPool pool;
                            Stacks stacks{pool};
                            stacks.take(100);
                            for (const Stack& stack : stacks.all)
                                std::memset(stack.bottom(), 1, page);
                            return 0;
                        }};

// Reserves until there is no more, which must be told by a system_error and
// leave everything as it was.
const Child starving{"out of address space", [] {
                         StackPool pool;
                         weft::test::limit_address_space(std::size_t{200} << 20);
                         std::uint32_t reserved = 0;
                         try {
                             for (;;) {
                                 pool.reserve(shift, 1);
                                 ++reserved;
                             }
                         } catch (const std::system_error& error) {
                             if (error.code() != std::errc::not_enough_memory) return 2;
                         }
                         if (reserved < per_slab) return 3;
                         pool.unreserve(shift, reserved);
                         try {
                             pool.reserve(shift, 1'000'000);
                             return 4;
                         } catch (const std::system_error&) {
                         }
                         Stacks stacks{pool};
                         stacks.take(reserved);  // exactly as many as there were
                         return 0;
                     }};

// Every slot there is has been used and is promised, while another thread trims.
const Child trimming{"trims while stacks are taken", [] {
                         constexpr std::uint32_t many = 5 * per_slab;
                         StackPool pool;
                         std::atomic<bool> over{false};
                         std::thread trimmer{[&] {
                             while (!over) pool.trim();
                         }};
                         {
                             Stacks stacks{pool};
                             for (int i = 0; i < 500; ++i) {
                                 stacks.take(many);
                                 for (const Stack& stack : stacks.all)
                                     *(stack.top() - 1) = std::byte{1};
                                 stacks.give_back();
                             }
                         }
                         over = true;
                         trimmer.join();
                         return 0;
                     }};

}  // namespace

TEST_CASE("a slot is the smallest power of two that holds guard and stack", "[stack]") {
    CHECK(StackPool::shift_for(1) == StackPool::min_shift);
    CHECK(StackPool::shift_for(64 << 10) == 17);
    CHECK(StackPool::shift_for((64 << 10) + 1) == 18);
    CHECK(StackPool::shift_for(192 << 10) == 18);
    CHECK(StackPool::shift_for(8 << 20) == 24);
    for (std::uint8_t s = StackPool::min_shift; s <= StackPool::max_shift; ++s) {
        CHECK(StackPool::shift_for(StackPool::usable_size(s)) == s);
    }
}

TEST_CASE("a stack larger than the largest is refused", "[stack]") {
    const auto most = StackPool::usable_size(StackPool::max_shift);
    CHECK_THROWS_AS(StackPool::shift_for(most + 1), std::invalid_argument);
    CHECK_THROWS_AS(StackPool::shift_for(SIZE_MAX), std::invalid_argument);
}

TEST_CASE("a stack is aligned, large enough but for its colour, and all usable", "[stack]") {
    StackPool pool;
    Stacks stacks{pool};
    for (const std::size_t usable :
         {std::size_t{1}, std::size_t{192} << 10, std::size_t{1} << 20}) {
        stacks.take(3, StackPool::shift_for(usable));
    }
    for (const Stack& stack : stacks.all) {
        CHECK(reinterpret_cast<std::uintptr_t>(stack.top()) % 16 == 0);
        CHECK(stack.size() + 15 * 128 >= StackPool::usable_size(stack.shift));
        std::memset(stack.bottom(), 1, stack.size());
    }
}

TEST_CASE("neighbouring stacks begin at different offsets in a page", "[stack]") {
    StackPool pool;
    Stacks stacks{pool};
    stacks.take(2);
    const auto offset = [](const Stack& s) {
        return reinterpret_cast<std::uintptr_t>(s.top()) % page;
    };
    CHECK(offset(stacks.all[0]) != offset(stacks.all[1]));
}

TEST_CASE("below a stack are 64 KiB that cannot be read", "[stack][guard]") {
    StackPool pool;
    Stacks stacks{pool};
    stacks.take(20);
    for (const Stack& stack : stacks.all) {
        CHECK(guard_is_whole(stack));
        CHECK(stack.guards(stack.slot()));
        CHECK(stack.guards(stack.bottom() - 1));
        CHECK_FALSE(stack.guards(stack.bottom()));
        CHECK_FALSE(stack.guards(stack.slot() - 1));
    }
}

TEST_CASE("touching a guard is a fault", "[stack][guard]") {
    const Outcome outcome = reader.run();
    INFO(outcome.describe());
    if (weft::test::under_sanitizer) {
        CHECK_FALSE(outcome.exited_with(0));  // reported in the sanitizer's way
    } else {
        CHECK(outcome.killed_by(SIGSEGV));
    }
}

TEST_CASE("guards cost no mappings where the kernel can do without", "[stack][guard]") {
    StackPool pool;
    Stacks stacks{pool};
    stacks.take(1);
    void* const probe = mmap(nullptr, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const bool can_advise = madvise(probe, page, guard_install) == 0;
    munmap(probe, page);
    if (!can_advise) return;
    const auto before = weft::test::mappings();
    stacks.take(3 * per_slab);
    CHECK(weft::test::mappings() < before + 20);
}

TEST_CASE("where advice is refused guards are made by mprotect", "[stack][guard]") {
    if (weft::test::under_sanitizer) return;  // its own madvise calls would be refused too
    const Outcome outcome = protected_by_mprotect.run();
    INFO(outcome.describe());
    CHECK((outcome.exited_with(0) || outcome.exited_with(77)));
    CHECK(outcome.errors.empty());
}

TEST_CASE("where no guard can be had stacks work, and a warning comes once", "[stack][guard]") {
    if (weft::test::under_sanitizer) return;
    const Outcome outcome = unprotected.run();
    INFO(outcome.describe());
    if (outcome.exited_with(77)) return;
    CHECK(outcome.exited_with(0));
    CHECK(outcome.says("cannot guard fiber stacks"));
    CHECK(std::count(outcome.errors.begin(), outcome.errors.end(), '\n') == 1);
}

TEST_CASE("a stack given back is the next one taken, still hot and guarded", "[stack]") {
    StackPool pool;
    Stacks stacks{pool};
    stacks.take(3);
    const Stack last = stacks.all[2];
    last.bottom()[100] = std::byte{42};
    stacks.give_back();
    CHECK(pool.in_use() == 0);
    stacks.take(1);
    CHECK(stacks.all[0].end == last.end);
    CHECK(stacks.all[0].bottom()[100] == std::byte{42});
    CHECK(guard_is_whole(stacks.all[0]));
}

TEST_CASE("of many stacks given back a trim makes most give up their memory, guards stay",
          "[stack]") {
    constexpr std::uint32_t many = 2000;
    StackPool pool;
    Stacks stacks{pool};
    const auto touched = [&] {
        return std::count_if(stacks.all.begin(), stacks.all.end(), [](const Stack& stack) {
            return *(stack.top() - 1) == std::byte{42};
        });
    };
    stacks.take(many);
    for (const Stack& stack : stacks.all) *(stack.top() - 1) = std::byte{42};
    stacks.give_back();
    stacks.take(many);
    CHECK(touched() == many);  // nobody has trimmed yet
    stacks.give_back();
    std::uint32_t trimmed = 0;
    while (const std::uint32_t now = pool.trim()) {
        CHECK(now <= 64);  // a little at a time
        trimmed += now;
    }
    CHECK(trimmed == many - 1024);
    stacks.take(many);
    CHECK(touched() == 1024);
    for (std::size_t i = 0; i < many; i += 97) CHECK(guard_is_whole(stacks.all[i]));
}

TEST_CASE("a trim takes no stack that was promised", "[stack]") {
    const Outcome outcome = trimming.run();
    INFO(outcome.describe());
    CHECK(outcome.exited_with(0));
}

TEST_CASE("no stack is handed out twice", "[stack]") {
    StackPool pool;
    Stacks stacks{pool};
    stacks.take(per_slab + 50);
    std::vector<std::byte*> ends;
    for (const Stack& stack : stacks.all) ends.push_back(stack.end);
    std::sort(ends.begin(), ends.end());
    CHECK(std::adjacent_find(ends.begin(), ends.end()) == ends.end());
    CHECK(pool.in_use() == per_slab + 50);
}

TEST_CASE("a promise given back is worth another one", "[stack]") {
    StackPool pool;
    pool.reserve(shift, per_slab);
    const auto mapped = weft::test::status_kib("VmSize:");
    for (int i = 0; i < 10; ++i) {
        pool.unreserve(shift, per_slab);
        pool.reserve(shift, per_slab);
    }
    CHECK(weft::test::status_kib("VmSize:") < mapped + (64 << 10));
    pool.reserve(shift, 1);
    CHECK(weft::test::status_kib("VmSize:") >= mapped + (64 << 10));
    pool.unreserve(shift, per_slab + 1);
}

TEST_CASE("promises of a cache come beside those of fibers", "[stack]") {
    StackPool pool;
    {
        StackCache cache{pool, shift};
        std::vector<Stack> stacks;
        for (int i = 0; i < 300; ++i) {
            cache.reserve(shift);
            stacks.push_back(cache.acquire(shift));
        }
        cache.reserve(shift + 1);
        const Stack larger = cache.acquire(shift + 1);
        CHECK(larger.shift == shift + 1);
        cache.release(larger);
        cache.unreserve(shift + 1);
        for (const Stack& stack : stacks) {
            cache.release(stack);
            cache.unreserve(shift);
        }
        CHECK(pool.in_use() <= 64);
        cache.reserve(shift);
        CHECK(cache.acquire(shift).end == stacks.back().end);
        cache.release(stacks.back());
        cache.unreserve(shift);
    }
    CHECK(pool.in_use() == 0);
}

TEST_CASE("a promise that cannot be kept is refused and changes nothing", "[stack]") {
    if (weft::test::under_sanitizer) return;  // they map more than any limit
    const Outcome outcome = starving.run();
    INFO(outcome.describe());
    CHECK(outcome.exited_with(0));
}
