// Calls that only a thread can make, and many of them.
#include "support/fd.hpp"
#include "support/hooked.hpp"
#include "support/scratch.hpp"

#include <weft/fiber.hpp>

#include <fcntl.h>
#include <semaphore.h>
#include <unistd.h>

#include <vector>

using namespace weft;
using test::until_doing;

// Method: who is to post to all who wait writes to a file first, which a thread does, and waits
// for one more itself.
TEST_CASE("those who wait for others keep no thread from those they wait for", "[hooks]") {
    constexpr int many = 600;
    test::on_hooked_workers([] {
        const test::Scratch scratch;
        sem_t wanted;
        sem_t another;
        sem_init(&wanted, 1, 0);
        sem_init(&another, 1, 0);
        std::vector<Fiber<>> waiters;
        for (int i = 0; i < many; ++i) waiters.push_back(spawn([&] { sem_wait(&wanted); }));
        for (const auto& each : waiters) until_doing(each, "a call that blocks a thread");
        auto poster = spawn([&] {
            const test::Fd log{::creat(scratch.path().c_str(), 0600)};
            const long wrote = ::write(log, "posting", 7);
            sem_wait(&another);
            for (int i = 0; i < many; ++i) sem_post(&wanted);
            return wrote;
        });
        until_doing(poster, "a call that blocks a thread");
        sem_post(&another);
        CHECK(poster.get() == 7);
        join_all(waiters);
        sem_destroy(&wanted);
        sem_destroy(&another);
    });
}
