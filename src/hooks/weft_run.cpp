// weft-run: starts a program with the hooks in it. Layer: hooks. Uses: libc.
//
// All it does is to set the environment and to become the program.
#include <dlfcn.h>
#include <getopt.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

namespace {

constexpr const char* usage =
    "usage: weft-run [OPTION...] PROGRAM [ARGUMENT...]\n"
    "Runs PROGRAM with libweft-hooks.so: what its weft fibers call of libc suspends them.\n"
    "\n"
    "  -t, --threads        experimental: main() and its threads become fibers\n"
    "  -w, --workers=N      OS threads that run fibers (default: the CPUs)\n"
    "  -s, --stack=BYTES    a fiber's stack, where the program does not say\n"
    "      --io=HOW         auto, uring or epoll\n"
    "      --hooks=LIST     of socket,select,time,dns,file,process,threads (default: all)\n"
    "      --report         hooks::report() on stderr when the program ends\n"
    "  -h, --help\n";

/// Where this program lies, for the library is beside it or in a lib folder beside its own.
std::filesystem::path own_folder() {
    std::error_code ignored;
    return std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
}

std::string find_library() {
    const auto here = own_folder();
    for (const auto& folder :
         {here, here / ".." / WEFT_LIBDIR, std::filesystem::path{WEFT_PREFIX} / WEFT_LIBDIR}) {
        const auto library = folder / "libweft-hooks.so";
        std::error_code ignored;
        if (std::filesystem::exists(library, ignored)) return std::filesystem::canonical(library);
    }
    return {};
}

bool is_static(const char* program) {
    // A program without an interpreter never loads a library.
    std::FILE* const file = std::fopen(program, "rb");
    if (file == nullptr) return false;
    unsigned char head[64] = {};
    const bool is_elf = std::fread(head, 1, sizeof head, file) == sizeof head &&
                        std::memcmp(head, "\177ELF\2", 5) == 0;
    bool has_interpreter = !is_elf;
    std::uint64_t at = 0;
    std::uint16_t size = 0;
    std::uint16_t count = 0;
    std::memcpy(&at, head + 32, 8);
    std::memcpy(&size, head + 54, 2);
    std::memcpy(&count, head + 56, 2);
    for (unsigned i = 0; i < count && !has_interpreter; ++i) {
        std::uint32_t type = 0;
        std::fseek(file, static_cast<long>(at + i * size), SEEK_SET);
        if (std::fread(&type, sizeof type, 1, file) != 1) break;
        has_interpreter = type == 3;  // PT_INTERP
    }
    std::fclose(file);
    return !has_interpreter;
}

/// The file that execvp() would run; empty: none.
std::string find_program(const std::string& name) {
    if (name.find('/') != name.npos) return name;
    const char* path = std::getenv("PATH");
    std::string folders = path != nullptr ? path : "/usr/bin:/bin";
    for (std::size_t begin = 0; begin <= folders.size();) {
        const std::size_t end = std::min(folders.find(':', begin), folders.size());
        const auto file = std::filesystem::path{folders.substr(begin, end - begin)} / name;
        if (::access(file.c_str(), X_OK) == 0) return file;
        begin = end + 1;
    }
    return {};
}

void preload(const std::string& library) {
    const char* const others = std::getenv("LD_PRELOAD");
    const std::string list = others == nullptr ? library : library + ':' + others;
    ::setenv("LD_PRELOAD", list.c_str(), 1);
}

/// Sets the environment by the options; the index of the program, or -1 for a wrong one.
int take_options(int count, char** arguments) {
    static const option options[] = {
        {"threads", no_argument, nullptr, 't'},     {"workers", required_argument, nullptr, 'w'},
        {"stack", required_argument, nullptr, 's'}, {"io", required_argument, nullptr, 'i'},
        {"hooks", required_argument, nullptr, 'k'}, {"report", no_argument, nullptr, 'r'},
        {"help", no_argument, nullptr, 'h'},        {}};
    for (;;) {
        switch (::getopt_long(count, arguments, "+tw:s:h", options, nullptr)) {
            case -1: return optind;
            case 't': ::setenv("WEFT_RUN_THREADS", "1", 1); break;
            case 'w': ::setenv("WEFT_WORKERS", optarg, 1); break;
            case 's': ::setenv("WEFT_STACK_SIZE", optarg, 1); break;
            case 'i': ::setenv("WEFT_IO", optarg, 1); break;
            case 'k': ::setenv("WEFT_HOOKS", optarg, 1); break;
            case 'r': ::setenv("WEFT_HOOKS_REPORT", "1", 1); break;
            case 'h': std::fputs(usage, stdout); std::exit(0);
            default: return -1;
        }
    }
}

}  // namespace

int main(int count, char** arguments) {
    const int first = take_options(count, arguments);
    if (first < 0 || first == count) {
        std::fputs(usage, stderr);
        return 2;
    }
    const std::string library = find_library();
    if (library.empty()) {
        std::fputs("weft-run: libweft-hooks.so is neither beside weft-run nor installed\n", stderr);
        return 126;
    }
    const std::string program = find_program(arguments[first]);
    if (is_static(program.c_str())) {
        std::fprintf(stderr, "weft-run: %s is linked statically: its calls cannot be taken\n",
                     program.c_str());
        return 126;
    }
    preload(library);
    ::execvp(arguments[first], arguments + first);
    std::fprintf(stderr, "weft-run: %s: %s\n", arguments[first], std::strerror(errno));
    return errno == ENOENT ? 127 : 126;
}
