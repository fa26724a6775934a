// A pool of plain libpq connections is a Queue: whoever wants to ask takes one out, and waits
// if there is none. 100 clients share 10 connections.
//
//   monkey_pg_pool CONNINFO
#include <weft/fiber.hpp>
#include <weft/hooks.hpp>
#include <weft/queue.hpp>
#include <weft/runtime.hpp>

#include <libpq-fe.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

using Connection = std::unique_ptr<PGconn, decltype(&PQfinish)>;

class Pool {
public:
    Pool(const char* server, int size) {
        for (int i = 0; i < size; ++i) free_.put(Connection{PQconnectdb(server), &PQfinish});
    }

    std::string ask(const char* query) {
        Connection connection = free_.get();
        PGresult* const result = PQexec(connection.get(), query);
        if (PQresultStatus(result) != PGRES_TUPLES_OK) {
            std::fprintf(stderr, "%s", PQerrorMessage(connection.get()));
            std::_Exit(1);
        }
        std::string answer = PQgetvalue(result, 0, 0);
        PQclear(result);
        free_.put(std::move(connection));
        return answer;
    }

private:
    weft::Queue<Connection> free_;
};

int main(int argc, char** argv) {
    weft::hooks::patch_all();
    weft::run(
        [&] {
            Pool pool{argc > 1 ? argv[1] : "", 10};
            std::vector<weft::Fiber<std::string>> clients;
            for (int i = 0; i < 100; ++i) {
                clients.push_back(weft::spawn(
                    [&] { return pool.ask("select pg_backend_pid() from pg_sleep(0.02)"); }));
            }
            std::map<std::string, int> queries;
            for (auto& each : clients) ++queries[each.get()];
            std::printf("100 clients were answered by %zu connections\n", queries.size());
        },
        {.workers = 2});
}
