/* bb_gzip, bb_sh, bb_sort: busybox as Debian built it, started by its shell; what it prints is the checksum. */

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include "workload.h"

#define TEXT_PATH "/tmp/workload-text"
#define LETTERS "etaoinshrdlucmfwypvbgkqjxz"

/* Runs a script with `size` as $1; the hash of its output. */
static uint32_t shell(const char *script, uint32_t size)
{
    char argument[16];
    snprintf(argument, sizeof argument, "%u", size);
    int output[2];
    if (pipe(output)) fail("pipe");
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) {
        dup2(output[1], STDOUT_FILENO);
        close(output[0]);
        close(output[1]);
        execl("/bin/busybox", "sh", "-c", script, "workload", argument, (char *)0);
        _exit(127);
    }
    close(output[1]);
    uint32_t hash = HASH_START, printed = 0;
    unsigned char bytes[4096];
    ssize_t count;
    while ((count = read(output[0], bytes, sizeof bytes)) > 0) {
        hash = hash_bytes(hash, bytes, (uint32_t)count);
        printed += (uint32_t)count;
    }
    close(output[0]);
    int status;
    if (waitpid(child, &status, 0) != child || status || !printed) fail(script);
    return hash;
}

/* A text that compresses about as English does: words of skewed letters, some of them again and again. */
void prepare_bb_gzip(uint32_t kilobytes)
{
    static char words[512][12];
    uint32_t seed = 1992;
    for (int i = 0; i < 512; i++) {
        uint32_t length = 2 + next_random(&seed) % 9;
        for (uint32_t j = 0; j < length; j++) {
            uint32_t a = next_random(&seed) % 26, b = next_random(&seed) % 26;
            words[i][j] = LETTERS[a < b ? a : b];
        }
    }
    FILE *file = fopen(TEXT_PATH, "w");
    if (!file) fail(TEXT_PATH);
    for (uint32_t written = 0; written < kilobytes * 1024;) {
        uint32_t a = next_random(&seed) % 512, b = next_random(&seed) % 512;
        int count = fprintf(file, next_random(&seed) % 12 ? "%s " : "%s\n", words[a < b ? a : b]);
        if (count < 0) fail(TEXT_PATH);
        written += (uint32_t)count;
    }
    if (fclose(file)) fail(TEXT_PATH);
}

uint32_t run_bb_gzip(uint32_t kilobytes)
{
    return shell("busybox gzip -c < " TEXT_PATH, kilobytes);
}

uint32_t run_bb_sh(uint32_t iterations)
{
    return shell("i=0; s=0; w=\n"
                 "while [ $i -lt $1 ]; do\n"
                 "  s=$(((s * 31 + i) % 65521)); i=$((i + 1))\n"
                 "  case $s in *7) w=${w#?}x ;; *3*) w=$w$((s % 10)) ;; esac\n"
                 "  [ ${#w} -gt 40 ] && w=${w%????????????}\n"
                 "done\n"
                 "echo $s $w",
                 iterations);
}

uint32_t run_bb_sort(uint32_t lines)
{
    return shell("busybox awk -v n=$1 'BEGIN { x = 1; for (i = 0; i < n; i++) {"
                 " x = x * 16807 % 2147483647; print x, i % 97, \"line\" } }'"
                 " | busybox sort | busybox sha256sum",
                 lines);
}
