// Consumer and producer by turns, without a queue or a second thread: what one sends is
// what the other one's yield returns, and the other way round.
#include <weft/generator.hpp>

#include <cstdio>
#include <string>

using Consumer = weft::Generator<std::string, int>;

Consumer consumer() {
    return Consumer{[](auto& yield) {
        std::string answer;
        while (const int item = yield(answer)) {
            std::printf("[consumer] consuming %d\n", item);
            answer = "200 OK";
        }
    }};
}

void produce(Consumer& consumer) {
    consumer.next();  // up to its first yield
    for (int item = 1; item <= 5; ++item) {
        std::printf("[producer] producing %d\n", item);
        const auto answer = consumer.send(item);
        std::printf("[producer] the consumer returned: %s\n", answer->c_str());
    }
    consumer.close();
}

int main() {
    Consumer c = consumer();
    produce(c);

    // A generator is a range, too, and one may be made of others.
    weft::Generator<long> fibonacci{[](auto& yield) {
        for (long a = 0, b = 1;; b += a, a = b - a) yield(a);
    }};
    for (const long n : fibonacci) {
        if (n > 100) break;
        std::printf("%ld ", n);
    }
    std::puts("");
}
