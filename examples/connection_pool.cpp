// Nine clients and three connections: a Semaphore lets no more clients in than there are
// connections, and those who wait go in by order of arrival.
#include <weft/weft.hpp>

#include <algorithm>
#include <cstdio>
#include <mutex>
#include <vector>

class Database {
public:
    explicit Database(int connections) : free_{connections}, batch_{connections} {}

    int query(int number) {
        const std::lock_guard connection{free_};  // Python: with self.free:
        count(+1);
        batch_.wait();  // it answers when each connection has a question
        count(-1);
        return number * number;
    }
    int most() const { return most_; }

private:
    void count(int change) {
        const std::lock_guard guard{lock_};
        in_use_ += change;
        most_ = std::max(most_, in_use_);
    }

    weft::BoundedSemaphore free_;
    weft::Barrier batch_;
    weft::Lock lock_;
    int in_use_ = 0;
    int most_ = 0;
};

int main() {
    weft::run([] {
        Database database{3};
        std::vector<weft::Fiber<int>> clients;
        for (int i = 1; i <= 9; ++i) {
            clients.push_back(weft::spawn([&, i] { return database.query(i); }));
        }
        for (auto& client : clients) std::printf("%d ", client.get());
        std::printf("\nat most %d connections were in use at once\n", database.most());
    });
}
