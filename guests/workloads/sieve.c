/* sieve: the sieve of Eratosthenes over bytes. Short strided stores, a counting loop; one round is one sieve. */

#include <stdlib.h>
#include <string.h>
#include "workload.h"

#define LIMIT 1000000u

uint32_t run_sieve(uint32_t rounds)
{
    unsigned char *composite = allocate(LIMIT);
    uint32_t hash = HASH_START;
    while (rounds--) {
        memset(composite, 0, LIMIT);
        for (uint32_t p = 2; p * p < LIMIT; p++) {
            if (composite[p]) continue;
            for (uint32_t multiple = p * p; multiple < LIMIT; multiple += p) composite[multiple] = 1;
        }
        uint32_t primes = 0;
        for (uint32_t n = 2; n < LIMIT; n++) primes += !composite[n];
        hash = hash_word(hash, primes);
    }
    free(composite);
    return hash;
}
