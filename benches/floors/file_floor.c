/* The system calls of a put and a get of the file connector, and nothing else.
 *
 * Usage: file_floor DIRECTORY SIZE COUNT
 * Reads commands from standard input, one a line: `put` or `get`. Answers each with the
 * mean time of COUNT operations, in nanoseconds.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *directory;
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

/* Names as long as the connector's, a new one for every object. */
static void name(char *path, int number, const char *suffix)
{
    sprintf(path, "%s/%08x-0000-4000-8000-000000000000%s", directory, number, suffix);
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

static int create(const char *path)
{
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    check(file, "open");
    return file;
}

static void put(const char *data, const char *marker, const char *temporary)
{
    struct stat status;
    char random[24];
    check(getrandom(random, sizeof random, 0), "getrandom");
    int file = create(data);
    write_all(file, buffer, size);
    check(fstat(file, &status), "fstat");
    check(close(file), "close");
    file = create(temporary);
    write_all(file, buffer, 64);
    check(close(file), "close");
    check(rename(temporary, marker), "rename");
}

static void get(const char *data, const char *marker)
{
    char record[1024];
    struct stat status;
    size_t done = 0;
    int file = open(marker, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    check(file, "open");
    check(read(file, record, sizeof record), "read");
    check(close(file), "close");
    file = open(data, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    check(file, "open");
    check(fstat(file, &status), "fstat");
    while (done < size) {
        ssize_t got = read(file, buffer + done, size - done);
        check(got, "read");
        done += got;
    }
    check(close(file), "close");
}

int main(int argc, char **argv)
{
    char command[16];
    int count;
    if (argc != 4) {
        fprintf(stderr, "usage: %s DIRECTORY SIZE COUNT\n", argv[0]);
        return 2;
    }
    directory = argv[1];
    size = strtoull(argv[2], NULL, 10);
    count = atoi(argv[3]);
    buffer = malloc(size > 64 ? size : 64);
    memset(buffer, 1, size > 64 ? size : 64);
    char(*data)[512] = malloc(count * sizeof *data);
    char(*marker)[512] = malloc(count * sizeof *marker);
    char(*temporary)[512] = malloc(count * sizeof *temporary);
    for (int i = 0; i < count; i++) {
        name(data[i], i, "");
        name(marker[i], i, ".ready");
        name(temporary[i], i, ".ready.0123456789abcdef.tmp");
    }
    while (scanf("%15s", command) == 1) {
        int is_get = strcmp(command, "get") == 0;
        if (is_get)
            put(data[0], marker[0], temporary[0]);
        double start = now();
        for (int i = 0; i < count; i++) {
            if (is_get)
                get(data[0], marker[0]);
            else
                put(data[i], marker[i], temporary[i]);
        }
        printf("%.0f\n", (now() - start) / count);
        fflush(stdout);
        for (int i = 0; i < (is_get ? 1 : count); i++) {
            check(unlink(marker[i]), "unlink");
            check(unlink(data[i]), "unlink");
        }
    }
    return 0;
}
