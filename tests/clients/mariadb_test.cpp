// libmariadb, unmodified, in fibers.
#include "clients/crowd.hpp"
#include "clients/peers.hpp"

#include <errmsg.h>
#include <mysql.h>

#include <memory>

using namespace weft::test;

namespace {

struct Delete {
    void operator()(MYSQL* connection) const { mysql_close(connection); }
    void operator()(MYSQL_RES* result) const { mysql_free_result(result); }
};
using Connection = std::unique_ptr<MYSQL, Delete>;
using Result = std::unique_ptr<MYSQL_RES, Delete>;

/// Connected, if mysql_errno() says 0.
Connection connect(int port = std::stoi(server("WEFT_TEST_MARIADB")), unsigned read_seconds = 0) {
    static const bool ready = mysql_library_init(0, nullptr, nullptr) == 0;
    REQUIRE(ready);
    Connection connection{mysql_init(nullptr)};
    if (read_seconds != 0) mysql_options(connection.get(), MYSQL_OPT_READ_TIMEOUT, &read_seconds);
    mysql_real_connect(connection.get(), "127.0.0.1", "root", "", "mysql",
                       static_cast<unsigned>(port), nullptr, 0);
    return connection;
}

/// The first field of the answer, if there is one; or what the library says is wrong.
std::string ask(MYSQL* connection, const std::string& query) {
    if (mysql_query(connection, query.c_str()) != 0) {
        return std::to_string(mysql_errno(connection)) + ": " + mysql_error(connection);
    }
    const Result result{mysql_store_result(connection)};
    const MYSQL_ROW row = result != nullptr ? mysql_fetch_row(result.get()) : nullptr;
    return row != nullptr && row[0] != nullptr ? row[0] : "";
}

/// A table, which the gate has locked.
struct MariadbGate : Gate {
    MariadbGate() {
        ask(own.get(), "CREATE TABLE IF NOT EXISTS gate (n INT) ENGINE=MEMORY");
        ask(own.get(), "LOCK TABLES gate WRITE");
    }
    std::size_t waiting(std::size_t) override {
        return std::stoul(ask(watch.get(),
                              "SELECT COUNT(*) FROM information_schema.processlist "
                              "WHERE info LIKE '%FROM gate' AND state LIKE 'Waiting%' "
                              "AND SLEEP(0.01) = 0"));
    }
    void open() override { ask(own.get(), "UNLOCK TABLES"); }
    Connection own = connect();
    Connection watch = connect();
};

/// Nothing, or what went wrong.
std::string slow_request(std::size_t number) {
    const Connection connection = connect();
    if (mysql_errno(connection.get()) != 0) return mysql_error(connection.get());
    if (const auto said = ask(connection.get(), "SELECT COUNT(*) FROM gate"); said != "0") {
        return said;
    }
    const auto n = std::to_string(number);
    const auto said = ask(connection.get(), "SELECT " + n + " * 2 + SLEEP(0.2)");
    return said == std::to_string(2 * number) ? "" : "wrong: " + said;
}

}  // namespace

TEST_CASE("200 queries wait in the server at once", "[clients][mariadb]") {
    require_nothing_left_open([] {
        MariadbGate gate;
        require_all_at_once("libmariadb, connect and SLEEP(0.2)", gate, slow_request);
    });
}

TEST_CASE("a cancelled query fails as libmariadb says it", "[clients][mariadb]") {
    require_nothing_left_open([] {
        MariadbGate gate;
        const auto errors =
            interrupted(gate, slow_request, [](auto& fibers) { weft::cancel_all(fibers); });
        require_all_say(errors, std::to_string(CR_SERVER_LOST) + ": ");
        require_all_say(errors, "[thrown]");
    });
}

TEST_CASE("a Timeout and libmariadb's own time-out end a query", "[clients][mariadb]") {
    require_nothing_left_open([] {
        run_hooked([] {
            const Connection connection = connect();
            bool thrown = false;
            std::string said;
            try {
                const weft::Timeout limit{50ms};
                said = ask(connection.get(), "SELECT SLEEP(60)");
                weft::this_fiber::check_cancelled();
            } catch (const weft::TimedOut&) {
                thrown = true;
            }
            require_all_say({said}, std::to_string(CR_SERVER_LOST) + ": ");
            REQUIRE(thrown);

            const int port = std::stoi(server("WEFT_TEST_MARIADB"));
            const Connection limited = connect(port, 1);
            require_all_say({ask(limited.get(), "SELECT SLEEP(60)")},
                            std::to_string(CR_SERVER_LOST) + ": ");
        });
    });
}

TEST_CASE("a refused and a reset connection fail as ever", "[clients][mariadb]") {
    require_nothing_left_open([] {
        int port = 0;
        run_hooked([&] {
            const BadPeer resets{BadPeer::Does::reset};
            port = resets.port();
            const auto code = mysql_errno(connect(port).get());
            REQUIRE((code == CR_SERVER_LOST || code == CR_CONNECTION_ERROR));
        });
        run_hooked([&] { REQUIRE(mysql_errno(connect(port).get()) == CR_CONNECTION_ERROR); });
    });
}

// The last: it ends the server.
TEST_CASE("queries fail when the server is killed", "[clients][mariadb]") {
    const std::size_t before = open_fds();
    {
        MariadbGate gate;
        const auto errors = killed(gate, slow_request, "WEFT_TEST_MARIADB_PID", SIGKILL);
        require_all_say(errors, std::to_string(CR_SERVER_LOST) + ": ");
    }
    REQUIRE(open_fds() == before);
}
