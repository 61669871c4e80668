/* inside.h -- what the explorer's own sources share. Its contract is explore.h. */
#ifndef UF_EXPLORE_INSIDE_H
#define UF_EXPLORE_INSIDE_H

#include "explore.h"

#include <setjmp.h>
#include <stdalign.h>
#include <ucontext.h>

#define LOCATIONS 256 /* of a check */
#define STORES 96     /* of a location, in one execution */
#define STEPS_MAX 4000

/* For each location the oldest store that may still be read. */
struct view {
    alignas(32) uint8_t at[LOCATIONS];
};

enum status { READY, ASLEEP, DONE, DEAD, MOURNING };

struct thread {
    enum status status;
    bool started;
    uint32_t steps;
    uint64_t history[2]; /* hash of all that it has read since explore_settled: with its kept data,
                            of all that it is */
    struct view view;
    uint8_t last_read[LOCATIONS]; /* which store, and how often in a row */
    uint8_t rereads[LOCATIONS];
    const void *sleeps_on;
    bool timed_out;
    void (*body)(void);
    jmp_buf here;
    ucontext_t context;
};

extern struct thread thread[EXPLORE_THREADS];
extern uint32_t threads;
extern struct thread *running; /* NULL: setup or finish, alone */
extern const struct explore_check *check;
extern struct explore_bounds bounds;
extern uint32_t stale_used;
extern uint8_t arena[EXPLORE_ARENA];
extern bool tracing;

static inline bool in_arena(const volatile void *at)
{
    return (uintptr_t)at - (uintptr_t)arena < EXPLORE_ARENA;
}

/* schedule.c */
void run_check(const struct explore_check *which, const struct explore_bounds *wanted, bool own);
void step(void);              /* before every step of the running thread: others may come first */
void learn(uint64_t what);    /* the running thread has read this */
uint32_t choose(uint32_t of); /* 0 .. of - 1, each of them in some execution */
void trace(const void *from, const volatile void *at, const char *what, uint64_t value,
           const char *more, uint64_t number);

/* A hash of 128 bits, fed word by word. */
static inline void feed(uint64_t hash[2], uint64_t word)
{
    hash[0] = (hash[0] ^ word) * 0x9fb21c651e98df25ull;
    hash[0] ^= hash[0] >> 32;
    hash[1] = (hash[1] + word) * 0xd6e8feb86659fd93ull;
    hash[1] ^= hash[1] >> 29;
}

/* memory.c */
void memory_forget(void);  /* before a check    */
void memory_restart(void); /* before an execution */
void memory_hash(uint64_t hash[2]);
void view_join(struct view *into, const struct view *from);
void view_hash(uint64_t hash[2], const struct view *view); /* after memory_hash of the same state */
uint64_t memory_load(const volatile void *at, uint32_t size, int order, const void *from);
void memory_store(volatile void *at, uint32_t size, uint64_t value, int order, const void *from);
enum change { EXCHANGE, ADD, SUB, OR, AND, XOR };
uint64_t memory_change(volatile void *at, uint32_t size, enum change how, uint64_t operand,
                       int order, const void *from);
bool memory_compare(volatile void *at, uint32_t size, uint64_t *expected, uint64_t desired,
                    int order, int failure, const void *from);
void memory_plain(const volatile void *at, uint32_t size, bool write, const void *from);

/* kernel.c */
void kernel_restart(void);
void kernel_death(struct thread *dead);
void kernel_hash(uint64_t hash[2]);
const struct view *kernel_estate(void); /* what the dead thread had seen and done */

#endif
