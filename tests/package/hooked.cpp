// A fiber of somebody's who links the hooks: two sleeps at once are counted as taken.
#include <weft/hooks.hpp>
#include <weft/weft.hpp>

#include <unistd.h>

#include <cstdio>
#include <string_view>

int main() {
    weft::hooks::patch_time();
    weft::run([] {
        auto other = weft::spawn([] { ::usleep(1000); });
        ::usleep(1000);
    });
    for (const auto& each : weft::hooks::report().symbols) {
        if (std::string_view{each.name} == "usleep") std::printf("%d\n", each.taken == 2 ? 42 : 0);
    }
}
