// pthread keys, which in fibers are fiber-local: libraries keep their error queues there.
// Layer: hooks. Uses: task.
//
// The key is libc's; its values in fibers lie in one FiberLocal of ours, so that they end as
// those do: at the fiber's end, in up to four rounds. Threads' values are libc's. A key that
// was not made here, as by a library opened with RTLD_DEEPBIND, stays the thread's, and so
// does an allocator's.
//
// Invariant: a value in a fiber is of the key whose serial lies beside it. Serials are odd
// while their key exists, so that none is taken for one of the next key in its place.
#include "hooks/keys.hpp"

#include "hooks/c11.hpp"
#include "hooks/caller.hpp"

#include <weft/detail/local_key.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <exception>
#include <memory>
#include <stdexcept>
#include <vector>

#include <limits.h>

namespace weft::hooks::detail {

namespace {

using weft::detail::LocalKey;
using weft::detail::LocalType;

struct Key {
    std::atomic<std::uint32_t> serial{0};
    std::atomic<void (*)(void*)> destroy{nullptr};
};
constinit std::array<Key, PTHREAD_KEYS_MAX> keys;

bool is_ours(pthread_key_t key) noexcept {
    return key < keys.size() && keys[key].serial.load(std::memory_order_relaxed) != 0;
}

/// Even: there is no such key.
std::uint32_t serial_of(pthread_key_t key) noexcept {
    return keys[key].serial.load(std::memory_order_acquire);
}

/// The values of one fiber.
class Values {
public:
    void* get(pthread_key_t key) const noexcept {
        if (key >= values_.size() || values_[key].serial != serial_of(key)) return nullptr;
        return values_[key].value;
    }
    /// Throws std::bad_alloc.
    void set(pthread_key_t key, void* value) {
        if (key >= values_.size()) values_.resize(key + 1);
        values_[key] = {serial_of(key), value};
    }
    /// Calls `take(key, value)` for each.
    template <class Take>
    void for_each(Take&& take) const noexcept {
        for (std::size_t i = 0; i < values_.size(); ++i) {
            const auto key = static_cast<pthread_key_t>(i);
            if (void* const value = get(key); value != nullptr) take(key, value);
        }
    }
    bool empty() const noexcept {
        for (std::size_t i = 0; i < values_.size(); ++i) {
            if (get(static_cast<pthread_key_t>(i)) != nullptr) return false;
        }
        return true;
    }
    void destroy_once() {
        // By index: who is called may set more.
        for (std::size_t i = 0; i < values_.size(); ++i) {
            const auto key = static_cast<pthread_key_t>(i);
            const auto destroy = keys[i].destroy.load(std::memory_order_relaxed);
            void* const value = get(key);
            if (value == nullptr) continue;
            values_[i].value = nullptr;
            if (destroy != nullptr) destroy(value);
        }
    }
    bool is_ending = false;

private:
    struct Value {
        std::uint32_t serial = 0;
        void* value = nullptr;
    };
    std::vector<Value> values_;  // by key
};

void end_values(void* values) noexcept;
constexpr LocalType values_type{&end_values, nullptr};

constinit std::atomic<bool> has_local_key{false};

LocalKey& local_key() {
    static auto* const key = new LocalKey{values_type};
    return *key;
}

// They stay in their place while destructors are called, which may look for others.
void end_values(void* place) noexcept {
    auto* const values = static_cast<Values*>(place);
    if (values->is_ending) {
        delete values;
        return;
    }
    values->is_ending = true;
    weft::detail::begin_local(local_key());  // has had its place already: nothing to allocate
    weft::detail::put_local(local_key(), values);
    for (int round = 0; round < PTHREAD_DESTRUCTOR_ITERATIONS && !values->empty(); ++round) {
        values->destroy_once();
    }
    weft::detail::reset_local(local_key());
}

Values* find_values() noexcept {
    return static_cast<Values*>(weft::detail::find_local(local_key()));
}

}  // namespace

void end_key_values() noexcept {
    if (find_values() != nullptr) weft::detail::reset_local(local_key());
}

void hand_key_values_to_thread() noexcept {
    if (!has_local_key.load(std::memory_order_acquire)) return;
    const Values* const values = find_values();
    if (values == nullptr) return;
    values->for_each([](pthread_key_t key, void* value) {
        WEFT_ORIGINAL(pthread_setspecific)(key, value);
    });
}

namespace {

Values& need_values() {
    if (Values* const values = find_values(); values != nullptr) return *values;
    auto made = std::make_unique<Values>();
    weft::detail::begin_local(local_key());
    weft::detail::put_local(local_key(), made.get());
    return *made.release();
}

void* get(pthread_key_t key) noexcept {
    const Values* const values = find_values();
    return values == nullptr ? nullptr : values->get(key);
}

template <class ByLibc>
int set(pthread_key_t key, const void* value, ByLibc&& by_libc) noexcept {
    if (serial_of(key) % 2 == 0) return EINVAL;
    try {
        need_values().set(key, const_cast<void*>(value));
        return 0;
    } catch (const std::logic_error&) {
        return by_libc();  // an allocator's own, which is called to make ours
    } catch (const std::exception&) {
        return ENOMEM;
    }
}

/// An allocator's own keys stay the threads', and those of what starts before the hooks do.
void note(pthread_key_t key, void (*destroy)(void*), const void* maker) noexcept {
    if (key >= keys.size() || hooks_text.end == 0 || allocator_text.has(maker)) return;
    try {
        local_key();  // made here: who asks for a value may be an allocator
        has_local_key.store(true, std::memory_order_release);
    } catch (const std::exception&) {
        return;
    }
    keys[key].destroy.store(destroy, std::memory_order_relaxed);
    const std::uint32_t before = keys[key].serial.load(std::memory_order_relaxed);
    keys[key].serial.store((before + 1) | 1, std::memory_order_release);
}

// Before libc does, for the number may be given to another at once.
void forget(pthread_key_t key) noexcept {
    if (is_ours(key) && serial_of(key) % 2 == 1) {
        keys[key].serial.fetch_add(1, std::memory_order_acq_rel);
    }
}

}  // namespace

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hooks ---

// A key's destructor whose last act is such a call jumps to it, so that it seems to come from
// here, where nobody else makes one.
#define WEFT_TAKEN_BY_KEY(name)                                                              \
    ::weft::hooks::detail::fiber_of_call<::weft::hooks::detail::Symbol::s_##name, Keep::no>( \
        hooks_text.has(__builtin_return_address(0)) ? nullptr : __builtin_return_address(0))

