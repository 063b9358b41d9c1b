/* intmix: what ordinary integer programs do, in turn: sort an array, take a CRC of it, write its numbers as decimal
 * strings and compare those, and some 64-bit arithmetic with divisions. One round is all of it on 4096 numbers. */

#include "workload.h"

#define COUNT 4096
/* CRC-32 as in IEEE 802.3, reflected. */
#define CRC_POLYNOMIAL 0xedb88320u
/* Below this a partition is sorted by insertion. */
#define SMALL 12

static uint32_t crc_table[256];

static void make_crc_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ CRC_POLYNOMIAL : crc >> 1;
        crc_table[byte] = crc;
    }
}

static uint32_t crc_of(const unsigned char *bytes, uint32_t count)
{
    uint32_t crc = ~0u;
    while (count--) crc = crc >> 8 ^ crc_table[(crc ^ *bytes++) & 0xff];
    return ~crc;
}

static void sort(uint32_t *values, int low, int high)
{
    while (high - low > SMALL) {
        uint32_t pivot = values[low + (high - low) / 2];
        int i = low, j = high;
        while (i <= j) {
            while (values[i] < pivot) i++;
            while (values[j] > pivot) j--;
            if (i > j) break;
            uint32_t other = values[i];
            values[i++] = values[j];
            values[j--] = other;
        }
        sort(values, low, j);
        low = i;
    }
    for (int i = low + 1; i <= high; i++) {
        uint32_t value = values[i];
        int j = i;
        for (; j > low && values[j - 1] > value; j--) values[j] = values[j - 1];
        values[j] = value;
    }
}

static char *write_decimal(char *at, uint32_t value)
{
    char digits[10];
    int count = 0;
    do digits[count++] = (char)('0' + value % 10);
    while (value /= 10);
    while (count) *at++ = digits[--count];
    *at++ = 0;
    return at;
}

static int compare(const char *a, const char *b)
{
    while (*a && *a == *b) a++, b++;
    return (unsigned char)*a - (unsigned char)*b;
}

static uint32_t strings(const uint32_t *values, uint32_t hash)
{
    static char text[COUNT * 11];
    static char *lines[COUNT];
    char *at = text;
    for (int i = 0; i < COUNT; i++) {
        lines[i] = at;
        at = write_decimal(at, values[i]);
    }
    uint32_t in_order = 0;
    for (int distance = 1; distance < 8; distance++) {
        for (int i = distance; i < COUNT; i++) in_order += compare(lines[i - distance], lines[i]) < 0;
    }
    return hash_word(hash, in_order);
}

static uint32_t wide_arithmetic(const uint32_t *values, uint32_t hash)
{
    uint64_t sum = 1;
    for (int i = 1; i < COUNT; i++) {
        sum = sum * values[i] + values[i - 1];
        sum ^= sum >> 29;
        hash = hash_word(hash, (uint32_t)(sum % ((values[i] & 0xffff) + 1)));
        hash = hash_word(hash, (uint32_t)((int32_t)hash / (int32_t)((i & 63) + 3)));
    }
    return hash;
}

uint32_t run_intmix(uint32_t rounds)
{
    static uint32_t values[COUNT];
    uint32_t seed = 20061021, hash = HASH_START;
    make_crc_table();
    while (rounds--) {
        for (int i = 0; i < COUNT; i++) values[i] = next_random(&seed) >> (i & 15);
        sort(values, 0, COUNT - 1);
        for (int i = 1; i < COUNT; i++) {
            if (values[i - 1] > values[i]) fail("sort");
        }
        hash = hash_word(hash, crc_of((const unsigned char *)values, sizeof values));
        hash = strings(values, hash);
        hash = wide_arithmetic(values, hash);
    }
    return hash;
}
