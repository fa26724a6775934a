// A program that knows nothing of weft and whose threads are cancelled. It is run as it is and by
// weft-run, and says the same; built with exceptions, so that pthread_cleanup_push() is an object
// with a destructor, and without, so that it is what it is in C.
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <ctime>

namespace {

void say(const char* what, long value) { std::printf("%s %ld\n", what, value); }

void* const cancelled = PTHREAD_CANCELED;

long order = 0;
void add_digit(void* digit) {
    order = order * 10 + reinterpret_cast<std::intptr_t>(digit);
    if (usleep(10) != 0) order = -1;  // what a handler waits for is not ended
}
void* digit(std::intptr_t value) { return reinterpret_cast<void*>(value); }

sem_t begun;
int ends[2];
pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
sem_t never;
pthread_t joined;

long was_locked = 0;
void unlock(void*) {
    was_locked = pthread_mutex_trylock(&mutex) == EBUSY;
    pthread_mutex_unlock(&mutex);
}

void sleep_long() {
    const timespec day{86400, 0};
    nanosleep(&day, nullptr);
}
void sleep_by_the_clock() {
    const timespec day{86400, 0};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &day, nullptr);
}
void sleep_seconds() { sleep(86400); }
void read_nothing() {
    char c = 0;
    (void)!read(ends[0], &c, 1);
}
void receive_nothing() {
    char c = 0;
    recv(ends[0], &c, 1, 0);
}
void poll_nothing() {
    pollfd one{ends[0], POLLIN, 0};
    poll(&one, 1, -1);
}
void await_semaphore() { sem_wait(&never); }
void await_thread() { pthread_join(joined, nullptr); }
void await_signal() { pause(); }
void await_condition() {
    pthread_mutex_lock(&mutex);
    pthread_cleanup_push(&unlock, nullptr);
    for (;;) pthread_cond_wait(&condition, &mutex);
    pthread_cleanup_pop(0);
}
// What has no need to wait is a cancellation point all the same.
void write_for_ever() {
    const int null = open("/dev/null", O_WRONLY);
    sem_post(&begun);
    for (;;) (void)!write(null, "x", 1);
}
void test_for_ever() {
    sem_post(&begun);
    for (;;) pthread_testcancel();
}

void close_when_cancelled() {
    const int fd = dup(0);
    pthread_cancel(pthread_self());
    close(fd);
}
// These are none.
void change_nothing_when_cancelled() {
    pthread_cancel(pthread_self());
    const int fd = dup(0);
    if (dup2(ends[0], fd) != fd || flock(0, LOCK_UN) == ECANCELED) order = -4;
    sync();
    pthread_testcancel();
}

using Wait = void (*)();

void* wait_with_handlers(void* wait) {
    pthread_cleanup_push(&add_digit, digit(1));
    pthread_cleanup_push(&add_digit, digit(2));
    pthread_cleanup_push(&add_digit, digit(9));
    pthread_cleanup_pop(0);
    sem_post(&begun);
    reinterpret_cast<Wait>(reinterpret_cast<std::intptr_t>(wait))();
    order = -2;  // it went on
    pthread_cleanup_pop(1);
    pthread_cleanup_pop(1);
    return nullptr;
}

void* begin(Wait wait) { return reinterpret_cast<void*>(reinterpret_cast<std::intptr_t>(wait)); }

void cancel(const char* what, Wait wait, bool says_so = false) {
    order = 0;
    pthread_t thread;
    pthread_create(&thread, nullptr, &wait_with_handlers, begin(wait));
    sem_wait(&begun);
    if (says_so) sem_wait(&begun);
    usleep(1000);  // it may wait by now, or not yet
    pthread_cancel(thread);
    void* result = nullptr;
    pthread_join(thread, &result);
    say(what, result == cancelled ? order : -3);
}

// --- by itself ---

void* exit_with_handlers(void* result) {
    pthread_cleanup_push(&add_digit, digit(1));
    pthread_cleanup_push(&add_digit, digit(2));
    pthread_exit(result);
    pthread_cleanup_pop(0);
    pthread_cleanup_pop(0);
    return nullptr;
}

void exit_threads() {
    order = 0;
    pthread_t thread;
    pthread_create(&thread, nullptr, &exit_with_handlers, digit(5));
    void* result = nullptr;
    pthread_join(thread, &result);
    say("exit", order * 10 + reinterpret_cast<std::intptr_t>(result));
}

void* pop_handlers(void*) {
    pthread_cleanup_push(&add_digit, digit(1));
    pthread_cleanup_push(&add_digit, digit(2));
    pthread_cleanup_pop(1);
    pthread_cleanup_pop(0);
    return nullptr;
}

