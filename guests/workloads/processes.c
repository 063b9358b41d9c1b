/* fork, forkexec, pipe: processes made and waited for, without and with another program in them; and two processes that
 * wake each other through a pair of pipes. */

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include "workload.h"

/* The program that does nothing; its exit status is that of nothing.c. */
#define NOTHING "/bin/nothing"
#define NOTHING_STATUS 7

static uint32_t wait_for(pid_t child)
{
    int status;
    if (child < 0) fail("fork");
    if (waitpid(child, &status, 0) != child) fail("waitpid");
    if (!WIFEXITED(status)) fail("a child died");
    return WEXITSTATUS(status);
}

uint32_t run_fork(uint32_t children)
{
    uint32_t hash = HASH_START;
    for (uint32_t i = 0; i < children; i++) {
        pid_t child = fork();
        if (child == 0) _exit(i & 0x7f);
        hash = hash_word(hash, wait_for(child));
    }
    return hash;
}

uint32_t run_forkexec(uint32_t children)
{
    const char *override = getenv("NOTHING");
    const char *program = override ? override : NOTHING;
    uint32_t hash = HASH_START;
    for (uint32_t i = 0; i < children; i++) {
        pid_t child = fork();
        if (child == 0) {
            execl(program, program, (char *)0);
            _exit(127);
        }
        uint32_t status = wait_for(child);
        if (status != NOTHING_STATUS) fail(program);
        hash = hash_word(hash, status + i);
    }
    return hash;
}

uint32_t run_pipe(uint32_t round_trips)
{
    int there[2], back[2];
    if (pipe(there) || pipe(back)) fail("pipe");
    pid_t child = fork();
    unsigned char byte = 1;
    if (child == 0) {
        close(there[1]);
        while (read(there[0], &byte, 1) == 1) {
            byte = (unsigned char)(byte * 5 + 3);
            if (write(back[1], &byte, 1) != 1) _exit(1);
        }
        _exit(0);
    }
    close(there[0]);
    uint32_t hash = HASH_START;
    for (uint32_t i = 0; i < round_trips; i++) {
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) fail("pipe");
        hash = hash_word(hash, byte);
    }
    close(there[1]);
    return hash_word(hash, wait_for(child));
}
