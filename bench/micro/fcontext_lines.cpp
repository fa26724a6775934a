// The bare jump between stacks, without a scheduler: what every switch of a
// stackful fiber costs at least. Layer: benchmarks, micro.
//
//   fcontext_lines switch|switch1000 1     nanoseconds one way
//   fcontext_lines generator 1             nanoseconds per item
//
// One thread jumps to each of the contexts in turn, and each jumps back at once.
// With one context everything stays in the first-level cache; the tops of a
// thousand stacks do not. BENCH_STACK is the distance between stacks.
#include "common/json.hpp"
#include "common/measure.hpp"
#include "micro/items.hpp"
#include "micro/lines.hpp"

#include <boost/context/detail/fcontext.hpp>

#include <sys/mman.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

namespace context = boost::context::detail;

void jump_back_for_ever(context::transfer_t from) {
    for (;;) from = context::jump_fcontext(from.fctx, nullptr);
}

void count_for_ever(context::transfer_t from) {
    for (long i = 0;; ++i) from = context::jump_fcontext(from.fctx, &i);
}

/// Stacks side by side, committed by touch. Not huge pages: fibers' stacks are not.
std::byte* map_stacks(std::size_t count, std::size_t size) {
    void* memory = mmap(nullptr, count * size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        std::perror("mmap");
        std::exit(3);
    }
    madvise(memory, count * size, MADV_NOHUGEPAGE);
    return static_cast<std::byte*>(memory);
}

std::vector<context::fcontext_t> make_contexts(std::size_t count) {
    const std::size_t size = bench::stack_size();
    std::byte* stacks = map_stacks(count, size);
    std::vector<context::fcontext_t> contexts(count);
    for (std::size_t i = 0; i < count; ++i) {
        std::byte* top = stacks + (i + 1) * size - 64;
        const auto fresh = context::make_fcontext(top, size / 2, jump_back_for_ever);
        contexts[i] = context::jump_fcontext(fresh, nullptr).fctx;
    }
    return contexts;
}

/// `jumps` jumps there and back, both ways counted.
double ns_per_jump(std::vector<context::fcontext_t>& contexts, std::size_t jumps) {
    const std::size_t rounds = jumps / (2 * contexts.size());
    const std::uint64_t start = bench::now_ns();
    for (std::size_t round = 0; round < rounds; ++round) {
        for (auto& there : contexts) there = context::jump_fcontext(there, nullptr).fctx;
    }
    return bench::ns_each(start, static_cast<long>(2 * rounds * contexts.size()));
}

class Counting {
public:
    long next() {
        const context::transfer_t from = context::jump_fcontext(numbers_, nullptr);
        numbers_ = from.fctx;
        return *static_cast<const long*>(from.data);
    }

private:
    static constexpr std::size_t stack = 65536;
    context::fcontext_t numbers_ =
        context::make_fcontext(map_stacks(1, stack) + stack, stack, count_for_ever);
};

}  // namespace

int main(int count, char** arguments) {
    const std::string line = count == 3 ? arguments[1] : "";
    if (line == "generator") {
        return bench::main_of_items<Counting>("fcontext", count, arguments);
    }
    if (line != "switch" && line != "switch1000") {
        std::fprintf(stderr, "usage: %s switch|switch1000|generator 1\n", arguments[0]);
        return 2;
    }
    const std::size_t jumps = 20'000'000;
    auto contexts = make_contexts(line == "switch" ? 1 : 1000);
    ns_per_jump(contexts, jumps / 10);
    bench::JsonLine result;
    result.text("bench", line)
        .text("peer", "fcontext")
        .number("workers", 1)
        .value("ns", ns_per_jump(contexts, jumps));
    result.print();
}
