/* A process that calls the plugin as Exim does, erases its own copy of the password, and searches its
 * memory for other copies: host PLUGIN FUNCTION AT ARGUMENT...
 *
 * Argument AT is the password in hexadecimal, each byte XORed with 0x5a, so that the arguments do not
 * contain it. Each copy is a line with its form and its place. The call runs on its own stack, so that
 * this program does not overwrite the copies there.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef int function(unsigned char **, int, unsigned char **);

/* PIECE is two 8-byte words. */
enum { PIECE = 16, MOST = 128, STACK = 8 << 20 };

static unsigned char hidden[MOST];
static size_t length;
static struct call {
    function *function;
    int argc, code;
    unsigned char *argv[8], *answer;
} call;

static void *run(void *unused)
{
    call.code = call.function(&call.answer, call.argc, call.argv);
    return unused;
}

/* A byte of the password in this form: unchanged, padded for HMAC, or in the words of a hash function
 * that reads big-endian numbers. */
static unsigned char expected(const char *form, size_t start, size_t index)
{
    size_t word = *form == '4' ? 3 : *form == '8' ? 7 : 0;
    unsigned char mask = *form == 'i' ? 0x36 : *form == 'o' ? 0x5c : 0;
    return (unsigned char)(hidden[start + (index ^ word)] ^ 0x5a ^ mask);
}

/* Looks for a piece of the password that begins at `start`. */
static void search(const char *form, size_t start, const unsigned char *from,
                   const unsigned char *to, const char *place)
{
    unsigned char first = expected(form, start, 0);
    for (const unsigned char *at = from; (at = memchr(at, first, (size_t)(to - at))); at++) {
        size_t index = 1;
        while (index < PIECE && at + index < to && at[index] == expected(form, start, index))
            index++;
        if (index == PIECE)
            printf("found form=%s from=%zu at=%p place=%s\n", form, start, (const void *)at, place);
    }
}

static void search_everywhere(const void *stack)
{
    static const char *const forms[] = { "plain", "inner-pad", "outer-pad", "4-byte-words", "8-byte-words" };
    static char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        char mode[8], place[256] = "heap";
        if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %255s", &from, &to, mode, place) < 3)
            continue;
        if (strncmp(mode, "rw", 2) != 0)
            continue;
        if (from <= (unsigned long)stack && (unsigned long)stack < to)
            strcpy(place, "stack");
        for (size_t form = 0; form < sizeof forms / sizeof *forms; form++)
            for (size_t start = 0; start + PIECE <= length; start++)
                search(forms[form], start, (const unsigned char *)from, (const unsigned char *)to, place);
    }
}

int main(int argc, char **argv)
{
    if (argc < 4 || argc > 11)
        return 2;
    void *plugin = dlopen(argv[1], RTLD_NOW);
    if (!plugin || !(call.function = (function *)dlsym(plugin, argv[2]))) {
        printf("%s\n", dlerror());
        return 2;
    }
    unsigned char *password = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int secret = atoi(argv[3]);
    for (call.argc = 0; call.argc + 4 < argc; call.argc++)
        call.argv[call.argc] = (unsigned char *)argv[call.argc + 4];
    const char *hex = argv[4 + secret];
    for (; hex[2 * length] && length < MOST; length++) {
        unsigned byte;
        sscanf(hex + 2 * length, "%2x", &byte);
        hidden[length] = (unsigned char)byte;
        password[length] = (unsigned char)(byte ^ 0x5a);
    }
    call.argv[secret] = password;

    void *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, stack, STACK);
    if (pthread_create(&thread, &attributes, run, NULL) || pthread_join(thread, NULL))
        return 2;
    printf("code=%d answer=%s\n", call.code, call.answer ? (char *)call.answer : "");
    if (!getenv("KEEP"))
        explicit_bzero(password, 4096);
    search_everywhere(stack);
    return 0;
}
