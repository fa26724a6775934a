// Two transfers in opposite directions lock each other out. Who would close the
// cycle is told, and may try again. (bank_transfer.cpp: three ways not to come to it.)
#include <weft/weft.hpp>

#include <cstdio>
#include <mutex>

struct Account {
    weft::Lock lock;
    int balance = 100;
};

void move(Account& from, Account& to, int amount) {
    from.balance -= amount;
    to.balance += amount;
}

// Each holds its own and wants the other's: the lock() that closes the cycle throws.
void naive(Account& from, Account& to, int amount) {
    const std::lock_guard mine{from.lock};
    while (!to.lock.locked()) weft::this_fiber::yield();
    const std::lock_guard also{to.lock};
    move(from, to, amount);
}

// What it had locked is unlocked by the throw, so that the other one goes on.
void detected(Account& from, Account& to, int amount) try {
    naive(from, to, amount);
} catch (const weft::Deadlock&) {
    const std::scoped_lock both{from.lock, to.lock};
    move(from, to, amount);
}

void both_ways(const char* name, void (*transfer)(Account&, Account&, int)) {
    Account one, other;
    auto there = weft::spawn([&] { transfer(one, other, 30); });
    auto back = weft::spawn([&] { transfer(other, one, 10); });
    int told = 0;
    for (auto* fiber : {&there, &back}) {
        try {
            fiber->get();
        } catch (const weft::Deadlock&) {
            ++told;
        }
    }
    std::printf("%s: %d transfers of 2, %d in all\n", name, 2 - told, one.balance + other.balance);
}

int main() {
    const auto all = [] {
        both_ways("naive", naive);
        both_ways("detected", detected);
    };
    weft::run(all, {.detect_cycles = true});
}
