// Locks whose owner the kernel knows, and those that processes share, between fibers.
#include "support/hooked.hpp"

#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/hooks.hpp>
#include <weft/runtime.hpp>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

using namespace weft;
using test::on_hooked_workers;
using test::until_doing;

namespace {

constexpr const char* waiting = "a call that blocks a thread";

struct Kind {
    int type = PTHREAD_MUTEX_NORMAL;
    int protocol = PTHREAD_PRIO_NONE;
    int robust = PTHREAD_MUTEX_STALLED;
    int shared = PTHREAD_PROCESS_PRIVATE;
};

/// In memory that a child shares.
template <class T>
class Shared {
public:
    Shared()
        : memory_{static_cast<T*>(::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE,
                                         MAP_SHARED | MAP_ANONYMOUS, -1, 0))} {}
    Shared(const Shared&) = delete;
    Shared& operator=(const Shared&) = delete;
    ~Shared() { ::munmap(memory_, sizeof(T)); }
    T* operator->() const { return memory_; }
    T& operator*() const { return *memory_; }

private:
    T* const memory_;
};

void make(pthread_mutex_t& mutex, const Kind& kind) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, kind.type);
    pthread_mutexattr_setprotocol(&attributes, kind.protocol);
    pthread_mutexattr_setrobust(&attributes, kind.robust);
    pthread_mutexattr_setpshared(&attributes, kind.shared);
    REQUIRE(pthread_mutex_init(&mutex, &attributes) == 0);
    pthread_mutexattr_destroy(&attributes);
}

struct Mutex {
    explicit Mutex(const Kind& kind) { make(mutex, kind); }
    Mutex(const Mutex&) = delete;
    Mutex& operator=(const Mutex&) = delete;
    ~Mutex() { pthread_mutex_destroy(&mutex); }
    int lock() { return pthread_mutex_lock(&mutex); }
    int try_lock() { return pthread_mutex_trylock(&mutex); }
    int unlock() { return pthread_mutex_unlock(&mutex); }
    pthread_mutex_t mutex;
};

const std::vector<Kind> kinds = [] {
    std::vector<Kind> all;
    for (const int type :
         {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK}) {
        for (const int shared : {PTHREAD_PROCESS_PRIVATE, PTHREAD_PROCESS_SHARED}) {
            all.push_back({type, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_ROBUST, shared});
            all.push_back({type, PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_STALLED, shared});
        }
        all.push_back({type, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_STALLED, PTHREAD_PROCESS_SHARED});
    }
    return all;
}();

std::string name_of(const Kind& kind) {
    return "type " + std::to_string(kind.type) + " protocol " + std::to_string(kind.protocol) +
           " robust " + std::to_string(kind.robust) + " shared " + std::to_string(kind.shared);
}

template <class Body>
void with_each_kind(Body&& body) {
    on_hooked_workers([&] {
        for (const Kind& kind : kinds) {
            INFO(name_of(kind));
            body(kind);
        }
    });
}

/// By which a child and its parent tell each other to go on.
class Pipe {
public:
    Pipe() { REQUIRE(::pipe2(ends_, O_CLOEXEC) == 0); }
    Pipe(const Pipe&) = delete;
    Pipe& operator=(const Pipe&) = delete;
    ~Pipe() {
        ::close(ends_[0]);
        ::close(ends_[1]);
    }
    void tell() const { (void)!::write(ends_[1], "x", 1); }
    void hear() const {
        char byte = 0;
        (void)!::read(ends_[0], &byte, 1);
    }

private:
    int ends_[2];
};

/// A child that runs `body()`, to be waited for by fibers.
template <class Body>
pid_t child_that(Body&& body) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    body();
    ::_exit(0);
}

timespec soon(clockid_t clock) {
    timespec at{};
    clock_gettime(clock, &at);
    return at;
}

}  // namespace

