#pragma once

#include <weft/detail/export.hpp>

#include <exception>
#include <string_view>

namespace weft {

/// Nobody can go on: each waits for another.
///
/// Thrown, with Options::detect_cycles, by the lock(), join() or Once::call() that would
/// close a cycle of untimed waits for locks, fibers and Onces; in any case by weft::run(),
/// Runtime::wait() and weft::simulate() when all fibers wait and nothing can wake one; and then
/// also out of those calls that were waiting, where nothing else helped. what() is the whole
/// report: each fiber with its name, what it waits for, who has that, and where.
class WEFT_API Deadlock : public std::exception {
public:
    explicit Deadlock(std::string_view report) noexcept;
    Deadlock(const Deadlock& other) noexcept;
    Deadlock& operator=(const Deadlock&) = delete;
    ~Deadlock() override;
    const char* what() const noexcept override;

private:
    char* report_;  // heap; null when there was no memory for it
};

}  // namespace weft