void return_from_threads() {
    order = 0;
    pthread_t thread;
    pthread_create(&thread, nullptr, &pop_handlers, nullptr);
    pthread_join(thread, nullptr);
    say("popped", order);
}

// --- not now ---

long went_on = 0;

void* disable(void*) {
    int before = -1;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    went_on = before == PTHREAD_CANCEL_ENABLE;
    sem_post(&begun);
    sem_wait(&never);  // until it is cancelled
    went_on += usleep(1000) == 0 ? 10 : 0;
    pthread_testcancel();
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &before);
    went_on += before == PTHREAD_CANCEL_DISABLE ? 100 : 0;
    usleep(1000);
    went_on = -1;
    return nullptr;
}

void cancel_disabled() {
    pthread_t thread;
    pthread_create(&thread, nullptr, &disable, nullptr);
    sem_wait(&begun);
    pthread_cancel(thread);
    sem_post(&never);
    void* result = nullptr;
    pthread_join(thread, &result);
    say("disabled", result == cancelled ? went_on : -3);
}

// --- signals and children ---

std::atomic<bool> over{false};

void* sleep_until_interrupted(void*) {
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
    sem_post(&begun);
    const timespec day{86400, 0};
    went_on = nanosleep(&day, nullptr) == -1 && errno == EINTR ? 1 : 0;
    over = true;
    return nullptr;
}

void interrupt_disabled() {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    sigaction(SIGUSR1, &action, nullptr);
    pthread_t thread;
    pthread_create(&thread, nullptr, &sleep_until_interrupted, nullptr);
    sem_wait(&begun);
    pthread_cancel(thread);
    while (!over) {
        pthread_kill(thread, SIGUSR1);
        usleep(1000);
    }
    void* result = cancelled;
    pthread_join(thread, &result);
    say("interrupted", result == nullptr ? went_on : -3);
}

pid_t child = -1;
void make_child(void*) { child = fork(); }

void* exit_with_child(void*) {
    pthread_cleanup_push(&make_child, nullptr);
    pthread_exit(nullptr);
    pthread_cleanup_pop(0);
    return nullptr;
}

void fork_in_handler() {
    std::fflush(stdout);
    pthread_t thread;
    pthread_create(&thread, nullptr, &exit_with_child, nullptr);
    pthread_join(thread, nullptr);
    int status = -1;
    waitpid(child, &status, 0);
    say("child", status);
}

void* end_by_itself(void*) {
    sem_wait(&never);
    return nullptr;
}

void tell_errors() {
    int before = -1;
    say("state", pthread_setcancelstate(77, &before));
    say("type", pthread_setcanceltype(77, &before));
    say("type", pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &before) * 10 + before);
}

#if defined(__EXCEPTIONS)

struct AddDigit {
    std::intptr_t value;
    ~AddDigit() { add_digit(digit(value)); }
};

void sleep_between_destructors() {
    const AddDigit outer{4};
    try {
        const AddDigit inner{3};
        sleep_long();
    } catch (...) {
        order *= 10;
        throw;
    }
}

void lock_file_with_destructor() {
    pthread_cancel(pthread_self());
    {
        struct AddThree {
            ~AddThree() { order = order * 10 + 3; }
        } at_end;
        (void)!flock(0, LOCK_UN);  // cannot throw, so nobody would be unwound
        order = order * 10 + 5;
    }
    pthread_testcancel();
}

void cancel_with_destructors() {
    cancel("destructors", &sleep_between_destructors);
    cancel("no point", &lock_file_with_destructor);
}

#else

void cancel_with_destructors() {}

#endif

}  // namespace

int main() {
    sem_init(&begun, 0, 0);
    sem_init(&never, 0, 0);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return 1;
    cancel("nanosleep", &sleep_long);
    cancel("clock_nanosleep", &sleep_by_the_clock);
    cancel("sleep", &sleep_seconds);
    cancel("read", &read_nothing);
    cancel("recv", &receive_nothing);
    cancel("poll", &poll_nothing);
    cancel("pause", &await_signal);
    cancel("write", &write_for_ever, true);
    cancel("testcancel", &test_for_ever, true);
    cancel("close", &close_when_cancelled);
    cancel("none", &change_nothing_when_cancelled);
    cancel("sem_wait", &await_semaphore);
    cancel("cond_wait", &await_condition);
    say("locked", was_locked);
    pthread_create(&joined, nullptr, &end_by_itself, nullptr);
    cancel("join", &await_thread);
    sem_post(&never);
    say("joined", pthread_join(joined, nullptr));
    cancel_disabled();
    interrupt_disabled();
    fork_in_handler();
    exit_threads();
    return_from_threads();
    cancel_with_destructors();
    tell_errors();
    return 0;
}
