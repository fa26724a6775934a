// Layer: hooks. Uses: task.
#include "hooks/thread_call.hpp"

namespace weft::hooks::detail {

ThreadPool& call_threads() {
    static ThreadPool& threads =
        *new ThreadPool{most_thread_calls, {.name = "hooks", .waiting = 0}};
    return threads;
}

}  // namespace weft::hooks::detail
