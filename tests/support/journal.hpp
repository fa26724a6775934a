// What fibers write down in the order they come, for the test to read.
//
// With a lock though they may all run on one worker: that is no edge between
// fibers, and TSan knows it.
#pragma once

#include <mutex>
#include <vector>

namespace weft::test {

template <class T>
class Journal {
public:
    void add(T entry) {
        const std::lock_guard hold{mutex_};
        entries_.push_back(entry);
    }
    std::vector<T> entries() const {
        const std::lock_guard hold{mutex_};
        return entries_;
    }

private:
    mutable std::mutex mutex_;
    std::vector<T> entries_;  // guarded by mutex_
};

}  // namespace weft::test
