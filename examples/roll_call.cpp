// Roll call: the teacher calls a name, that pupil answers, and so on, over queues.
#include <weft/queue.hpp>
#include <weft/runtime.hpp>

#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <vector>

using Voice = weft::Queue<std::string>;

void pupil(Voice& called, Voice& answers) {
    for (const std::string& name : called) answers.put(name + ": here!");
}

int main() {
    weft::run([] {
        const std::vector<std::string> names{"Tian", "Huang", "Xiaoming"};
        Voice answers{1};
        std::map<std::string, Voice> calls;  // each hears its own
        std::vector<weft::Fiber<>> pupils;
        for (const auto& name : names) {
            pupils.push_back(weft::spawn(pupil, std::ref(calls[name]), std::ref(answers)));
        }
        for (const auto& name : names) {
            std::printf("teacher: %s?\n", name.c_str());
            calls[name].put(name);
            std::printf("%s\n", answers.get().c_str());
        }
        for (auto& [name, called] : calls) called.close();
        weft::join_all(pupils);
        std::printf("teacher: all %zu are here\n", pupils.size());
    });
}
