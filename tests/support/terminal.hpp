// A terminal of a test's own.
#pragma once

#include "support/catch.hpp"
#include "support/fd.hpp"

#include <fcntl.h>
#include <stdlib.h>

namespace weft::test {

/// What is written to `slave` is read from `master`, and the other way round.
struct Terminal {
    Terminal() {
        REQUIRE(::grantpt(master) == 0);
        REQUIRE(::unlockpt(master) == 0);
        slave = Fd{::open(::ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC)};
        REQUIRE(slave >= 0);
    }
    Fd master{::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)};
    Fd slave;
};

}  // namespace weft::test
