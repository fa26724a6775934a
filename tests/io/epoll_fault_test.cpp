// The epoll driver where epoll_ctl(2) has no room: ENOSPC of max_user_watches, ENOMEM.
#include "support/kernel.hpp"

#include "io/epoll_rig.hpp"
#include "support/errors.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/tcp.hpp"
#include "support/waiting.hpp"

#include <weft/io/wait.hpp>

#include <sys/syscall.h>

#include <vector>

using namespace weft;
using namespace weft::test;

TEST_CASE("what epoll has no room for fails, and what waits already goes on",
          "[io][epoll][fault]") {
    for (const int error : {ENOSPC, ENOMEM}) {
        Rig rig;
        const Pair before = sockets();
        const Pair pair = sockets();
        Reader waiting{before.a};
        rig.driver.submit(waiting.operation);
        {
            const RefusedCall refused{SYS_epoll_ctl, error};
            Reader reader{pair.a};
            rig.driver.submit(reader.operation);
            CHECK(reader.operation.await() == -error);
            put(pair.b, "there");  // no event is needed for that
            Reader another{pair.a};
            rig.driver.submit(another.operation);
            CHECK(another.await() == "there");
            CHECK(RefusedCall::met() == 1);
        }
        CHECK(rig.driver.in_flight() == 1);
        put(before.b, "it");
        rig.drive();
        CHECK(waiting.await() == "it");
        Reader again{pair.a};
        rig.driver.submit(again.operation);
        put(pair.b, "now");
        rig.drive();
        CHECK(again.await() == "now");
    }
}

TEST_CASE("the error of a full epoll reaches every call that would wait", "[io][epoll][fault]") {
    for (const auto wanted : {std::errc::no_space_on_device, std::errc::not_enough_memory}) {
        on_workers(
            [wanted] {
                auto [client, server] = connection();
                auto [fresh, peer] = connection();
                io::TcpListener listener{io::Address::loopback_v4(0)};
                // Registered before, wherever it runs; the others have never waited.
                auto waiting = test::waiting([&server = server] { return read_text(server); });
                const std::size_t fds = open_fds();
                {
                    const RefusedCall refused{SYS_epoll_ctl, static_cast<int>(wanted)};
                    REQUIRE(is(error_of([&, &fresh = fresh] { read_text(fresh); }), wanted));
                    REQUIRE(is(error_of([&, &fresh = fresh] { fresh.receive(); }), wanted));
                    REQUIRE(is(error_of([&] { (void)io::wait_readable(listener.fd()); }), wanted));
                    const auto accepted = error_of([&] { listener.accept(5ms); });
                    REQUIRE((is(accepted, wanted) || is(accepted, std::errc::timed_out)));
                    REQUIRE(RefusedCall::met() >= 4);
                }
                REQUIRE(open_fds() == fds);
                client.write_all("went on");
                REQUIRE(waiting.get() == "went on");
                peer.write_all("works again");
                REQUIRE(read_text(fresh) == "works again");
            },
            Io::epoll);
    }
}
