// FiberLocal: keys, and whose map a lookup goes to.
// Layer: task. Uses: base, sched, park.
//
// Invariant: of two keys that exist, no two have the same index; of two that
// ever existed, no two have the same serial. So a value that a map still has of
// an old key is never taken for one of the new key in its place.
#include "task/local.hpp"

#include "base/assert.hpp"
#include "sched/worker.hpp"

#include <weft/detail/local_key.hpp>
#include <weft/this_fiber.hpp>

#include <mutex>
#include <stdexcept>
#include <system_error>
#include <vector>

namespace weft::detail {

constinit std::atomic<std::uint32_t> inheritable_locals{0};

namespace {

constexpr std::size_t most_keys = 65536;

struct Keys {
    std::mutex mutex;                   // held for tens of instructions, but when a vector grows
    std::vector<std::uint64_t> serial;  // of each index; 0: it is free
    std::vector<std::uint32_t> free;    // has room for all
    std::uint64_t next_serial = 1;
};

// Made on first use and never destroyed: keys may be static objects.
Keys& keys() {
    static auto* const instance = new Keys;
    return *instance;
}

bool is_alive(std::size_t index, std::uint64_t serial) {
    const std::lock_guard hold{keys().mutex};
    return keys().serial[index] == serial;
}

// --- a plain thread's map ---

// Laundered: the same code runs in fibers, see worker.hpp.
[[gnu::noinline]] LocalMap*& map_of_thread() noexcept {
    thread_local LocalMap* map = nullptr;
    LocalMap** p = &map;
    asm volatile("" : "+r"(p));
    return *p;
}

struct ThreadEnd {
    // What later destructors of thread_locals make has nobody to destroy it.
    ~ThreadEnd() {
        LocalMap*& map = map_of_thread();
        map->clear();
        delete std::exchange(map, nullptr);
    }
};

[[gnu::noinline]] LocalMap& need_map_of_thread() {
    LocalMap*& map = map_of_thread();
    if (map == nullptr) {
        map = new LocalMap;
        thread_local const ThreadEnd end;
        (void)end;
    }
    return *map;
}

// --- the caller's ---

FiberCore* this_fiber() noexcept {
    Worker* const worker = Worker::current();
    return worker == nullptr ? nullptr : worker->fiber();
}

// Null: the caller has no values.
LocalMap* map_of_caller() noexcept {
    FiberCore* const fiber = this_fiber();
    if (fiber == nullptr) return map_of_thread();
    FiberExtras* const extras = fiber->extras.load(std::memory_order_acquire);
    return extras == nullptr ? nullptr : &extras->locals;
}

LocalMap& need_map_of_caller() {
    FiberCore* const fiber = this_fiber();
    return fiber == nullptr ? need_map_of_thread() : fiber->need_extras().locals;
}

}  // namespace

LocalKey::LocalKey(const LocalType& type) : type_{type} {
    Keys& all = keys();
    const std::lock_guard hold{all.mutex};
    if (all.free.empty()) {
        const std::size_t index = all.serial.size();
        if (index == most_keys) {
            throw std::system_error{std::make_error_code(std::errc::resource_unavailable_try_again),
                                    "weft: 65536 FiberLocals exist"};
        }
        all.free.reserve(index + 1);
        all.serial.push_back(0);
        all.free.push_back(static_cast<std::uint32_t>(index));
    }
    index_ = all.free.back();
    all.free.pop_back();
    serial_ = all.next_serial++;
    all.serial[index_] = serial_;
    if (type.copy != nullptr) inheritable_locals.fetch_add(1, std::memory_order_relaxed);
}

LocalKey::~LocalKey() {
    if (type_.copy != nullptr) inheritable_locals.fetch_sub(1, std::memory_order_relaxed);
    Keys& all = keys();
    const std::lock_guard hold{all.mutex};
    WEFT_ASSERT(all.serial[index_] == serial_);
    all.serial[index_] = 0;
    all.free.push_back(index_);
}

void* find_local(const LocalKey& key) noexcept {
    const LocalMap* const map = map_of_caller();
    return map == nullptr ? nullptr : map->find(key.index(), key.serial());
}

void begin_local(const LocalKey& key) {
    LocalMap& map = need_map_of_caller();
    map.reserve(key.index());
    if (map.at(key.index()).serial == key.serial()) {
        throw std::logic_error{"weft: making the value of a FiberLocal asks for that value"};
    }
    map.put(key.index(), {key.serial(), nullptr, &key.type()});
}

void put_local(const LocalKey& key, void* value) noexcept {
    LocalMap::Value made;
    if (value != nullptr) made = {key.serial(), value, &key.type()};
    map_of_caller()->put(key.index(), made);
}

void reset_local(const LocalKey& key) noexcept {
    if (find_local(key) != nullptr) map_of_caller()->put(key.index(), {});
}

void inherit_locals(std::unique_ptr<FiberExtras>& extras) {
    const LocalMap* const mine = map_of_caller();
    if (mine == nullptr) return;
    for (std::uint32_t i = 0; i < mine->size(); ++i) {
        const LocalMap::Value value = mine->at(i);
        if (value.object == nullptr || value.type->copy == nullptr) continue;
        if (!is_alive(i, value.serial)) continue;
        if (extras == nullptr) extras = std::make_unique<FiberExtras>();
        extras->locals.reserve(i);
        extras->locals.put(i, {value.serial, value.type->copy(value.object), value.type});
    }
}

void destroy_locals(FiberCore& fiber) noexcept {
    FiberExtras* const extras = fiber.extras.load(std::memory_order_acquire);
    if (extras->locals.empty()) return;
    const this_fiber::Shield shield;
    extras->locals.clear();
}

}  // namespace weft::detail
