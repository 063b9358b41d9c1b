/* syscall, int80: the shortest way into the kernel and back, getppid(), by the kernel's own fast entry (SYSENTER where
 * the CPU has it; the auxiliary vector's AT_SYSINFO says where, getauxval(3)) and by INT 0x80. */

#include <stdint.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "workload.h"

static void check(uint32_t parent)
{
    if (parent != (uint32_t)getppid()) fail("getppid");
}

uint32_t run_syscall(uint32_t calls)
{
    uintptr_t entry = getauxval(AT_SYSINFO);
    if (!entry) fail("AT_SYSINFO");
    uint32_t parent = 0, same = 0;
    const uint32_t expected = (uint32_t)getppid();
    for (uint32_t i = 0; i < calls; i++) {
        __asm__ volatile("call *%1" : "=a"(parent) : "S"(entry), "0"(SYS_getppid) : "memory", "cc");
        same += parent == expected;
    }
    check(parent);
    return same;
}

uint32_t run_int80(uint32_t calls)
{
    uint32_t parent = 0, same = 0;
    const uint32_t expected = (uint32_t)getppid();
    for (uint32_t i = 0; i < calls; i++) {
        __asm__ volatile("int $0x80" : "=a"(parent) : "0"(SYS_getppid) : "memory", "cc");
        same += parent == expected;
    }
    check(parent);
    return same;
}
