// What does a hook cost? Layer: benchmarks.
//
//   hooks [--rounds=21] [--calls=200000]
//
// Each line calls one thing in two ways, in turn, `rounds` times; the values are the
// median costs and the median difference within a round. Where it says "thread", the calls
// are made outside of fibers, hooked and unpatched alike ("patched": everything is patched)
// against libc's own function by its address. Both are called through a pointer.
//
//   mutex      lock and unlock a pthread_mutex_t that nobody else wants
//   getspecific, once, semaphore (post and wait), read of 0 bytes, getppid by syscall()
//   signal     pthread_cond_signal() while nobody waits
//   turns      two plain threads hand a turn to each other by conditions, there and back
//   read64     read 64 bytes that are there, from a pipe: hooked against weft's PipeReader
#include "common/arguments.hpp"
#include "common/json.hpp"
#include "common/measure.hpp"

#include <weft/hooks.hpp>
#include <weft/io/pipe.hpp>
#include <weft/lock.hpp>
#include <weft/runtime.hpp>

#include <array>
#include <cstddef>
#include <cstdio>
#include <string_view>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

struct Settings {
    int rounds;
    long calls;
};

double median(std::vector<float> values) { return bench::quantile(values, 0.5); }

/// Times `before` and `after`, each of which makes as many calls as it is told.
template <class Before, class After>
void compare(std::string_view line, std::string_view where, const Settings& settings,
             std::array<std::string_view, 2> names, Before&& before, After&& after) {
    std::vector<float> first;
    std::vector<float> second;
    std::vector<float> difference;
    std::vector<float> ratio;
    const auto time = [&](auto&& calls) {
        const auto begin = bench::now_ns();
        calls(settings.calls);
        return static_cast<double>(bench::now_ns() - begin) / static_cast<double>(settings.calls);
    };
    for (int round = -1; round < settings.rounds; ++round) {
        const bool swap = round % 2 != 0;
        const double early = swap ? time(after) : time(before);
        const double late = swap ? time(before) : time(after);
        if (round < 0) continue;
        const double a = swap ? late : early;
        const double b = swap ? early : late;
        first.push_back(static_cast<float>(a));
        second.push_back(static_cast<float>(b));
        difference.push_back(static_cast<float>(b - a));
        ratio.push_back(static_cast<float>(b / a));
    }
    bench::JsonLine{}
        .text("bench", "hooks")
        .text("line", line)
        .text("where", where)
        .value("ns more", median(difference))
        .number("ratio", median(ratio))
        .number(names[0], median(first))
        .number(names[1], median(second))
        .print();
}

constexpr std::array<std::string_view, 2> libc_and_hook{"libc", "hooked"};

// Not inlined, so that every line's loop is laid out alike.
template <class Call>
[[gnu::noinline]] void repeat(long count, Call call) {
    for (long i = 0; i < count; ++i) call();
}

/// The same call by libc's function and by what the name means here.
template <class Function, class Call>
void line(std::string_view name, std::string_view where, const Settings& settings,
          Function* function, Call call) {
    Function* volatile const libc = weft::hooks::original(function);
    Function* volatile const hooked = function;
    compare(
        name, where, settings, libc_and_hook,
        [&](long count) { repeat(count, [&, f = libc] { call(f); }); },
        [&](long count) { repeat(count, [&, f = hooked] { call(f); }); });
}

void mutex(std::string_view where, const Settings& settings) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    using Function = int(pthread_mutex_t*);
    Function* volatile const lock = weft::hooks::original(&pthread_mutex_lock);
    Function* volatile const unlock = weft::hooks::original(&pthread_mutex_unlock);
    Function* volatile const hooked_lock = &pthread_mutex_lock;
    Function* volatile const hooked_unlock = &pthread_mutex_unlock;
    const auto pair = [](Function* l, Function* u) {
        return [l, u] {
            l(&mutex);
            u(&mutex);
        };
    };
    compare(
        "mutex", where, settings, libc_and_hook,
        [&](long count) { repeat(count, pair(lock, unlock)); },
        [&](long count) { repeat(count, pair(hooked_lock, hooked_unlock)); });
}

/// Plain threads' conditions, which with threads patched are in the queues that fibers wait in.
struct ConditionCalls {
    decltype(&pthread_cond_wait) wait;
    decltype(&pthread_cond_signal) signal;
};

/// Two threads hand a turn to each other, `count` times there and back.
void take_turns(long count, ConditionCalls calls) {
    struct {
        pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
        pthread_cond_t changed[2] = {PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER};
        std::size_t turn = 0;
    } shared;
    const auto play = [&, calls, count](std::size_t me) {
        pthread_mutex_lock(&shared.mutex);
        for (long i = 0; i < count; ++i) {
            while (shared.turn != me) calls.wait(&shared.changed[me], &shared.mutex);
            shared.turn = 1 - me;
            calls.signal(&shared.changed[1 - me]);
        }
        pthread_mutex_unlock(&shared.mutex);
    };
    std::thread other{[&] { play(1); }};
    play(0);
    other.join();
}

