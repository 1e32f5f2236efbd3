/* A program in C that loads the library: nothing of Rust's was set up for its threads. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int (*call)(void);

static int exits;

static void on_fault(int signal) {
    static const char said[] = "the host's handler\n";
    (void)signal;
    if (write(2, said, sizeof said - 1) < 0) {
    }
    if (exits) {
        exit(42);
    }
    _exit(42);
}

static void *on_thread(void *unused) {
    (void)unused;
    return (void *)(long)call();
}

/* host LIBRARY FUNCTION [handler [exits]] [thread] [null]: calls the function, on the main thread or on another one, and then
   writes to where nothing is, with a handler of its own installed before, which ends the process with `_exit` or `exit`. */
int main(int count, char **arguments) {
    int result, is_threaded = 0, is_null = 0;
    void *library = dlopen(arguments[1], RTLD_NOW);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    for (int i = 3; i < count; i++) {
        is_threaded |= !strcmp(arguments[i], "thread");
        is_null |= !strcmp(arguments[i], "null");
        exits |= !strcmp(arguments[i], "exits");
        if (!strcmp(arguments[i], "handler")) {
            signal(SIGSEGV, on_fault);
        }
    }
    *(void **)&call = dlsym(library, arguments[2]);
    if (is_threaded) {
        pthread_t thread;
        void *value;
        if (pthread_create(&thread, NULL, on_thread, NULL) || pthread_join(thread, &value)) {
            return 2;
        }
        result = (int)(long)value;
    } else {
        result = call();
    }
    if (is_null) {
        *(volatile int *)8 = 1;
    }
    printf("%d\n", result);
    return result;
}
