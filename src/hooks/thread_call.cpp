// Layer: hooks. Uses: task.
#include "hooks/thread_call.hpp"

#include "task/pool_of_process.hpp"

namespace weft::hooks::detail {

ThreadPool& call_threads() {
    static constinit weft::detail::PoolOfProcess threads{most_thread_calls, "hooks", 0};
    return threads.get();
}

ThreadPool& look_up_threads() {
    static constinit weft::detail::PoolOfProcess threads{most_thread_calls, "hooks", 0};
    return threads.get();
}

}  // namespace weft::hooks::detail
