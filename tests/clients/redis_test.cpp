// hiredis, unmodified, in fibers.
#include "clients/crowd.hpp"
#include "clients/peers.hpp"

#include <hiredis/hiredis.h>

#include <memory>

using namespace weft::test;

namespace {

struct Delete {
    void operator()(redisContext* connection) const { redisFree(connection); }
    void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Connection = std::unique_ptr<redisContext, Delete>;
using Reply = std::unique_ptr<redisReply, Delete>;

Connection connect(int port = std::stoi(server("WEFT_TEST_REDIS"))) {
    return Connection{redisConnect("127.0.0.1", port)};
}

/// The answer's text (of a list: of its last element), or what hiredis says is wrong.
template <class... Args>
std::string ask(redisContext* connection, const char* command, Args... args) {
    const Reply reply{static_cast<redisReply*>(redisCommand(connection, command, args...))};
    if (reply == nullptr) return std::string{"error: "} + connection->errstr;
    if (reply->type == REDIS_REPLY_NIL) return "nil";
    const redisReply* last = reply.get();
    if (last->type == REDIS_REPLY_ARRAY) last = last->element[last->elements - 1];
    if (last->type == REDIS_REPLY_INTEGER) return std::to_string(last->integer);
    return {last->str, last->len};
}

/// Requests wait for an item on a list of their own.
struct RedisGate : Gate {
    std::size_t waiting(std::size_t) override {
        const auto info = ask(own.get(), "INFO clients");
        return std::stoul(info.substr(info.find("blocked_clients:") + 16));
    }
    void open() override {
        for (std::size_t i = 0; i < crowd_size; ++i)
            ask(own.get(), "RPUSH gate:%d item:%d", static_cast<int>(i), static_cast<int>(i));
    }
    Connection own = connect();
};

/// Nothing, or what went wrong.
std::string slow_request(std::size_t number) {
    const Connection connection = connect();
    if (connection->err != 0) return connection->errstr;
    const auto item = ask(connection.get(), "BLPOP gate:%d 0", static_cast<int>(number));
    if (item != "item:" + std::to_string(number)) return item;
    const auto nothing = ask(connection.get(), "BLPOP never 0.2");
    if (nothing != "nil") return nothing;
    const auto echo = ask(connection.get(), "ECHO %d", static_cast<int>(2 * number));
    return echo == std::to_string(2 * number) ? "" : "wrong: " + echo;
}

}  // namespace

TEST_CASE("200 BLPOPs wait in the server at once", "[clients][redis]") {
    const std::size_t before = open_fds();
    {
        RedisGate gate;
        require_all_at_once("hiredis, connect, BLPOP and BLPOP never 0.2", gate, slow_request);
    }
    REQUIRE(open_fds() == before);
}

TEST_CASE("a cancelled command fails as hiredis says it", "[clients][redis]") {
    require_nothing_left_open([] {
        RedisGate gate;
        const auto errors =
            interrupted(gate, slow_request, [](auto& fibers) { weft::cancel_all(fibers); });
        require_all_say(errors, "error: Operation canceled");
        require_all_say(errors, "[thrown]");
        ask(gate.own.get(), "FLUSHALL");
    });
}

TEST_CASE("a Timeout and hiredis's own time-out end a command", "[clients][redis]") {
    require_nothing_left_open([] {
        run_hooked([] {
            const Connection connection = connect();
            bool thrown = false;
            std::string said;
            try {
                const weft::Timeout limit{50ms};
                said = ask(connection.get(), "BLPOP never 0");
                weft::this_fiber::check_cancelled();
            } catch (const weft::TimedOut&) {
                thrown = true;
            }
            REQUIRE(said == "error: Operation canceled");
            REQUIRE(thrown);

            const Connection limited = connect();
            redisSetTimeout(limited.get(), {0, 50'000});  // SO_RCVTIMEO
            REQUIRE(ask(limited.get(), "BLPOP never 0") ==
                    "error: Resource temporarily unavailable");
            REQUIRE(limited->err == REDIS_ERR_IO);
        });
    });
}

TEST_CASE("a refused and a reset connection fail as ever", "[clients][redis]") {
    require_nothing_left_open([] {
        int port = 0;
        run_hooked([&] {
            const BadPeer resets{BadPeer::Does::reset};
            port = resets.port();
            const Connection connection = connect(port);
            // Of a reset connection either call may be told first.
            if (connection->err == 0) {
                INFO("errno: " << errno);
                REQUIRE(ask(connection.get(), "ECHO 1").starts_with("error: "));
            }
            REQUIRE(connection->err != 0);
        });
        run_hooked([&] { REQUIRE(std::string{connect(port)->errstr} == "Connection refused"); });
    });
}

// The last: it ends the server.
TEST_CASE("commands fail when the server is killed", "[clients][redis]") {
    const std::size_t before = open_fds();
    {
        RedisGate gate;
        const auto errors = killed(gate, slow_request, "WEFT_TEST_REDIS_PID", SIGKILL);
        require_all_say(errors, "error: ");
    }
    REQUIRE(open_fds() == before);
}
