/* What the workloads share: each is a function from a size to a checksum that depends on all of its
 * work. Where it stands: main.c runs one of them by name and marks its start and end on the console; mod.ts knows the
 * sizes. */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#include <stdint.h>

struct workload {
    const char *name;
    /* Does `size` units of work. */
    uint32_t (*run)(uint32_t size);
    /* Before the start is marked: what the work needs and is not part of it. May be null. */
    void (*prepare)(uint32_t size);
};

uint32_t run_sieve(uint32_t rounds);
uint32_t run_sha256(uint32_t rounds);
uint32_t run_intmix(uint32_t rounds);
uint32_t run_interp(uint32_t limit);
uint32_t run_bigcode(uint32_t passes);
uint32_t run_matmul_x87(uint32_t products);
uint32_t run_matmul_sse2(uint32_t products);
uint32_t run_memcpy(uint32_t rounds);
uint32_t run_chase(uint32_t kilosteps);
uint32_t run_syscall(uint32_t calls);
uint32_t run_int80(uint32_t calls);
uint32_t run_fork(uint32_t children);
uint32_t run_forkexec(uint32_t children);
uint32_t run_pgfault(uint32_t rounds);
uint32_t run_pipe(uint32_t round_trips);
uint32_t run_bb_gzip(uint32_t kilobytes);
uint32_t run_bb_sh(uint32_t iterations);
uint32_t run_bb_sort(uint32_t lines);
void prepare_bb_gzip(uint32_t kilobytes);

/* Ends the program with a message that the host recognises; `what` went wrong, errno says why. */
__attribute__((noreturn)) void fail(const char *what);

/* Memory that is there, or fail. */
void *allocate(uint32_t bytes);

/* A pseudo-random sequence: Marsaglia's xorshift with the shifts 13, 17, 5. State 0 is not allowed. */
static inline uint32_t next_random(uint32_t *state)
{
    uint32_t x = *state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *state = x;
}

/* FNV-1a, 32 bits wide. */
#define HASH_START 2166136261u
#define HASH_PRIME 16777619u

static inline uint32_t hash_word(uint32_t hash, uint32_t word)
{
    return (hash ^ word) * HASH_PRIME;
}

uint32_t hash_bytes(uint32_t hash, const void *bytes, uint32_t count);

#endif
