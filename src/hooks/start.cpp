// What happens as the library is loaded. Layer: hooks. Uses: libc.
#include "hooks/start.hpp"
#include "hooks/caller.hpp"
#include "hooks/fiber_thread.hpp"
#include "hooks/parking.hpp"
#include "hooks/signals.hpp"
#include "hooks/waiting_thread.hpp"
#include "io/foreign.hpp"

#include <weft/deadline.hpp>
#include <weft/hooks.hpp>

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <string_view>

namespace weft::hooks::detail {

namespace {

struct Search {
    std::uintptr_t inside;
    TextRange found;
    std::string_view name;
};

int find_text(dl_phdr_info* object, std::size_t, void* context) {
    auto& search = *static_cast<Search*>(context);
    for (int i = 0; i < object->dlpi_phnum; ++i) {
        const auto& header = object->dlpi_phdr[i];
        if (header.p_type != PT_LOAD || (header.p_flags & PF_X) == 0) continue;
        const TextRange range{object->dlpi_addr + header.p_vaddr,
                              object->dlpi_addr + header.p_vaddr + header.p_memsz};
        if (range.has(reinterpret_cast<const void*>(search.inside))) {
            search.found = range;
            search.name = object->dlpi_name;
        }
    }
    return 0;
}

/// The library that `function` is in.
Search library_with(void* function) noexcept {
    Search search{reinterpret_cast<std::uintptr_t>(function), {}, {}};
    ::dl_iterate_phdr(&find_text, &search);
    return search;
}

TextRange text_with(void* function) noexcept { return library_with(function).found; }

void find_allocator() noexcept {
    const Search found = library_with(::dlsym(RTLD_DEFAULT, "malloc"));
    if (found.name.empty() || found.name.find("/libc.so") != found.name.npos) return;
    allocator_text = found.found;
    if (found.name.find("san.so") == found.name.npos) mere_allocator_text = found.found;
}

/// Of an environment variable. libc is not initialised yet: getenv() finds nothing.
const char* value_of(char** environment, std::string_view name) noexcept {
    for (; environment != nullptr && *environment != nullptr; ++environment) {
        const std::string_view each{*environment};
        if (each.starts_with(name) && each.substr(name.size()).starts_with('=')) {
            return *environment + name.size() + 1;
        }
    }
    return nullptr;
}

bool is_preloaded(char** environment) noexcept {
    const char* const list = value_of(environment, "LD_PRELOAD");
    return list != nullptr &&
           std::string_view{list}.find("libweft-hooks") != std::string_view::npos;
}

// --- the report ---

/// Where it goes: stderr as it was at first, for programs close theirs as they end.
struct ReportFile {
    bool asked_for = false;
    int fd = -1;
    struct stat identity {};

    void open() noexcept {
        // High up, where programs that count on the lowest free number do not notice.
        for (const int lowest : {900, 100}) {
            if (fd < 0) fd = WEFT_ORIGINAL(fcntl)(STDERR_FILENO, F_DUPFD_CLOEXEC, lowest);
        }
        asked_for = ::fstat(STDERR_FILENO, &identity) == 0;
    }
    /// What is still that file, which the program may have closed in either place; -1: neither.
    int still_open() const noexcept {
        for (const int each : {fd, STDERR_FILENO}) {
            struct stat now {};
            const bool same = asked_for && ::fstat(each, &now) == 0 &&
                              now.st_dev == identity.st_dev && now.st_ino == identity.st_ino;
            if (same) return each;
        }
        return -1;
    }
};
constinit ReportFile report_file;

// By option, when all is over.
[[gnu::destructor(101)]] void end() {
    const int fd = report_file.still_open();
    if (fd >= 0) ::dprintf(fd, "%s", report().text().c_str());
}

// In a forked child nobody waits.
void forget_parent() {
    forget_parked();
    forget_waiting_threads();
    weft::detail::forget_foreign_calls();
}

// Before the constructors of others, as far as that goes; who comes first anyway finds
// originals that look themselves up. The arguments are glibc's way to call constructors.
[[gnu::constructor(101)]] void start(int, char**, char** environment) noexcept {
    resolve_originals();
    note_mask_of_program();
    weft_text = text_with(reinterpret_cast<void*>(&weft::detail::now));
    hooks_text = text_with(reinterpret_cast<void*>(&start));
    find_allocator();
    ::pthread_atfork(nullptr, nullptr, &forget_parent);
    if (value_of(environment, "WEFT_RUN_THREADS") != nullptr) make_threads_fibers();
    if (value_of(environment, "WEFT_HOOKS_REPORT") != nullptr) report_file.open();
    const char* const list = value_of(environment, "WEFT_HOOKS");
    if (list != nullptr) {
        patch_named(list);
    } else if (is_preloaded(environment)) {
        patch_named("all");
    }
}

}  // namespace

}  // namespace weft::hooks::detail
