// Says what is patched as it begins; by option, what a function answers that libc may lack.
#include <weft/hooks.hpp>

#include <semaphore.h>
#include <time.h>

#include <cerrno>
#include <cstdio>
#include <string>

namespace {

void take_unit() {
    sem_t free;
    sem_init(&free, 0, 1);
    const timespec past{};
    errno = 0;
    const int result = sem_clockwait(&free, CLOCK_MONOTONIC, &past);
    std::printf("%d %d\n", result, errno);
}

}  // namespace

int main(int argc, char**) {
    const std::string text = weft::hooks::report().text();
    std::puts(text.substr(0, text.find('\n')).c_str());
    if (argc > 1) take_unit();
}
