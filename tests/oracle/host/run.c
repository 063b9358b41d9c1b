/* Executes the cases of the host oracle on this machine's processor: a 32-bit Linux process reads cases from standard input,
 * runs each as one instruction of machine code with the whole state set, and writes a digest of the whole state after it.
 * record.ts builds and starts it, and makes the cases: seeded by the form of the instruction, in the order of their numbers.
 * The fixture in tests/fixtures/host was made on an AMD EPYC of family 25, model 17 (Zen 4), which is the processor that
 * undefined flags follow.
 *
 *   gcc -m32 -O1 -fno-pie -no-pie -fno-stack-protector -z noexecstack run.c -o run              (Debian: gcc-multilib)
 *   ./run < CASES > DIGESTS       four bytes a case
 *   ./run -v < CASES              one line a case, in the words of tests/plugins/x86/host_cases.ts
 *
 * The digest covers, as 32-bit words: the vector of the fault or 255; EAX to EDI; status flags and DF; EIP; the selectors of
 * ES and CS, SS and DS, FS and GS; the data page. For x87 and SIMD instructions then: control word; status word; which
 * registers from ST(0) are empty; ST(0) to ST(7), three words each; XMM0 to XMM7; MXCSR. Where an x87 instruction completed:
 * the pointers, as FNSAVE stores them. A context switch may lose these, so such a case runs until it comes out the same twice.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { CODE = 0x00400000, START = CODE + 0x800, DATA = 0x8000, LOADER = 0x00500000, CONTROL = 0x00600000, PAGE = 4096 };
enum { INT3 = 0xcc, NO_FAULT = 255, BREAKPOINT = 3, PAGE_FAULT = 14, STATUS_AND_DF = 0xcd5, ALWAYS = 0x202 };
enum { INTEGER, X87, SIMD };

/* A case, as record.ts writes it. */
typedef struct {
  uint8_t kind, length;
  uint16_t statusMask, patchOffset, patchBytes;
  uint8_t code[16];
  uint32_t registers[8], flags, fpu[27], mxcsr, xmm[32];
  uint8_t patch[112];
} __attribute__((packed)) Case;

/* FXSAVE's image. */
typedef struct {
  uint16_t controlWord, status;
  uint8_t tags, reserved;
  uint16_t opcode;
  uint32_t pointers[4], mxcsr, mask;
  uint8_t st[8][16], xmm[8][16], rest[224];
} __attribute__((packed, aligned(16))) Image;

/* What the loader reads and the code after the instruction writes. */
typedef struct {
  Image load, saved;
  uint32_t registers[8], flags, fpu[27], fpuSaved[27];
} Control;
#define area ((Control *)CONTROL)
#define ADDRESS(FIELD) (CONTROL + (uint32_t)offsetof(Control, FIELD))

static volatile uint32_t output[8], outputFlags, outputEip, outputTrap, selectors[3];
static Image faulted;
static sigjmp_buf resume;
static uint16_t ownGs;
/* Where FXSAVE's image lies behind FSAVE's in a signal's frame. */
enum { FRAME_IMAGE = 112 };

/* Every case ends here: by INT3 or by its own fault. The case may have changed GS, which the C library needs. */
static void onTrap(int number, siginfo_t *info, void *context) {
  __asm__ volatile("movw %0, %%gs" : : "m"(ownGs));
  (void)number, (void)info;
  ucontext_t *u = context;
  greg_t *g = u->uc_mcontext.gregs;
  static const int from[8] = {REG_EAX, REG_ECX, REG_EDX, REG_EBX, REG_ESP, REG_EBP, REG_ESI, REG_EDI};
  for (int i = 0; i < 8; i++) output[i] = g[from[i]];
  outputFlags = g[REG_EFL], outputEip = g[REG_EIP], outputTrap = g[REG_TRAPNO];
  selectors[0] = (g[REG_ES] & 0xffff) | g[REG_CS] << 16, selectors[1] = (g[REG_SS] & 0xffff) | g[REG_DS] << 16;
  selectors[2] = (g[REG_FS] & 0xffff) | g[REG_GS] << 16;
  memcpy(&faulted, (uint8_t *)u->uc_mcontext.fpregs + FRAME_IMAGE, sizeof faulted);
  siglongjmp(resume, 1);
}

