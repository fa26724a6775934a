// Layer: hooks. Uses: libc.
//
// A call by another object goes where the loader has bound its symbol to: that stands in the
// object's tables of relocations. So an object is not reached if one of a hook's name is bound
// neither to the hook nor to where the program's calls go. Not seen: what the loader binds by the
// first call only, until then, and what an object looks up by dlsym().
//
// dl_iterate_phdr() has a lock of the loader's that dlsym() and dladdr() wait for in another
// order than dlopen(): so they are called before and after it.
#include "hooks/obstacles.hpp"

#include "hooks/caller.hpp"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace weft::hooks::detail {

namespace {

/// Where the program's calls of each hook's name go.
using Ways = std::unordered_map<std::string_view, std::uintptr_t>;

Ways ways_of_program() {
    Ways ways;
    for (std::size_t i = 0; i < symbol_count; ++i) {
        const char* const name = row_of(static_cast<Symbol>(i)).name;
        ways.emplace(name, reinterpret_cast<std::uintptr_t>(::dlsym(RTLD_DEFAULT, name)));
    }
    return ways;
}

/// Calls of an object that go past the hooks.
struct Missed {
    std::string object;
    std::vector<std::string_view> names;
    std::uintptr_t target;  // of the first
};

/// What is known of each loaded object.
struct Scan {
    std::string lines;
    Ways ways = ways_of_program();
    std::vector<Missed> missed;
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

bool is_inside(const dl_phdr_info& object, std::uintptr_t address) noexcept {
    for (int i = 0; i < object.dlpi_phnum; ++i) {
        const auto& header = object.dlpi_phdr[i];
        const std::uintptr_t begin = object.dlpi_addr + header.p_vaddr;
        if (header.p_type == PT_LOAD && address - begin < header.p_memsz) return true;
    }
    return false;
}

/// An object's relocations and what they refer to.
class Relocations {
public:
    Relocations(const dl_phdr_info& object, const ElfW(Dyn) * dynamic) noexcept : object_{object} {
        for (; dynamic != nullptr && dynamic->d_tag != DT_NULL; ++dynamic) {
            const std::uintptr_t value = dynamic->d_un.d_val;
            switch (dynamic->d_tag) {
                case DT_SYMTAB: symbols_ = at<ElfW(Sym)>(value); break;
                case DT_STRTAB: names_ = at<char>(value); break;
                case DT_RELA: tables_[0].first = at<ElfW(Rela)>(value); break;
                case DT_RELASZ: tables_[0].count = value / sizeof(ElfW(Rela)); break;
                case DT_JMPREL: tables_[1].first = at<ElfW(Rela)>(value); break;
                case DT_PLTRELSZ: tables_[1].count = value / sizeof(ElfW(Rela)); break;
                default: break;
            }
        }
    }

    /// Calls `visit(name, target)` for each name and what it is bound to.
    template <class Visit>
    void for_each(Visit&& visit) const {
        for (const Table& table : tables_) {
            for (std::size_t i = 0; i < table.count; ++i) {
                const std::size_t symbol = ELF64_R_SYM(table.first[i].r_info);
                if (symbol == 0 || is_copy(table.first[i])) continue;
                auto& slot =
                    *reinterpret_cast<std::uintptr_t*>(object_.dlpi_addr + table.first[i].r_offset);
                visit(std::string_view{names_ + symbols_[symbol].st_name},
                      std::atomic_ref{slot}.load(std::memory_order_relaxed));
            }
        }
    }

private:
    struct Table {
        const ElfW(Rela) * first;
        std::size_t count;
    };

    /// Of a variable that stands there itself, which may be shorter than an address.
    static bool is_copy(const ElfW(Rela) & relocation) noexcept {
#if defined(__x86_64__)
        return ELF64_R_TYPE(relocation.r_info) == R_X86_64_COPY;
#elif defined(__aarch64__)
        return ELF64_R_TYPE(relocation.r_info) == R_AARCH64_COPY;
#else
        return false;
#endif
    }

    /// The loader has made addresses of most, not of all objects'.
    template <class T>
    const T* at(std::uintptr_t value) const noexcept {
        return reinterpret_cast<const T*>(value < object_.dlpi_addr ? object_.dlpi_addr + value
                                                                    : value);
    }

    const dl_phdr_info& object_;
    const ElfW(Sym) * symbols_ = nullptr;
    const char* names_ = nullptr;
    std::array<Table, 2> tables_{};
};

/// What is bound into the object itself is not bound yet, or its own, or goes on from there.
void look_for_missed(const dl_phdr_info& object, const std::string& name, const ElfW(Dyn) * dynamic,
                     Scan& scan) {
    Missed missed{name, {}, 0};
    Relocations{object, dynamic}.for_each([&](std::string_view symbol, std::uintptr_t target) {
        const auto way = scan.ways.find(symbol);
        if (way == scan.ways.end() || target == way->second || target == 0) return;
        if (hooks_text.has(reinterpret_cast<void*>(target)) || is_inside(object, target)) return;
        if (missed.names.empty()) missed.target = target;
        const bool is_new =
            std::find(missed.names.begin(), missed.names.end(), way->first) == missed.names.end();
        if (is_new) missed.names.push_back(way->first);
    });
    if (!missed.names.empty()) scan.missed.push_back(std::move(missed));
}

std::string describe(const Missed& missed) {
    constexpr std::size_t most_named = 4;
    Dl_info info{};
    const bool known =
        ::dladdr(reinterpret_cast<void*>(missed.target), &info) != 0 && info.dli_fname != nullptr;
    std::string line = missed.object + " is bound past the hooks, to " +
                       (known ? info.dli_fname : "another object") + " (RTLD_DEEPBIND?):";
    const std::size_t named = std::min(most_named, missed.names.size());
    for (std::size_t i = 0; i < named; ++i) line.append(" ").append(missed.names[i]);
    const std::size_t more = missed.names.size() - named;
    if (more > 0) line += " and " + std::to_string(more) + " more";
    return line + '\n';
}

int look_at(dl_phdr_info* object, std::size_t, void* context) {
    auto& scan = *static_cast<Scan*>(context);
    const std::string name = object->dlpi_name[0] != '\0' ? object->dlpi_name : "the program";
    const ElfW(Dyn)* const dynamic = dynamic_of(*object);
    if (dynamic == nullptr && object->dlpi_name[0] == '\0') {
        scan.lines += "the program is linked statically: its calls cannot be taken\n";
    }
    if (dynamic == nullptr || name.find("libc.so") != name.npos ||
        name.find("linux-vdso") != name.npos) {
        return 0;
    }
    if (binds_to_itself(dynamic)) {
        scan.lines += name + " is linked with -Bsymbolic: what it defines itself is not taken\n";
    }
    look_for_missed(*object, name, dynamic, scan);
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
    for (const Missed& each : scan.missed) scan.lines += describe(each);
    scan.lines +=
        "never taken: calls inside libc (stdio, dlopen, syslog), system calls made by inline "
        "assembler, libraries opened with dlmopen() or RTLD_DEEPBIND\n";
    return scan.lines;
}

}  // namespace weft::hooks::detail
