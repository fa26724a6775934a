// When nothing can ever run again: who notices, what is told, how it ends. Each
// in a process of its own, for any thread of the test's may wake somebody.
#include "runtime/stall.hpp"

#include "sched/scheduler.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"

#include <weft/cancelled.hpp>
#include <weft/deadlock.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/io/tcp.hpp>
#include <weft/lock.hpp>
#include <weft/runtime.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>

#include <cstring>
#include <string>
#include <thread>

#include <sched.h>
#include <sys/socket.h>

using namespace std::chrono_literals;
using weft::test::Child;
using weft::test::Outcome;

namespace {

struct Told {
    bool deadlock = false;
    std::string report;
    bool says(const char* text) const { return report.find(text) != std::string::npos; }
};

template <class Body>
Told told_by(Body&& body) {
    try {
        body();
    } catch (const weft::Deadlock& deadlock) {
        return {true, deadlock.what()};
    }
    return {};
}

// The number of the first thing that is wrong, or 0.
int first_wrong(std::initializer_list<bool> right) {
    int number = 0;
    for (const bool each : right) {
        ++number;
        if (!each) return number;
    }
    return 0;
}

template <class Body>
int on_all(Body&& body) {
    for (const unsigned workers : {1u, 2u, 8u}) {
        for (const weft::Io io : weft::test::available_io()) {
            if (const int wrong = body(weft::Options{.workers = workers, .io = io})) return wrong;
        }
    }
    return 0;
}

bool rests(weft::Runtime& runtime) { return runtime.scheduler().watchdog().rests(); }

const Child forgotten{
    "an event that nobody sets", [] {
        return on_all([](const weft::Options& options) {
            weft::Event never;
            bool unwound = false;
            const Told told = told_by([&] {
                weft::run(
                    [&] {
                        auto fiber = weft::spawn(weft::SpawnOptions{.name = "forgotten"}, [&] {
                            try {
                                never.wait();
                            } catch (const weft::Cancelled&) {
                                unwound = true;
                                throw;
                            }
                        });
                        fiber.join();
                    },
                    options);
            });
            return first_wrong({told.deadlock, told.says("\"forgotten\""),
                                told.says("Event::wait 0x"), told.says("\"main\""),
                                told.says("waits: join"), unwound});
        });
    }};

// The lock's holder unwinds, so that who waits for it can go on as if nothing was.
const Child behind{"fibers behind one that is stuck", [] {
                       return on_all([](const weft::Options& options) {
                           weft::Event never;
                           weft::Lock lock;
                           int locked = 0;
                           const Told told = told_by([&] {
                               weft::run(
                                   [&] {
                                       weft::Event holds;
                                       auto holder =
                                           weft::spawn(weft::SpawnOptions{.name = "holder"}, [&] {
                                               const std::lock_guard hold{lock};
                                               holds.set();
                                               never.wait();
                                           });
                                       holds.wait();
                                       const std::lock_guard hold{lock};
                                       ++locked;
                                       holder.join();
                                   },
                                   options);
                           });
                           return first_wrong({told.deadlock, told.says("\"holder\""),
                                               told.says("Lock::lock 0x"), locked == 1});
                       });
                   }};

const Child shielded{"fibers that cannot be unwound", [] {
                         weft::Event never;
                         weft::run([&] {
                             const weft::this_fiber::Shield shield;
                             never.wait();
                         });
                         return 1;
                     }};

const Child outside{"a plain thread that may wake a fiber", [] {
                        return on_all([](const weft::Options& options) {
                            weft::Event event;
                            weft::Runtime runtime{options};
                            auto fiber = runtime.spawn([&] { event.wait(); });
                            std::thread thread{[&] {
                                while (!rests(runtime)) sched_yield();
                                for (int i = 0; i < 100; ++i) {
                                    if (!weft::detail::look_for_stall(runtime.scheduler())) return;
                                }
                                event.set();
                            }};
                            const Told told = told_by([&] { runtime.wait(); });
                            thread.join();
                            return first_wrong({!told.deadlock});
                        });
                    }};

const Child left_alone{"a plain thread that ends without waking a fiber", [] {
                           weft::Event event;
                           weft::Runtime runtime{{.workers = 2}};
                           auto fiber = runtime.spawn([&] { event.wait(); });
                           // Longer than all workers need to be found asleep; nobody could wait for
                           // it.
                           std::thread thread{[] { std::this_thread::sleep_for(200ms); }};
                           thread.detach();
                           const Told told = told_by([&] { runtime.wait(); });
                           return first_wrong({told.deadlock, told.says("Event::wait")});
                       }};

const Child owner{"the owner of a runtime outside of weft", [] {
                      weft::Event event;
                      weft::Runtime runtime{{.workers = 2}};
                      auto fiber = runtime.spawn([&] { event.wait(); });
                      while (!rests(runtime)) sched_yield();
                      for (int i = 0; i < 100; ++i) {
                          if (!weft::detail::look_for_stall(runtime.scheduler())) return 1;
                      }
                      event.set();
                      return fiber.join() ? 0 : 2;
                  }};

const Child timed{"waits that end by themselves", [] {
                      return on_all([](const weft::Options& options) {
                          weft::Event event;
                          const Told told = told_by([&] {
                              weft::run(
                                  [&] {
                                      auto fiber = weft::spawn([&] { event.wait(); });
                                      // Longer than all workers need to be found asleep.
                                      weft::this_fiber::sleep_for(200ms);
                                      event.set();
                                      fiber.join();
                                  },
                                  options);
                          });
                          return first_wrong({!told.deadlock});
                      });
                  }};

const Child input{"waits for what comes from outside", [] {
                      return on_all([](const weft::Options& options) {
                          int ends[2];
                          if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return 100;
                          const pid_t child = ::fork();
                          if (child == 0) {
                              ::usleep(200'000);
                              _exit(::write(ends[1], "x", 1) == 1 ? 0 : 1);
                          }
                          std::size_t count = 0;
                          const Told told = told_by([&] {
                              weft::run(
                                  [&] {
                                      weft::io::TcpStream stream{ends[0]};
                                      std::byte byte[1];
                                      count = stream.read(byte);
                                  },
                                  options);
                          });
                          ::close(ends[1]);
                          int status = 0;
                          ::waitpid(child, &status, 0);
                          return first_wrong({!told.deadlock, count == 1, status == 0});
                      });
                  }};

// One stands still, until the other's timer.
const Child two{"a runtime that another one wakes", [] {
                    weft::Event event;
                    weft::Runtime waits{{.workers = 2}};
                    weft::Runtime wakes{{.workers = 2}};
                    auto waiter = waits.spawn([&] { event.wait(); });
                    auto waker = wakes.spawn([&] {
                        weft::this_fiber::sleep_for(200ms);
                        event.set();
                    });
                    const Told told = told_by([&] { waits.wait(); });
                    waker.join();
                    return first_wrong({!told.deadlock});
                }};

const Child both{"two runtimes that wait for each other", [] {
                     weft::Event event;
                     weft::Runtime one{{.workers = 2}};
                     weft::Runtime other{{.workers = 2}};
                     auto first = one.spawn([&] { event.wait(); });
                     auto second = other.spawn([&] { first.join(); });
                     const Told told = told_by([&] { one.wait(); });
                     const Told told_too = told_by([&] { other.wait(); });
                     return first_wrong({told.deadlock, told_too.deadlock});
                 }};

// Which of the two looks first is not known; the verdict ends the waits of one.
const Child apart{"two runtimes, each stuck for itself", [] {
                      for (int round = 0; round < 6; ++round) {
                          weft::Event never;
                          weft::Runtime one{{.workers = 1}};
                          weft::Runtime other{{.workers = 1}};
                          auto first = one.spawn([&] { never.wait(); });
                          auto second = other.spawn([&] { never.wait(); });
                          const Told told = told_by([&] { one.wait(); });
                          const Told told_too = told_by([&] { other.wait(); });
                          if (!told.deadlock || !told_too.deadlock) return 1;
                      }
                      return 0;
                  }};

const Child daemons{"daemons that wait for ever", [] {
                        return on_all([](const weft::Options& options) {
                            weft::Event event;
                            weft::Runtime runtime{options};
                            runtime.spawn(weft::SpawnOptions{.daemon = true},
                                          [&] { event.wait(); });
                            while (!rests(runtime)) sched_yield();
                            return weft::detail::look_for_stall(runtime.scheduler()) ? 1 : 0;
                        });
                    }};

// Nobody is waited for until the runtime goes; then its watchdog has long gone to sleep.
const Child in_shield{"a daemon that waits for ever in a Shield", [] {
                          weft::Event never;
                          weft::Event ready;
                          weft::Runtime runtime{{.workers = 2}};
                          runtime.spawn(weft::SpawnOptions{.name = "deaf", .daemon = true}, [&] {
                              const weft::this_fiber::Shield shield;
                              ready.set();
                              never.wait();
                          });
                          ready.wait();
                          while (!rests(runtime)) sched_yield();
                          for (int i = 0; i < 100; ++i) {
                              if (weft::detail::look_for_stall(runtime.scheduler())) return 2;
                          }
                          return 1;
                      }};

const Child helped{"a daemon in a Shield that another runtime wakes", [] {
                       return on_all([](const weft::Options& options) {
                           weft::Event event;
                           weft::Runtime other{{.workers = 1}};
                           auto waker = other.spawn([&] {
                               // Longer than all workers need to be found asleep.
                               weft::this_fiber::sleep_for(200ms);
                               event.set();
                           });
                           weft::run(
                               [&] {
                                   weft::Event ready;
                                   weft::spawn(weft::SpawnOptions{.daemon = true}, [&] {
                                       const weft::this_fiber::Shield shield;
                                       ready.set();
                                       event.wait();
                                   });
                                   ready.wait();
                               },
                               options);
                           return first_wrong({event.is_set()});
                       });
                   }};

const Child twice{"a runtime that gets stuck again", [] {
                      return on_all([](const weft::Options& options) {
                          weft::Event never;
                          weft::Runtime runtime{options};
                          const auto get_stuck = [&](const char* name) {
                              auto fiber = runtime.spawn(weft::SpawnOptions{.name = name},
                                                         [&] { never.wait(); });
                              return told_by([&] { runtime.wait(); });
                          };
                          const Told first = get_stuck("first");
                          const Told second = get_stuck("second");
                          runtime.spawn([] {}).detach();
                          const Told none = told_by([&] { runtime.wait(); });
                          return first_wrong({first.deadlock, first.says("\"first\""),
                                              second.deadlock, second.says("\"second\""),
                                              !second.says("\"first\""), !none.deadlock});
                      });
                  }};

void ends_well(const Child& child) {
    const Outcome outcome = child.run();
    INFO(outcome.describe());
    CHECK(outcome.exited_with(0));
}

}  // namespace

TEST_CASE("run throws Deadlock when no fiber can be woken, and names them", "[stall]") {
    const Outcome outcome = forgotten.run();
    INFO(outcome.describe());
    CHECK(outcome.exited_with(0));
    CHECK(outcome.says("no fiber can run"));
    CHECK(outcome.says("\"forgotten\""));
}

TEST_CASE("who waits for a stuck fiber's lock or end goes on when that unwinds", "[stall]") {
    ends_well(behind);
}

TEST_CASE("fibers that cannot be unwound end the process with the report", "[stall]") {
    const Outcome outcome = shielded.run();
    INFO(outcome.describe());
    CHECK(outcome.killed_by(SIGABRT));
    CHECK(outcome.says("none of these waits can be ended"));
}

TEST_CASE("there is no verdict while a plain thread may wake a fiber", "[stall]") {
    ends_well(outside);
}

TEST_CASE("a plain thread that ends leaves a verdict behind", "[stall]") { ends_well(left_alone); }

TEST_CASE("there is no verdict while a runtime's owner may spawn", "[stall]") { ends_well(owner); }

TEST_CASE("there is no verdict while a deadline is to come", "[stall]") { ends_well(timed); }

TEST_CASE("there is no verdict while I/O is in flight", "[stall][io]") { ends_well(input); }

TEST_CASE("a runtime is not stuck while another one goes on", "[stall]") { ends_well(two); }

TEST_CASE("runtimes that stand still together are stuck together", "[stall]") { ends_well(both); }

TEST_CASE("a runtime that is stuck when another one has been helped is helped, too", "[stall]") {
    ends_well(apart);
}

TEST_CASE("daemons that wait are no deadlock", "[stall][daemon]") { ends_well(daemons); }

TEST_CASE("a daemon that cannot be unwound ends the process with the report", "[stall][daemon]") {
    const Outcome outcome = in_shield.run();
    INFO(outcome.describe());
    CHECK(outcome.killed_by(SIGABRT));
    CHECK(outcome.says("\"deaf\" daemon"));
    CHECK(outcome.says("waits: Event::wait 0x"));
    CHECK(outcome.says("none of these waits can be ended"));
}

TEST_CASE("there is no verdict over a daemon that somebody may wake", "[stall][daemon]") {
    ends_well(helped);
}

TEST_CASE("a runtime that gets stuck again tells so anew", "[stall]") {
    const Outcome outcome = twice.run();
    INFO(outcome.describe());
    CHECK(outcome.exited_with(0));
    CHECK(outcome.says("\"second\""));
}
