// SimDriver: the Driver of a simulated worker. Layer: diag. Uses: base, io.
//
// Operations are carried out by system calls that never sleep, tried in an order
// drawn from the seed, shortened and put off as the options say. Nothing waits:
// the simulation's loop asks again when nothing else can run.
#pragma once

#include "base/random.hpp"
#include "io/operation.hpp"

#include <weft/testing.hpp>

#include <cstdint>
#include <vector>

namespace weft::detail {

class SimDriver final : public IoDriver {
public:
    SimDriver(const SimulationOptions& options, std::uint64_t seed)
        : options_{options}, random_{seed} {}

    void attach() override {}
    bool ready() const noexcept override { return !pending_.empty(); }
    void poll() noexcept override;
    void wait(Deadline) noexcept override {}
    void wake() noexcept override {}
    bool rescue(pid_t) noexcept override { return false; }
    void on_signal() noexcept override {}
    std::size_t in_flight() const noexcept override { return pending_.size(); }

    void submit(Operation& operation) noexcept override;
    void cancel(Operation& operation) noexcept override;

private:
    bool chance(unsigned percent) noexcept { return random_.below(100) < percent; }
    bool try_once(Operation& operation) noexcept;

    const SimulationOptions options_;
    Random random_;
    std::vector<Operation*> pending_;
};

}  // namespace weft::detail
