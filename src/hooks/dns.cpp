// Hooks on looking names up. Layer: hooks. Uses: task.
//
// libc does all of it by calls of its own, which no hook sees; so a thread makes the whole
// call, with copies of what it works on: a cancelled fiber leaves the call behind, for a name
// server that is silent takes its time.
//
// The forms whose result is static in libc have one for each fiber here, since two of them
// may ask at once where a program with one thread could not.
#include "hooks/caller.hpp"
#include "hooks/thread_call.hpp"

#include <weft/local.hpp>

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netdb.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace weft::hooks::detail {

namespace {

std::optional<std::string> copy_of(const char* text) {
    return text != nullptr ? std::optional<std::string>{text} : std::nullopt;
}
const char* text_of(const std::optional<std::string>& text) noexcept {
    return text ? text->c_str() : nullptr;
}

/// A call that answers with an int and may set errno and h_errno, which are the thread's.
struct LookUp {
    void run_failed(int error) noexcept {
        result = failure;
        system_error = error;
    }
    int result = 0;
    int failure = -1;
    int system_error = errno;  // the caller's, which stays if nothing goes wrong
    int host_error = 0;
};

/// On the thread, before the call.
void take_errors_along(const LookUp& call) noexcept { errno = call.system_error; }

template <class Call>
void note_errors(Call& call) noexcept {
    call.system_error = errno;
    call.host_error = h_errno;
}

/// Runs `call`, takes its errors over. Null when the fiber was interrupted, with errno set.
template <class Call>
std::shared_ptr<Call> look_up(std::shared_ptr<Call> call) noexcept {
    auto done = run_leavable(std::move(call));
    errno = done != nullptr ? done->system_error : ECANCELED;
    h_errno = done != nullptr ? done->host_error : TRY_AGAIN;
    return done;
}

// --- getaddrinfo, getnameinfo ---

struct AddressCall : LookUp {
    AddressCall(const char* its_host, const char* its_service, const addrinfo* its_hints)
        : host{copy_of(its_host)}, service{copy_of(its_service)} {
        if (its_hints != nullptr) hints = *its_hints;
        failure = EAI_SYSTEM;
    }
    AddressCall(const AddressCall&) = delete;
    AddressCall& operator=(const AddressCall&) = delete;
    ~AddressCall() {
        if (found != nullptr) ::freeaddrinfo(found);
    }
    void run() noexcept {
        take_errors_along(*this);
        result = WEFT_ORIGINAL(getaddrinfo)(text_of(host), text_of(service),
                                            hints ? &*hints : nullptr, &found);
        note_errors(*this);
    }

    const std::optional<std::string> host;
    const std::optional<std::string> service;
    std::optional<addrinfo> hints;
    addrinfo* found = nullptr;
};

bool is_address(const char* host) noexcept {
    in6_addr address;
    return ::inet_pton(AF_INET, host, &address) == 1 || ::inet_pton(AF_INET6, host, &address) == 1;
}

bool is_number(const char* service) noexcept {
    return *service != 0 && service[std::strspn(service, "0123456789")] == 0;
}

/// Nothing to look up: not worth a thread.
bool is_numeric(const char* host, const char* service, const addrinfo* hints) noexcept {
    const int flags = hints != nullptr ? hints->ai_flags : 0;
    // The name of an address, as AI_CANONNAME wants it, is the address.
    return (host == nullptr || (flags & AI_NUMERICHOST) != 0 || is_address(host)) &&
           (service == nullptr || (flags & AI_NUMERICSERV) != 0 || is_number(service));
}

int look_addresses_up(const char* host, const char* service, const addrinfo* hints,
                      addrinfo** found) noexcept {
    std::shared_ptr<AddressCall> call;
    try {
        call = std::make_shared<AddressCall>(host, service, hints);
    } catch (const std::bad_alloc&) {
        return EAI_MEMORY;
    }
    call = look_up(std::move(call));
    if (call == nullptr) return EAI_SYSTEM;  // ECANCELED
    if (call->result == 0) *found = std::exchange(call->found, nullptr);
    return call->result;
}

struct NameCall : LookUp {
    NameCall(const sockaddr* its_address, socklen_t its_length, socklen_t host_room,
             socklen_t service_room, int its_flags)
        : length{std::min<socklen_t>(its_length, sizeof address)},
          host(host_room),
          service(service_room),
          flags{its_flags} {
        std::memcpy(&address, its_address, length);
        failure = EAI_SYSTEM;
    }
    void run() noexcept {
        take_errors_along(*this);
        result = WEFT_ORIGINAL(getnameinfo)(reinterpret_cast<const sockaddr*>(&address), length,
                                            host.data(), static_cast<socklen_t>(host.size()),
                                            service.data(), static_cast<socklen_t>(service.size()),
                                            flags);
        note_errors(*this);
    }

    sockaddr_storage address{};
    const socklen_t length;
    std::vector<char> host;
    std::vector<char> service;
    const int flags;
};

int look_name_up(const sockaddr* address, socklen_t length, char* host, socklen_t host_room,
                 char* service, socklen_t service_room, int flags) noexcept {
    std::shared_ptr<NameCall> call;
    try {
        call = std::make_shared<NameCall>(address, length, host != nullptr ? host_room : 0,
                                          service != nullptr ? service_room : 0, flags);
    } catch (const std::bad_alloc&) {
        return EAI_MEMORY;
    }
    call = look_up(std::move(call));
    if (call == nullptr) return EAI_SYSTEM;
    // The one may have been found although the other was not.
    if (!call->host.empty() && call->host[0] != '\0') std::strcpy(host, call->host.data());
    if (!call->service.empty() && call->service[0] != '\0') {
        std::strcpy(service, call->service.data());
    }
    return call->result;
}

// --- hosts ---

/// A question about a host, by name or by address.
struct HostCall : LookUp {
    void run() noexcept {
        take_errors_along(*this);
        while (ask() == ERANGE) room.resize(2 * room.size());
        note_errors(*this);
    }
    int ask() noexcept {
        int error = 0;
        const auto size = room.size();
        if (by_address) {
            result =
                WEFT_ORIGINAL(gethostbyaddr_r)(key.data(), static_cast<socklen_t>(key.size()),
                                               family, &entry, room.data(), size, &found, &error);
        } else if (family == AF_UNSPEC) {
            result = WEFT_ORIGINAL(gethostbyname_r)(key.c_str(), &entry, room.data(), size, &found,
                                                    &error);
        } else {
            result = WEFT_ORIGINAL(gethostbyname2_r)(key.c_str(), family, &entry, room.data(), size,
                                                     &found, &error);
        }
        h_errno = error;
        return result == ERANGE && can_grow ? ERANGE : 0;
    }

    std::string key;
    bool by_address = false;
    int family = AF_UNSPEC;
    bool can_grow = true;
    std::vector<char> room;
    hostent entry{};
    hostent* found = nullptr;
};

std::shared_ptr<HostCall> ask_for_host(std::string key, bool by_address, int family,
                                       std::size_t room, bool can_grow) noexcept {
    try {
        auto call = std::make_shared<HostCall>();
        call->key = std::move(key);
        call->by_address = by_address;
        call->family = family;
        call->can_grow = can_grow;
        call->room.resize(room);
        return look_up(std::move(call));
    } catch (const std::bad_alloc&) {
        errno = ENOMEM;
        h_errno = NETDB_INTERNAL;
        return nullptr;
    }
}

/// What a fiber was answered last: it lives until it asks again.
FiberLocal<std::shared_ptr<HostCall>>& last_answer() {
    static auto& last = *new FiberLocal<std::shared_ptr<HostCall>>;
    return last;
}

hostent* keep_answer(std::shared_ptr<HostCall> call) noexcept {
    if (call == nullptr || call->found == nullptr) return nullptr;
    hostent* const found = call->found;
    last_answer().get() = std::move(call);
    return found;
}

/// The entry of `call` in the caller's memory, whose pointers move with it.
int copy_answer(const std::shared_ptr<HostCall>& call, hostent* entry, char* room, hostent** found,
                int* error) noexcept {
    *found = nullptr;
    *error = h_errno;
    if (call == nullptr) return errno;
    if (call->found == nullptr) return call->result;
    const auto moved = [&](auto* pointer) {
        return reinterpret_cast<decltype(pointer)>(
            room + (reinterpret_cast<char*>(pointer) - call->room.data()));
    };
    std::memcpy(room, call->room.data(), call->room.size());
    *entry = call->entry;
    entry->h_name = moved(entry->h_name);
    for (char*** list : {&entry->h_aliases, &entry->h_addr_list}) {
        *list = moved(*list);
        for (char** each = *list; *each != nullptr; ++each) *each = moved(*each);
    }
    *found = entry;
    return 0;
}

constexpr std::size_t usual_room = 1024;

// --- the resolver's own calls ---

/// A question to the name server, by the state of the thread that makes it.
struct Query : LookUp {
    enum class Kind { query, search, send };
    void run() noexcept {
        take_errors_along(*this);
        switch (kind) {
            case Kind::query:
                result =
                    WEFT_ORIGINAL(__res_query)(text.c_str(), of_class, type, room.data(), size);
                break;
            case Kind::search:
                result =
                    WEFT_ORIGINAL(__res_search)(text.c_str(), of_class, type, room.data(), size);
                break;
            case Kind::send:
                result =
                    WEFT_ORIGINAL(__res_send)(reinterpret_cast<const unsigned char*>(text.data()),
                                              static_cast<int>(text.size()), room.data(), size);
                break;
        }
        note_errors(*this);
    }

    Kind kind = Kind::query;
    std::string text;
    int of_class = 0;
    int type = 0;
    std::vector<unsigned char> room;
    int size = 0;  // of the room, as the caller says
};

int ask_name_server(Query::Kind kind, std::string_view text, int of_class, int type,
                    unsigned char* answer, int room) noexcept {
    std::shared_ptr<Query> call;
    try {
        call = std::make_shared<Query>();
        call->kind = kind;
        call->text = text;
        call->of_class = of_class;
        call->type = type;
        // libc looks at the head of the answer even where it was given no room for one.
        call->room.resize(static_cast<std::size_t>(std::max(room, HFIXEDSZ)));
        call->size = room;
    } catch (const std::bad_alloc&) {
        errno = ENOMEM;
        h_errno = NETDB_INTERNAL;
        return -1;
    }
    call = look_up(std::move(call));
    if (call == nullptr) return -1;
    const auto size = std::min(std::max(call->result, 0), room);
    std::copy_n(call->room.data(), size, answer);
    return call->result;
}

/// What `body()` returns on a thread, with that thread's errno and h_errno.
template <class Body>
int with_errors(Body&& body) noexcept {
    LookUp errors;
    const auto ask = [&] {
        take_errors_along(errors);
        errors.result = body();
        note_errors(errors);
        return 0;
    };
    const long result = on_thread(ask, look_up_threads());
    errno = result < 0 ? static_cast<int>(-result) : errors.system_error;
    h_errno = result < 0 ? NETDB_INTERNAL : errors.host_error;
    return result < 0 ? -1 : errors.result;
}

std::string_view bytes_of(const unsigned char* data, int size) noexcept {
    return {reinterpret_cast<const char*>(data), static_cast<std::size_t>(std::max(size, 0))};
}

}  // namespace

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hooks ---

int hook_getaddrinfo(const char* host, const char* service, const addrinfo* hints,
                     addrinfo** found) {
    if (is_numeric(host, service, hints) || WEFT_TAKEN(getaddrinfo) == nullptr) {
        return WEFT_ORIGINAL(getaddrinfo)(host, service, hints, found);
    }
    return look_addresses_up(host, service, hints, found);
}

int hook_getnameinfo(const sockaddr* address, socklen_t length, char* host, socklen_t host_room,
                     char* service, socklen_t service_room, int flags) {
    const int numeric = NI_NUMERICHOST | NI_NUMERICSERV;
    if ((flags & numeric) == numeric || address == nullptr || WEFT_TAKEN(getnameinfo) == nullptr) {
        return WEFT_ORIGINAL(getnameinfo)(address, length, host, host_room, service, service_room,
                                          flags);
    }
    return look_name_up(address, length, host, host_room, service, service_room, flags);
}

hostent* hook_gethostbyname(const char* name) {
    if (WEFT_TAKEN(gethostbyname) == nullptr) return WEFT_ORIGINAL(gethostbyname)(name);
    return keep_answer(ask_for_host(name, false, AF_UNSPEC, usual_room, true));
}

hostent* hook_gethostbyname2(const char* name, int family) {
    if (WEFT_TAKEN(gethostbyname2) == nullptr) {
        return WEFT_ORIGINAL(gethostbyname2)(name, family);
    }
    return keep_answer(ask_for_host(name, false, family, usual_room, true));
}

hostent* hook_gethostbyaddr(const void* address, socklen_t length, int family) {
    if (WEFT_TAKEN(gethostbyaddr) == nullptr) {
        return WEFT_ORIGINAL(gethostbyaddr)(address, length, family);
    }
    std::string key{static_cast<const char*>(address), length};
    return keep_answer(ask_for_host(std::move(key), true, family, usual_room, true));
}

int hook_gethostbyname_r(const char* name, hostent* entry, char* room, size_t size, hostent** found,
                         int* error) {
    if (WEFT_TAKEN(gethostbyname_r) == nullptr) {
        return WEFT_ORIGINAL(gethostbyname_r)(name, entry, room, size, found, error);
    }
    return copy_answer(ask_for_host(name, false, AF_UNSPEC, size, false), entry, room, found,
                       error);
}

int hook_gethostbyname2_r(const char* name, int family, hostent* entry, char* room, size_t size,
                          hostent** found, int* error) {
    if (WEFT_TAKEN(gethostbyname2_r) == nullptr) {
        return WEFT_ORIGINAL(gethostbyname2_r)(name, family, entry, room, size, found, error);
    }
    return copy_answer(ask_for_host(name, false, family, size, false), entry, room, found, error);
}

int hook_gethostbyaddr_r(const void* address, socklen_t length, int family, hostent* entry,
                         char* room, size_t size, hostent** found, int* error) {
    if (WEFT_TAKEN(gethostbyaddr_r) == nullptr) {
        return WEFT_ORIGINAL(gethostbyaddr_r)(address, length, family, entry, room, size, found,
                                              error);
    }
    std::string key{static_cast<const char*>(address), length};
    return copy_answer(ask_for_host(std::move(key), true, family, size, false), entry, room, found,
                       error);
}

#define WEFT_DEFINE_QUERY(name, kind)                                                            \
    int hook_##name(const char* text, int of_class, int type, unsigned char* answer, int room) { \
        if (WEFT_TAKEN(name) == nullptr) {                                                       \
            return WEFT_ORIGINAL(name)(text, of_class, type, answer, room);                      \
        }                                                                                        \
        return ask_name_server(Query::Kind::kind, text, of_class, type, answer, room);           \
    }