static uint8_t *at;
static void byte(int value) { *at++ = value; }
static void word(uint32_t value) { memcpy(at, &value, 4), at += 4; }

/* The code that loads the state and jumps to the instruction, without and with the FPU's and the XMM registers. */
static uint8_t *makeLoader(uint8_t *where, int withFpu) {
  at = where;
  if (withFpu) {
    byte(0x0f), byte(0xae), byte(0x0d), word(ADDRESS(load)); /* fxrstor [] */
    byte(0xdd), byte(0x25), word(ADDRESS(fpu));              /* frstor [] */
  }
  byte(0xff), byte(0x35), word(ADDRESS(flags)), byte(0x9d);                                /* push []; popfd */
  for (int i = 0; i < 8; i++) byte(0x8b), byte(0x05 | i << 3), word(ADDRESS(registers) + 4 * i); /* mov reg, [] */
  byte(0xe9), word(START - ((uint32_t)at + 4));
  return where;
}

/* Words of FNSAVE's image: offset, selector and opcode, data offset, data selector; the rest of a word is reserved. */
enum { FIRST_POINTER = 3, POINTERS_END = 7 };
static uint32_t pointer(int i) {
  static const uint32_t masks[] = {~0u, 0x7ffffff, ~0u, 0xffff};
  return area->fpuSaved[i] & masks[i - FIRST_POINTER];
}

static uint32_t digest;
static void add(uint32_t value) { digest = (digest ^ value) * 0x9e3779b1u, digest ^= digest >> 15; }

static uint8_t fresh[PAGE];
static uint8_t *loaders[2];

/* A case's ESP may lie anywhere, in this stack too: the kernel then must not take it for a handler's. Such a stack is good
 * for one signal. */
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif
static void armSignalStack(void) {
  static uint8_t bytes[1 << 16];
  const stack_t stack = {.ss_sp = bytes, .ss_size = sizeof bytes, .ss_flags = (int)SS_AUTODISARM};
  if (sigaltstack(&stack, NULL) != 0) perror("sigaltstack"), exit(1);
}

static void prepare(const Case *c) {
  memcpy((void *)DATA, fresh, PAGE);
  memcpy((void *)(DATA + c->patchOffset), c->patch, c->patchBytes);
  memset((void *)CODE, INT3, PAGE);
  at = (uint8_t *)START;
  memcpy(at, c->code, c->length), at += c->length;
  if (c->kind != INTEGER) {
    byte(0x0f), byte(0xae), byte(0x05), word(ADDRESS(saved));  /* fxsave [] */
    byte(0xdd), byte(0x35), word(ADDRESS(fpuSaved));           /* fnsave [] */
    memcpy(area->fpu, c->fpu, sizeof c->fpu);
    memset(&area->load, 0, sizeof area->load);
    area->load.controlWord = 0x37f, area->load.mxcsr = c->mxcsr;
    memcpy(area->load.xmm, c->xmm, sizeof c->xmm);
  }
  memcpy(area->registers, c->registers, sizeof c->registers);
  area->flags = c->flags | ALWAYS;
  __asm__ volatile("movw %w0, %%fs" : : "r"(0));
  armSignalStack();
  if (!sigsetjmp(resume, 0)) ((void (*)(void))loaders[c->kind != INTEGER])();
}

static void printReversed(const uint8_t *bytes, int count) {
  while (count > 0) printf("%02x", bytes[--count]);
}

