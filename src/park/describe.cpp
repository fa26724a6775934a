// Layer: park. Uses: base, sched.
#include "park/describe.hpp"

#include "park/thread_party.hpp"

#include <cstdio>

namespace weft::detail {

namespace {

const Party* owner_of(const Purpose& purpose) noexcept {
    return purpose.owner == nullptr ? nullptr : purpose.owner(purpose.object);
}

// Nothing but the id: the block is there for good, the name is not.
std::string id_of(const Party& party) {
    if (party.kind() == Party::Kind::thread) return "a plain thread";
    const auto& fiber = static_cast<const FiberCore&>(party);
    return "fiber " + std::to_string(fiber.id.load(std::memory_order_relaxed));
}

StackTrace stack_of_party(Party& frozen) noexcept {
    if (frozen.kind() == Party::Kind::thread) return {};
    return stack_of(static_cast<FiberCore&>(frozen));
}

}  // namespace

FrozenWait::FrozenWait(Party& frozen) noexcept
    : purpose{*purpose_of(frozen)},
      owner{owner_of(purpose)},
      cancelled{frozen.interrupt_pending()},
      stack{stack_of_party(frozen)} {}

void append(std::string& text, const Party& party) {
    text += id_of(party);
    if (party.kind() == Party::Kind::thread) return;
    const auto& fiber = static_cast<const FiberCore&>(party);
    const char* const name = fiber.name();
    text.append(" \"").append(name == nullptr ? "" : name).append("\"");
    if (fiber.is_daemon) text += " daemon";
    const unsigned swallowed = fiber.cancellations_swallowed();
    if (swallowed == 0) return;
    text.append(", swallowed its cancellation ").append(std::to_string(swallowed));
    text += swallowed == 1 ? " time" : " times";
}

void append(std::string& text, const FrozenWait& wait) {
    text += "  ";
    append(text, wait.purpose, wait.owner);
    text += wait.cancelled ? "  (cancelled)\n" : "\n";
    append(text, wait.stack);
}

void append(std::string& text, const Purpose& purpose, const Party* owner) {
    text.append("waits: ").append(purpose.reason);
    if (purpose.object != nullptr) {
        char address[32];
        std::snprintf(address, sizeof address, " %p", purpose.object);
        text += address;
    }
    if (owner == nullptr) return;
    const bool is_itself = static_cast<const void*>(owner) == purpose.object;
    text.append(is_itself ? "  (" : "  held by ").append(id_of(*owner));
    if (is_itself) text += ")";
}

}  // namespace weft::detail
