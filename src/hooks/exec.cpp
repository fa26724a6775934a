// Hooks on becoming another program. Layer: hooks. Uses: sched.
//
// A program inherits the mask of the thread that becomes it: of a fiber that is not to be its
// worker's, which blocks all, but the one that it believes to have.
#include "hooks/caller.hpp"
#include "hooks/fiber_thread.hpp"
#include "hooks/signals.hpp"

#include <alloca.h>
#include <unistd.h>

#include <cstdarg>
#include <optional>

namespace weft::hooks::detail {

namespace {

/// While it lives, the calling worker has the mask that its fiber has, and the first thread that of
/// whose handler it runs.
class MaskOfFiber {
public:
    explicit MaskOfFiber(const FiberCore* fiber) noexcept {
        if (fiber != nullptr || this_fiber_thread() != nullptr) mask_.emplace(mask_of_caller());
    }

private:
    std::optional<MaskOfProgram> mask_;
};

}  // namespace

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hooks ---

#define WEFT_DEFINE_EXEC(name, parameters, arguments) \
    int hook_##name parameters {                      \
        const MaskOfFiber mask{WEFT_FOREIGN_FIBER()}; \
        return WEFT_ORIGINAL(name) arguments;         \
    }
WEFT_DEFINE_EXEC(execv, (const char* path, char* const* arguments), (path, arguments))
WEFT_DEFINE_EXEC(execve, (const char* path, char* const* arguments, char* const* environment),
                 (path, arguments, environment))
WEFT_DEFINE_EXEC(execvp, (const char* file, char* const* arguments), (file, arguments))
WEFT_DEFINE_EXEC(execvpe, (const char* file, char* const* arguments, char* const* environment),
                 (file, arguments, environment))
WEFT_DEFINE_EXEC(fexecve, (int fd, char* const* arguments, char* const* environment),
                 (fd, arguments, environment))
WEFT_DEFINE_EXEC(execveat,
                 (int directory, const char* path, char* const* arguments, char* const* environment,
                  int flags),
                 (directory, path, arguments, environment, flags))

// Their arguments are counted, and then laid out on the stack, for a child of vfork() may
// allocate nothing. What follows the null is `rest`, a list that is read once more.
#define WEFT_DEFINE_EXEC_LIST(name, original, ...)                                         \
    int hook_##name(const char* path, const char* argument, ...) {                         \
        const MaskOfFiber mask{WEFT_FOREIGN_FIBER()};                                      \
        va_list rest;                                                                      \
        va_start(rest, argument);                                                          \
        std::size_t count = 1;                                                             \
        while (argument != nullptr && va_arg(rest, const char*) != nullptr) ++count;       \
        va_end(rest);                                                                      \
        auto** const list = static_cast<char**>(alloca((count + 1) * sizeof(char*)));      \
        va_start(rest, argument);                                                          \
        list[0] = const_cast<char*>(argument);                                             \
        for (std::size_t i = 1; i < count; ++i) list[i] = va_arg(rest, char*);             \
        if (argument != nullptr) list[count] = va_arg(rest, char*);                        \
        const int result = WEFT_ORIGINAL(original)(path, list __VA_OPT__(, ) __VA_ARGS__); \
        va_end(rest);                                                                      \
        return result;                                                                     \
    }
WEFT_DEFINE_EXEC_LIST(execl, execv)
WEFT_DEFINE_EXEC_LIST(execlp, execvp)
WEFT_DEFINE_EXEC_LIST(execle, execve, va_arg(rest, char* const*))
