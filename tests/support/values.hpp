// Values that are hard to hand over.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace weft::test {

/// Counts how many there are.
class Counted {
public:
    explicit Counted(int number) noexcept : number_{number} { ++alive; }
    Counted(Counted&& other) noexcept : number_{std::exchange(other.number_, moved_from)} {
        ++alive;
    }
    Counted& operator=(Counted&&) = delete;
    ~Counted() { --alive; }

    int number() const noexcept { return number_; }

    static constexpr int moved_from = -1;
    static inline std::atomic<int> alive{0};

private:
    int number_;
};

/// The one whose number is stuck throws when it is moved, and stays as it is.
class Fragile {
public:
    struct Broken {};

    explicit Fragile(int number) noexcept : number_{number} { ++alive; }
    Fragile(Fragile&& other) : number_{other.number_} {
        if (number_ == stuck) throw Broken{};
        other.number_ = moved_from;
        ++alive;
    }
    Fragile& operator=(Fragile&&) = delete;
    ~Fragile() { --alive; }

    int number() const noexcept { return number_; }

    static constexpr int moved_from = -1;
    static constexpr int none = -2;
    static inline std::atomic<int> stuck{none};
    static inline std::atomic<int> alive{0};

private:
    int number_;
};

/// Lies where few things do, and notices if it does not.
struct alignas(256) Aligned {
    explicit Aligned(int n) noexcept : number{n} {}
    bool is_in_place() const noexcept { return reinterpret_cast<std::uintptr_t>(this) % 256 == 0; }
    int number;
};

}  // namespace weft::test
