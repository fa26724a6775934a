// A library that keeps a recursive mutex over its file I/O: SQLite, one connection shared by
// fibers. Without the hooks of this room they are in it at once, which ends in SIGSEGV.
#include "support/hooked.hpp"

#if __has_include(<sqlite3.h>)

#include "support/scratch.hpp"

#include <weft/fiber.hpp>

#include <string>
#include <thread>
#include <vector>

#include <sqlite3.h>

using namespace weft;

namespace {

class Database {
public:
    explicit Database(const std::string& file) {
        REQUIRE(sqlite3_open_v2(file.c_str(), &connection_,
                                SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX,
                                nullptr) == SQLITE_OK);
    }
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;
    ~Database() { sqlite3_close(connection_); }

    int run(const std::string& statement) {
        return sqlite3_exec(connection_, statement.c_str(), nullptr, nullptr, nullptr);
    }
    std::string ask(const std::string& statement) {
        std::string answer;
        sqlite3_exec(
            connection_, statement.c_str(),
            [](void* to, int, char** columns, char**) {
                *static_cast<std::string*>(to) = columns[0];
                return 0;
            },
            &answer, nullptr);
        return answer;
    }

private:
    sqlite3* connection_ = nullptr;
};

}  // namespace

TEST_CASE("fibers and a thread share a connection of SQLite", "[hooks]") {
    hooks::patch_all();
    test::on_workers([] {
        constexpr int parties = 4;
        constexpr int inserts = 5;
        const test::Scratch scratch;
        Database database{scratch.path("shared.db")};
        REQUIRE(database.run("create table t(a, b); pragma cache_size = 2") == SQLITE_OK);
        std::atomic<int> failed{0};
        const auto insert = [&](int who) {
            for (int i = 0; i < inserts; ++i) {
                const auto number = std::to_string(who * 100 + i);
                if (database.run("insert into t values(" + number +
                                 ", hex(randomblob(3000))); select count(*) from t") != SQLITE_OK) {
                    ++failed;
                }
            }
        };
        std::vector<Fiber<>> fibers;
        for (int who = 1; who < parties; ++who) fibers.push_back(spawn([&, who] { insert(who); }));
        std::thread thread{[&] { insert(0); }};
        join_all(fibers);
        thread.join();
        CHECK(failed.load() == 0);
        CHECK(database.ask("select count(distinct a) from t") == std::to_string(parties * inserts));
        CHECK(database.ask("pragma integrity_check") == "ok");
    });
}

#else

TEST_CASE("fibers and a thread share a connection of SQLite", "[hooks]") {
    WARN("not tested: libsqlite3-dev is not installed");
}

#endif
