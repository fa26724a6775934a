// What hooks::report() says of objects whose calls do not reach the hooks.
#include "support/hooked.hpp"

#include <weft/fiber.hpp>

#include <dlfcn.h>

#include <string>
#include <string_view>

using namespace weft;

namespace {

/// OPENED, as dlopen() opens it with `flags`.
class Opened {
public:
    explicit Opened(int flags) : handle_{::dlopen(OPENED, flags)} { REQUIRE(handle_ != nullptr); }
    Opened(const Opened&) = delete;
    Opened& operator=(const Opened&) = delete;
    ~Opened() { ::dlclose(handle_); }

    /// Whether its call, from a fiber, reached the hook.
    bool is_reached() const {
        const auto sleep = reinterpret_cast<int (*)()>(::dlsym(handle_, "opened_sleep"));
        const auto before = taken();
        weft::run([&] { sleep(); }, {.workers = 1});
        return taken() == before + 1;
    }
    /// The line of the report on it.
    std::string line() const {
        const std::string all = hooks::report().obstacles;
        const std::size_t begin = all.find(OPENED);
        return begin == all.npos ? "" : all.substr(begin, all.find('\n', begin) - begin);
    }

private:
    static unsigned long long taken() {
        for (const auto& each : hooks::report().symbols) {
            if (std::string_view{each.name} == "usleep") return each.taken;
        }
        return 0;
    }

    void* const handle_;
};

}  // namespace

TEST_CASE("the report says nothing of a library whose calls are taken", "[hooks]") {
    hooks::patch_all();
    const Opened library{RTLD_NOW};
    CHECK(library.is_reached());
    CHECK(library.line().empty());
}

TEST_CASE("the report names a library that is bound past the hooks, and its calls", "[hooks]") {
    hooks::patch_all();
    const Opened library{RTLD_NOW | RTLD_DEEPBIND};
    CHECK_FALSE(library.is_reached());
    CHECK(library.line().find("usleep") != std::string::npos);
    CHECK(library.line().find("libc.so") != std::string::npos);
}

TEST_CASE("a library that is bound by its first call is reported after it", "[hooks]") {
    hooks::patch_all();
    const Opened library{RTLD_LAZY | RTLD_DEEPBIND};
    CHECK_FALSE(library.is_reached());
    CHECK(library.line().find("usleep") != std::string::npos);
}
