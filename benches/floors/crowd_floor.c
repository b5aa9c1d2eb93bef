/* Many client processes of one server, by system calls and nothing else.
 *
 * Usage: crowd_floor unix|tcp CLIENTS SECONDS
 * Two threads serve all connections by epoll; each client process sends 64 bytes and receives 1,064,
 * again and again. Prints how many answers all of them got in a second.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST = 64, REPLY = 1064, THREADS = 2, EVENTS = 64 };

struct shared {
    atomic_int ready;
    atomic_int begun;
    atomic_long answers;
};

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
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void without_delay(int peer, int family)
{
    int on = 1;
    if (family == AF_INET)
        check(setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
}

_Noreturn static void *serve(void *argument)
{
    int poll = *(int *)argument;
    struct epoll_event events[EVENTS];
    static char reply[REPLY];
    char request[REQUEST];
    for (;;) {
        int count = epoll_wait(poll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int peer = events[i].data.fd;
            if (recv(peer, request, REQUEST, MSG_WAITALL) == REQUEST)
                send(peer, reply, REPLY, MSG_NOSIGNAL);
            else
                close(peer);
        }
    }
}

static void server(int listener, int family, int clients)
{
    int polls[THREADS];
    pthread_t thread;
    for (int i = 0; i < THREADS; i++)
        check(polls[i] = epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    for (int i = 0; i < clients; i++) {
        int peer = accept(listener, NULL, NULL);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = peer};
        check(peer, "accept");
        without_delay(peer, family);
        check(epoll_ctl(polls[i % THREADS], EPOLL_CTL_ADD, peer, &event), "epoll_ctl");
    }
    for (int i = 0; i < THREADS; i++)
        check(-pthread_create(&thread, NULL, serve, &polls[i]), "pthread_create");
    pause();
}

static void client(const struct sockaddr *address, socklen_t length, double seconds,
                   struct shared *shared)
{
    char request[REQUEST] = "get", reply[REPLY];
    long answers = 0;
    int peer = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(peer, "socket");
    check(connect(peer, address, length), "connect");
    without_delay(peer, address->sa_family);
    atomic_fetch_add(&shared->ready, 1);
    while (!atomic_load(&shared->begun))
        usleep(1000);
    double end = now() + seconds;
    while (now() < end)
        for (int i = 0; i < 20; i++) {
            check(send(peer, request, REQUEST, MSG_NOSIGNAL), "send");
            if (recv(peer, reply, REPLY, MSG_WAITALL) != REPLY)
                exit(1);
            answers++;
        }
    atomic_fetch_add(&shared->answers, answers);
    exit(0);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: %s unix|tcp CLIENTS SECONDS\n", argv[0]);
        return 2;
    }
    int family = strcmp(argv[1], "unix") == 0 ? AF_UNIX : AF_INET;
    int clients = atoi(argv[2]);
    double seconds = atof(argv[3]);
    struct sockaddr_storage address = {.ss_family = family};
    socklen_t length = family == AF_UNIX ? sizeof(sa_family_t) : sizeof(struct sockaddr_in);
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        check(-1, "mmap");
    if (family == AF_INET)
        ((struct sockaddr_in *)&address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(listener, "socket");
    /* A Unix address without a path is an abstract one of the kernel's choice. */
    check(bind(listener, (struct sockaddr *)&address, length), "bind");
    check(listen(listener, clients), "listen");
    length = sizeof address;
    check(getsockname(listener, (struct sockaddr *)&address, &length), "getsockname");
    pid_t serving = fork();
    check(serving, "fork");
    if (serving == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        server(listener, family, clients);
    }
    for (int i = 0; i < clients; i++) {
        pid_t child = fork();
        check(child, "fork");
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            client((struct sockaddr *)&address, length, seconds, shared);
        }
    }
    while (atomic_load(&shared->ready) < clients)
        usleep(1000);
    atomic_store(&shared->begun, 1);
    for (int i = 0; i < clients; i++) {
        int status;
        wait(&status);
        if (status != 0)
            return 1;
    }
    printf("%.0f\n", atomic_load(&shared->answers) / seconds);
    kill(serving, SIGKILL);
    return 0;
}
