// libpq, unmodified, in fibers.
#include "clients/crowd.hpp"
#include "clients/peers.hpp"

#include <libpq-fe.h>

#include <memory>

using namespace weft::test;

namespace {

struct Delete {
    void operator()(PGconn* connection) const { PQfinish(connection); }
    void operator()(PGresult* result) const { PQclear(result); }
};
using Connection = std::unique_ptr<PGconn, Delete>;
using Result = std::unique_ptr<PGresult, Delete>;

Connection connect(const std::string& where = server("WEFT_TEST_POSTGRES")) {
    Connection connection{PQconnectdb(where.c_str())};
    PQsetNoticeProcessor(
        connection.get(), [](void*, const char*) {}, nullptr);
    return connection;
}

/// The first field of the answer, or what libpq says is wrong.
std::string ask(PGconn* connection, const std::string& query) {
    const Result result{PQexec(connection, query.c_str())};
    if (PQresultStatus(result.get()) == PGRES_TUPLES_OK) return PQgetvalue(result.get(), 0, 0);
    return PQerrorMessage(connection);
}

/// A lock of the server's, which requests share and the gate has for itself.
struct PostgresGate : Gate {
    PostgresGate() { ask(own.get(), "select pg_advisory_lock(1)"); }
    std::size_t waiting(std::size_t) override {
        return std::stoul(ask(own.get(),
                              "select count(*), pg_sleep(0.01) from pg_locks "
                              "where locktype = 'advisory' and not granted"));
    }
    void open() override { ask(own.get(), "select pg_advisory_unlock(1)"); }
    Connection own = connect();
};

std::string wait_at_gate(PGconn* connection) {
    return ask(connection, "select pg_advisory_lock_shared(1)");
}

/// Nothing, or what went wrong.
std::string slow_request(std::size_t number) {
    const Connection connection = connect();
    if (PQstatus(connection.get()) != CONNECTION_OK) return PQerrorMessage(connection.get());
    if (const auto said = wait_at_gate(connection.get()); !said.empty()) return said;
    const auto n = std::to_string(number);
    const auto said = ask(connection.get(), "select " + n + " * 2 from pg_sleep(0.2)");
    return said == std::to_string(2 * number) ? "" : "wrong: " + said;
}

}  // namespace

TEST_CASE("200 queries wait in the server at once", "[clients][postgres]") {
    const std::size_t before = open_fds();
    {
        PostgresGate gate;
        require_all_at_once("libpq, connect and pg_sleep(0.2)", gate, slow_request);
    }
    REQUIRE(open_fds() == before);
}

TEST_CASE("a cancelled query fails as libpq says it", "[clients][postgres]") {
    require_nothing_left_open([] {
        PostgresGate gate;
        const auto errors =
            interrupted(gate, slow_request, [](auto& fibers) { weft::cancel_all(fibers); });
        require_all_say(errors, "select() failed: Operation canceled");
        require_all_say(errors, "[thrown]");
    });
}

TEST_CASE("a Timeout ends a query, and is thrown after it", "[clients][postgres]") {
    require_nothing_left_open([] {
        PostgresGate gate;
        const auto [said, thrown] = run_hooked([] {
            const Connection connection = connect();
            std::string error;
            try {
                const weft::Timeout limit{50ms};
                error = wait_at_gate(connection.get());
                weft::this_fiber::check_cancelled();
            } catch (const weft::TimedOut&) {
                return std::pair{error, true};
            }
            return std::pair{error, false};
        });
        REQUIRE(said.find("Operation canceled") != std::string::npos);
        REQUIRE(thrown);
        gate.open();
    });
}

TEST_CASE("libpq's own time-out and the server's work", "[clients][postgres]") {
    require_nothing_left_open([] {
        const BadPeer silent{BadPeer::Does::stay_silent};
        run_hooked([&] {
            const auto connection = connect(
                "host=127.0.0.1 sslmode=disable gssencmode=disable connect_timeout=2 port=" +
                std::to_string(silent.port()));
            REQUIRE(PQstatus(connection.get()) == CONNECTION_BAD);
            REQUIRE(std::string{PQerrorMessage(connection.get())}.find("timeout expired") !=
                    std::string::npos);
            const auto other = connect();
            ask(other.get(), "set statement_timeout = '50ms'");
            REQUIRE(ask(other.get(), "select pg_sleep(60)").find("statement timeout") !=
                    std::string::npos);
            REQUIRE(ask(other.get(), "select 7") == "7");
        });
    });
}

TEST_CASE("a refused and a reset connection fail as ever", "[clients][postgres]") {
    require_nothing_left_open([] {
        int refused = 0;
        run_hooked([&] {
            const BadPeer resets{BadPeer::Does::reset};
            refused = resets.port();
            const auto port = std::to_string(resets.port());
            const auto connection =
                connect("host=127.0.0.1 sslmode=disable gssencmode=disable port=" + port);
            REQUIRE(PQstatus(connection.get()) == CONNECTION_BAD);
        });
        run_hooked([&] {
            const auto connection = connect("host=127.0.0.1 port=" + std::to_string(refused));
            REQUIRE(std::string{PQerrorMessage(connection.get())}.find("Connection refused") !=
                    std::string::npos);
        });
    });
}

// The last: it ends the server.
TEST_CASE("queries fail when the server is killed", "[clients][postgres]") {
    const std::size_t before = open_fds();
    {
        PostgresGate gate;
        const auto errors = killed(gate, slow_request, "WEFT_TEST_POSTGRES_PID", SIGQUIT);
        require_all_say(errors, "terminat");
    }
    REQUIRE(open_fds() == before);
}
