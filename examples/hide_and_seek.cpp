// Seeker and hider tell each other how far the game is. Nobody sleeps so as to come second:
// each waits for a state, not for a signal, and who comes late has missed nothing.
#include <weft/condition.hpp>
#include <weft/fiber.hpp>
#include <weft/lock.hpp>
#include <weft/runtime.hpp>

#include <cstdio>
#include <mutex>

enum class State { begin, counted, hidden, found };

class Game {
public:
    void wait_for(State wanted) {
        std::unique_lock guard{lock_};
        changed_.wait(guard, [&] { return state_ == wanted; });
    }
    void now_is(State next) {
        const std::lock_guard guard{lock_};
        state_ = next;
        changed_.notify_all();
    }

private:
    weft::Lock lock_;
    weft::Condition changed_{lock_};
    State state_ = State::begin;
};

void seeker(Game& game) {
    std::printf("seeker: my eyes are shut.");
    for (int i = 1; i <= 10; ++i) std::printf(" %d", i);
    std::puts(". Where are you?");
    game.now_is(State::counted);
    game.wait_for(State::hidden);
    std::puts("seeker: I have found you!");
    game.now_is(State::found);
}

void hider(Game& game) {
    game.wait_for(State::counted);
    std::puts("hider: I have hidden. Come and find me.");
    game.now_is(State::hidden);
    game.wait_for(State::found);
    std::puts("hider: so you have.");
}

int main() {
    weft::run([] {
        Game game;
        auto one = weft::spawn([&] { hider(game); });
        auto other = weft::spawn([&] { seeker(game); });
        one.join();
        other.join();
    });
}
