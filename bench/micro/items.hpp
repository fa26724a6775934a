// The line `generator`: a function that makes the numbers 0, 1, 2, ... and is asked for
// each. Layer: benchmarks, micro.
#pragma once

#include "common/json.hpp"
#include "common/measure.hpp"
#include "micro/calibrate.hpp"

#include <cstdio>
#include <cstdlib>
#include <string>

namespace bench {

/// The value is per item.
template <class Counting>
void generator_line(JsonLine& result, long items) {
    Counting numbers;
    long asked = 0;
    long sum = 0;
    measure_calibrated(result, items, 1000, [&](long share) {
        asked += share;
        const std::uint64_t start = now_ns();
        for (long i = 0; i < share; ++i) sum += numbers.next();
        return ns_each(start, share);
    });
    result.number("ok", sum == asked * (asked - 1) / 2 ? 1 : 0);
}

/// Of a peer that has no fibers: only this line.
template <class Counting>
int main_of_items(const char* peer, int count, char** arguments) {
    if (count != 3 || std::string{arguments[1]} != "generator") {
        std::fprintf(stderr, "usage: %s generator 1\n", arguments[0]);
        return 2;
    }
    JsonLine result;
    result.text("bench", "generator").text("peer", peer).number("workers", 1);
    generator_line<Counting>(result, 20'000'000);
    result.print();
    return EXIT_SUCCESS;
}

}  // namespace bench
