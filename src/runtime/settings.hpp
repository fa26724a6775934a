// Settings: Options with the environment and the defaults filled in.
// Layer: runtime. Uses: base, context.
#pragma once

#include <weft/runtime.hpp>

#include <chrono>
#include <cstdint>

namespace weft::detail {

struct Settings {
    std::uint32_t workers;
    std::size_t stack_size;
    std::size_t main_stack_size;
    Io io;
    std::uint32_t file_threads;
    UnhandledHandler on_unhandled;
    std::chrono::nanoseconds spin;
    bool force_migrate;
    bool detect_cycles;
    bool watch_lock_order;
};

/// Throws std::invalid_argument that names the option or variable and its value.
Settings resolve(const Options& options);

}  // namespace weft::detail
