// Who calls a hook is told by where the call returns to.
#include "support/catch.hpp"

#include <weft/fiber.hpp>
#include <weft/hooks.hpp>
#include <weft/once.hpp>
#include <weft/runtime.hpp>
#include <weft/task_group.hpp>

#include <cstring>
#include <vector>

#include <unistd.h>

namespace {

unsigned long long taken(const char* name) {
    for (const auto& each : weft::hooks::report().symbols) {
        if (std::strcmp(each.name, name) == 0) return each.taken;
    }
    return 0;
}

}  // namespace

// A compiler makes a jump of such a call, and then it would return into weft's own code.
TEST_CASE("a call that is the last thing a fiber does is taken", "[hooks][caller]") {
    weft::hooks::patch_time();
    const auto before = taken("usleep");
    weft::run([] {
        std::vector<weft::Fiber<>> fibers;
        fibers.push_back(weft::spawn([] { usleep(1); }));
        weft::join_all(fibers);
        weft::Once once;
        once.call([] { usleep(1); });
        weft::task_group([](weft::TaskGroup& group) {
            group.start_soon([] { usleep(1); });
            usleep(1);
        });
        weft::task_group([](weft::TaskGroup&) { usleep(1); });
        weft::spawn(usleep, 1).get();
    });
    REQUIRE(taken("usleep") == before + 6);
}
