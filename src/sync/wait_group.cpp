// WaitGroup. Layer: sync. Uses: nothing but Countdown.
#include <weft/wait_group.hpp>

namespace weft {

namespace {
constexpr detail::Countdown::Names names{"WaitGroup", "WaitGroup::wait"};
}  // namespace

WaitGroup::WaitGroup() : jobs_{0, names} {}

}  // namespace weft