TEST_CASE("a mutex of any kind is held by one fiber, though it suspends", "[hooks]") {
    with_each_kind([](const Kind& kind) {
        Mutex mutex{kind};
        int inside = 0;
        int most = 0;
        int errors = 0;
        std::vector<Fiber<>> fibers;
        for (int i = 0; i < 4; ++i) {
            fibers.push_back(spawn([&] {
                for (int round = 0; round < 3; ++round) {
                    errors |= mutex.lock();
                    most = std::max(most, ++inside);
                    usleep(10);
                    --inside;
                    errors |= mutex.unlock();
                }
            }));
        }
        join_all(fibers);
        CHECK(most == 1);
        CHECK(errors == 0);
    });
}

TEST_CASE("a mutex of any kind knows which fiber of a worker holds it", "[hooks]") {
    with_each_kind([](const Kind& kind) {
        Mutex mutex{kind};
        REQUIRE(mutex.lock() == 0);
        int tried = -1;
        int unlocked = -1;
        const bool checks = kind.type != PTHREAD_MUTEX_NORMAL ||
                            kind.robust == PTHREAD_MUTEX_ROBUST ||
                            kind.protocol == PTHREAD_PRIO_INHERIT;
        spawn([&] {
            tried = mutex.try_lock();
            if (checks) unlocked = mutex.unlock();
        }).join();
        CHECK(tried == EBUSY);
        if (checks) CHECK(unlocked == EPERM);
        if (kind.type == PTHREAD_MUTEX_RECURSIVE) {
            CHECK(mutex.lock() == 0);
            CHECK(mutex.unlock() == 0);
            spawn([&] { tried = mutex.try_lock(); }).join();
            CHECK(tried == EBUSY);
        }
        if (kind.type == PTHREAD_MUTEX_ERRORCHECK) CHECK(mutex.lock() == EDEADLK);
        CHECK(mutex.unlock() == 0);
        spawn([&] { tried = mutex.try_lock() | mutex.unlock(); }).join();
        CHECK(tried == 0);
    });
}

TEST_CASE("fibers and threads wait for each other's mutexes of any kind", "[hooks]") {
    with_each_kind([](const Kind& kind) {
        Mutex mutex{kind};
        int count = 0;
        const auto work = [&] {
            for (int i = 0; i < 20; ++i) {
                mutex.lock();
                ++count;
                mutex.unlock();
            }
        };
        REQUIRE(mutex.lock() == 0);
        std::thread thread{work};
        auto fiber = spawn(work);
        until_doing(fiber, waiting);
        mutex.unlock();
        fiber.join();
        thread.join();
        CHECK(count == 40);
    });
}

TEST_CASE("waiting for a mutex of any kind ends at its moment", "[hooks]") {
    with_each_kind([](const Kind& kind) {
        Mutex mutex{kind};
        REQUIRE(mutex.lock() == 0);
        int errors[3]{};
        spawn([&] {
            timespec until = soon(CLOCK_REALTIME);
            errors[0] = pthread_mutex_timedlock(&mutex.mutex, &until);
            const timespec long_ago{-1, 0};
            errors[2] = pthread_mutex_timedlock(&mutex.mutex, &long_ago);
            until.tv_nsec = 1'000'000'000;
            errors[1] = pthread_mutex_timedlock(&mutex.mutex, &until);
        }).join();
        CHECK(errors[0] == ETIMEDOUT);
        CHECK(errors[1] == EINVAL);
        // libc hands that on to the kernel.
        CHECK(errors[2] == (kind.protocol == PTHREAD_PRIO_INHERIT ? EINVAL : ETIMEDOUT));
        CHECK(mutex.unlock() == 0);
    });
}

