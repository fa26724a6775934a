// The prime sieve of the Newsqueak paper: a chain of fibers, one for each prime found,
// that lets pass what its prime does not divide.
#include <weft/channel.hpp>
#include <weft/fiber.hpp>
#include <weft/runtime.hpp>

#include <cstdio>
#include <deque>
#include <vector>

using weft::RecvOnly;
using weft::SendOnly;

void count_up(SendOnly<int> to) {
    for (int number = 2;; ++number) to.send(number);
}

void filter(RecvOnly<int> from, SendOnly<int> to, int prime) {
    for (const int number : from) {
        if (number % prime != 0) to.send(number);
    }
}

int main() {
    weft::run([] {
        std::deque<weft::Channel<int>> channels(1);  // they stay where they are as it grows
        std::vector<weft::Fiber<>> fibers;
        fibers.push_back(weft::spawn(count_up, SendOnly<int>{channels.back()}));
        for (int i = 0; i < 20; ++i) {
            const RecvOnly<int> from = channels.back();
            const int prime = *from.recv();
            std::printf("%d%c", prime, i % 10 == 9 ? '\n' : ' ');
            const SendOnly<int> to = channels.emplace_back();
            fibers.push_back(weft::spawn(filter, from, to, prime));
        }
        // None of them would ever end: each is cancelled in its wait for the next.
        weft::cancel_all(fibers);
        weft::join_all(fibers);
    });
}
