// Three sellers and the last tickets: between the look and the sale others run, on one
// thread as on many, so that one ticket is sold by each. A Lock keeps both together.
#include <weft/fiber.hpp>
#include <weft/lock.hpp>
#include <weft/runtime.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <cstdio>
#include <mutex>
#include <vector>

struct Office {
    std::atomic<int> tickets{10};  // each access is whole; what is between two is not
    std::atomic<int> sold{0};
    weft::Lock lock;
};

// Returns whether there was one left.
bool sell_one(Office& office) {
    if (office.tickets == 0) return false;
    const int left = office.tickets - 1;
    weft::this_fiber::yield();  // here it asks the customer's name, and another fiber runs
    office.tickets = left;
    ++office.sold;
    return true;
}

bool sell_one_locked(Office& office) {
    const std::lock_guard guard{office.lock};
    return sell_one(office);
}

void sell_all(const char* how, bool (*sell)(Office&)) {
    Office office;
    std::vector<weft::Fiber<>> sellers;
    for (int i = 0; i < 3; ++i) {
        sellers.push_back(weft::spawn([&office, sell] {
            while (sell(office)) {
            }
        }));
    }
    weft::join_all(sellers);
    std::printf("%s: 10 tickets, %d sold\n", how, office.sold.load());
}

int main() {
    weft::run([] { sell_all("without a lock", sell_one); }, {.workers = 1});
    weft::run([] { sell_all("with a lock", sell_one_locked); });
}
