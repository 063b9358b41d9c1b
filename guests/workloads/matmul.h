/* The matrix product of both matmul workloads: the same numbers, on the x87 or on SSE2. Entries are small integers, so
 * that every sum is exact and both give the same checksum, whatever the precision in between. */
#ifndef MATMUL_H
#define MATMUL_H

#include <stdlib.h>
#include "workload.h"

#define N 128

typedef double matrix[N][N];

static inline void fill(matrix m, uint32_t seed)
{
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) m[i][j] = (double)(int)(next_random(&seed) % 2001) - 1000;
    }
}

static inline uint32_t checksum(matrix m)
{
    uint32_t hash = HASH_START;
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) hash = hash_word(hash, (uint32_t)(int)m[i][j]);
    }
    return hash;
}

/* `products` products; the first factor changes a little from one to the next. */
static inline uint32_t repeat(uint32_t products, void (*multiply)(matrix c, matrix a, matrix b))
{
    matrix *a = allocate(sizeof *a), *b = allocate(sizeof *b), *c = allocate(sizeof *c);
    uint32_t hash = HASH_START;
    fill(*a, 17);
    fill(*b, 19);
    while (products--) {
        (*a)[products % N][products / N % N] += 1;
        multiply(*c, *a, *b);
        hash = hash_word(hash, checksum(*c));
    }
    free(a);
    free(b);
    free(c);
    return hash;
}

#endif
