// Hooks on looking users and groups up: what a module asks a server for, inside of libc and
// under locks of its own. So a thread does it, from beginning to end. Layer: hooks.
#include "hooks/caller.hpp"
#include "hooks/thread_call.hpp"

#include <cerrno>

#include <grp.h>
#include <pwd.h>

namespace weft::hooks::detail {

namespace {

/// Of a function that returns an error's number.
template <class Call>
int number_by_thread(Call&& call) noexcept {
    const long result = on_thread([&]() -> long { return -call(); });
    return result == -EAGAIN ? call() : static_cast<int>(-result);
}

/// Of one that returns what libc keeps, or null and sets errno, but not where nobody is found.
template <class Call>
auto entry_by_thread(Call&& call) noexcept -> decltype(call()) {
    decltype(call()) found = nullptr;
    int error = errno;
    const long result = on_thread([&]() -> long {
        errno = error;
        found = call();
        error = errno;
        return 0;
    });
    if (result == -EAGAIN) return call();
    errno = error;
    return found;
}

}  // namespace

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

#define WEFT_DEFINE_LOOK_UP(name, entry, key)                                      \
    entry* hook_##name(key wanted) {                                               \
        const auto by_libc = [&] { return WEFT_ORIGINAL(name)(wanted); };          \
        return WEFT_TAKEN(name) == nullptr ? by_libc() : entry_by_thread(by_libc); \
    }
WEFT_DEFINE_LOOK_UP(getpwnam, passwd, const char*)
WEFT_DEFINE_LOOK_UP(getpwuid, passwd, uid_t)
WEFT_DEFINE_LOOK_UP(getgrnam, group, const char*)
WEFT_DEFINE_LOOK_UP(getgrgid, group, gid_t)

#define WEFT_DEFINE_LOOK_UP_R(name, entry, key)                                                    \
    int hook_##name(key wanted, entry* into, char* room, size_t size, entry** found) {             \
        const auto by_libc = [&] { return WEFT_ORIGINAL(name)(wanted, into, room, size, found); }; \
        return WEFT_TAKEN(name) == nullptr ? by_libc() : number_by_thread(by_libc);                \
    }
WEFT_DEFINE_LOOK_UP_R(getpwnam_r, passwd, const char*)
WEFT_DEFINE_LOOK_UP_R(getpwuid_r, passwd, uid_t)
WEFT_DEFINE_LOOK_UP_R(getgrnam_r, group, const char*)
WEFT_DEFINE_LOOK_UP_R(getgrgid_r, group, gid_t)
