// The same arrivals leave three queues in three orders.
#include <weft/queue.hpp>
#include <weft/runtime.hpp>

#include <cstdio>
#include <string>

struct Patient {
    int urgency;  // 1 is the most urgent
    std::string name;
    bool operator<(const Patient& other) const { return urgency < other.urgency; }
};

// Every kind is a Queue: whoever puts and gets need not know which one it is.
void admit(weft::Queue<Patient>& ward, const char* kind) {
    auto doctor = weft::spawn([&ward, kind] {
        std::printf("%-9s", kind);
        for (const Patient& patient : ward)
            std::printf(" %s(%d)", patient.name.c_str(), patient.urgency);
        std::printf("\n");
    });
    ward.put({3, "Ada"});
    ward.put({1, "Bert"});
    ward.put({2, "Cleo"});
    ward.put({1, "Dan"});
    ward.close();  // the doctor's loop ends when the queue is empty
    doctor.join();
}

int main() {
    weft::run(
        [] {
            weft::Queue<Patient> in_order;
            weft::LifoQueue<Patient> last_first;
            weft::PriorityQueue<Patient> by_urgency;  // equal ones as they came
            admit(in_order, "fifo:");
            admit(last_first, "lifo:");
            admit(by_urgency, "priority:");
        },
        {.workers = 1});
}