TEST_CASE("one fiber inherits a robust mutex from a thread that died", "[hooks]") {
    on_hooked_workers([] {
        Mutex mutex{{.robust = PTHREAD_MUTEX_ROBUST}};
        Event locked;
        Event die;
        std::thread thread{[&] {
            mutex.lock();
            locked.set();
            die.wait();
        }};
        locked.wait();
        int inherited = 0;
        std::vector<Fiber<>> fibers;
        for (int i = 0; i < 3; ++i) {
            fibers.push_back(spawn([&] {
                const int error = mutex.lock();
                if (error == EOWNERDEAD) ++inherited;
                if (error == EOWNERDEAD) pthread_mutex_consistent(&mutex.mutex);
                mutex.unlock();
            }));
        }
        for (const auto& each : fibers) until_doing(each, waiting);
        die.set();
        thread.join();
        join_all(fibers);
        CHECK(inherited == 1);
        CHECK(mutex.lock() == 0);
        CHECK(mutex.unlock() == 0);
    });
}

TEST_CASE("a robust mutex that its heir gave up on is nobody's, for all", "[hooks]") {
    on_hooked_workers([] {
        for (const int type :
             {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK}) {
            INFO("type: " << type);
            Mutex mutex{{.type = type, .robust = PTHREAD_MUTEX_ROBUST}};
            std::thread{[&] { mutex.lock(); }}.join();
            CHECK(mutex.lock() == EOWNERDEAD);
            CHECK(mutex.unlock() == 0);  // as it is
            for (int i = 0; i < 2; ++i) {
                CHECK(spawn([&] { return mutex.lock(); }).get() == ENOTRECOVERABLE);
                CHECK(mutex.try_lock() == ENOTRECOVERABLE);
            }
        }
    });
}

TEST_CASE("a robust mutex that was locked under a Bypass is that fiber's", "[hooks]") {
    on_hooked_workers([] {
        for (const int type : {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE}) {
            INFO("type: " << type);
            Mutex mutex{{.type = type, .robust = PTHREAD_MUTEX_ROBUST}};
            // A fiber of a runtime that is gone leaves it behind.
            std::thread{[&] { run([&] { mutex.lock(); }, {.workers = 1}); }}.join();
            {
                const hooks::Bypass bypass;
                CHECK(mutex.lock() == EOWNERDEAD);
                pthread_mutex_consistent(&mutex.mutex);
            }
            CHECK(spawn([&] { return mutex.try_lock(); }).get() == EBUSY);
            CHECK(mutex.unlock() == 0);
            CHECK(spawn([&] { return mutex.try_lock() == 0 ? mutex.unlock() : -1; }).get() == 0);
        }
    });
}

TEST_CASE("a fiber waits for a mutex that another process holds", "[hooks]") {
    with_each_kind([](const Kind& kind) {
        if (kind.shared != PTHREAD_PROCESS_SHARED) return;
        const Shared<pthread_mutex_t> mutex;
        make(*mutex, kind);
        const Pipe told;
        const Pipe end;
        const pid_t child = child_that([&] {
            pthread_mutex_lock(&*mutex);
            told.tell();
            end.hear();
            // A robust one it leaves behind.
            if (kind.robust != PTHREAD_MUTEX_ROBUST) pthread_mutex_unlock(&*mutex);
        });
        told.hear();
        auto fiber = spawn([&] {
            const int error = pthread_mutex_lock(&*mutex);
            if (error == EOWNERDEAD) pthread_mutex_consistent(&*mutex);
            pthread_mutex_unlock(&*mutex);
            return error;
        });
        until_doing(fiber, waiting);
        end.tell();
        CHECK(fiber.get() == (kind.robust == PTHREAD_MUTEX_ROBUST ? EOWNERDEAD : 0));
        ::waitpid(child, nullptr, 0);
        pthread_mutex_destroy(&*mutex);
    });
}

