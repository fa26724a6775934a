// A child process (Child) with a network, a disk or name servers of its own: nothing it
// does leaves it.
#pragma once

#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
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
inline bool bring_up(const char* interface) {
    const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ifreq request{};
    std::snprintf(request.ifr_name, sizeof request.ifr_name, "%s", interface);
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    const bool up = ::ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    ::close(fd);
    return up;
}
inline bool bring_loopback_up() { return bring_up("lo"); }

/// Two interfaces with a wire between them, up, and with IPv6 addresses at once. False if the
/// kernel has none such. Requires: a network of one's own.
class Wire {
public:
    static bool lay(const char* name, const char* peer) {
        // Else addresses are looked for on the wire for a second first.
        std::ofstream{"/proc/sys/net/ipv6/conf/default/accept_dad"} << "0";
        if (!make(name, peer) || !bring_up(name) || !bring_up(peer)) return false;
        // A network without IPv6 never has one.
        const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds{10};
        while (!has_address(name) || !has_address(peer)) {
            if (std::chrono::steady_clock::now() > give_up) return false;
            ::sched_yield();
        }
        return true;
    }

private:
    struct Message {
        nlmsghdr head{};
        ifinfomsg interface {};
        char attributes[256]{};

        Message() {
            head.nlmsg_len = NLMSG_LENGTH(sizeof interface);
            head.nlmsg_type = RTM_NEWLINK;
            head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        }
        char* end() { return reinterpret_cast<char*>(this) + head.nlmsg_len; }
        /// One that others may be put into, until close().
        rtattr* open(unsigned short type) {
            auto* attribute = reinterpret_cast<rtattr*>(end());
            attribute->rta_type = type;
            head.nlmsg_len += RTA_LENGTH(0);
            return attribute;
        }
        void close(rtattr* attribute) {
            attribute->rta_len =
                static_cast<unsigned short>(end() - reinterpret_cast<char*>(attribute));
            head.nlmsg_len = NLMSG_ALIGN(head.nlmsg_len);
        }
        void add(unsigned short type, const char* text) {
            rtattr* attribute = open(type);
            std::strcpy(end(), text);
            head.nlmsg_len += static_cast<unsigned>(std::strlen(text)) + 1;
            close(attribute);
        }
    };
    static_assert(sizeof(nlmsghdr) + sizeof(ifinfomsg) + 256 == sizeof(Message));

    /// One that is not tentative any more.
    static bool has_address(const char* interface) {
        std::ifstream file{"/proc/net/if_inet6"};
        std::string address;
        std::string index;
        std::string prefix;
        std::string scope;
        std::string flags;
        for (std::string name; file >> address >> index >> prefix >> scope >> flags >> name;) {
            const bool tentative = (std::stoul(flags, nullptr, 16) & IFA_F_TENTATIVE) != 0;
            if (name == interface && !tentative) return true;
        }
        return false;
    }

    static bool make(const char* name, const char* peer) {
        Message message;
        message.add(IFLA_IFNAME, name);
        rtattr* info = message.open(IFLA_LINKINFO);
        message.add(IFLA_INFO_KIND, "veth");
        rtattr* data = message.open(IFLA_INFO_DATA);
        rtattr* other = message.open(VETH_INFO_PEER);
        message.head.nlmsg_len += sizeof(ifinfomsg);
        message.add(IFLA_IFNAME, peer);
        message.close(other);
        message.close(data);
        message.close(info);
        return ask(message);
    }

    static bool ask(const Message& message) {
        struct {
            nlmsghdr head;
            nlmsgerr error;
        } answer{};
        const int fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
        const bool sent = ::send(fd, &message, message.head.nlmsg_len, 0) > 0 &&
                          ::recv(fd, &answer, sizeof answer, 0) > 0;
        ::close(fd);
        return sent && answer.error.error == 0;
    }
};

/// Puts `text` in the place of a file. Requires: mounts of one's own.
inline bool replace_file(const std::string& path, const std::string& by, const std::string& text) {
    std::ofstream{by} << text;
    return ::mount(by.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) == 0;
}

}  // namespace weft::test
