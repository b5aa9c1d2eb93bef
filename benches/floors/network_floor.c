/* Bytes between two processes, by system calls and nothing else.
 *
 * Usage: network_floor DIRECTORY SIZE [REDIS_PORT]
 * A second process answers on loopback TCP and on a Unix socket in DIRECTORY. Reads commands from
 * standard input, one a line, and answers each with the mean time of one operation, in nanoseconds:
 *   echo-tcp, echo-unix          100 bytes there and back
 *   send-tcp, send-unix          SIZE bytes there, received into one buffer, one byte back
 *   keep-tcp, keep-unix          the same, received into memory mapped anew and kept
 *   receive-tcp, receive-unix    one byte there, SIZE bytes back into one buffer
 *   fresh-tcp, fresh-unix        the same into memory mapped anew, with huge pages advised, and kept
 *   set, get                     SIZE bytes to and from a Redis server, in its own protocol
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { SMALL = 100, ROUNDS = 2000 };

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

static void send_all(int peer, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(peer, bytes, length, MSG_NOSIGNAL);
        check(sent, "send");
        bytes += sent;
        length -= sent;
    }
}

static void receive_all(int peer, char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t got = recv(peer, bytes, length, 0);
        check(got, "recv");
        if (got == 0)
            exit(0);
        bytes += got;
        length -= got;
    }
}

static char *fresh(void)
{
    int access = PROT_READ | PROT_WRITE;
    char *memory = mmap(NULL, size, access, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        check(-1, "mmap");
    madvise(memory, size, MADV_HUGEPAGE);
    return memory;
}

/* Answers one peer: 'e' echoes, 'p' takes, 'k' takes and keeps, 'g' gives. */
static void serve(int peer)
{
    char command, small[SMALL];
    for (;;) {
        receive_all(peer, &command, 1);
        if (command == 'e') {
            receive_all(peer, small, SMALL - 1);
            send_all(peer, small, SMALL);
        } else if (command == 'p' || command == 'k') {
            receive_all(peer, command == 'k' ? fresh() : buffer, size);
            send_all(peer, "k", 1);
        } else {
            send_all(peer, buffer, size);
        }
    }
}

/* A process that serves one peer, and the socket to it. */
static int begin(int family, const struct sockaddr *address, socklen_t length)
{
    struct sockaddr_storage bound;
    int on = 1;
    int listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(listener, "socket");
    check(bind(listener, address, length), "bind");
    check(listen(listener, 1), "listen");
    length = sizeof bound;
    check(getsockname(listener, (struct sockaddr *)&bound, &length), "getsockname");
    pid_t child = fork();
    check(child, "fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int peer = accept(listener, NULL, NULL);
        check(peer, "accept");
        if (family == AF_INET)
            setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        serve(peer);
    }
    close(listener);
    int peer = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(peer, "socket");
    if (family == AF_INET)
        setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    check(connect(peer, (struct sockaddr *)&bound, length), "connect");
    return peer;
}

static int to_redis(int port)
{
    int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(peer, "socket");
    setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    check(connect(peer, (struct sockaddr *)&address, sizeof address), "connect");
    return peer;
}

static void set(int redis)
{
    char head[64], reply[5];
    int length = sprintf(head, "*3\r\n$3\r\nSET\r\n$5\r\nfloor\r\n$%zu\r\n", size);
    struct iovec parts[] = {{head, length}, {buffer, size}, {"\r\n", 2}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
    size_t left = length + size + 2;
    while (left > 0) {
        ssize_t sent = sendmsg(redis, &message, MSG_NOSIGNAL);
        check(sent, "sendmsg");
        left -= sent;
        while (sent > 0) {
            size_t part = message.msg_iov->iov_len;
            size_t done = (size_t)sent < part ? (size_t)sent : part;
            message.msg_iov->iov_base = (char *)message.msg_iov->iov_base + done;
            message.msg_iov->iov_len -= done;
            sent -= done;
            if (message.msg_iov->iov_len == 0) {
                message.msg_iov++;
                message.msg_iovlen--;
            }
        }
    }
    receive_all(redis, reply, 5);
}

static void get(int redis)
{
    static const char command[] = "*2\r\n$3\r\nGET\r\n$5\r\nfloor\r\n";
    char head[32], end[2], *next = head;
    send_all(redis, command, sizeof command - 1);
    do
        receive_all(redis, next, 1);
    while (*next++ != '\n');
    receive_all(redis, buffer, size);
    receive_all(redis, end, 2);
}

static void run(const char *command, int peer)
{
    char small[SMALL] = "e";
    if (command[0] == 'e') {
        send_all(peer, small, SMALL);
        receive_all(peer, small, SMALL);
        small[0] = 'e';
    } else if (command[0] == 's' || command[0] == 'k') {
        send_all(peer, command[0] == 'k' ? "k" : "p", 1);
        send_all(peer, buffer, size);
        receive_all(peer, small, 1);
    } else {
        char *target = command[0] == 'f' ? fresh() : buffer;
        send_all(peer, "g", 1);
        receive_all(peer, target, size);
    }
}

int main(int argc, char **argv)
{
    char command[32];
    struct sockaddr_in inet = {.sin_family = AF_INET};
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    if (argc < 3) {
        fprintf(stderr, "usage: %s DIRECTORY SIZE [REDIS_PORT]\n", argv[0]);
        return 2;
    }
    size = strtoull(argv[2], NULL, 10);
    buffer = malloc(size);
    memset(buffer, 1, size);
    inet.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    snprintf(local.sun_path, sizeof local.sun_path, "%s/floor-%d", argv[1], getpid());
    int tcp = begin(AF_INET, (struct sockaddr *)&inet, sizeof inet);
    int unix_ = begin(AF_UNIX, (struct sockaddr *)&local, sizeof local);
    int redis = argc > 3 ? to_redis(atoi(argv[3])) : -1;
    if (redis >= 0)
        set(redis);
    while (scanf("%31s", command) == 1) {
        int is_redis = strcmp(command, "set") == 0 || strcmp(command, "get") == 0;
        int peer = strstr(command, "tcp") ? tcp : unix_;
        size_t moved = command[0] == 'e' ? SMALL : size;
        int count = moved < 10000 ? ROUNDS : moved < 10000000 ? 50 : 3;
        double start = now();
        for (int i = 0; i < count; i++) {
            if (!is_redis)
                run(command, peer);
            else if (command[0] == 's')
                set(redis);
            else
                get(redis);
        }
        printf("%.0f\n", (now() - start) / count);
        fflush(stdout);
    }
    unlink(local.sun_path);
    return 0;
}
