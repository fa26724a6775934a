// The Date field, made once a second on each thread.
//
// Thread-local state is safe here because no fiber is suspended between
// finding it and using it. This is its own file so that no caller, who may
// well go on on another thread, gets its address inlined.
#include "http/date.hpp"

#include <ctime>

namespace server {

namespace {

struct Cached {
    std::time_t second = -1;
    char text[40] = {};
    std::size_t size = 0;
};

thread_local Cached cached;

}  // namespace

std::string_view http_date() noexcept {
    const std::time_t now = std::time(nullptr);
    if (cached.second != now) {
        std::tm parts;
        ::gmtime_r(&now, &parts);
        // The names of %a and %b are English: nothing here calls setlocale().
        cached.size =
            std::strftime(cached.text, sizeof cached.text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
        cached.second = now;
    }
    return {cached.text, cached.size};
}

}  // namespace server
