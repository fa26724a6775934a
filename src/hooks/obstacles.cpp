// Layer: hooks. Uses: libc.
#include "hooks/obstacles.hpp"

#include "hooks/caller.hpp"

#include <dlfcn.h>
#include <link.h>

#include <array>
#include <cstring>
#include <string_view>

namespace weft::hooks::detail {

namespace {

/// What is known of each loaded object.
struct Scan {
    std::string lines;
};

/// Whether an object was linked with -Wl,-z,... or -Bsymbolic, so that its own definitions
/// go before ours; of libc itself that is so, and known.
bool binds_to_itself(const ElfW(Dyn) * dynamic) noexcept {
    for (; dynamic != nullptr && dynamic->d_tag != DT_NULL; ++dynamic) {
        if (dynamic->d_tag == DT_SYMBOLIC) return true;
        if (dynamic->d_tag == DT_FLAGS && (dynamic->d_un.d_val & DF_SYMBOLIC) != 0) return true;
    }
    return false;
}

const ElfW(Dyn) * dynamic_of(const dl_phdr_info& object) noexcept {
    for (int i = 0; i < object.dlpi_phnum; ++i) {
        const auto& header = object.dlpi_phdr[i];
        if (header.p_type == PT_DYNAMIC) {
            return reinterpret_cast<const ElfW(Dyn)*>(object.dlpi_addr + header.p_vaddr);
        }
    }
    return nullptr;
}

int look_at(dl_phdr_info* object, std::size_t, void* context) {
    auto& scan = *static_cast<Scan*>(context);
    const std::string name = object->dlpi_name[0] != '\0' ? object->dlpi_name : "the program";
    const ElfW(Dyn)* const dynamic = dynamic_of(*object);
    if (dynamic == nullptr && object->dlpi_name[0] == '\0') {
        scan.lines += "the program is linked statically: its calls cannot be taken\n";
    } else if (binds_to_itself(dynamic) && name.find("libc.so") == name.npos &&
               name.find("linux-vdso") == name.npos) {
        scan.lines += name + " is linked with -Bsymbolic: what it defines itself is not taken\n";
    }
    return 0;
}

constexpr std::array<std::string_view, 8> known_libraries{
    "/libc.so",  "/libstdc++.so", "/libgcc_s.so", "/libm.so",
    "/ld-linux", "/libweft",      "/libtsan.so",  "/libasan.so"};

int add_thread_locals(dl_phdr_info* object, std::size_t, void* context) {
    const std::string_view name = object->dlpi_name;
    for (const std::string_view known : known_libraries) {
        if (name.find(known) != name.npos) return 0;
    }
    for (int i = 0; i < object->dlpi_phnum; ++i) {
        const auto& header = object->dlpi_phdr[i];
        if (header.p_type == PT_TLS) *static_cast<std::size_t*>(context) += header.p_memsz;
    }
    return 0;
}

}  // namespace

std::size_t thread_local_bytes() noexcept {
    std::size_t bytes = 0;
    ::dl_iterate_phdr(&add_thread_locals, &bytes);
    return bytes;
}

bool is_interposed(const Row& row) noexcept {
    void* const first = ::dlsym(RTLD_DEFAULT, row.name);
    return first == nullptr || hooks_text.has(first);
}

std::string describe_obstacles() {
    Scan scan;
    ::dl_iterate_phdr(&look_at, &scan);
    scan.lines +=
        "never taken: calls inside libc (stdio, dlopen, syslog), system calls made by inline "
        "assembler, libraries opened with RTLD_DEEPBIND\n";
    return scan.lines;
}

}  // namespace weft::hooks::detail
