// A child process (Child) with a network, a disk or name servers of its own: nothing it
// does leaves it.
#pragma once

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

namespace weft::test {

/// What a child ends with that may not have them.
inline constexpr int not_permitted = 77;

/// What a child expects; its exit code is how often it was wrong.
class Expectations {
public:
    void expect(bool right, const std::string& what) {
        if (right) return;
        ++wrong_;
        std::fprintf(stderr, "not so: %s\n", what.c_str());
    }
    int wrong() const { return wrong_; }

private:
    int wrong_ = 0;
};

/// Enters namespaces of users, and of `kinds`: CLONE_NEWNS, CLONE_NEWNET. False if that is
/// forbidden. Requires: one thread.
inline bool enter_namespaces(int kinds) {
    const auto user = std::to_string(::getuid());
    const auto group = std::to_string(::getgid());
    if (::unshare(CLONE_NEWUSER | kinds) != 0) return false;
    // Whose files there are to be made.
    std::ofstream{"/proc/self/setgroups"} << "deny";
    std::ofstream{"/proc/self/uid_map"} << "0 " << user << " 1";
    std::ofstream{"/proc/self/gid_map"} << "0 " << group << " 1";
    return ::getuid() == 0;
}

/// Mounts a disk for `size`, such as "256k", on a directory; for its process alone. False if that
/// is forbidden. Requires: one thread.
inline bool mount_small_disk(const std::string& where, const std::string& size) {
    return enter_namespaces(CLONE_NEWNS) &&
           ::mount("none", where.c_str(), "tmpfs", 0, ("size=" + size).c_str()) == 0;
}

/// Requires: a network of one's own.
inline bool bring_loopback_up() {
    const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ifreq request{};
    std::snprintf(request.ifr_name, sizeof request.ifr_name, "lo");
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    const bool up = ::ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    ::close(fd);
    return up;
}

/// Puts `text` in the place of a file. Requires: mounts of one's own.
inline bool replace_file(const std::string& path, const std::string& by, const std::string& text) {
    std::ofstream{by} << text;
    return ::mount(by.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) == 0;
}

}  // namespace weft::test
