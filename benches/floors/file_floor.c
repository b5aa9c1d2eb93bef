/* The system calls of a put and a get of the file connector, and nothing else.
 *
 * Usage: file_floor DIRECTORY SIZE COUNT
 * Reads commands from standard input, one a line: `put`, `get` or `write`. Answers each with the
 * smallest time of COUNT operations, in nanoseconds. `write` is one fresh file of SIZE bytes written
 * by write(2), without a marker.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int directory;
static size_t size;
static char *buffer;

static void check(long result, const char *what)
{
    if (result < 0) {
        perror(what);
        exit(1);
    }
}

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1e9 + at.tv_nsec;
}

static void write_all(int file, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = write(file, bytes, length);
        check(written, "write");
        bytes += written;
        length -= written;
    }
}

static void create(const char *name, const char *bytes, size_t length)
{
    int file = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    struct stat status;
    check(file, "openat");
    write_all(file, bytes, length);
    check(fstat(file, &status), "fstat");
    check(close(file), "close");
}

static void put(void)
{
    create("object", buffer, size);
    create("marker.tmp", buffer, 64);
    check(renameat(directory, "marker.tmp", directory, "marker"), "renameat");
}

static void get(void)
{
    char marker[128];
    struct stat status;
    size_t done = 0;
    int file = openat(directory, "marker", O_RDONLY | O_CLOEXEC);
    check(file, "openat");
    check(read(file, marker, sizeof marker), "read");
    check(close(file), "close");
    file = openat(directory, "object", O_RDONLY | O_CLOEXEC);
    check(file, "openat");
    check(fstat(file, &status), "fstat");
    while (done < size) {
        ssize_t got = read(file, buffer + done, size - done);
        check(got, "read");
        done += got;
    }
    check(close(file), "close");
}

static void evict(void)
{
    check(unlinkat(directory, "marker", 0), "unlinkat");
    check(unlinkat(directory, "object", 0), "unlinkat");
}

int main(int argc, char **argv)
{
    char command[16];
    int count;
    if (argc != 4) {
        fprintf(stderr, "usage: %s DIRECTORY SIZE COUNT\n", argv[0]);
        return 2;
    }
    directory = open(argv[1], O_RDONLY | O_DIRECTORY);
    check(directory, "open");
    size = strtoull(argv[2], NULL, 10);
    count = atoi(argv[3]);
    buffer = malloc(size > 64 ? size : 64);
    memset(buffer, 1, size > 64 ? size : 64);
    while (scanf("%15s", command) == 1) {
        double best = 1e300;
        if (strcmp(command, "get") == 0)
            put();
        for (int i = 0; i < count; i++) {
            double start = now();
            if (strcmp(command, "put") == 0)
                put();
            else if (strcmp(command, "get") == 0)
                get();
            else
                create("object", buffer, size);
            double took = now() - start;
            if (took < best)
                best = took;
            if (strcmp(command, "put") == 0)
                evict();
            else if (strcmp(command, "write") == 0)
                check(unlinkat(directory, "object", 0), "unlinkat");
        }
        if (strcmp(command, "get") == 0)
            evict();
        printf("%.0f\n", best);
        fflush(stdout);
    }
    return 0;
}
