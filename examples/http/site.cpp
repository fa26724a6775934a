// The routes. A handler is a plain function that blocks as it likes.
#include "http/site.hpp"

#include <weft/this_fiber.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>

namespace server {

namespace {

using namespace std::chrono_literals;

constexpr std::string_view plain_text = "text/plain; charset=utf-8";
constexpr http::verb reading[] = {http::verb::get, http::verb::head};
constexpr http::verb posting[] = {http::verb::post};

}  // namespace

struct Site::Route {
    std::string_view path;  // a last '/' below the root takes all that begins with it
    std::span<const http::verb> methods;
    void (Site::*handle)(Exchange&) const;
    bool unsafe = false;

    bool matches(std::string_view asked) const {
        const bool prefix = path.size() > 1 && path.ends_with('/');
        return prefix ? asked.starts_with(path) : asked == path;
    }
    bool allows(http::verb asked) const {
        for (const auto method : methods) {
            if (method == asked) return true;
        }
        return false;
    }
    std::string allow() const {
        std::string list;
        for (const auto method : methods) {
            if (!list.empty()) list += ", ";
            list += http::to_string(method);
        }
        return list;
    }
};

const Site::Route Site::routes[] = {
    {"/", reading, &Site::text},
    {"/json", reading, &Site::json},
    {"/stream", reading, &Site::stream},
    {"/sleep", reading, &Site::sleep},
    {"/echo", posting, &Site::echo},
    {"/files/", reading, &Site::file},
    {"/throw", reading, &Site::throw_error},
    {"/overflow", reading, &Site::overflow, true},
};

Site::Site(const Settings& settings) : unsafe_routes_{settings.unsafe_routes} {
    if (!settings.root.empty()) files_ = std::make_unique<StaticFiles>(settings.root);
}

void Site::answer(Exchange& exchange) const {
    for (const auto& route : routes) {
        if (!route.matches(exchange.target().path)) continue;
        if (route.unsafe && !unsafe_routes_) break;
        if (!route.allows(exchange.method())) {
            throw Refusal{http::status::method_not_allowed, "not by this method", route.allow()};
        }
        return (this->*route.handle)(exchange);
    }
    throw Refusal{http::status::not_found, "no such page"};
}

void Site::text(Exchange& exchange) const {
    exchange.send(http::status::ok, plain_text, "Hello, World!\n");
}

void Site::json(Exchange& exchange) const {
    exchange.send(http::status::ok, "application/json", R"({"message":"Hello, World!"})");
}

void Site::stream(Exchange& exchange) const {
    exchange.begin(plain_text);
    for (int line = 1; line <= 5; ++line) {
        exchange.piece("line " + std::to_string(line) + "\n");
        weft::this_fiber::sleep_for(10ms);
    }
    exchange.end();
}

void Site::sleep(Exchange& exchange) const {
    constexpr int longest_ms = 10'000;
    const auto text = exchange.target().parameter("ms").value_or("");
    int ms = -1;
    const auto result = std::from_chars(text.data(), text.data() + text.size(), ms);
    const bool whole = result.ec == std::errc{} && result.ptr == text.data() + text.size();
    if (!whole || ms < 0 || ms > longest_ms) {
        throw Refusal{http::status::bad_request,
                      "ms must be a number from 0 to " + std::to_string(longest_ms)};
    }
    weft::this_fiber::sleep_for(std::chrono::milliseconds{ms});
    exchange.send(http::status::ok, plain_text, "slept " + std::to_string(ms) + " ms\n");
}

void Site::echo(Exchange& exchange) const {
    exchange.send(http::status::ok, "application/octet-stream", exchange.body());
}

void Site::file(Exchange& exchange) const {
    constexpr std::string_view prefix = "/files/";
    if (!files_) throw Refusal{http::status::not_found, "no such page"};
    const auto path = std::string_view{exchange.target().path}.substr(prefix.size());
    auto [file, size] = files_->open(path);

    exchange.begin(content_type_of(path), size);
    if (exchange.method() == http::verb::head) return exchange.end();
    constexpr std::size_t piece_size = 64 * 1024;
    const auto buffer = std::make_unique_for_overwrite<std::byte[]>(piece_size);
    for (std::uint64_t sent = 0; sent < size;) {
        const auto want = std::min<std::uint64_t>(piece_size, size - sent);
        const auto got = file.pread(std::span{buffer.get(), want}, sent);
        if (got == 0) throw std::runtime_error{"the file shrank while it was sent"};
        exchange.piece({reinterpret_cast<const char*>(buffer.get()), got});
        sent += got;
    }
    exchange.end();
}

void Site::throw_error(Exchange&) const { throw std::runtime_error{"thrown by the handler"}; }

namespace {

[[gnu::noinline]] int recurse(int depth) {
    volatile char frame[512];
    frame[0] = static_cast<char>(depth);
    return depth < 0 ? 0 : recurse(depth + 1) + frame[0];
}

}  // namespace

void Site::overflow(Exchange& exchange) const {
    exchange.send(http::status::ok, plain_text, std::to_string(recurse(0)));
}

}  // namespace server
