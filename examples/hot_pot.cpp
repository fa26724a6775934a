// A cook fills the pot when it is empty, and diners take from it until it is: producer and
// consumers with a Condition for each of the two things they wait for.
#include <weft/weft.hpp>

#include <cstdio>
#include <mutex>
#include <vector>

class HotPot {
public:
    explicit HotPot(int room) : room_{room} {}

    void fill() {
        const std::lock_guard guard{lock_};
        empty_.wait([&] { return balls_ == 0; });
        std::printf("cook: nothing left? Here are %d fish balls.\n", room_);
        balls_ = room_;
        filled_.notify_all();
    }

    void take() {
        const std::lock_guard guard{lock_};
        filled_.wait([&] { return balls_ > 0; });
        --balls_;
        std::printf("a diner takes one, %d left\n", balls_);
        if (balls_ == 0) empty_.notify_one();
    }

private:
    const int room_;
    int balls_ = 0;
    weft::Lock lock_;
    weft::Condition empty_{lock_};
    weft::Condition filled_{lock_};
};

int main() {
    weft::run([] {
        HotPot pot{5};
        std::vector<weft::Fiber<>> table;
        table.push_back(weft::spawn([&] {
            for (int round = 0; round < 3; ++round) pot.fill();
        }));
        for (int diner = 0; diner < 3; ++diner) {
            table.push_back(weft::spawn([&] {
                for (int eaten = 0; eaten < 5; ++eaten) pot.take();
            }));
        }
        weft::join_all(table);
        std::puts("Three diners have had five each.");
    });
}
