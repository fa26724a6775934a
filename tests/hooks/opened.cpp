// A library that calls what is hooked, to be opened in different ways.
#include <unistd.h>

extern "C" [[gnu::visibility("default")]] int opened_sleep() { return usleep(1); }
