// Many fibers call curl_easy_perform() on two workers: all together take about as long as one.
//
//   monkey_curl URL [N]
#include <weft/fiber.hpp>
#include <weft/hooks.hpp>
#include <weft/runtime.hpp>

#include <curl/curl.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

std::size_t discard(char*, std::size_t one, std::size_t size, void*) { return one * size; }

/// As anybody writes it who has never heard of fibers.
bool get(const char* url) {
    CURL* const curl = curl_easy_init();
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, discard);
    const CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK) std::fprintf(stderr, "%s: %s\n", url, curl_easy_strerror(code));
    curl_easy_cleanup(curl);
    return code == CURLE_OK;
}

template <class F>
double seconds(F&& work) {
    const auto begun = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
}

int main(int argc, char** argv) {
    const char* const url = argc > 1 ? argv[1] : "http://127.0.0.1:8080/sleep?ms=200";
    const int count = argc > 2 ? std::atoi(argv[2]) : 200;
    curl_global_init(CURL_GLOBAL_ALL);
    weft::hooks::patch_all();
    const bool right = weft::run(
        [=] {
            bool good = true;
            const double one = seconds([&] { good = get(url); });
            const double all = seconds([&] {
                std::vector<weft::Fiber<bool>> fibers;
                for (int i = 0; i < count; ++i) fibers.push_back(weft::spawn(get, url));
                for (auto& each : fibers) good = each.get() && good;
            });
            std::printf("one page: %.2f s; %d at once: %.2f s\n", one, count, all);
            return good;
        },
        {.workers = 2});
    return right ? 0 : 1;
}