// With the caller's own state, who so waits for the end.
#define WEFT_DEFINE_STATEFUL_QUERY(name)                                                     \
    int hook_##name(res_state state, const char* text, int of_class, int type,               \
                    unsigned char* answer, int room) {                                       \
        if (WEFT_TAKEN(name) == nullptr) {                                                   \
            return WEFT_ORIGINAL(name)(state, text, of_class, type, answer, room);           \
        }                                                                                    \
        return with_errors(                                                                  \
            [=] { return WEFT_ORIGINAL(name)(state, text, of_class, type, answer, room); }); \
    }
WEFT_DEFINE_QUERY(__res_query, query)
WEFT_DEFINE_QUERY(res_query, query)
WEFT_DEFINE_QUERY(__res_search, search)
WEFT_DEFINE_QUERY(res_search, search)
WEFT_DEFINE_STATEFUL_QUERY(__res_nquery)
WEFT_DEFINE_STATEFUL_QUERY(res_nquery)
WEFT_DEFINE_STATEFUL_QUERY(__res_nsearch)
WEFT_DEFINE_STATEFUL_QUERY(res_nsearch)

#define WEFT_DEFINE_QUERY_DOMAIN(name)                                              \
    int hook_##name(const char* text, const char* domain, int of_class, int type,   \
                    unsigned char* answer, int room) {                              \
        const auto by_libc = [=] {                                                  \
            return WEFT_ORIGINAL(name)(text, domain, of_class, type, answer, room); \
        };                                                                          \
        return WEFT_TAKEN(name) == nullptr ? by_libc() : with_errors(by_libc);      \
    }
