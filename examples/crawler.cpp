// Crawls a site with a FiberPool, at most four pages at once, each page once. The site is a
// server of the program's own, which is sent a page's name and answers with its links.
#include <weft/io/tcp.hpp>
#include <weft/weft.hpp>

#include <atomic>
#include <cstdio>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace io = weft::io;

const std::map<std::string, std::string> site{
    {"home", "news team docs"}, {"news", "home team"}, {"docs", "team news"},
    {"team", "ann bob home"},   {"ann", "team bob"},   {"bob", "team ann"},
};

std::string read_all(io::TcpStream& peer) {
    std::string text(100, ' ');  // more than any page has
    text.resize(peer.read_exactly(std::as_writable_bytes(std::span{text})));
    return text;
}

void answer(io::TcpStream peer) { peer.write_all(site.at(read_all(peer))); }

void serve(io::TcpListener listener) {
    for (;;) weft::spawn(answer, listener.accept());
}

int main() {
    weft::run([] {
        io::TcpListener listener{io::Address::loopback_v4(0)};
        std::atomic<int> requests{0};
        const auto fetch = [&requests, server = listener.local_address()](const auto& page) {
            ++requests;
            auto peer = io::TcpStream::connect(server);
            peer.write_all(page);
            peer.shutdown(io::Shutdown::write);
            return read_all(peer);
        };
        weft::spawn({.daemon = true}, serve, std::move(listener));

        weft::FiberPool pool{4};
        std::set<std::string> seen{"home"};
        for (std::vector<std::string> pages{"home"}; !pages.empty();) {
            for (const auto& text : pool.map(fetch, std::exchange(pages, {}))) {
                std::istringstream links{text};
                for (std::string link; links >> link;) {
                    if (seen.insert(link).second) pages.push_back(link);
                }
            }
        }
        for (const auto& page : seen) std::puts(page.c_str());
        std::printf("%zu pages, %d requests\n", seen.size(), requests.load());
    });
}
