/* interp: an interpreter of a small register machine, dispatched by indirect jumps (computed goto). Its program
 * finds the longest Collatz sequence from a start below `limit`, and greatest common divisors on the way. */

#include "workload.h"

enum { LOAD, MOVE, ADDI, MUL, SHR, MOD, ANDI, HASH, JUMP, JZ, JNZ, JLESS, STOP };

struct instruction {
    uint8_t op, a, b;
    uint8_t target;
    uint32_t immediate;
};

/* Registers: 0 start, 1 limit, 2 n, 3 length, 4 longest, 5 hash, 6 bit, 7 x, 8 y, 9 remainder, 10 three. */
static const struct instruction program[] = {
    { LOAD, 0, 0, 0, 1 },    /*  0 */
    { LOAD, 10, 0, 0, 3 },   /*  1 */
    /* Each start: */
    { MOVE, 2, 0, 0, 0 },    /*  2 */
    { LOAD, 3, 0, 0, 0 },    /*  3 */
    /* Each number of the sequence, until it is 1: */
    { MOVE, 6, 2, 0, 0 },    /*  4 */
    { ADDI, 6, 0, 0, ~0u },  /*  5 */
    { JZ, 6, 0, 15, 0 },     /*  6 */
    { ADDI, 3, 0, 0, 1 },    /*  7 */
    { MOVE, 6, 2, 0, 0 },    /*  8 */
    { ANDI, 6, 0, 0, 1 },    /*  9 */
    { JZ, 6, 0, 13, 0 },     /* 10 */
    { MUL, 2, 10, 0, 0 },    /* 11 */
    { ADDI, 2, 0, 0, 1 },    /* 12 */
    { SHR, 2, 0, 0, 1 },     /* 13: n / 2, or (3n + 1) / 2 in one go */
    { JUMP, 0, 0, 4, 0 },    /* 14 */
    /* The sequence is over: is it the longest? */
    { HASH, 5, 3, 0, 0 },    /* 15 */
    { JLESS, 3, 4, 18, 0 },  /* 16 */
    { MOVE, 4, 3, 0, 0 },    /* 17 */
    /* gcd(limit, start): */
    { MOVE, 7, 1, 0, 0 },    /* 18 */
    { MOVE, 8, 0, 0, 0 },    /* 19 */
    { MOVE, 9, 7, 0, 0 },    /* 20 */
    { MOD, 9, 8, 0, 0 },     /* 21 */
    { MOVE, 7, 8, 0, 0 },    /* 22 */
    { MOVE, 8, 9, 0, 0 },    /* 23 */
    { JNZ, 8, 0, 20, 0 },    /* 24 */
    { HASH, 5, 7, 0, 0 },    /* 25 */
    { ADDI, 0, 0, 0, 1 },    /* 26 */
    { JLESS, 0, 1, 2, 0 },   /* 27 */
    { HASH, 5, 4, 0, 0 },    /* 28 */
    { STOP, 0, 0, 0, 0 },    /* 29 */
};

/* From here on, sequences leave 32 bits (OEIS A006884). */
#define LIMIT_MAX 159487

uint32_t run_interp(uint32_t limit)
{
    static const void *const handlers[] = {
        &&load, &&move, &&addi, &&mul, &&shr, &&mod, &&andi, &&hash, &&jump, &&jz, &&jnz, &&jless, &&stop,
    };
    if (limit > LIMIT_MAX) fail("limit");
    uint32_t r[11] = { 0, limit, 0, 0, 0, HASH_START };
    const struct instruction *pc = program;

#define NEXT goto *handlers[(++pc)->op]
#define GOTO_IF(condition) \
    do { \
        pc = (condition) ? program + pc->target : pc + 1; \
        goto *handlers[pc->op]; \
    } while (0)

    goto *handlers[pc->op];
load:
    r[pc->a] = pc->immediate;
    NEXT;
move:
    r[pc->a] = r[pc->b];
    NEXT;
addi:
    r[pc->a] += pc->immediate;
    NEXT;
mul:
    r[pc->a] *= r[pc->b];
    NEXT;
shr:
    r[pc->a] >>= pc->immediate;
    NEXT;
mod:
    r[pc->a] %= r[pc->b];
    NEXT;
andi:
    r[pc->a] &= pc->immediate;
    NEXT;
hash:
    r[pc->a] = hash_word(r[pc->a], r[pc->b]);
    NEXT;
jump:
    GOTO_IF(1);
jz:
    GOTO_IF(r[pc->a] == 0);
jnz:
    GOTO_IF(r[pc->a] != 0);
jless:
    GOTO_IF(r[pc->a] < r[pc->b]);
stop:
    return r[5];
}
