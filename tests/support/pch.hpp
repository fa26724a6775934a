// What most tests include, for a compiler to parse once for all of them (Meson's b_pch). No test
// relies on it.
#include "support/catch.hpp"
#include "support/runtime.hpp"

#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/semaphore.hpp>

#include <algorithm>
#include <array>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>
