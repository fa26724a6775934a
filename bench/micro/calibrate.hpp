// How often a line is repeated. Layer: benchmarks, micro.
//
// A hand-over between cores can cost a thousand times one on the same core, so
// no fixed count suits every peer. One pass in 200 warms up, a second one
// estimates, and the measured one does as many operations as take 0.35 s, at
// most the count asked for.
#pragma once

#include "common/json.hpp"
#include "common/measure.hpp"

#include <algorithm>

namespace bench {

/// `pass(n)` does n operations and returns nanoseconds per operation; n is a
/// multiple of `unit`. Reports the measured pass and returns it.
template <class Pass>
double measure_calibrated(JsonLine& result, long count, long unit, Pass pass) {
    constexpr double budget_ns = 0.35e9;
    const auto whole_units = [unit](long operations) { return operations / unit * unit; };

    const long probe = std::max(unit, whole_units(count / 200));
    pass(probe);
    const double estimate = pass(probe);
    const auto affordable = static_cast<long>(budget_ns / estimate);
    const long measured = whole_units(std::min(count, std::max(probe, affordable)));

    const std::uint64_t cpu_before = process_cpu_ns();
    const double per_operation = pass(measured);
    const auto cpu = static_cast<double>(process_cpu_ns() - cpu_before);
    result.value("ns", per_operation)
        .number("cpu_ns", cpu / static_cast<double>(measured))
        .number("operations", static_cast<double>(measured));
    return per_operation;
}

/// Time since `start`, spread over `operations`.
inline double ns_each(std::uint64_t start, long operations) {
    return static_cast<double>(now_ns() - start) / static_cast<double>(operations);
}

}  // namespace bench
