// Layer: sync. Uses: base, sched, park.
#include "sync/lock_order.hpp"

#include "base/sanitizer.hpp"
#include "park/describe.hpp"
#include "park/park.hpp"
#include "sched/stack_trace.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <mutex>
#include <new>
#include <set>
#include <string>
#include <vector>

namespace weft::detail {

constinit std::atomic<bool> lock_order_watched{false};

void watch_lock_order() noexcept { lock_order_watched.store(true, std::memory_order_relaxed); }

namespace lock_order {

namespace {

struct Named {
    const void* lock;
    const char* kind;
};

std::string text_of(const Named& named) {
    char text[64];
    std::snprintf(text, sizeof text, "%s %p", named.kind, named.lock);
    return text;
}

// A party while it holds something: a fiber's id, for its block may be another's
// next, or a thread's party.
std::uint64_t key_of(const Party& party) noexcept {
    if (party.kind() == Party::Kind::thread) return reinterpret_cast<std::uintptr_t>(&party);
    return static_cast<const FiberCore&>(party).id.load(std::memory_order_relaxed);
}

class Graph {
public:
    void locked(const Named& lock, bool orders) {
        const Party& me = this_party();
        std::vector<Named>& holds = held_[key_of(me)];
        if (orders) {
            for (const Named& outer : holds) add(outer, lock, me);
        }
        holds.push_back(lock);
    }

    void unlocked(const void* lock) {
        const auto mine = held_.find(key_of(this_party()));
        if (mine == held_.end()) return;  // locked before anybody watched
        std::erase_if(mine->second, [lock](const Named& each) { return each.lock == lock; });
        if (mine->second.empty()) held_.erase(mine);
    }

    // Another lock may come to lie there.
    void destroyed(const void* lock) {
        after_.erase(lock);
        for (auto& [outer, inner] : after_) inner.erase(lock);
    }

private:
    using Inner = std::map<const void*, std::string>;  // with how the order came about

    void add(const Named& outer, const Named& inner, const Party& me) {
        const auto [entry, is_new] = after_[outer.lock].try_emplace(inner.lock);
        if (!is_new) return;
        std::string& how = entry->second;
        append(how, me);
        how += " locked " + text_of(inner) + " while it held " + text_of(outer) + "\n";
        append(how, stack_here());
        std::string before;
        std::set<const void*> seen;
        if (!leads(inner.lock, outer.lock, seen, before)) return;
        const std::string report =
            "weft: warning: locks are taken in both orders, which may deadlock\n" + how +
            "and before\n" + before;
        std::fputs(report.c_str(), stderr);
    }

    // Whether the orders lead from the one to the other; by way of what.
    bool leads(const void* from, const void* to, std::set<const void*>& seen, std::string& way) {
        if (!seen.insert(from).second) return false;
        const auto entry = after_.find(from);
        if (entry == after_.end()) return false;
        for (const auto& [inner, how] : entry->second) {
            if (inner != to && !leads(inner, to, seen, way)) continue;
            way.insert(0, how);
            return true;
        }
        return false;
    }

    std::map<const void*, Inner> after_;
    std::map<std::uint64_t, std::vector<Named>> held_;
};

struct Guarded {
    std::mutex mutex;
    Graph graph;  // guarded by mutex
};

// Never destroyed: static objects lock in their destructors.
Guarded& guarded() {
    static auto* const instance = new Guarded;
    return *instance;
}

// Without memory it sees less.
template <class Use>
void with_graph(Use&& use) noexcept {
    const Unobserved quiet;
    const std::lock_guard hold{guarded().mutex};
    try {
        use(guarded().graph);
    } catch (const std::bad_alloc&) {
    }
}

}  // namespace

void locked(const void* lock, const char* kind, Orders orders) noexcept {
    with_graph([&](Graph& graph) { graph.locked({lock, kind}, orders == Orders::yes); });
}

void unlocked(const void* lock) noexcept {
    with_graph([&](Graph& graph) { graph.unlocked(lock); });
}

void destroyed(const void* lock) noexcept {
    with_graph([&](Graph& graph) { graph.destroyed(lock); });
}

}  // namespace lock_order
}  // namespace weft::detail
