// Says what is patched as it begins.
#include <weft/hooks.hpp>

#include <cstdio>
#include <string>

int main() {
    const std::string text = weft::hooks::report().text();
    std::puts(text.substr(0, text.find('\n')).c_str());
}
