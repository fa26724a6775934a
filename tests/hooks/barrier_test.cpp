#include "support/hooked.hpp"

#include <weft/event.hpp>
#include <weft/fiber.hpp>

#include <atomic>
#include <cerrno>
#include <memory>
#include <thread>
#include <vector>

#include <pthread.h>

using namespace weft;
using test::on_hooked_seeds;
using test::on_hooked_workers;
using test::until_doing;

namespace {

/// Runs rounds of `parties`, `threads` of which are threads. Checks that nobody is ahead.
void check_rounds(unsigned parties, unsigned threads) {
    constexpr int rounds = 20;
    pthread_barrier_t barrier;
    REQUIRE(pthread_barrier_init(&barrier, nullptr, parties) == 0);
    std::atomic<int> arrived{0};
    std::atomic<int> wrong{0};
    std::atomic<int> last_ones{0};
    const auto party = [&] {
        for (int round = 1; round <= rounds; ++round) {
            arrived.fetch_add(1);
            if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) ++last_ones;
            if (arrived.load() < round * static_cast<int>(parties)) ++wrong;
        }
    };
    std::vector<std::thread> others;
    for (unsigned i = 0; i < threads; ++i) others.emplace_back(party);
    std::vector<Fiber<>> fibers;
    for (unsigned i = threads; i < parties; ++i) fibers.push_back(spawn(party));
    join_all(fibers);
    for (auto& each : others) each.join();
    CHECK(wrong.load() == 0);
    CHECK(last_ones.load() == rounds);
    CHECK(pthread_barrier_destroy(&barrier) == 0);
}

}  // namespace

TEST_CASE("fibers pass a barrier together, round after round", "[hooks]") {
    on_hooked_seeds([] {
        check_rounds(1, 0);
        check_rounds(5, 0);
    });
}

TEST_CASE("fibers and threads pass a barrier together", "[hooks]") {
    on_hooked_workers([] {
        check_rounds(4, 2);
        check_rounds(2, 2);
    });
}

TEST_CASE("a barrier may go when its last party has come", "[hooks]") {
    on_hooked_workers([] {
        auto barrier = std::make_unique<pthread_barrier_t>();
        pthread_barrier_init(barrier.get(), nullptr, 2);
        auto waits = spawn([&] { return pthread_barrier_wait(barrier.get()); });
        until_doing(waits, "pthread_barrier_wait");
        CHECK(pthread_barrier_destroy(barrier.get()) == EBUSY);
        CHECK(pthread_barrier_wait(barrier.get()) == PTHREAD_BARRIER_SERIAL_THREAD);
        CHECK(pthread_barrier_destroy(barrier.get()) == 0);
        barrier.reset();
        CHECK(waits.get() == 0);
    });
}

TEST_CASE("a barrier of no party, or made before threads were patched, is libc's", "[hooks]") {
    hooks::unpatch_all();
    pthread_barrier_t barrier;
    REQUIRE(pthread_barrier_init(&barrier, nullptr, 2) == 0);
    on_hooked_workers([&] {
        pthread_barrier_t none;
        CHECK(pthread_barrier_init(&none, nullptr, 0) == EINVAL);
        std::thread other{[&] { pthread_barrier_wait(&barrier); }};
        pthread_barrier_wait(&barrier);
        other.join();
    });
    CHECK(pthread_barrier_destroy(&barrier) == 0);
}
