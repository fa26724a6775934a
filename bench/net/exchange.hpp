// What a benchmark server does with the bytes of one connection: echoes them,
// or answers each HTTP request with the same small page. Layer: benchmarks, net.
//
// Every server here, weft's included, uses this one class, so that what differs
// between them is only how they wait. The HTTP parser is trivial on purpose: a
// request ends at an empty line and has no body.
//
// Invariant: the first kept_ bytes of the buffer are an incomplete request;
// always 0 when echoing.
#pragma once

#include <string.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <string>
#include <string_view>

namespace bench {

enum class Protocol : std::uint8_t { echo, http };

/// A page-aligned buffer, made when it is asked for, that takes memory as it is touched.
class PageBuffer {
public:
    explicit PageBuffer(std::size_t size) : size_{size} {}
    PageBuffer(const PageBuffer&) = delete;
    PageBuffer& operator=(const PageBuffer&) = delete;
    ~PageBuffer() {
        if (memory_ != nullptr) munmap(memory_, size_);
    }

    std::span<std::byte> bytes() const {
        if (memory_ == nullptr) make();
        return {static_cast<std::byte*>(memory_), size_};
    }

private:
    void make() const {
        void* const made =
            mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (made == MAP_FAILED) throw std::bad_alloc{};
        memory_ = made;
    }

    mutable void* memory_ = nullptr;
    std::size_t size_;
};

class Exchange {
public:
    explicit Exchange(Protocol protocol) : protocol_{protocol}, buffer_{buffer_size} {}

    /// Where the next bytes are to be received.
    std::span<std::byte> space() { return buffer_.bytes().subspan(kept_); }

    /// What to send now that `received` bytes came into space(). Empty when the
    /// request is not complete yet. Valid until the next call.
    std::span<const std::byte> answer(std::size_t received) {
        if (protocol_ == Protocol::echo) return buffer_.bytes().first(received);
        return replies_to(take_requests(buffer_.bytes().first(kept_ + received)));
    }

    /// The same for what was received into memory of somebody else's.
    std::span<const std::byte> answer_to(std::span<std::byte> received) {
        if (protocol_ == Protocol::echo) return received;
        if (kept_ == 0) return replies_to(take_requests(received));
        memcpy(space().data(), received.data(), received.size());
        return answer(received.size());
    }

private:
    static constexpr std::size_t buffer_size = 32'768;
    static constexpr std::string_view page =
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";

    /// Keeps what is left after the complete requests in `filled`; returns how many those are.
    std::size_t take_requests(std::span<std::byte> filled) {
        std::byte* begin = filled.data();
        std::byte* const end = begin + filled.size();
        std::size_t requests = 0;
        while (void* found = memmem(begin, static_cast<std::size_t>(end - begin), "\r\n\r\n", 4)) {
            begin = static_cast<std::byte*>(found) + 4;
            ++requests;
        }
        kept_ = static_cast<std::size_t>(end - begin);
        if (kept_ > 0) memmove(buffer_.bytes().data(), begin, kept_);
        return requests;
    }

    std::span<const std::byte> replies_to(std::size_t requests) {
        if (requests == 1) return std::as_bytes(std::span{page});
        while (pages_.size() < requests * page.size()) pages_.append(page);  // pipelined requests
        return std::as_bytes(std::span{pages_}.first(requests * page.size()));
    }

    Protocol protocol_;
    PageBuffer buffer_;
    std::size_t kept_ = 0;
    std::string pages_;
};

}  // namespace bench
