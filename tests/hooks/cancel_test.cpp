// pthread_cancel() of plain threads, in calls that are hooked: as POSIX has it, and libc does.
#include "support/fd.hpp"
#include "support/hooked.hpp"

#include <weft/fiber.hpp>

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

using namespace weft;

namespace {

/// A thread of libc's that runs `body()`, and is cancelled there.
class CancelledThread {
public:
    explicit CancelledThread(std::function<void()> body) : body_{std::move(body)} {
        pthread_create(&thread_, nullptr, &run, this);
    }
    CancelledThread(const CancelledThread&) = delete;
    CancelledThread& operator=(const CancelledThread&) = delete;

    pthread_t id() const { return thread_; }
    /// Lets others run until the kernel says that it sleeps.
    void until_asleep() const {
        char state = 0;
        while (state != 'S') {
            sched_yield();
            const std::string stat = "/proc/self/task/" + std::to_string(tid_.load()) + "/stat";
            std::string line;
            std::getline(std::ifstream{stat}, line);
            const std::size_t name_end = line.rfind(')');
            state = name_end == line.npos ? '\0' : line.at(name_end + 2);
        }
    }
    int cancel() { return pthread_cancel(thread_); }
    /// Whether that ended it.
    bool join() {
        void* result = nullptr;
        pthread_join(thread_, &result);
        return result == PTHREAD_CANCELED;
    }

private:
    static void* run(void* self) {
        auto& thread = *static_cast<CancelledThread*>(self);
        thread.tid_.store(::gettid());
        thread.body_();
        return nullptr;
    }

    const std::function<void()> body_;
    std::atomic<pid_t> tid_{0};
    pthread_t thread_{};
};

/// Items, with a condition and an error-checking mutex; threads wait for one, and are cancelled.
struct Waiting {
    Waiting() {
        pthread_mutexattr_t checking;
        pthread_mutexattr_init(&checking);
        pthread_mutexattr_settype(&checking, PTHREAD_MUTEX_ERRORCHECK);
        pthread_mutex_init(&mutex, &checking);
        pthread_mutexattr_destroy(&checking);
    }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;
    ~Waiting() {
        pthread_cond_destroy(&condition);
        pthread_mutex_destroy(&mutex);
    }

    /// Takes an item, and does `wait_once()` as long as there is none.
    void take(const std::function<void()>& wait_once) {
        pthread_mutex_lock(&mutex);
        ++takers;
        pthread_cleanup_push(&clean, this);
        while (items == 0) wait_once();
        pthread_cleanup_pop(0);
        --items;
        pthread_mutex_unlock(&mutex);
    }
    void take() {
        take([this] { pthread_cond_wait(&condition, &mutex); });
    }
    void put() {
        ++items;
        pthread_cond_signal(&condition);
    }
    static void clean(void* self) {
        auto& waiting = *static_cast<Waiting*>(self);
        waiting.unlocked_with = pthread_mutex_unlock(&waiting.mutex);
    }
    /// Locks the mutex once `count` threads wait.
    void lock_once_there(int count) {
        for (;;) {
            pthread_mutex_lock(&mutex);
            if (takers == count) return;
            pthread_mutex_unlock(&mutex);
            sched_yield();
        }
    }

    pthread_mutex_t mutex;
    pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    // --- guarded by mutex ---
    int takers = 0;
    int items = 0;
    int unlocked_with = -1;
};

timespec far(clockid_t clock) {
    timespec at{};
    clock_gettime(clock, &at);
    at.tv_sec += 3600;
    return at;
}

using WaitOnce = std::function<void(Waiting&)>;
const std::vector<std::pair<std::string, WaitOnce>> waits{
    {"pthread_cond_wait", [](Waiting& it) { pthread_cond_wait(&it.condition, &it.mutex); }},
    {"pthread_cond_timedwait",
     [](Waiting& it) {
         const timespec until = far(CLOCK_REALTIME);
         pthread_cond_timedwait(&it.condition, &it.mutex, &until);
     }},
    {"pthread_cond_clockwait",
     [](Waiting& it) {
         const timespec until = far(CLOCK_MONOTONIC);
         pthread_cond_clockwait(&it.condition, &it.mutex, CLOCK_MONOTONIC, &until);
     }},
    {"cnd_wait",
     [](Waiting& it) {
         cnd_wait(reinterpret_cast<cnd_t*>(&it.condition), reinterpret_cast<mtx_t*>(&it.mutex));
     }},
};

void check_waits() {
    for (const auto& [name, wait_once] : waits) {
        INFO(name);
        Waiting it;
        CancelledThread thread{[&it, &once = wait_once] { it.take([&] { once(it); }); }};
        it.lock_once_there(1);
        CHECK(thread.cancel() == 0);
        // It has to get the mutex back first.
        CHECK(it.unlocked_with == -1);
        pthread_mutex_unlock(&it.mutex);
        CHECK(thread.join());
        CHECK(it.unlocked_with == 0);
        CHECK(pthread_mutex_trylock(&it.mutex) == 0);
        pthread_mutex_unlock(&it.mutex);
    }
}

}  // namespace

