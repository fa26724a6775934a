#pragma once

#include <weft/event.hpp>

#include <atomic>
#include <thread>

namespace server {

/// Sets an event when SIGINT or SIGTERM comes; a second one ends the process.
///
/// A plain thread waits for the signals, so no handler runs anywhere. Make it
/// before any other thread: those started later inherit that the signals are
/// blocked. The destructor ends the thread, signal or not.
class StopOnSignal {
public:
    explicit StopOnSignal(weft::Event& stop);
    StopOnSignal(const StopOnSignal&) = delete;
    StopOnSignal& operator=(const StopOnSignal&) = delete;
    ~StopOnSignal();

private:
    void wait_for_signals();

    weft::Event& stop_;
    std::atomic<bool> finished_{false};
    std::thread thread_;  // last: it uses the others
};

}  // namespace server
