/* connect(2) with a time limit on unix sockets.
 *
 * Where a server hangs, the backlog of its socket fills up, and from then on connect() blocks for
 * good: every Exim process that asks stays, until Exim takes no more clients. The MySQL crate has a
 * limit for TCP alone and connects within std, so that nothing can be set on the socket before.
 * The linker's --wrap=connect leads the calls of this one object here (build.rs); libc and Exim go
 * on as they were. For unix sockets Linux takes the limit from SO_SNDTIMEO (unix(7), socket(7)).
 */
#include <sys/socket.h>
#include <sys/time.h>

/* Weak, since tests link this file without --wrap, and without using it. */
__attribute__((weak)) int __real_connect(int fd, const struct sockaddr *address, socklen_t length);

static struct timeval limit = { 2, 0 };

/* How long the next connect() may take. */
void authpolicy_connect_within(long microseconds)
{
    limit.tv_sec = microseconds / 1000000;
    limit.tv_usec = microseconds % 1000000;
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    /* Without the limit the connect is worth trying all the same. */
    if (address->sa_family == AF_UNIX)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    return __real_connect(fd, address, length);
}
