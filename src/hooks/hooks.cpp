// What programs say to the hooks. Layer: hooks. Uses: sched.
#include <weft/hooks.hpp>

#include "base/assert.hpp"
#include "hooks/caller.hpp"
#include "hooks/obstacles.hpp"
#include "hooks/signals.hpp"
#include "hooks/start.hpp"

#include <array>
#include <cstdio>

namespace weft::hooks {

namespace {

using detail::Category;

struct Named {
    Category bit;
    const char* name;
    bool Categories::*member;
};
constexpr std::array<Named, 7> names{{
    {detail::c_socket, "socket", &Categories::socket},
    {detail::c_select, "select", &Categories::select},
    {detail::c_time, "time", &Categories::time},
    {detail::c_dns, "dns", &Categories::dns},
    {detail::c_file, "file", &Categories::file},
    {detail::c_process, "process", &Categories::process},
    {detail::c_threads, "threads", &Categories::threads},
}};

Category bits_of(const Categories& categories) noexcept {
    Category bits = 0;
    for (const Named& each : names) bits |= categories.*each.member ? each.bit : 0;
    return bits;
}

void patch(Category bits) noexcept {
    if (bits == 0) return;
    detail::patched.fetch_or(bits, std::memory_order_relaxed);
    detail::move_handlers_off_fibers();
}

const char* name_of(Category bits) noexcept {
    if (bits == detail::c_any_fd) return "socket or file";
    if (bits == detail::c_always) return "any";
    for (const Named& each : names) {
        if (bits == each.bit) return each.name;
    }
    return "?";
}

weft::detail::FiberCore* this_fiber() noexcept {
    weft::detail::Worker* const worker = weft::detail::Worker::current();
    return worker == nullptr ? nullptr : worker->fiber();
}

}  // namespace

void patch_all(const Categories& categories) noexcept { patch(bits_of(categories)); }
void patch_socket() noexcept { patch(detail::c_socket); }
void patch_select() noexcept { patch(detail::c_select); }
void patch_time() noexcept { patch(detail::c_time); }
void patch_dns() noexcept { patch(detail::c_dns); }
void patch_file() noexcept { patch(detail::c_file); }
void patch_process() noexcept { patch(detail::c_process); }
void patch_threads() noexcept { patch(detail::c_threads); }
void unpatch_all() noexcept { detail::patched.store(0, std::memory_order_relaxed); }

Categories patched() noexcept {
    const Category bits = detail::patched.load(std::memory_order_relaxed);
    Categories categories;
    for (const Named& each : names) categories.*each.member = (bits & each.bit) != 0;
    return categories;
}

namespace detail {

void patch_named(std::string_view list) noexcept {
    for (const Named& each : names) {
        std::string_view rest = list;
        while (!rest.empty()) {
            const auto item = rest.substr(0, rest.find(','));
            if (item == each.name || item == "all") patch(each.bit);
            rest.remove_prefix(item.size() < rest.size() ? item.size() + 1 : rest.size());
        }
    }
}

void* find_original(void* hook) noexcept {
    for (std::size_t i = 0; i < symbol_count; ++i) {
        const auto symbol = static_cast<Symbol>(i);
        if (row_of(symbol).hook == hook) return original_of(symbol);
    }
    return hook;
}

}  // namespace detail

Bypass::Bypass() noexcept {
    if (auto* const fiber = this_fiber(); fiber != nullptr) {
        WEFT_ASSERT(fiber->bypasses < 255);
        ++fiber->bypasses;
    }
}

Bypass::~Bypass() {
    if (auto* const fiber = this_fiber(); fiber != nullptr) --fiber->bypasses;
}

void allow_migration() noexcept {
    using weft::detail::FiberCore;
    FiberCore* const fiber = this_fiber();
    if (fiber == nullptr) return;
    const bool stays = (fiber->foreign & FiberCore::foreign_stays) != 0;
    fiber->foreign &= static_cast<std::uint8_t>(~FiberCore::foreign_stays);
    fiber->foreign |= FiberCore::foreign_roams;
    if (stays && --fiber->pins == 0) fiber->home = FiberCore::anywhere;
}

// --- the report ---

Report report() {
    thread_local std::array<SymbolReport, detail::symbol_count> symbols;
    for (std::size_t i = 0; i < detail::symbol_count; ++i) {
        const auto& row = detail::row_of(static_cast<detail::Symbol>(i));
        SymbolReport& symbol = symbols[i];
        symbol = {row.name, name_of(row.category), 0, 0, detail::is_interposed(row)};
        for (const detail::Tallies& shard : detail::tallies) {
            symbol.taken += shard.of[i].taken.load(std::memory_order_relaxed);
            symbol.passed += shard.of[i].passed.load(std::memory_order_relaxed);
        }
    }
    return {patched(), symbols, detail::describe_obstacles()};
}

std::string Report::text() const {
    std::string text = "patched:";
    for (const Named& each : names) {
        if (patched.*each.member) text += std::string{" "} + each.name;
    }
    text += "\ncalls from fibers (taken, left to libc):\n";
    for (const SymbolReport& each : symbols) {
        if (each.taken + each.passed == 0 && each.interposed) continue;
        char line[128];
        std::snprintf(line, sizeof line, "  %-24s %10llu %10llu%s\n", each.name, each.taken,
                      each.passed, each.interposed ? "" : "  not interposed");
        text += line;
    }
    text += obstacles.empty() ? "nothing else is in the way\n" : obstacles;
    return text;
}

}  // namespace weft::hooks
