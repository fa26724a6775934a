// Servers start and wait for each other at a Barrier: all of them serve, or none does.
#include <weft/barrier.hpp>
#include <weft/fiber.hpp>
#include <weft/runtime.hpp>

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

std::string start(weft::Barrier& all_up, bool works) {
    if (!works) {
        all_up.abort();
        return "cannot start";
    }
    try {
        all_up.wait();
        return "serving";
    } catch (const weft::BrokenBarrier&) {
        return "stopped, for another one is missing";
    }
}

void start_all(weft::Barrier& all_up, std::string_view broken) {
    std::vector<weft::Fiber<std::string>> servers;
    for (std::string_view name : {"database", "cache", "web"}) {
        const bool works = name != broken;
        servers.push_back(
            weft::spawn({.name = name}, [&all_up, works] { return start(all_up, works); }));
    }
    for (auto& server : servers) {
        std::printf("%s: %s\n", std::string{server.name()}.c_str(), server.get().c_str());
    }
}

int main() {
    weft::run([] {
        weft::Barrier all_up{3, [] { std::puts("The last of them is up, too."); }};
        start_all(all_up, "cache");
        std::puts("Once more, with a cache that works.");
        all_up.reset();
        start_all(all_up, "none");
    });
}
