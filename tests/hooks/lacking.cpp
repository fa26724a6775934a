// A libc that lacks sem_clockwait(), to the hooks if it is preloaded after them.
#include <dlfcn.h>

#include <string_view>

extern "C" [[gnu::visibility("default")]] void* dlsym(void* handle, const char* name) noexcept {
    if (std::string_view{name} == "sem_clockwait") return nullptr;
    void* real = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
    if (real == nullptr) real = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
    return reinterpret_cast<void* (*)(void*, const char*)>(real)(handle, name);
}
