/* memcpy, chase, pgfault: memory as such. Large copies by string instructions; dependent loads all over 32 MiB; pages
 * mapped, touched for the first time, and unmapped. */

#include <stdlib.h>
#include <sys/mman.h>
#include "workload.h"

#define PAGE_BYTES 4096u

#define COPY_BYTES (1u << 20)

static inline void copy_bytes(void *to, const void *from, uint32_t count)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
}

static inline void copy_words(void *to, const void *from, uint32_t count)
{
    __asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
}

/* One round: a buffer is copied by words, and back by bytes to where it is not aligned. */
uint32_t run_memcpy(uint32_t rounds)
{
    unsigned char *from = allocate(COPY_BYTES + PAGE_BYTES), *to = allocate(COPY_BYTES);
    for (uint32_t i = 0; i < COPY_BYTES + PAGE_BYTES; i++) from[i] = (unsigned char)(i * 31 + (i >> 12));
    while (rounds--) {
        copy_words(to, from + rounds % 5, COPY_BYTES / sizeof(uint32_t));
        copy_bytes(from + rounds % 7 + 1, to, COPY_BYTES);
    }
    uint32_t hash = hash_bytes(HASH_START, from, COPY_BYTES);
    free(from);
    free(to);
    return hash;
}

/* One node fills a cache line, so that each step of the chase is a line of its own. */
struct node {
    struct node *next;
    uint32_t value;
    uint32_t filling[14];
};

#define CHASE_BYTES (32u << 20)
#define NODES (CHASE_BYTES / sizeof(struct node))

/* `kilosteps` thousand steps along one cycle through all nodes, in an order that no prefetcher guesses. */
uint32_t run_chase(uint32_t kilosteps)
{
    struct node *nodes = allocate(CHASE_BYTES);
    uint32_t seed = 64;
    /* A linear congruence with full period goes through all nodes (Hull and Dobell 1962): one cycle. */
    for (uint32_t i = 0; i < NODES; i++) {
        nodes[i].next = &nodes[(i * 1103515245u + 12345u) % NODES];
        nodes[i].value = next_random(&seed);
    }
    struct node *at = nodes;
    uint32_t hash = 0;
    for (uint32_t steps = kilosteps * 1000; steps; steps--) {
        hash = (hash << 1 | hash >> 31) ^ at->value;
        at = at->next;
    }
    free(nodes);
    return hash;
}

#define FAULT_PAGES 256u

/* One round: 256 fresh pages, each written and read once. */
uint32_t run_pgfault(uint32_t rounds)
{
    uint32_t hash = HASH_START;
    while (rounds--) {
        const int access = PROT_READ | PROT_WRITE, kind = MAP_PRIVATE | MAP_ANONYMOUS;
        unsigned char *pages = mmap(0, FAULT_PAGES * PAGE_BYTES, access, kind, -1, 0);
        if (pages == MAP_FAILED) fail("mmap");
        for (uint32_t page = 0; page < FAULT_PAGES; page++) pages[page * PAGE_BYTES] = (unsigned char)(page + rounds);
        for (uint32_t page = 0; page < FAULT_PAGES; page++) {
            hash = hash_word(hash, pages[page * PAGE_BYTES] + pages[page * PAGE_BYTES + 1]);
        }
        if (munmap(pages, FAULT_PAGES * PAGE_BYTES)) fail("munmap");
    }
    return hash;
}
