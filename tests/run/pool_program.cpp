// A pool that is a static object: its destructor, which exit() calls, tells its thread to end and
// joins it. Built without weft.
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>

namespace {

class Pool {
public:
    ~Pool() {
        {
            const std::lock_guard hold{mutex_};
            is_over_ = true;
        }
        changed_.notify_one();
        if (thread_.joinable()) thread_.join();
        std::puts("joined");
    }

    void submit() {
        const std::lock_guard hold{mutex_};
        if (!thread_.joinable()) thread_ = std::thread{[this] { work(); }};
        ++jobs_;
        changed_.notify_one();
    }

private:
    void work() {
        std::unique_lock hold{mutex_};
        for (;;) {
            changed_.wait(hold, [this] { return is_over_ || jobs_ > 0; });
            if (jobs_ == 0) return;
            --jobs_;
            std::puts("job");
        }
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    bool is_over_ = false;
    int jobs_ = 0;
    std::thread thread_;
};

Pool pool;

}  // namespace

int main(int count, char**) {
    pool.submit();
    pool.submit();
    // As main's return, or from another thread.
    if (count > 1) std::thread{[] { std::exit(3); }}.join();
    return 4;
}
