/* connect(2) and recv(2) under a deadline.
 *
 * A server that hangs, or sends a byte now and then, must not keep an Exim process. The MySQL crate
 * has a time-out for connecting over TCP, and one for each read. It has none for connecting to a
 * unix socket, or for a whole statement. It creates its sockets within std, so that nothing can be set on them
 * before. The linker's --wrap (build.rs) redirects the calls of this one object here; libc and Exim
 * are not affected. Writing needs no limit, because a statement fits the socket's buffer. For unix
 * sockets Linux takes the limit of a connect from SO_SNDTIMEO (unix(7), socket(7)).
 *
 * A signal ends a call that has a limit, even with SA_RESTART (signal(7)). Exim has a handler for
 * SIGUSR1, which exiwhat sends to each of its processes. So the call is made again with the time that
 * is left. An interrupted connect leaves a unix socket unchanged. TCP sockets do not block in connect:
 * the crate polls them, and polls again after a signal.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

/* Weak, since tests link this file without --wrap, and without using it. */
__attribute__((weak)) int __real_connect(int fd, const struct sockaddr *address, socklen_t length);
__attribute__((weak)) ssize_t __real_recv(int fd, void *buffer, size_t length, int flags);

/* The end of the time, by CLOCK_MONOTONIC. */
static struct timespec deadline;

/* From now on, connecting and receiving end within this time, taken together. */
void authpolicy_sockets_within(long microseconds)
{
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += microseconds / 1000000;
    deadline.tv_nsec += microseconds % 1000000 * 1000;
}

/* Limits the next call on the socket to the time that is left. Returns 0 if none is left. */
static int limit(int fd, int option)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long long left =
        (deadline.tv_sec - now.tv_sec) * 1000000LL + (deadline.tv_nsec - now.tv_nsec) / 1000;
    if (left <= 0) {
        errno = EAGAIN;
        return 0;
    }
    struct timeval time = { left / 1000000, left % 1000000 };
    return setsockopt(fd, SOL_SOCKET, option, &time, sizeof time) == 0;
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    if (address->sa_family != AF_UNIX)
        return __real_connect(fd, address, length);
    int done;
    do
        done = limit(fd, SO_SNDTIMEO) ? __real_connect(fd, address, length) : -1;
    while (done < 0 && errno == EINTR);
    return done;
}

ssize_t __wrap_recv(int fd, void *buffer, size_t length, int flags)
{
    ssize_t got;
    do
        got = limit(fd, SO_RCVTIMEO) ? __real_recv(fd, buffer, length, flags) : -1;
    while (got < 0 && errno == EINTR);
    return got;
}