TEST_CASE("a thread is cancelled in a wait for a condition, with its mutex locked", "[hooks]") {
    hooks::unpatch_all();
    check_waits();  // libc's own
    hooks::patch_all();
    check_waits();
}

TEST_CASE("a thread gets its mutex back from a fiber before it is cancelled", "[hooks]") {
    test::on_hooked_workers([] {
        Waiting it;
        CancelledThread thread{[&it] { it.take(); }};
        it.lock_once_there(1);
        thread.cancel();
        for (int i = 0; i < 20; ++i) this_fiber::yield();
        CHECK(it.unlocked_with == -1);
        pthread_mutex_unlock(&it.mutex);
        CHECK(thread.join());
        CHECK(it.unlocked_with == 0);
    });
}

TEST_CASE("a thread that has cancellation disabled waits on", "[hooks]") {
    hooks::patch_all();
    Waiting it;
    CancelledThread thread{[&it] {
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
        it.take();
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, nullptr);
        pthread_testcancel();
    }};
    it.lock_once_there(1);
    thread.cancel();
    it.put();
    pthread_mutex_unlock(&it.mutex);
    CHECK(thread.join());
    CHECK(it.items == 0);
    CHECK(it.unlocked_with == -1);
}

// Method: of two that wait, one is cancelled as an item comes; if it took that, another comes.
TEST_CASE("no item is lost with a thread that is cancelled as it is signalled", "[hooks]") {
    hooks::patch_all();
    for (int round = 0; round < 300; ++round) {
        Waiting it;
        CancelledThread first{[&it] { it.take(); }};
        CancelledThread second{[&it] { it.take(); }};
        it.lock_once_there(2);
        const bool cancel_early = round % 2 == 0;
        if (cancel_early) first.cancel();
        it.put();
        pthread_mutex_unlock(&it.mutex);
        if (!cancel_early) first.cancel();
        if (!first.join()) {
            pthread_mutex_lock(&it.mutex);
            it.put();
            pthread_mutex_unlock(&it.mutex);
        }
        CHECK_FALSE(second.join());
        CHECK(it.items == 0);
    }
}

TEST_CASE("a thread is cancelled in what hooks leave to libc", "[hooks]") {
    sem_t never;
    sem_init(&never, 0, 0);
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const test::Fd reader{ends[0]};
    const test::Fd writer{ends[1]};
    CancelledThread sleeper{[] { ::pause(); }};
    const std::vector<std::pair<std::string, std::function<void()>>> calls{
        {"sem_wait", [&] { sem_wait(&never); }},
        {"sem_timedwait",
         [&] {
             const timespec until = far(CLOCK_REALTIME);
             sem_timedwait(&never, &until);
         }},
        {"pthread_join", [&] { pthread_join(sleeper.id(), nullptr); }},
        {"read",
         [&] {
             char byte = 0;
             (void)!::read(reader, &byte, 1);
         }},
        {"poll",
         [&] {
             pollfd one{reader, POLLIN, 0};
             ::poll(&one, 1, -1);
         }},
        {"sleep", [] { ::sleep(3600); }},
    };
    hooks::patch_all();
    for (const auto& [name, call] : calls) {
        INFO(name);
        CancelledThread thread{call};
        thread.until_asleep();
        CHECK(thread.cancel() == 0);
        CHECK(thread.join());
    }
    sleeper.cancel();
    CHECK(sleeper.join());
    sem_destroy(&never);
}
