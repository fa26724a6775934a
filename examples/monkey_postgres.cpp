// Many fibers make plain libpq queries on two workers: all together take about as long as one.
//
//   monkey_postgres CONNINFO [N]      as "host=127.0.0.1 user=me dbname=postgres" 200
#include <weft/fiber.hpp>
#include <weft/hooks.hpp>
#include <weft/runtime.hpp>

#include <libpq-fe.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

/// As anybody writes it who has never heard of fibers.
int answer_of(const char* server, int number) {
    PGconn* const connection = PQconnectdb(server);
    const std::string query = "select " + std::to_string(number) + " from pg_sleep(0.2)";
    PGresult* const result = PQexec(connection, query.c_str());
    const bool good = PQresultStatus(result) == PGRES_TUPLES_OK;
    if (!good) std::fprintf(stderr, "%s", PQerrorMessage(connection));
    const int answer = good ? std::atoi(PQgetvalue(result, 0, 0)) : -1;
    PQclear(result);
    PQfinish(connection);
    return answer;
}

template <class F>
double seconds(F&& work) {
    const auto begun = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
}

int main(int argc, char** argv) {
    const char* const server = argc > 1 ? argv[1] : "";
    const int count = argc > 2 ? std::atoi(argv[2]) : 200;
    weft::hooks::patch_all();
    const bool right = weft::run(
        [=] {
            bool good = true;
            const double one = seconds([&] { good = answer_of(server, 7) == 7; });
            const double all = seconds([&] {
                std::vector<weft::Fiber<int>> fibers;
                for (int i = 0; i < count; ++i) {
                    fibers.push_back(weft::spawn(answer_of, server, i));
                }
                for (int i = 0; i < count; ++i) good = fibers[i].get() == i && good;
            });
            std::printf("one query: %.2f s; %d at once: %.2f s\n", one, count, all);
            return good;
        },
        {.workers = 2});
    return right ? 0 : 1;
}
