/* explore.h -- run the real sources of the core under every schedule, every read that C11 permits, and
 * a death at every step.
 *
 * WHAT       A check is up to four threads, each a function, over one arena of "shared" memory. The
 *            explorer runs them as contexts of one thread of the machine, again and again, until no
 *            choice is left untried: who takes the next step, which store a load returns, who dies.
 * HOW        The sources are compiled with gcc's thread instrumentation (-fsanitize=thread) but
 *            linked with hooks.c in place of its runtime: every atomic access comes with its memory
 *            order, every plain access to the arena with its address. Nothing in csrc is changed.
 * MEMORY     memory.c. A location keeps the history of its stores; a thread has a view, the oldest store
 *            of each location that it may still read; a release store carries its writer's view and
 *            an acquire load that reads it takes the view over. So a load returns any store that
 *            coherence and happens-before permit. seq_cst: no older than the last seq_cst store,
 *            in the order of execution. A plain access that does not happen after the last
 *            conflicting one is a race and fails the check.
 * SEARCH     schedule.c. Depth first over choices, by running again from the start. A state (what
 *            each thread has read since it last settled, its view, every store that can still be read,
 *            plain memory, the private data named to explore_keep) that was seen before is not gone into again: what follows
 *            would be the same. States are kept as hashes of 128 bits.
 * BOUNDS     Printed with every check. Stores enter a location's history in the order of execution,
 *            and a load reads no store of the future: what needs either (2+2W, load buffering) is
 *            not explored. A thread may read one and the same store of a location EXPLORE_REREADS times
 *            while a newer one is there. `stale` bounds how many loads of an execution may return
 *            other than the newest store, `preemptions` how often a thread that could go on is made
 *            to wait. One death an execution.
 * KERNEL     kernel.c. Locks, futexes and pipes are models. A dead thread's locks are free at once, and
 *            who takes one has seen all that its last holder did.
 *
 * Everything that a check keeps outside the arena must be one thread's alone, and named to
 * explore_keep if an execution changes it.
 */
#ifndef UF_EXPLORE_H
#define UF_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPLORE_THREADS 4
#define EXPLORE_ARENA 32768u
#define EXPLORE_REREADS 8

/* 0: no bound. */
struct explore_bounds {
    uint32_t stale;
    uint32_t preemptions;
};

struct explore_check {
    const char *name;
    void (*setup)(void);                 /* once; alone                                        */
    void (*body[EXPLORE_THREADS])(void); /* the threads                                        */
    void (*finish)(void);                /* after every execution that came to its end; alone  */
    void (*after)(void);                 /* once, when all executions are over; may be NULL    */
    uint32_t mortal;                     /* bit t: thread t may die, at any step               */
    uint32_t mourners;                   /* bit t: thread t begins only after a death          */
    bool slices;                         /* sleeps end by themselves when nothing else happens */
    struct explore_bounds usual, deep;   /* of the short form and of the long one              */
    uint64_t minimum;                    /* executions of the usual form, whole or pruned: fewer
                                            is a failure, as no whole one is in any form       */
};

/* Run checks; arguments: [--deep] [--stale N] [--preemptions N] [NAME ...]. The exit status. */
int explore_main(int argc, char **argv, const struct explore_check *checks, size_t count);

/* In setup. */
void *explore_alloc(size_t bytes);           /* zeroed, of the arena, apart from the rest  */
void explore_keep(void *data, size_t bytes); /* private data, put back before an execution */
void explore_name(const void *at,
                  const char *name); /* what a trace calls it                      */

/* In bodies. The thread, or EXPLORE_THREADS in setup and finish. uf_step_hook may wait: the core's marks
 * then hold a thread where a check wants it, and spare the schedules in which it is elsewhere. */
uint32_t explore_self(void);
uint32_t explore_dead(void); /* the dead thread, or EXPLORE_THREADS; in finish too        */
void explore_inherit(void);  /* a mourner: see all that the dead thread did (the kernel's
                                    lock passes from the one to the other)                     */
/* What this thread does from here on depends on where it is, on two numbers, on kept data and on what it
 * will read: on nothing that it has read so far. Two ways to the same point are then one state. */
void explore_settled(uint64_t where, uint64_t a, uint64_t b);
void explore_poll(uint32_t pipe); /* sleep until the pipe holds a byte                         */

/* Where the kernel is modelled: a descriptor that is thread t's own, and pipe p's. */
int explore_fd(uint32_t thread);
int explore_pipe(uint32_t pipe);

__attribute__((noreturn)) void explore_fail(const char *file, int line, const char *what,
                                            long long got, long long wanted);

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            explore_fail(__FILE__, __LINE__, #condition, 0, 1);                                    \
        }                                                                                          \
    } while (0)
#define CHECK_EQ(got, wanted)                                                                      \
    do {                                                                                           \
        long long check_got = (long long)(got);                                                    \
        long long check_wanted = (long long)(wanted);                                              \
        if (check_got != check_wanted) {                                                           \
            explore_fail(__FILE__, __LINE__, #got " == " #wanted, check_got, check_wanted);        \
        }                                                                                          \
    } while (0)

#endif
