// Transfers in opposite directions, each of which needs both accounts' locks: three
// ways that do not deadlock. (bank_deadlock.cpp: the one that does.)
#include <weft/weft.hpp>

#include <chrono>
#include <cstdio>
#include <functional>
#include <mutex>

struct Account {
    weft::Lock lock;
    int balance = 100;
};

void move(Account& from, Account& to, int amount) {
    from.balance -= amount;
    to.balance += amount;
}

// std::lock() backs off until it has both.
void scoped(Account& from, Account& to, int amount) {
    const std::scoped_lock both{from.lock, to.lock};
    move(from, to, amount);
}

// Gives up its own if the other's is not to be had. Waits of unequal length part the two.
void timed(Account& from, Account& to, int amount) {
    for (auto patience = std::chrono::milliseconds{1 + amount % 3};; patience *= 2) {
        std::unique_lock mine{from.lock};
        std::unique_lock also{to.lock, std::defer_lock};
        if (also.try_lock_for(patience)) return move(from, to, amount);
        mine.unlock();
        weft::this_fiber::sleep_for(patience);
    }
}

// One order for all, and no cycle can come about.
void ordered(Account& from, Account& to, int amount) {
    const bool from_first = std::less{}(&from, &to);
    const std::lock_guard first{(from_first ? from : to).lock};
    const std::lock_guard second{(from_first ? to : from).lock};
    move(from, to, amount);
}

void both_ways(const char* name, void (*transfer)(Account&, Account&, int)) {
    Account one, other;
    auto there = weft::spawn([&] { transfer(one, other, 30); });
    auto back = weft::spawn([&] { transfer(other, one, 10); });
    there.get();
    back.get();
    std::printf("%s: %d and %d\n", name, one.balance, other.balance);
}

int main() {
    weft::run([] {
        both_ways("timed", timed);
        both_ways("ordered", ordered);
        both_ways("scoped", scoped);
    });
}
