#include "http/stop_on_signal.hpp"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

namespace server {

namespace {

sigset_t stop_signals() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return set;
}

}  // namespace

StopOnSignal::StopOnSignal(weft::Event& stop) : stop_{stop} {
    const sigset_t set = stop_signals();
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    thread_ = std::thread{[this] { wait_for_signals(); }};
}

StopOnSignal::~StopOnSignal() {
    finished_ = true;
    pthread_kill(thread_.native_handle(), SIGTERM);  // out of sigwait()
    thread_.join();
}

void StopOnSignal::wait_for_signals() {
    const sigset_t set = stop_signals();
    bool stopping = false;
    for (;;) {
        int signal = 0;
        sigwait(&set, &signal);
        if (finished_) return;
        if (stopping) _exit(128 + signal);
        stopping = true;
        stop_.set();
    }
}

}  // namespace server
