/* linear.h -- is what several processes were answered what one after the other would have been?
 *
 * WHAT       Three or four processes attach to a real region and make a few calls each; every call is
 *            recorded with the moments of its invocation and its answer. The history is
 *            linearizable if each call can be given one moment between its two, such that the calls,
 *            done in the order of these moments by one process on a plain model, answer the same.
 * SOURCE     Wing & Gong 1993, "Testing and verifying concurrent objects": depth first over the calls
 *            that may come next. Lowe 2017, "Testing for linearizability": a configuration (what has
 *            been linearised, the model's state) that was left once is not entered again. Herlihy &
 *            Wing 1990 for what is meant.
 * POINTS     A call that by its header takes effect in several steps is a chain of points, each with a
 *            moment of its own inside the call: a batch is its messages one by one, a take claims and
 *            then clears. Where a header promises less than the plain structure, the points of the
 *            scene say exactly how much less, and the scene's heading says it in words.
 * TIME       One counter in memory that all share, raised at every invocation and every answer by a
 *            sequentially consistent addition. A call whose answer has the smaller number happens
 *            before (as C11 means it) one whose invocation has the greater; a clock of the machine
 *            would call calls ordered between which nothing passed. The price: the addition empties
 *            the store buffer between calls. Orders within calls are the explorer's business.
 * PAUSES     hooks.c: at the marks of uf_step.h and at every atomic access of the core, seeded.
 */
#ifndef UF_LINEAR_H
#define UF_LINEAR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "uf_system.h"

#define PROCESSES_MAX 4u
#define CALLS_MAX 8u   /* of one process in one history */
#define POINTS_MAX 64u /* of one history: a bit each    */
#define STATE_WORDS 10u

struct call {
    uint64_t invoked; /* by the shared counter */
    uint64_t answered;
    uint32_t process;
    uint32_t op; /* the scene's */
    int32_t status;
    uint32_t count;
    uint64_t in[4];
    uint64_t out[4];
};

struct point {
    uint64_t after; /* the points that come before this one */
    uint32_t call;
    uint32_t process;
    uint32_t what; /* the scene's */
    bool eager;    /* taking it early only widens what is legal later: it is taken at once */
    uint64_t a, b, c;
};

/* A model's state; unused bytes are 0. */
union state {
    uint64_t word[STATE_WORDS];
    uint8_t byte[STATE_WORDS * 8];
};

struct history {
    uint32_t calls;
    uint32_t points;
    struct call call[PROCESSES_MAX * CALLS_MAX];
    struct point point[POINTS_MAX];
    union state start;
};

/* Take the step; false: in this state it cannot be taken. `state` is then not looked at again. */
typedef bool (*step_of_model)(union state *state, const struct point *point);

struct verdict {
    bool linear;
    uint64_t configurations; /* entered */
    uint64_t furthest;       /* the points of the longest beginning that was found */
};

/* --- search.c -------------------------------------------------------------------------------- */

#define NEVER                                                                                      \
    UINT32_MAX /* `what` of a point that no model takes: an answer that may not be given */

/* Add a point to a call; it comes after the points of `after`. Its own bit. */
uint64_t point_add(struct history *history, uint32_t call, uint32_t what, uint64_t a, uint64_t b,
                   uint64_t after);
/* The points are complete: what the intervals of the calls say of their order. */
void points_order(struct history *history);
/* `remember` false: Wing & Gong's search without Lowe's memory, for the instrument's own test. */
struct verdict search(const struct history *history, step_of_model step, bool remember);
/* Whether calls of different processes overlap; how many calls do. */
uint32_t overlapping(const struct history *history);

/* --- run.c ----------------------------------------------------------------------------------- */

struct scene {
    const char *name;
    const char *ops; /* names of its operations, separated by spaces */
    const struct uf_sizes *sizes;
    uint32_t processes;
    uint32_t calls;   /* of each process                                    */
    uint32_t variant; /* the scene's                                        */
    void (*prepare)(const struct scene *, struct uf_system *, uint64_t *random, union state *);
    void (*begin)(const struct scene *, struct uf_system *, uint32_t process); /* a new history */
    void (*work)(const struct scene *, struct uf_system *, uint64_t *random);  /* one call      */
    void (*points)(const struct scene *, struct history *, uint32_t call);
    step_of_model step;
};

struct plan {
    uint64_t seed;
    uint64_t histories; /* of one scene */
    const char *only;
    int64_t again; /* this history's calls and pauses, every time; -1: no */
};

struct tally {
    uint64_t histories;
    uint64_t calls;
    uint64_t overlapping; /* histories in which calls of different processes overlap */
    uint64_t calls_overlapping;
    uint64_t configurations;
    uint64_t longest;
    uint64_t answers[32]; /* by -status; 0 is OK */
};

/* Whether every history was linearizable; the first that is not is printed and ends the scene. */
bool scene_run(const struct scene *scene, const struct plan *plan, struct tally *tally);

/* In a worker: a call's record, its invocation, its answer. */
struct call *call_new(uint32_t op);
void call_invoke(struct call *call);
void call_answer(struct call *call, int status);
/* Words that prepare gives to the workers. */
uint64_t *given(void);

/* A free pool whose words say `version`: for prepare. */
void pool_reset(struct uf_pool *pool, uint64_t version);
/* Where rings begin: often just below the wrap of the versions in their slots. */
uint64_t ring_start(uint32_t capacity, uint64_t *random);

extern const struct scene ring_scenes[3];
extern const struct scene queue_scenes[1];
extern const struct scene table_scenes[3];
extern const struct scene pool_scenes[1];
extern const struct scene agents_scenes[2];

/* --- hooks.c --------------------------------------------------------------------------------- */

/* Pauses from now on, until `pauses_end`: at a mark one in `marks` times, at an access one in
 * `accesses`; `clock` is the shared counter. */
void pauses_begin(uint64_t seed, uint32_t marks, uint32_t accesses, _Atomic uint64_t *clock);
void pauses_end(void);

#endif
