#pragma once

#include <cstddef>
#include <new>
#include <utility>

namespace weft {

/// Values in a row: what Pool::map() returns. Move-only.
template <class T>
class Results {
public:
    using value_type = T;

    Results() noexcept = default;
    /// None yet, and room for some. Throws std::bad_alloc.
    explicit Results(std::size_t room)
        : values_{static_cast<T*>(::operator new(room * sizeof(T), alignment))} {}
    Results(Results&& other) noexcept
        : values_{std::exchange(other.values_, nullptr)}, size_{std::exchange(other.size_, 0)} {}
    Results& operator=(Results other) noexcept {
        std::swap(values_, other.values_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~Results() {
        while (size_ > 0) values_[--size_].~T();
        ::operator delete(values_, alignment);
    }

    /// One more, of what `make()` returns. Requires: there is room.
    template <class Make>
    void add(Make&& make) {
        ::new (static_cast<void*>(values_ + size_)) T(make());
        ++size_;
    }

    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    T& operator[](std::size_t i) noexcept { return values_[i]; }
    const T& operator[](std::size_t i) const noexcept { return values_[i]; }
    T* begin() noexcept { return values_; }
    T* end() noexcept { return values_ + size_; }
    const T* begin() const noexcept { return values_; }
    const T* end() const noexcept { return values_ + size_; }

private:
    static constexpr std::align_val_t alignment{alignof(T)};

    T* values_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace weft