void conditions(std::string_view where, const Settings& settings) {
    pthread_cond_t nobody_waits = PTHREAD_COND_INITIALIZER;
    line("signal", where, settings, &pthread_cond_signal, [&](auto* f) { f(&nobody_waits); });
    const ConditionCalls libc{weft::hooks::original(&pthread_cond_wait),
                              weft::hooks::original(&pthread_cond_signal)};
    const ConditionCalls hooked{&pthread_cond_wait, &pthread_cond_signal};
    const Settings few{settings.rounds, settings.calls / 100};
    compare(
        "turns", where, few, libc_and_hook, [&](long count) { take_turns(count, libc); },
        [&](long count) { take_turns(count, hooked); });
}

void everything(std::string_view where, const Settings& settings) {
    mutex(where, settings);
    pthread_key_t key{};
    pthread_key_create(&key, nullptr);
    pthread_setspecific(key, &key);
    line("getspecific", where, settings, &pthread_getspecific, [&](auto* f) { (void)f(key); });
    pthread_key_delete(key);

    static pthread_once_t once = PTHREAD_ONCE_INIT;
    line("once", where, settings, &pthread_once, [](auto* f) { f(&once, [] {}); });

    sem_t units;
    sem_init(&units, 0, 0);
    line("semaphore", where, settings, &sem_post, [&](auto* f) {
        f(&units);
        sem_trywait(&units);
    });
    sem_destroy(&units);

    const int fd = ::open("/dev/null", O_RDONLY);
    char byte = 0;
    line("read", where, settings, &read, [&](auto* f) { (void)!f(fd, &byte, 0); });
    ::close(fd);
    line("syscall", where, settings, &syscall, [](auto* f) { (void)f(SYS_getppid); });
}

/// Reads that find their data, of a pipe that is filled between them.
void reads(const Settings& settings) {
    constexpr std::size_t size = 64;
    constexpr std::size_t room = 65536;
    const std::vector<char> data(room, 'x');
    auto pipe = weft::io::Pipe::open();
    int ends[2];
    if (::pipe(ends) != 0) return;
    std::vector<float> native;
    std::vector<float> hooked;
    std::vector<float> ratio;
    std::array<std::byte, size> piece;
    const auto time = [&](auto&& fill, auto&& take) {
        double ns = 0;
        const long fills = settings.calls / static_cast<long>(room / size) + 1;
        for (long i = 0; i < fills; ++i) {
            fill();
            const auto begin = bench::now_ns();
            for (std::size_t j = 0; j < room / size; ++j) take();
            ns += static_cast<double>(bench::now_ns() - begin);
        }
        return ns / static_cast<double>(fills * static_cast<long>(room / size));
    };
    const auto by_weft = [&] {
        return time([&] { pipe.writer.write(std::as_bytes(std::span{data})); },
                    [&] { (void)pipe.reader.read(piece); });
    };
    const auto by_hook = [&] {
        return time([&] { (void)!::write(ends[1], data.data(), room); },
                    [&] { (void)!::read(ends[0], piece.data(), size); });
    };
    for (int round = -1; round < settings.rounds; ++round) {
        const bool swap = round % 2 != 0;
        const double early = swap ? by_hook() : by_weft();
        const double late = swap ? by_weft() : by_hook();
        if (round < 0) continue;
        native.push_back(static_cast<float>(swap ? late : early));
        hooked.push_back(static_cast<float>(swap ? early : late));
        ratio.push_back(hooked.back() / native.back());
    }
    ::close(ends[0]);
    ::close(ends[1]);
    bench::JsonLine{}
        .text("bench", "hooks")
        .text("line", "read64")
        .text("where", "fiber")
        .value("ratio", median(ratio))
        .number("weft", median(native))
        .number("hooked", median(hooked))
        .print();
}

void weft_lock(const Settings& settings) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static weft::Lock lock;
    compare(
        "weft::Lock to mutex", "fiber", settings, {"weft", "hooked"},
        [](long count) {
            repeat(count, [] {
                lock.lock();
                lock.unlock();
            });
        },
        [](long count) {
            repeat(count, [] {
                pthread_mutex_lock(&mutex);
                pthread_mutex_unlock(&mutex);
            });
        });
}

}  // namespace

int main(int argc, char** argv) {
    const bench::Arguments arguments{argc, argv};
    const Settings settings{static_cast<int>(arguments.number("rounds", 21)),
                            static_cast<long>(arguments.number("calls", 200'000))};
    // glibc takes short cuts while there is but one thread.
    weft::Runtime other{{.workers = 1}};
    everything("thread, unpatched", settings);
    conditions("thread, unpatched", settings);
    weft::hooks::patch_all();
    everything("thread, patched", settings);
    conditions("thread, patched", settings);
    weft::run(
        [&] {
            everything("fiber", settings);
            weft_lock(settings);
            reads(settings);
        },
        {.workers = 1});
}
