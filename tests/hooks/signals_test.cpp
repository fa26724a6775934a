// Calls that a thread makes for fibers, as libc has them.
#include "hooks/conform.hpp"
#include "support/fd.hpp"

#include <netdb.h>
#include <pty.h>
#include <termios.h>
#include <unistd.h>

using namespace weft::test;

TEST_CASE("signals: what a terminal has still to send is waited for", "[hooks][file]") {
    conforms([](Seen& seen) {
        int master = -1;
        int slave = -1;
        if (::openpty(&master, &slave, nullptr, nullptr, nullptr) != 0) return;
        termios settings{};
        ::tcgetattr(slave, &settings);
        seen.of("drain", [&] { return ::tcsetattr(slave, TCSADRAIN, &settings); });
        seen.of("flush", [&] { return ::tcsetattr(slave, TCSAFLUSH, &settings); });
        seen.of("now", [&] { return ::tcsetattr(slave, TCSANOW, &settings); });
        seen.of("no such way", [&] { return ::tcsetattr(slave, 77, &settings); });
        seen.of("break", [&] { return ::tcsendbreak(slave, 0); });
        ::close(master);
        ::close(slave);
        seen.of("closed", [&] { return ::tcsetattr(slave, TCSADRAIN, &settings); });
        seen.of("closed", [&] { return ::tcsendbreak(slave, 0); });
    });
}

TEST_CASE("signals: look-ups that others make are waited for", "[hooks][dns]") {
    conforms([](Seen& seen) {
        gaicb request{};
        request.ar_name = "127.0.0.1";
        gaicb* list[] = {&request};
        seen.of("begun", [&] { return ::getaddrinfo_a(GAI_NOWAIT, list, 1, nullptr); });
        const gaicb* const awaited[] = {&request};
        int result = 0;
        // Done by then, maybe, which it says at once.
        while (result != EAI_ALLDONE) result = ::gai_suspend(awaited, 1, nullptr);
        seen.note("found", ::gai_error(&request));
        if (request.ar_result != nullptr) ::freeaddrinfo(request.ar_result);
    });
}
