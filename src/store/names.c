/* Host names of database servers: what libc knows of them without asking a name server.
 *
 * A name server that does not answer must not keep an Exim process. getaddrinfo(3) has no time-out:
 * libc asks each server of resolv.conf for whole seconds, several times, and for each entry of the
 * search list. So libc looks the name up without name servers, by the rest of nsswitch.conf:
 * /etc/hosts, this host's own names, and any other modules. It also tells if it would have asked
 * DNS. If so, dns.rs asks the servers, under a deadline.
 *
 * Exim changes the resolver's state (RES_DEFNAMES, RES_DNSRCH, retrans, retry) and goes on using it. So
 * the state is saved, read from resolv.conf for this one call, and restored byte for byte.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* names.rs has the same numbers. */
_Static_assert(MAXNS == 3 && MAXDNSRCH == 6, "names.rs has other numbers");

enum { ADDRESSES = 8, SERVERS = MAXNS, DOMAINS = MAXDNSRCH, DOMAIN_LENGTH = 256 };

/* names.rs has the same structures. */
struct endpoint {
    unsigned char bytes[16];
    uint32_t scope;
    uint16_t port;
    uint16_t is_ipv6;
};

struct lookup {
    struct endpoint addresses[ADDRESSES];
    struct endpoint servers[SERVERS];
    char domains[DOMAINS][DOMAIN_LENGTH];
    uint32_t address_count, server_count, domain_count;
    /* A name with fewer dots is tried in the domains first. */
    uint32_t ndots;
    /* Options of resolv.conf: the name is not tried without a domain; IPv6 is not asked for. */
    uint32_t no_tld_query, no_aaaa;
    /* True if nsswitch.conf has DNS asked for this name. */
    uint32_t wants_dns;
};

/* Weak, since tests link this file without --wrap, and without using it. */
__attribute__((weak)) int __real_getaddrinfo(const char *node, const char *service,
                                             const struct addrinfo *hints, struct addrinfo **found);

/* The address that the next connection goes to, whatever its host's name; none if empty. */
static char target[INET6_ADDRSTRLEN + 16];

static int put(struct endpoint *to, const struct sockaddr *address)
{
    memset(to, 0, sizeof *to);
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)address;
        memcpy(to->bytes, &four->sin_addr, 4);
        to->port = ntohs(four->sin_port);
        return 1;
    }
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
        memcpy(to->bytes, &six->sin6_addr, 16);
        to->port = ntohs(six->sin6_port);
        to->scope = six->sin6_scope_id;
        to->is_ipv6 = 1;
        return 1;
    }
    return 0;
}

/* Copies the settings of resolv.conf. */
static void put_settings(struct lookup *lookup, const struct __res_state *state)
{
    for (int i = 0; i < state->nscount && i < SERVERS; i++) {
        const struct sockaddr_in *four = &state->nsaddr_list[i];
        const struct sockaddr_in6 *six = state->_u._ext.nsaddrs[i];
        const struct sockaddr *server = four->sin_family == AF_INET || six == NULL
                                            ? (const struct sockaddr *)four
                                            : (const struct sockaddr *)six;
        lookup->server_count += put(&lookup->servers[lookup->server_count], server);
    }
    for (int i = 0; i < DOMAINS && state->dnsrch[i] != NULL; i++) {
        snprintf(lookup->domains[i], DOMAIN_LENGTH, "%s", state->dnsrch[i]);
        lookup->domain_count++;
    }
    lookup->ndots = state->ndots;
    lookup->no_tld_query = (state->options & RES_NOTLDQUERY) != 0;
    lookup->no_aaaa = (state->options & 0x08000000 /* RES_NOAAAA, from glibc 2.36 on */) != 0;
}

/* Looks a name up without a name server. Returns 0, or the error of getaddrinfo. */
int authpolicy_look_up(const char *name, struct lookup *lookup)
{
    struct __res_state *state = __res_state(), kept = *state;
    int kept_error = h_errno;
    memset(lookup, 0, sizeof *lookup);
    memset(state, 0, sizeof *state);
    if (res_ninit(state) != 0) {
        *state = kept;
        return EAI_MEMORY;
    }
    put_settings(lookup, state);
    int servers = state->nscount;
    state->nscount = 0;
    state->res_h_errno = 0;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
    int error = getaddrinfo(name, NULL, &hints, &found);
    /* libc sets it when it is about to ask a name server. */
    lookup->wants_dns = error != 0 && state->res_h_errno != 0;
    for (struct addrinfo *one = found; one && lookup->address_count < ADDRESSES; one = one->ai_next)
        lookup->address_count += put(&lookup->addresses[lookup->address_count], one->ai_addr);
    if (error == 0)
        freeaddrinfo(found);
    state->nscount = servers;
    res_nclose(state);
    *state = kept;
    h_errno = kept_error;
    return error;
}

/* From now on, each name means this address. With NULL, names are looked up again. */
void authpolicy_connect_to(const struct endpoint *to)
{
    char text[INET6_ADDRSTRLEN];
    target[0] = 0;
    if (to == NULL || !inet_ntop(to->is_ipv6 ? AF_INET6 : AF_INET, to->bytes, text, sizeof text))
        return;
    if (to->is_ipv6 && to->scope != 0)
        snprintf(target, sizeof target, "%s%%%u", text, to->scope);
    else
        snprintf(target, sizeof target, "%s", text);
}

/* The MySQL crate connects to the first address of a name, and TLS checks the certificate against the
 * name. So the crate keeps the name, and gets the address here. */
int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **found)
{
    if (target[0] == 0 || hints == NULL)
        return __real_getaddrinfo(node, service, hints, found);
    struct addrinfo numeric = *hints;
    numeric.ai_flags |= AI_NUMERICHOST;
    return __real_getaddrinfo(target, service, &numeric, found);
}