/* Runs a case; digests what came out; prints it if asked to. */
static void run(const Case *c, int inFull) {
  prepare(c);
  uint32_t eip = outputEip, vector = outputTrap, end = START + c->length;
  int isAfter = c->kind != INTEGER && vector == BREAKPOINT && eip > end;
  if (isAfter) eip = end, vector = NO_FAULT;
  else if (vector == BREAKPOINT) eip--, vector = NO_FAULT;
  else if (vector == PAGE_FAULT && eip != START) vector = NO_FAULT; /* it jumped out of what is mapped */
  else if (vector == PAGE_FAULT) {
    fprintf(stderr, "a case left the data page: ");
    for (int i = 0; i < c->length; i++) fprintf(stderr, "%02x", c->code[i]);
    exit(1);
  }
  digest = 0x811c9dc5;
  add(vector);
  for (int i = 0; i < 8; i++) add(output[i]);
  add(outputFlags & STATUS_AND_DF), add(eip);
  for (int i = 0; i < 3; i++) add(selectors[i]);
  for (int i = 0; i < PAGE; i += 4) add(*(uint32_t *)(DATA + i));
  const Image *image = isAfter ? &area->saved : &faulted;
  uint32_t top = image->status >> 11 & 7, empty = 0;
  for (unsigned i = 0; i < 8; i++) empty |= (~image->tags >> ((top + i) & 7) & 1) << i;
  uint16_t status = image->status & c->statusMask;
  if (c->kind != INTEGER) {
    add(image->controlWord), add(status), add(empty);
    for (int i = 0; i < 8; i++) {
      uint32_t words[3] = {0};
      memcpy(words, image->st[i], 10);
      for (int j = 0; j < 3; j++) add(words[j]);
    }
    for (int i = 0; i < 32; i++) add(((uint32_t *)image->xmm)[i]);
    add(image->mxcsr);
    if (c->kind == X87 && isAfter) for (int i = FIRST_POINTER; i < POINTERS_END; i++) add(pointer(i));
  }
  digest = (digest ^ digest >> 13) * 0x85ebca6bu, digest ^= digest >> 16;
  if (!inFull) return;
  printf("vector=%x", vector);
  for (int i = 0; i < 8; i++) printf(" %c=%x", "acdbspio"[i], output[i]);
  printf(" f=%x eip=%x", outputFlags & STATUS_AND_DF, eip);
  for (int i = 0; i < 3; i++) printf(" selectors=%x", selectors[i]);
  for (int i = 0; i < PAGE; i++) {
    int at = i - c->patchOffset, is = ((uint8_t *)DATA)[i];
    if (is != (at >= 0 && at < c->patchBytes ? c->patch[at] : fresh[i])) printf(" m%x=%x", i, is);
  }
  if (c->kind != INTEGER) {
    printf(" cw=%x sw=%x empty=%x", image->controlWord, status, empty);
    for (int i = 0; i < 8; i++) printf(" st%d=", i), printReversed(image->st[i], 10);
    for (int i = 0; i < 8; i++) printf(" xmm%d=", i), printReversed(image->xmm[i], 16);
    printf(" mxcsr=%x", image->mxcsr);
    if (c->kind == X87 && isAfter) for (int i = FIRST_POINTER; i < POINTERS_END; i++) printf(" pointer=%x", pointer(i));
  }
  printf("\n");
}

int main(int count, char **arguments) {
  int inFull = count > 1 && strcmp(arguments[1], "-v") == 0;
  const uint32_t pages[] = {CODE, DATA, LOADER, CONTROL};
  for (int i = 0; i < 4; i++) {
    int protection = PROT_READ | PROT_WRITE | (pages[i] == CODE || pages[i] == LOADER ? PROT_EXEC : 0);
    if (mmap((void *)pages[i], PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != (void *)pages[i]) {
      perror("mmap");
      return 1;
    }
  }
  for (int i = 0; i < PAGE; i++) fresh[i] = i * 37 + 11;
  loaders[0] = makeLoader((uint8_t *)LOADER, 0), loaders[1] = makeLoader((uint8_t *)LOADER + 0x100, 1);
  __asm__("movw %%gs, %0" : "=m"(ownGs));
  struct sigaction action = {.sa_sigaction = onTrap, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
  const int signals[] = {SIGTRAP, SIGSEGV, SIGILL, SIGFPE, SIGBUS};
  for (int i = 0; i < 5; i++) sigaction(signals[i], &action, NULL);
  for (Case c; fread(&c, sizeof c, 1, stdin) == 1;) {
    uint32_t previous;
    run(&c, 0);
    do previous = digest, run(&c, 0);
    while (c.kind == X87 && digest != previous);
    if (inFull) run(&c, 1);
    else fwrite(&digest, 4, 1, stdout);
  }
  return 0;
}
