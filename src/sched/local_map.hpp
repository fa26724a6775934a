// LocalMap: the values that one fiber, or one plain thread, has of FiberLocals.
// Layer: sched. Uses: std.
//
// Invariants
//  1. Only its fiber touches a map, or its thread: it has no lock.
//  2. A value is of the key whose serial lies beside it. A key that is gone
//     leaves its values behind; one is destroyed when the next key of the same
//     index puts its own there, else with the map.
//     One without an object is being made.
//  3. A value is destroyed after it was taken out, so that its destructor may
//     use the map, also to make the value anew.
#pragma once

#include <weft/detail/local_key.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace weft::detail {

class LocalMap {
public:
    /// How often clear() begins again because destructors made values anew.
    static constexpr int most_rounds = 4;

    struct Value {
        std::uint64_t serial = 0;
        void* object = nullptr;
        const LocalType* type = nullptr;
    };

    LocalMap() noexcept = default;
    LocalMap(const LocalMap&) = delete;
    LocalMap& operator=(const LocalMap&) = delete;
    ~LocalMap() { clear(); }

    void* find(std::uint32_t index, std::uint64_t serial) const noexcept {
        return index < values_.size() && values_[index].serial == serial ? values_[index].object
                                                                         : nullptr;
    }

    /// Throws std::bad_alloc.
    void reserve(std::uint32_t index) {
        if (index >= values_.size()) values_.resize(index + 1);
    }

    /// Requires: reserve(index) before.
    void put(std::uint32_t index, const Value& value) noexcept {
        destroy(std::exchange(values_[index], value));
    }

    std::size_t size() const noexcept { return values_.size(); }
    Value at(std::size_t index) const noexcept { return values_[index]; }

    bool empty() const noexcept {
        return std::all_of(values_.begin(), values_.end(),
                           [](const Value& value) { return value.object == nullptr; });
    }

    /// Destroys all values. What destructors go on making after `most_rounds` is
    /// left to leak.
    void clear() noexcept {
        for (int round = 0; round < most_rounds && !empty(); ++round) {
            for (std::size_t i = values_.size(); i-- > 0;) {
                destroy(std::exchange(values_[i], Value{}));
            }
        }
        values_.clear();
    }

private:
    static void destroy(const Value& value) noexcept {
        if (value.object != nullptr) value.type->destroy(value.object);
    }

    std::vector<Value> values_;  // by the index of the key
};

}  // namespace weft::detail
