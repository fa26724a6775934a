// The Date field, formatted once a second.
//
// An ordinary mutex does: it is held for some nanoseconds, and no fiber is
// suspended meanwhile. Not a thread-local cache: a fiber may go on on another
// thread than the one whose cache it found.
#include "http/date.hpp"

#include <ctime>
#include <mutex>

namespace server {

namespace {

std::mutex mutex;
std::time_t second = -1;  // guarded by mutex
HttpDate date;            // guarded by mutex; of that second

}  // namespace

HttpDate http_date() noexcept {
    const std::time_t now = std::time(nullptr);
    const std::lock_guard lock{mutex};
    if (now != second) {
        std::tm parts;
        ::gmtime_r(&now, &parts);
        // The names of %a and %b are English: nothing here calls setlocale().
        std::strftime(date.text.data(), date.text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
        second = now;
    }
    return date;
}

}  // namespace server