#define WEFT_DEFINE_STATEFUL_QUERY_DOMAIN(name)                                                    \
    int hook_##name(res_state state, const char* text, const char* domain, int of_class, int type, \
                    unsigned char* answer, int room) {                                             \
        const auto by_libc = [=] {                                                                 \
            return WEFT_ORIGINAL(name)(state, text, domain, of_class, type, answer, room);         \
        };                                                                                         \
        return WEFT_TAKEN(name) == nullptr ? by_libc() : with_errors(by_libc);                     \
    }
WEFT_DEFINE_QUERY_DOMAIN(__res_querydomain)
WEFT_DEFINE_QUERY_DOMAIN(res_querydomain)
WEFT_DEFINE_STATEFUL_QUERY_DOMAIN(__res_nquerydomain)
WEFT_DEFINE_STATEFUL_QUERY_DOMAIN(res_nquerydomain)

#define WEFT_DEFINE_SEND(name)                                                                \
    int hook_##name(const unsigned char* query, int size, unsigned char* answer, int room) {  \
        if (WEFT_TAKEN(name) == nullptr) {                                                    \
            return WEFT_ORIGINAL(name)(query, size, answer, room);                            \
        }                                                                                     \
        return ask_name_server(Query::Kind::send, bytes_of(query, size), 0, 0, answer, room); \
    }
#define WEFT_DEFINE_STATEFUL_SEND(name)                                                            \
    int hook_##name(res_state state, const unsigned char* query, int size, unsigned char* answer,  \
                    int room) {                                                                    \
        if (WEFT_TAKEN(name) == nullptr) {                                                         \
            return WEFT_ORIGINAL(name)(state, query, size, answer, room);                          \
        }                                                                                          \
        return with_errors([=] { return WEFT_ORIGINAL(name)(state, query, size, answer, room); }); \
    }
WEFT_DEFINE_SEND(__res_send)
WEFT_DEFINE_SEND(res_send)
WEFT_DEFINE_STATEFUL_SEND(__res_nsend)
WEFT_DEFINE_STATEFUL_SEND(res_nsend)

// The look-ups that it waits for are made by threads of libc's.
int hook_gai_suspend(const gaicb* const* list, int count, const timespec* timeout) {
    if (WEFT_TAKEN(gai_suspend) == nullptr) return WEFT_ORIGINAL(gai_suspend)(list, count, timeout);
    int result = EAI_SYSTEM;
    const auto wait = [&] {
        result = WEFT_ORIGINAL(gai_suspend)(list, count, timeout);
        return 0;
    };
    (void)on_thread(wait, look_up_threads());
    return result;
}
