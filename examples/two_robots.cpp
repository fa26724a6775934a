// Two voices that speak by turns: each waits, with one Condition, until it is its turn.
#include <weft/condition.hpp>
#include <weft/fiber.hpp>
#include <weft/lock.hpp>
#include <weft/runtime.hpp>

#include <cstdio>
#include <mutex>
#include <vector>

struct Talk {
    weft::Lock lock;
    weft::Condition changed{lock};
    int turn = 0;
};

void speak(Talk& talk, int me, const char* name, const std::vector<const char*>& lines) {
    const std::lock_guard guard{talk.lock};  // wait() gives it away and takes it again
    for (const char* line : lines) {
        talk.changed.wait([&] { return talk.turn == me; });
        std::printf("%s: %s\n", name, line);
        talk.turn = 1 - me;
        talk.changed.notify_one();
    }
}

int main() {
    weft::run([] {
        Talk talk;
        auto second = weft::spawn([&] {
            speak(talk, 1, "Robin",
                  {"Here I am.", "Gladly.", "You dwell where it comes to its end.",
                   "We drink of one river, my friend.", "And when will my longing be still?",
                   "I have not failed you, and I never will."});
        });
        auto first = weft::spawn([&] {
            speak(talk, 0, "Alex",
                  {"Robin?", "Let us say the old poem.", "I dwell where the river is small.",
                   "I think of you daily, and see you not at all.",
                   "When will this water stand still?", "If only your heart were like mine."});
        });
        first.join();
        second.join();
    });
}