TEST_CASE("fibers of one worker share a read-write lock with another process", "[hooks]") {
    on_hooked_workers([] {
        const Shared<pthread_rwlock_t> lock;
        pthread_rwlockattr_t attributes;
        pthread_rwlockattr_init(&attributes);
        pthread_rwlockattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        pthread_rwlock_init(&*lock, &attributes);
        pthread_rwlockattr_destroy(&attributes);
        int writing = 0;
        int most = 0;
        std::vector<Fiber<>> fibers;
        for (int i = 0; i < 3; ++i) {
            fibers.push_back(spawn([&] {
                pthread_rwlock_wrlock(&*lock);
                most = std::max(most, ++writing);
                usleep(10);
                --writing;
                pthread_rwlock_unlock(&*lock);
                pthread_rwlock_rdlock(&*lock);
                usleep(10);
                pthread_rwlock_unlock(&*lock);
            }));
        }
        join_all(fibers);
        CHECK(most == 1);
        const Pipe told;
        const Pipe end;
        const pid_t child = child_that([&] {
            pthread_rwlock_wrlock(&*lock);
            told.tell();
            end.hear();
            pthread_rwlock_unlock(&*lock);
        });
        told.hear();
        const timespec now = soon(CLOCK_REALTIME);
        CHECK(pthread_rwlock_timedrdlock(&*lock, &now) == ETIMEDOUT);
        auto reader =
            spawn([&] { return pthread_rwlock_rdlock(&*lock) | pthread_rwlock_unlock(&*lock); });
        until_doing(reader, waiting);
        end.tell();
        CHECK(reader.get() == 0);
        ::waitpid(child, nullptr, 0);
        pthread_rwlock_destroy(&*lock);
    });
}

TEST_CASE("fibers of one worker meet at a barrier that processes share", "[hooks]") {
    on_hooked_workers([] {
        const Shared<pthread_barrier_t> barrier;
        pthread_barrierattr_t attributes;
        pthread_barrierattr_init(&attributes);
        pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        pthread_barrier_init(&*barrier, &attributes, 4);
        pthread_barrierattr_destroy(&attributes);
        const pid_t child = child_that([&] { pthread_barrier_wait(&*barrier); });
        int serial = 0;
        std::vector<Fiber<>> fibers;
        for (int i = 0; i < 3; ++i) {
            fibers.push_back(spawn([&] {
                if (pthread_barrier_wait(&*barrier) == PTHREAD_BARRIER_SERIAL_THREAD) ++serial;
            }));
        }
        join_all(fibers);
        CHECK(serial <= 1);
        ::waitpid(child, nullptr, 0);
        pthread_barrier_destroy(&*barrier);
    });
}

TEST_CASE("a fiber waits for a condition that processes share", "[hooks]") {
    struct Box {
        pthread_mutex_t mutex;
        pthread_cond_t filled;
        int items;
    };
    const auto check = [](int type) {
        INFO("type: " << type);
        const Shared<Box> box;
        make(box->mutex, {.type = type, .shared = PTHREAD_PROCESS_SHARED});
        pthread_condattr_t attributes;
        pthread_condattr_init(&attributes);
        pthread_condattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        pthread_cond_init(&box->filled, &attributes);
        pthread_condattr_destroy(&attributes);
        const auto put = [&] {
            pthread_mutex_lock(&box->mutex);
            ++box->items;
            pthread_cond_signal(&box->filled);
            pthread_mutex_unlock(&box->mutex);
        };
        std::vector<Fiber<>> takers;
        for (int i = 0; i < 2; ++i) {
            takers.push_back(spawn([&] {
                pthread_mutex_lock(&box->mutex);
                while (box->items == 0) pthread_cond_wait(&box->filled, &box->mutex);
                --box->items;
                pthread_mutex_unlock(&box->mutex);
            }));
        }
        for (const auto& each : takers) until_doing(each, waiting);
        put();  // by a fiber of the same worker
        const pid_t child = child_that(put);
        join_all(takers);
        ::waitpid(child, nullptr, 0);
        CHECK(box->items == 0);
        pthread_mutex_lock(&box->mutex);
        const timespec now = soon(CLOCK_REALTIME);
        CHECK(pthread_cond_timedwait(&box->filled, &box->mutex, &now) == ETIMEDOUT);
        CHECK(pthread_mutex_unlock(&box->mutex) == 0);
        pthread_cond_destroy(&box->filled);
        pthread_mutex_destroy(&box->mutex);
    };
    on_hooked_workers([&] {
        for (const int type :
             {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK}) {
            check(type);
        }
    });
}
