#include "support/hooked.hpp"

#include <weft/fiber.hpp>

#include <thread>

#include <pthread.h>

#if __has_include(<openssl/err.h>)
#include <openssl/err.h>
#endif

using namespace weft;
using test::on_hooked_workers;

namespace {

struct Key {
    explicit Key(void (*destroy)(void*) = nullptr) {
        REQUIRE(pthread_key_create(&key, destroy) == 0);
    }
    Key(const Key&) = delete;
    Key& operator=(const Key&) = delete;
    ~Key() { pthread_key_delete(key); }

    int set(const void* value) const { return pthread_setspecific(key, value); }
    void* get() const { return pthread_getspecific(key); }

    pthread_key_t key{};
};

int destroyed = 0;
const Key* used_by_destructor = nullptr;
bool other_was_there = false;

}  // namespace

TEST_CASE("fibers and threads have values of a pthread key of their own", "[hooks]") {
    Key key;
    int of_thread = 0;
    int of_fiber = 0;
    int of_other = 0;
    key.set(&of_thread);
    on_hooked_workers([&] {
        CHECK(key.get() == nullptr);
        CHECK(key.set(&of_fiber) == 0);
        void* seen_by_other = &of_other;
        spawn([&] {
            seen_by_other = key.get();
            key.set(&of_other);
            this_fiber::yield();
            if (key.get() != &of_other) seen_by_other = key.get();
        }).join();
        CHECK(seen_by_other == nullptr);
        CHECK(key.get() == &of_fiber);
        void* seen_by_thread = &of_other;
        std::thread{[&] { seen_by_thread = key.get(); }}.join();
        CHECK(seen_by_thread == nullptr);
        CHECK(key.set(nullptr) == 0);
    });
    CHECK(key.get() == &of_thread);
}

TEST_CASE("a key's destructor gets the fiber's value at its end, others still being there",
          "[hooks]") {
    Key other{[](void*) { ++destroyed; }};
    Key key{[](void* value) {
        ++destroyed;
        other_was_there = used_by_destructor->get() == value;
    }};
    used_by_destructor = &other;
    // By their numbers, the first in order is destroyed first.
    on_hooked_workers([&] {
        destroyed = 0;
        int value = 0;
        spawn([&] {
            (key.key < other.key ? key : other).set(&value);
            (key.key < other.key ? other : key).set(&value);
        }).join();
        CHECK(destroyed == 2);
        if (key.key < other.key) CHECK(other_was_there);
        spawn([&] {
            key.set(&value);
            key.set(nullptr);
        }).join();
        CHECK(destroyed == 2);
    });
}

TEST_CASE("destructors that set their key again are called four times", "[hooks]") {
    static pthread_key_t again;
    Key key{[](void* value) {
        ++destroyed;
        pthread_setspecific(again, value);
    }};
    again = key.key;
    on_hooked_workers([&] {
        destroyed = 0;
        int value = 0;
        spawn([&] { key.set(&value); }).join();
        CHECK(destroyed == PTHREAD_DESTRUCTOR_ITERATIONS);
    });
}

TEST_CASE("a value is not that of the next key of the same number", "[hooks]") {
    on_hooked_workers([] {
        pthread_key_t number = 0;
        int value = 0;
        {
            Key key{[](void*) { ++destroyed; }};
            number = key.key;
            key.set(&value);
        }
        CHECK(pthread_setspecific(number, &value) == EINVAL);
        destroyed = 0;
        Key key{[](void*) { ++destroyed; }};
        CHECK(key.get() == nullptr);
        CHECK(destroyed == 0);
    });
}

#if __has_include(<openssl/err.h>)
TEST_CASE("OpenSSL's errors stay with the fiber that made them", "[hooks]") {
    on_hooked_workers([] {
        ERR_clear_error();
        ERR_new();
        ERR_set_error(ERR_LIB_SSL, 123, nullptr);
        unsigned long seen_by_other = 1;
        spawn([&] {
            seen_by_other = ERR_peek_error();
            ERR_clear_error();
        }).join();
        CHECK(seen_by_other == 0);
        CHECK(ERR_GET_REASON(ERR_get_error()) == 123);
    });
}
#endif
