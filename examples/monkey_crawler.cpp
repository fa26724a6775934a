// Crawls a site by libcurl's plain calls with a FiberPool: at most 20 pages at once, each once.
//
//   monkey_crawler ROOT PATH      as http://127.0.0.1:8080 /index.html
#include <weft/fiber_pool.hpp>
#include <weft/hooks.hpp>
#include <weft/runtime.hpp>

#include <curl/curl.h>

#include <cstdio>
#include <regex>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

std::size_t append(char* data, std::size_t one, std::size_t size, void* text) {
    static_cast<std::string*>(text)->append(data, one * size);
    return one * size;
}

/// As anybody writes it who has never heard of fibers.
std::string get(const std::string& url) {
    std::string text;
    CURL* const curl = curl_easy_init();
    curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, append);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &text);
    const CURLcode code = curl_easy_perform(curl);
    curl_easy_cleanup(curl);
    if (code != CURLE_OK) throw std::runtime_error{url + ": " + curl_easy_strerror(code)};
    return text;
}

int main(int argc, char** argv) try {
    if (argc != 3) return 2;
    curl_global_init(CURL_GLOBAL_ALL);
    weft::hooks::patch_all();
    weft::run([&] {
        const auto fetch = [&](const std::string& path) { return get(argv[1] + path); };
        weft::FiberPool pool{20};
        const std::regex link{"href=\"(/[^\"]*)\""};
        std::set<std::string> seen{argv[2]};
        for (std::vector<std::string> paths{argv[2]}; !paths.empty() && seen.size() < 1000;) {
            for (const auto& page : pool.map(fetch, std::exchange(paths, {}))) {
                for (std::sregex_iterator each{page.begin(), page.end(), link}, end; each != end;
                     ++each) {
                    if (seen.insert((*each)[1]).second) paths.push_back((*each)[1]);
                }
            }
        }
        std::printf("%zu pages\n", seen.size());
    });
} catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
