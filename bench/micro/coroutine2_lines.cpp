// Boost.Coroutine2's way to make items one by one. Layer: benchmarks, micro.
//
//   coroutine2_lines generator 1     nanoseconds per item
#include "micro/items.hpp"

#include <boost/coroutine2/all.hpp>

namespace {

using Numbers = boost::coroutines2::coroutine<long>;

/// Its pull_type has the first item from the beginning.
class Counting {
public:
    long next() {
        const long item = numbers_.get();
        numbers_();
        return item;
    }

private:
    Numbers::pull_type numbers_{[](Numbers::push_type& push) {
        for (long i = 0;; ++i) push(i);
    }};
};

}  // namespace

int main(int count, char** arguments) {
    return bench::main_of_items<Counting>("coroutine2", count, arguments);
}
