// Ten lines by somebody who only has what was installed.
#include <weft/weft.hpp>

#include <cstdio>

int main() {
    const int answer = weft::run([] { return weft::spawn([] { return 6 * 7; }).get(); });
    std::printf("%d\n", answer);
    return answer == 42 ? 0 : 1;
}
