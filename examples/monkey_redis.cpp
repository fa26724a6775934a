// Many fibers make plain hiredis calls on one worker: all together take about as long as one.
//
//   monkey_redis PORT [N]
#include <weft/fiber.hpp>
#include <weft/hooks.hpp>
#include <weft/runtime.hpp>

#include <hiredis/hiredis.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

/// As anybody writes it who has never heard of fibers. Waits 0.2 s for an item that never comes.
bool waits_in_vain(int port, int number) {
    redisContext* const connection = redisConnect("127.0.0.1", port);
    bool good = connection->err == 0;
    if (good) {
        void* const reply = redisCommand(connection, "BLPOP nothing:%d 0.2", number);
        good = reply != nullptr && static_cast<redisReply*>(reply)->type == REDIS_REPLY_NIL;
        if (reply != nullptr) freeReplyObject(reply);
    }
    if (!good) std::fprintf(stderr, "%s\n", connection->errstr);
    redisFree(connection);
    return good;
}

template <class F>
double seconds(F&& work) {
    const auto begun = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
}

int main(int argc, char** argv) {
    const int port = argc > 1 ? std::atoi(argv[1]) : 6379;
    const int count = argc > 2 ? std::atoi(argv[2]) : 200;
    weft::hooks::patch_all();
    const bool right = weft::run(
        [=] {
            bool good = true;
            const double one = seconds([&] { good = waits_in_vain(port, 0); });
            const double all = seconds([&] {
                std::vector<weft::Fiber<bool>> fibers;
                for (int i = 0; i < count; ++i) {
                    fibers.push_back(weft::spawn(waits_in_vain, port, i));
                }
                for (auto& each : fibers) good = each.get() && good;
            });
            std::printf("one command: %.2f s; %d at once: %.2f s\n", one, count, all);
            return good;
        },
        {.workers = 1});
    return right ? 0 : 1;
}
