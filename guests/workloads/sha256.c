/* sha256: SHA-256 (FIPS 180-4, section 6.2) of a buffer of 64 KiB, again and again; one round is one buffer. Long
 * straight blocks of 32-bit arithmetic. The digest of a round goes into the next one's buffer. */

#include <stdlib.h>
#include <string.h>
#include "workload.h"

#define BUFFER_BYTES 65536u
#define BLOCK_BYTES 64u
#define ROUNDS 64

static uint32_t constants[ROUNDS];
static uint32_t initial[8];

static inline uint32_t rotate(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

/* The first 32 bits of the fraction of p's square or cube root (FIPS 180-4, 4.2.2 and 5.3.3), bit by bit: 36 bits of it
 * are compared, which a double's 53 tell apart. */
static uint32_t fraction_of_root(uint32_t p, int degree)
{
    double root = 0;
    for (double bit = 16; bit >= 0x1p-32; bit /= 2) {
        double candidate = root + bit;
        if ((degree == 2 ? 1 : candidate) * candidate * candidate <= p) root = candidate;
    }
    return (uint32_t)((root - (uint32_t)root) * 0x1p32);
}

static void find_constants(void)
{
    int found = 0;
    for (uint32_t n = 2; found < ROUNDS; n++) {
        int is_prime = 1;
        for (uint32_t d = 2; d * d <= n; d++) is_prime &= n % d != 0;
        if (!is_prime) continue;
        if (found < 8) initial[found] = fraction_of_root(n, 2);
        constants[found++] = fraction_of_root(n, 3);
    }
}

static void compress(uint32_t state[8], const unsigned char *block)
{
    uint32_t w[ROUNDS];
    for (int t = 0; t < 16; t++) {
        w[t] = (uint32_t)block[4 * t] << 24 | block[4 * t + 1] << 16 | block[4 * t + 2] << 8 | block[4 * t + 3];
    }
    for (int t = 16; t < ROUNDS; t++) {
        uint32_t s0 = rotate(w[t - 15], 7) ^ rotate(w[t - 15], 18) ^ w[t - 15] >> 3;
        uint32_t s1 = rotate(w[t - 2], 17) ^ rotate(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int t = 0; t < ROUNDS; t++) {
        uint32_t s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
        uint32_t choose = (e & f) ^ (~e & g);
        uint32_t t1 = h + s1 + choose + constants[t] + w[t];
        uint32_t s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
        uint32_t majority = (a & b) ^ (a & c) ^ (b & c);
        h = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + s0 + majority;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
}

/* The digest, as eight words, of a message that is a whole number of blocks long. */
static void sha256(uint32_t state[8], const unsigned char *message, uint32_t bytes)
{
    unsigned char padding[BLOCK_BYTES] = { 0x80 };
    memcpy(state, initial, sizeof initial);
    for (uint32_t at = 0; at < bytes; at += BLOCK_BYTES) compress(state, message + at);
    for (int i = 0; i < 4; i++) padding[BLOCK_BYTES - 1 - i] = (unsigned char)((bytes * 8) >> (8 * i));
    compress(state, padding);
}

uint32_t run_sha256(uint32_t rounds)
{
    uint32_t digest[8] = { 0 };
    unsigned char *buffer = allocate(BUFFER_BYTES);
    find_constants();
    for (uint32_t i = 0; i < BUFFER_BYTES; i++) buffer[i] = (unsigned char)(i * 7 + (i >> 8));
    while (rounds--) {
        sha256(digest, buffer, BUFFER_BYTES);
        memcpy(buffer, digest, sizeof digest);
    }
    free(buffer);
    return digest[0];
}
