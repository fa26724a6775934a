// One fiber listens to two others, to a stop button and to the clock, whichever
// comes first.
#include <weft/channel.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/runtime.hpp>
#include <weft/select.hpp>

#include <chrono>
#include <cstdio>
#include <optional>

using namespace std::chrono_literals;
using weft::after;
using weft::on_event;
using weft::on_recv;
using weft::on_send;
using weft::otherwise;

int main() {
    const auto listen = [] {
        weft::Channel<int> ticks;
        weft::Channel<const char*> news;
        weft::Event quiet;
        weft::Event stop;

        auto clock = weft::spawn([&] {
            for (int i = 1; i <= 3; ++i) ticks.send(i);
            ticks.close();
        });
        auto reporter = weft::spawn([&] {
            quiet.wait();
            quiet.clear();
            news.send("late news");
            quiet.wait();
            stop.set();
        });

        bool over = false;
        weft::RecvOnly<int> ticking = ticks;
        const auto on_tick = [&](std::optional<int> tick) {
            if (tick) return void(std::printf("tick %d\n", *tick));
            std::puts("the clock has ended");
            ticking = {};  // nil: never ready again
        };
        const auto on_news = [](std::optional<const char*> text) { std::puts(*text); };
        const auto warn = [&] {
            std::puts("nothing for 300 ms");
            quiet.set();
        };
        while (!over) {
            weft::select(on_recv(ticking, on_tick), on_recv(news, on_news), after(300ms, warn),
                         on_event(stop, [&] { over = true; }));
        }

        weft::select(on_send(news, "nobody listens", [] { std::puts("sent"); }),
                     otherwise([] { std::puts("nobody there to send to"); }));
    };
    weft::run(listen, {.workers = 1});  // so that no fiber is held up while time goes by
}
