// What FiberPool and ThreadPool have in common. Layer: task. Uses: nothing.
#include <weft/pool.hpp>

#include <stdexcept>

namespace weft {

const char* PoolClosed::what() const noexcept { return "weft: the pool is closed"; }

Pool::Pool(std::size_t size) : size_{size} {
    if (size == 0) throw std::invalid_argument{"weft: a pool of nobody"};
}

Pool::~Pool() = default;

}  // namespace weft
