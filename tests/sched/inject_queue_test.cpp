// In which order what was injected is taken; what threads do to it at once is asked by
// tests/model.
#include "sched/inject_queue.hpp"

#include "base/sync.hpp"
#include "support/catch.hpp"

#include <array>
#include <string>

namespace {

struct Item {
    Item* next = nullptr;
    char name = ' ';
};

using Queue = weft::detail::InjectQueue<weft::detail::StdSync, Item, &Item::next>;

struct Items {
    Items() {
        for (std::size_t i = 0; i < all.size(); ++i) all[i].name = static_cast<char>('a' + i);
    }
    Item& operator[](char name) { return all[static_cast<std::size_t>(name - 'a')]; }
    std::array<Item, 8> all;
};

std::string pop(Queue& queue, std::size_t most) {
    std::string names;
    for (const Item* item = queue.pop(most); item != nullptr; item = item->next) {
        names += item->name;
    }
    return names;
}

}  // namespace

TEST_CASE("what is injected is taken in order, up to a number", "[inject_queue]") {
    Queue queue;
    Items items;
    items['b'].next = &items['c'];
    queue.push(&items['a']);
    queue.push_chain(&items['b'], &items['c'], 2);
    CHECK(queue.size() == 3);
    CHECK(pop(queue, 2) == "ab");
    CHECK(pop(queue, 2) == "c");
    CHECK(queue.empty());
    CHECK(pop(queue, 2).empty());
}

TEST_CASE("what is urgent goes first, in order among itself", "[inject_queue]") {
    Queue queue;
    Items items;
    const auto urgent = [&](char name) { queue.push_urgent(&items[name], &items[name], 1); };
    queue.push(&items['a']);
    items['b'].next = &items['c'];
    queue.push_urgent(&items['b'], &items['c'], 2);
    urgent('d');
    CHECK(pop(queue, 1) == "b");
    urgent('e');
    CHECK(pop(queue, 3) == "cde");
    urgent('f');
    queue.push(&items['g']);
    CHECK(pop(queue, 8) == "fag");
    CHECK(queue.empty());

    urgent('h');  // alone, it is the last, too
    queue.push(&items['a']);
    CHECK(pop(queue, 8) == "ha");
}
