/* bigcode: 2048 functions of different code, called in a scattered order for a few passes only: what a translator pays
 * for code that hardly repeats. One pass calls each of them once. */

#include "workload.h"

static inline uint32_t rotate(uint32_t x, uint32_t n)
{
    return x << n | x >> (32 - n);
}

/* The shape of a function follows from its number N: what is chosen by N is chosen by the compiler. */
#define FUNCTION(N) \
    static __attribute__((noinline)) uint32_t function_##N(uint32_t a, uint32_t b) \
    { \
        a ^= 0x##N##u * HASH_PRIME; \
        if (a & 1u << (0x##N % 31)) b += a >> (0x##N % 13 + 1); \
        else b ^= a << (0x##N % 7 + 1); \
        if (0x##N % 3 == 0) a = a * (0x##N + 5) + b; \
        else if (0x##N % 3 == 1) a = rotate(a, 0x##N % 30 + 1) - b; \
        else a = (a >> 16) * ((b & 0xffff) | 1) + 0x##N; \
        if ((a ^ b) & 4u << (0x##N % 23)) a = rotate(a + b, 7) ^ 0x##N; \
        if (a > b) b = ~b - (a >> 3); \
        if (0x##N % 5 == 0 && b > 0x##N##000u) b %= 0x##N + 1; \
        if (0x##N % 2 == 0 && (b & 6) == 2) a -= b << 5; \
        return rotate(a, 11) + b; \
    }
#define ENTRY(N) function_##N,

#define SIXTEEN(M, P) \
    M(P##0) M(P##1) M(P##2) M(P##3) M(P##4) M(P##5) M(P##6) M(P##7) \
    M(P##8) M(P##9) M(P##a) M(P##b) M(P##c) M(P##d) M(P##e) M(P##f)
#define TIMES_16(M, P) \
    SIXTEEN(M, P##0) SIXTEEN(M, P##1) SIXTEEN(M, P##2) SIXTEEN(M, P##3) \
    SIXTEEN(M, P##4) SIXTEEN(M, P##5) SIXTEEN(M, P##6) SIXTEEN(M, P##7) \
    SIXTEEN(M, P##8) SIXTEEN(M, P##9) SIXTEEN(M, P##a) SIXTEEN(M, P##b) \
    SIXTEEN(M, P##c) SIXTEEN(M, P##d) SIXTEEN(M, P##e) SIXTEEN(M, P##f)
#define ALL(M) \
    TIMES_16(M, 0) TIMES_16(M, 1) TIMES_16(M, 2) TIMES_16(M, 3) \
    TIMES_16(M, 4) TIMES_16(M, 5) TIMES_16(M, 6) TIMES_16(M, 7)

ALL(FUNCTION)

static uint32_t (*const functions[])(uint32_t, uint32_t) = { ALL(ENTRY) };

#define COUNT (sizeof functions / sizeof *functions)
/* Odd, so that steps of it meet every function of 2048. */
#define STRIDE 1021u

uint32_t run_bigcode(uint32_t passes)
{
    uint32_t a = HASH_START, b = 1;
    while (passes--) {
        for (uint32_t i = 0; i < COUNT; i++) {
            uint32_t next = functions[i * STRIDE % COUNT](a, b);
            b = a;
            a = next;
        }
    }
    return hash_word(a, b);
}
