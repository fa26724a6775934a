// Layer: sched. Uses: base, context.
#include "sched/stack_trace.hpp"

#include "base/sanitizer.hpp"
#include "context/switch.hpp"

#include <cxxabi.h>
#include <execinfo.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

namespace weft::detail {

namespace {

#if defined(WEFT_ASAN) || defined(WEFT_TSAN)
constexpr bool can_visit = false;
#else
constexpr bool can_visit = true;
#endif

// Of those from `first` on.
void leave_out(StackTrace& stack, int first, int frames) noexcept {
    const int left = std::max(stack.count - first - frames, 0);
    std::copy_n(stack.frames + stack.count - left, left, stack.frames + first);
    stack.count = first + left;
}

void collect(void* trace) {
    auto* const stack = static_cast<StackTrace*>(trace);
    stack->count += backtrace(stack->frames + stack->count, StackTrace::most_frames - stack->count);
}

// `library(_ZN4weft4Lock6unlockEv+0x12) [0x...]`, with the name as it is written.
std::string readable(std::string line) {
    const std::size_t begin = line.find("(_Z") + 1;
    const std::size_t end = line.find('+', begin);
    if (begin == 0 || end == std::string::npos) return line;
    const std::unique_ptr<char, decltype(&std::free)> name{
        abi::__cxa_demangle(line.substr(begin, end - begin).c_str(), nullptr, nullptr, nullptr),
        &std::free};
    if (name != nullptr) line.replace(begin, end - begin, name.get());
    return line;
}

// Runs on the parked fiber's stack.
Arrival collect_and_return(Arrival from) {
    collect(from.data);
    // Back to who looks; when the fiber is resumed for good, this returns to it.
    return switch_to(from.fctx, nullptr);
}

}  // namespace

StackTrace stack_of(FiberCore& frozen) noexcept {
    StackTrace stack;
    if (!can_visit || frozen.context == nullptr) return stack;  // null: has not begun
    frozen.context = visit_on(frozen.context, &stack, &collect_and_return);
    leave_out(stack, 0, 3);  // collect(), its caller, and where that was entered
    for (const SideStack* side = frozen.side; side != nullptr; side = side->below) {
        const int first = stack.count;
        if (visit_on(*side->caller, &stack, &collect)) leave_out(stack, first, 2);
    }
    return stack;
}

[[gnu::noinline]] StackTrace stack_here() noexcept {
    StackTrace stack;
    stack.count = backtrace(stack.frames, StackTrace::most_frames);
    leave_out(stack, 0, 1);
    return stack;
}

void append(std::string& text, const StackTrace& stack) {
    const std::unique_ptr<char*, decltype(&std::free)> lines{
        backtrace_symbols(stack.frames, stack.count), &std::free};
    if (lines == nullptr) return;
    for (int i = 0; i < stack.count; ++i) {
        text.append("    ").append(readable(lines.get()[i])).append("\n");
    }
}

}  // namespace weft::detail
