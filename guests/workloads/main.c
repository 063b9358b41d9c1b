/* Runs one workload by name and marks its start and end on standard output, for a host that takes the time there.
 * Usage: workload NAME SIZE. Prints "@start NAME", then "@end NAME CHECKSUM" or "@fail NAME REASON". */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include "workload.h"

static const struct workload workloads[] = {
    { "sieve", run_sieve, NULL },
    { "sha256", run_sha256, NULL },
    { "intmix", run_intmix, NULL },
    { "interp", run_interp, NULL },
    { "bigcode", run_bigcode, NULL },
    { "matmul_x87", run_matmul_x87, NULL },
    { "matmul_sse2", run_matmul_sse2, NULL },
    { "memcpy", run_memcpy, NULL },
    { "chase", run_chase, NULL },
    { "syscall", run_syscall, NULL },
    { "int80", run_int80, NULL },
    { "fork", run_fork, NULL },
    { "forkexec", run_forkexec, NULL },
    { "pgfault", run_pgfault, NULL },
    { "pipe", run_pipe, NULL },
    { "bb_gzip", run_bb_gzip, prepare_bb_gzip },
    { "bb_sh", run_bb_sh, NULL },
    { "bb_sort", run_bb_sort, NULL },
};

static const char *running = "";

void fail(const char *what)
{
    printf("@fail %s %s: %s\n", running, what, errno ? strerror(errno) : "wrong result");
    fflush(stdout);
    exit(1);
}

void *allocate(uint32_t bytes)
{
    void *memory = malloc(bytes);
    if (!memory) fail("malloc");
    return memory;
}

uint32_t hash_bytes(uint32_t hash, const void *bytes, uint32_t count)
{
    const unsigned char *at = bytes;
    for (uint32_t i = 0; i < count; i++) hash = (hash ^ at[i]) * HASH_PRIME;
    return hash;
}

/* One write a line, and not before the line is out does the work go on. */
static void mark(const char *line)
{
    if (write(STDOUT_FILENO, line, strlen(line)) < 0) exit(1);
    tcdrain(STDOUT_FILENO);
}

int main(int argc, char **argv)
{
    const struct workload *chosen = NULL;
    for (unsigned i = 0; argc == 3 && i < sizeof workloads / sizeof *workloads; i++) {
        if (strcmp(workloads[i].name, argv[1]) == 0) chosen = &workloads[i];
    }
    char *end;
    unsigned long size = argc == 3 ? strtoul(argv[2], &end, 10) : 0;
    if (!chosen || size == 0 || *end) {
        fprintf(stderr, "usage: workload NAME SIZE\n");
        return 2;
    }
    running = chosen->name;
    char line[80];
    if (chosen->prepare) chosen->prepare(size);
    snprintf(line, sizeof line, "@start %s\n", running);
    mark(line);
    snprintf(line, sizeof line, "@end %s %08x\n", running, chosen->run(size));
    mark(line);
    return 0;
}
