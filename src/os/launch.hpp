// Launch: a child process from its birth to the start of its program.
// Layer: os. Uses: io.
//
// The child is made by clone(CLONE_VM | CLONE_VFORK): it shares the memory, on a stack of
// its own, while the thread that made it stands still. Nothing is copied (fork(): 25 ms at
// 1 GiB), nobody else's locks matter, for the child makes system calls only, and what goes
// wrong it writes down where the parent reads it. Rejected: posix_spawn(), which gives no
// pidfd, cannot kill with the parent, and does not tell what failed.
//
// Invariants
//  1. No handler runs in the child: all signals are blocked from before the clone until
//     none has a handler any more.
//  2. The child has the descriptors 0 to 2 and those it is given, no others: what is above
//     is marked to be closed by the exec, whatever other code forgot to mark.
#pragma once

#include <weft/io/process.hpp>

#include <span>

namespace weft::io::detail {

/// A descriptor of ours, and its number in the child.
struct FdMove {
    int from;
    int to;
};

struct Launch {
    enum class Step : unsigned char { group, directory, descriptors, program };

    // What to do. All texts and lists outlive the call.
    char** programs;  // where the program may be, in that order; null behind the last
    char** arguments;
    char** environment;
    const char* directory;    // null: it stays
    std::span<FdMove> moves;  // overwritten
    ProcessGroup group;
    bool dies_with_parent;
    // What came of it.
    int error = 0;  // 0: it was started
    Step failed = Step::program;
    int pid = -1;
    int pidfd = -1;
};

/// Blocks: the thread, until the program is loaded, or that has failed: then `error` tells
/// why and `failed` where, and there is no child.
void start(Launch& launch);

/// How the process ended, if it has, and takes the zombie away. -ECHILD: somebody else has
/// taken that; -EAGAIN: it has not ended.
int reap(int pidfd, ExitStatus& status) noexcept;

}  // namespace weft::io::detail
