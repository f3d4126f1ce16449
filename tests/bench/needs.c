// Runs a program to its end and writes what it needed: needs FILE PROGRAM ARGUMENT…; seconds on the clock, seconds of
// processors, KiB at most. GNU time cuts to hundredths of a second, which is what a re-scan of 10,000 files takes.
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static double seconds(struct timeval time) { return time.tv_sec + time.tv_usec / 1e6; }

int main(int count, char **arguments) {
    if (count < 3) return fprintf(stderr, "needs FILE PROGRAM ARGUMENT...\n"), 125;
    double began = now();
    pid_t child = fork();
    if (child < 0) return perror("fork"), 125;
    if (!child) {
        execvp(arguments[2], arguments + 2);
        perror(arguments[2]);
        _exit(127);
    }
    int status;
    struct rusage usage;
    if (wait4(child, &status, 0, &usage) < 0) return perror("wait4"), 125;
    double wall = now() - began;
    FILE *file = fopen(arguments[1], "w");
    if (!file) return perror(arguments[1]), 125;
    fprintf(file, "%.6f %.6f %ld\n", wall, seconds(usage.ru_utime) + seconds(usage.ru_stime), usage.ru_maxrss);
    if (fclose(file)) return perror(arguments[1]), 125;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 126;
}
