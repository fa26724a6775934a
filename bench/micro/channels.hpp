// Lines about channels. Layer: benchmarks, micro.
#pragma once

#include "common/json.hpp"
#include "common/measure.hpp"
#include "micro/calibrate.hpp"
#include "micro/peer.hpp"
#include "micro/switching.hpp"

#include <cstdint>
#include <cstdlib>
#include <memory>

namespace bench {

/// Two fibers send a number there and back, without a buffer; the value is per round trip.
template <class Peer>
void meeting_line(JsonLine& result, long total) {
    typename Peer::Meeting there;
    typename Peer::Meeting back;
    measure_calibrated(result, total, 10, [&there, &back](long rounds) {
        const std::uint64_t start = now_ns();
        auto first = Peer::spawn([&there, &back, rounds] {
            for (long i = 0; i < rounds; ++i) {
                there.push(static_cast<std::uint64_t>(i));
                back.pop();
            }
        });
        auto second = Peer::spawn([&there, &back, rounds] {
            for (long i = 0; i < rounds; ++i) back.push(there.pop());
        });
        Peer::join(first);
        Peer::join(second);
        return ns_each(start, rounds);
    });
}

/// As skynet_join100k, but each node gets its sums through a channel of 16.
template <class Peer>
void send_sum_of_tree(typename Peer::Channel& up, std::uint64_t first, std::uint64_t leaves) {
    constexpr int children = 10;
    if (leaves == 1) return up.push(first);
    // Not on the stack, for the peers whose channels are large.
    const auto sums = std::make_unique<typename Peer::Channel>(16);
    typename Peer::Task tasks[children];
    const std::uint64_t share = leaves / children;
    for (int i = 0; i < children; ++i) {
        tasks[i] = Peer::spawn([&to = *sums, first, share, i] {
            send_sum_of_tree<Peer>(to, first + static_cast<std::uint64_t>(i) * share, share);
        });
    }
    std::uint64_t total = 0;
    for (int i = 0; i < children; ++i) total += sums->pop();
    for (auto& task : tasks) Peer::join(task);
    up.push(total);
}

template <class Peer>
void channel_skynet_line(JsonLine& result, std::uint64_t leaves) {
    measure_tree(result, leaves, [](std::uint64_t size) {
        typename Peer::Channel sum(16);
        auto root = Peer::spawn([&sum, size] { send_sum_of_tree<Peer>(sum, 0, size); });
        const std::uint64_t total = sum.pop();
        Peer::join(root);
        return total;
    });
}

/// One fiber takes values of 8 channels without a buffer as they come; the value is
/// per value taken. With 8 senders, one for each channel, there is always one ready,
/// mostly several; one sender, who uses one channel after the other, is waited for.
template <class Peer, int senders>
void select_line(JsonLine& result, long total) {
    constexpr int channels = 8;
    typename Peer::Meeting meetings[channels];
    measure_calibrated(result, total, channels, [&meetings](long values) {
        const std::uint64_t start = now_ns();
        Tasks<Peer> tasks;
        for (int s = 0; s < senders; ++s) {
            tasks.push_back(Peer::spawn([&meetings, s, values] {
                for (long i = 0; i < values / senders; ++i)
                    meetings[senders == 1 ? i % channels : s].push(1);
            }));
        }
        tasks.push_back(Peer::spawn([&meetings, values] {
            std::uint64_t sum = 0;
            for (long i = 0; i < values; ++i) sum += Peer::pop_any(meetings);
            if (sum != static_cast<std::uint64_t>(values)) std::abort();
        }));
        join_tasks<Peer>(tasks);
        return ns_each(start, values);
    });
}

}  // namespace bench
