// Hooks on looking users and groups up: what a module asks a server for, inside of libc and
// under locks of its own. So a thread does it, from beginning to end. Layer: hooks.
#include "hooks/caller.hpp"
#include "hooks/thread_call.hpp"

#include <weft/local.hpp>

#include <cerrno>
#include <exception>
#include <memory>
#include <vector>

#include <grp.h>
#include <pwd.h>
#include <shadow.h>

namespace weft::hooks::detail {

namespace {

/// What `call()` returns; errno is as it leaves it.
template <class Call>
int by_thread(Call&& call) noexcept {
    int number = 0;
    int error = errno;
    const auto made_there = [&]() -> long {
        errno = error;
        number = call();
        error = errno;
        return 0;
    };
    const long made = on_thread(made_there, look_up_threads());
    if (made < 0) return call();
    errno = error;
    return number;
}

/// What a fiber found last: it lives until it asks again.
template <class Entry>
struct Kept {
    Entry entry{};
    std::vector<char> room = std::vector<char>(1024);
};

template <class Entry>
Kept<Entry>& kept() {
    static auto& last = *new FiberLocal<std::shared_ptr<Kept<Entry>>>;
    std::shared_ptr<Kept<Entry>>& mine = last.get();
    if (mine == nullptr) mine = std::make_shared<Kept<Entry>>();
    return *mine;
}

/// By `look_up(entry, room, size, found)`: null with errno, or as it was where nobody is found.
template <class Entry, class LookUp>
Entry* entry_by_thread(LookUp&& look_up) noexcept {
    const int before = errno;
    Entry* found = nullptr;
    int error = 0;
    try {
        Kept<Entry>& mine = kept<Entry>();
        for (;;) {
            error = by_thread(
                [&] { return look_up(&mine.entry, mine.room.data(), mine.room.size(), &found); });
            if (error != ERANGE) break;
            mine.room.resize(2 * mine.room.size());
        }
    } catch (const std::exception&) {
        error = ENOMEM;
    }
    errno = error != 0 ? error : before;
    return found;
}

}  // namespace

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

#define WEFT_DEFINE_LOOK_UP(name, entry, key)                                              \
    entry* hook_##name(key wanted) {                                                       \
        if (WEFT_TAKEN(name) == nullptr) return WEFT_ORIGINAL(name)(wanted);               \
        return entry_by_thread<entry>(                                                     \
            [wanted](auto... into) { return WEFT_ORIGINAL(name##_r)(wanted, into...); });  \
    }                                                                                      \
    int hook_##name##_r(key wanted, entry* into, char* room, size_t size, entry** found) { \
        const auto by_libc = [=] {                                                         \
            return WEFT_ORIGINAL(name##_r)(wanted, into, room, size, found);               \
        };                                                                                 \
        return WEFT_TAKEN(name##_r) == nullptr ? by_libc() : by_thread(by_libc);           \
    }
WEFT_DEFINE_LOOK_UP(getpwnam, passwd, const char*)
WEFT_DEFINE_LOOK_UP(getpwuid, passwd, uid_t)
WEFT_DEFINE_LOOK_UP(getgrnam, group, const char*)
WEFT_DEFINE_LOOK_UP(getgrgid, group, gid_t)
WEFT_DEFINE_LOOK_UP(getspnam, spwd, const char*)

int hook_getgrouplist(const char* user, gid_t also, gid_t* groups, int* count) {
    const auto by_libc = [=] { return WEFT_ORIGINAL(getgrouplist)(user, also, groups, count); };
    return WEFT_TAKEN(getgrouplist) == nullptr ? by_libc() : by_thread(by_libc);
}

int hook_initgroups(const char* user, gid_t also) {
    const auto by_libc = [=] { return WEFT_ORIGINAL(initgroups)(user, also); };
    return WEFT_TAKEN(initgroups) == nullptr ? by_libc() : by_thread(by_libc);
}
