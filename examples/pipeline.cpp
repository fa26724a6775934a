// Three stages joined by channels: words come in, two fibers work on them at once,
// lines go out. Each stage closes what it fills, and so the whole ends by itself.
#include <weft/channel.hpp>
#include <weft/fiber.hpp>
#include <weft/runtime.hpp>
#include <weft/this_fiber.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <set>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using weft::RecvOnly;
using weft::SendOnly;

using Found = std::pair<std::string, bool>;

void read_words(SendOnly<std::string> words) {
    for (const char* word : {"level", "weft", "rotor", "fiber", "noon", "channel"}) {
        words.send(word);  // waits when the others are behind
    }
    words.close();
}

void look_at_words(RecvOnly<std::string> words, SendOnly<Found> found) {
    for (std::string& word : words) {
        weft::this_fiber::sleep_for(1ms);  // thinks
        const bool same = std::equal(word.begin(), word.end(), word.rbegin());
        found.send({std::move(word), same});
    }
}

int main() {
    weft::run([] {
        weft::Channel<std::string> words{2};
        weft::Channel<Found> found;

        auto reader = weft::spawn(read_words, SendOnly<std::string>{words});
        std::vector<weft::Fiber<>> lookers;
        for (int i = 0; i < 2; ++i) {
            lookers.push_back(
                weft::spawn(look_at_words, RecvOnly<std::string>{words}, SendOnly<Found>{found}));
        }
        auto closer = weft::spawn([&] {
            weft::join_all(lookers);
            found.close();
        });

        std::set<Found> all;  // they come in the order in which they are done
        for (Found& each : found) all.insert(std::move(each));
        closer.join();
        for (const auto& [word, same] : all) {
            std::printf("%-8s %s\n", word.c_str(), same ? "reads the same backwards" : "does not");
        }
    });
}
