// Latch. Layer: sync. Uses: nothing but Countdown.
#include <weft/latch.hpp>

#include <stdexcept>
#include <string>

namespace weft {

namespace {
constexpr detail::Countdown::Names names{"Latch", "Latch::wait"};
}  // namespace

Latch::Latch(std::ptrdiff_t expected) : expected_{expected, names} {}

void Latch::count_down(std::ptrdiff_t count) {
    if (count < 0) {
        throw std::invalid_argument{"weft: Latch::count_down() by " + std::to_string(count)};
    }
    expected_.change(-count);
}

bool Latch::arrive_and_wait(std::ptrdiff_t count, Deadline deadline) {
    count_down(count);
    return wait(deadline);
}

}  // namespace weft
