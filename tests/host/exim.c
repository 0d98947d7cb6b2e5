/* A process that has the exports of an Exim, and calls the plugin as Exim does:
 *
 *     exim PLUGIN VERSION HOST_CHECKING ARGUMENT...
 *
 * calls `check` twice with these arguments, then `last` for the user name. VERSION is the answer to
 * $version_number, or "none" for a failed expansion. The types are those of 4.99, or of 4.100 with
 * -DNEW. -DEXPAND and -DEXPAND_2 define the functions that expand. Each call of an export prints a
 * line. A call with the other version's types ends the process.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int function(unsigned char **, int, unsigned char **);
#ifdef NEW
typedef unsigned char BOOL;
/* As in Debian's 4.100.1: at an odd address, and before another variable that is true. */
__asm__(".data\n.balign 4\n.byte 1\n.globl host_checking\n.type host_checking, %object\n"
        ".size host_checking, 1\nhost_checking: .byte 0\n.byte 1, 1, 1\n.text\n");
#else
typedef unsigned BOOL;
__asm__(".data\n.balign 4\n.long 1\n.globl host_checking\n.type host_checking, %object\n"
        ".size host_checking, 4\nhost_checking: .long 0\n.long 1\n.text\n");
#endif
extern BOOL host_checking;

static const char *version;
static char memory[64];

static void stop(const char *reason)
{
    printf("stop %s\n", reason);
    fflush(stdout);
    _Exit(3);
}

static void line(const char *kind, int flags, const char *format, va_list arguments)
{
    if (!format || strcmp(format, "%s") != 0)
        stop("unexpected format");
    printf("%s %d ", kind, flags);
    vprintf(format, arguments);
    printf("\n");
    /* Exim may reuse the memory of an expansion's result. */
    memset(memory, 'X', sizeof memory - 1);
}

__attribute__((unused)) static unsigned char *answer(const char *name, const void *text)
{
    if (!text || strcmp(text, "$version_number") != 0)
        stop("unexpected expansion");
    printf("%s\n", name);
    if (strcmp(version, "none") == 0)
        return NULL;
    return (unsigned char *)strncpy(memory, version, sizeof memory - 1);
}

#ifdef EXPAND
unsigned char *expand_string(unsigned char *text)
{
    return answer("expand_string", text);
}
#endif

#ifdef EXPAND_2
const unsigned char *expand_string_2(const unsigned char *text, BOOL *textonly)
{
    if (textonly)
        stop("textonly is not NULL");
    return answer("expand_string_2", text);
}
#endif

#ifdef NEW
void log_write(int flags, const char *format, ...)
{
#else
void log_write(unsigned selector, int flags, const char *format, ...)
{
    if (selector)
        stop("unexpected selector");
#endif
    va_list arguments;
    if (flags != 1)
        stop("unexpected log flags");
    va_start(arguments, format);
    line("log_write", flags, format, arguments);
    va_end(arguments);
}

/* Replaces libc's function. */
void syslog(int priority, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    line("syslog", priority, format, arguments);
    va_end(arguments);
}

void *store_get_perm_3(int size, const void *proto_mem, const char *function, int number)
{
    printf("store_get_perm_3 %d %d\n", size > 0 && function && number == 0, proto_mem == (void *)1);
    return malloc((size_t)size);
}

unsigned char *string_copy_taint_function(const unsigned char *text, const void *proto_mem)
{
    (void)text, (void)proto_mem;
    stop("string_copy_taint_function");
    return NULL;
}

static void call(void *plugin, const char *name, int argc, unsigned char **argv)
{
    function *found = (function *)dlsym(plugin, name);
    unsigned char *text = NULL;
    int code = found(&text, argc, argv);
    printf("%s %d %s\n", name, code, text ? (char *)text : "");
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    void *plugin = dlopen(argv[1], RTLD_LAZY);
    if (!plugin)
        stop(dlerror());
    version = argv[2];
    host_checking = (BOOL)atoi(argv[3]);
    call(plugin, "check", argc - 4, (unsigned char **)argv + 4);
    call(plugin, "check", argc - 4, (unsigned char **)argv + 4);
    unsigned char *field = (unsigned char *)"username";
    call(plugin, "last", 1, &field);
    return 0;
}