int hook_pthread_key_create(pthread_key_t* key, void (*destroy)(void*)) {
    const int error = WEFT_ORIGINAL(pthread_key_create)(key, destroy);
    if (error == 0) note(*key, destroy, __builtin_return_address(0));
    return error;
}

int hook_pthread_key_delete(pthread_key_t key) {
    forget(key);
    return WEFT_ORIGINAL(pthread_key_delete)(key);
}

void* hook_pthread_getspecific(pthread_key_t key) {
    if (!is_ours(key) || WEFT_TAKEN_BY_KEY(pthread_getspecific) == nullptr) {
        return WEFT_ORIGINAL(pthread_getspecific)(key);
    }
    return get(key);
}

int hook_pthread_setspecific(pthread_key_t key, const void* value) {
    const auto by_libc = [&] { return WEFT_ORIGINAL(pthread_setspecific)(key, value); };
    if (!is_ours(key) || WEFT_TAKEN_BY_KEY(pthread_setspecific) == nullptr) return by_libc();
    return set(key, value, by_libc);
}

WEFT_OTHER_NAME(int, __pthread_key_create, (pthread_key_t * key, void (*destroy)(void*)),
                pthread_key_create);
WEFT_OTHER_NAME(void*, __pthread_getspecific, (pthread_key_t key), pthread_getspecific);
WEFT_OTHER_NAME(int, __pthread_setspecific, (pthread_key_t key, const void* value),
                pthread_setspecific);

// --- those of C11 ---

int hook_tss_create(tss_t* key, tss_dtor_t destroy) {
    const int result = WEFT_ORIGINAL(tss_create)(key, destroy);
    if (result == thrd_success) note(*key, destroy, __builtin_return_address(0));
    return result;
}

void hook_tss_delete(tss_t key) {
    forget(key);
    WEFT_ORIGINAL(tss_delete)(key);
}

void* hook_tss_get(tss_t key) {
    if (!is_ours(key) || WEFT_TAKEN_BY_KEY(tss_get) == nullptr) {
        return WEFT_ORIGINAL(tss_get)(key);
    }
    return get(key);
}

int hook_tss_set(tss_t key, void* value) {
    const auto by_libc = [&] { return WEFT_ORIGINAL(pthread_setspecific)(key, value); };
    if (!is_ours(key) || WEFT_TAKEN_BY_KEY(tss_set) == nullptr) {
        return WEFT_ORIGINAL(tss_set)(key, value);
    }
    return thrd_result(set(key, value, by_libc));
}
