/* uf_counts.h -- shared counts of things that have words of their own, kept true over deaths.
 *
 * WHAT       A count goes up and down beside the words that it counts, and is corrected by counting
 *            these whenever a process may have died between the two. Some counts have a limit: a place
 *            is taken before its thing is made, so that no two processes take the last one.
 * PICTURE    count: [ turn 24 | era 16 | value 24 ]
 *              turn: every change raises it.    era: how many doubts there were when it was last mended.
 *
 *              change:  begin (era) -> the thing's own CAS -> add, unless the era is another
 *              place:   take (era, value + k) -> make the things -> settle -> ... -> add -1
 *              mend:    doubts -> count -> walk over the things -> CAS, if nobody has changed it
 * OWNERSHIP  The things are the truth. A count is nobody's.
 * THREADS    Any.
 * PROGRESS   take, settle, add, mend: lock-free, and given up after a bounded number of attempts.
 *            begin, read, doubt: wait-free.
 * DEATH      Between a thing and its count (C1), or between a place and its thing (C2): the count is
 *            off by what was under way; recovery raises `doubts`, and whoever next needs the count, or
 *            the next mend, counts the things. Who is under way while a mend succeeds sees another era
 *            (C3) and leaves the count alone, or takes its places anew, and raises `doubts` itself.
 * ORDER      C4 change release -> C5 count acquire   what was counted by then, the walk finds
 *            C6 mend release -> C7 begin acquire     what is changed after it, the walk had not found
 * ERRORS     FULL: no place is free. BUSY: others won every attempt.
 * PROOF      P1: `explore_census`, and `test_census`, a death at each step;
 *            `steps_finds_death_that_nobody_counts`. P2: holds no message. P3: a limit,
 *            `explore_census`, `steps_finds_place_kept_over_a_mend`. P5: holds no value. P8: `test_census` (words of ones).
 * SOURCE     Ours. Taking before making as with any counted semaphore; the era is a version that only
 *            mending raises.
 */
#ifndef UF_COUNTS_H
#define UF_COUNTS_H

#include "uf_status.h"

#define UF_COUNT_TRIES 4096u
#define UF_COUNT_MOST ((1u << 24) - 1)
#define UF_WORKERS_MAX 1024u

/* What is counted of a type, or of all. Anybody changes all of it, but the target: the manager. */
struct uf_type_counts {
    alignas(UF_LINE) _Atomic uint64_t alive; /* a count: places                            */
    _Atomic uint64_t warm;                   /* a count                                    */
    _Atomic uint64_t building;               /* a count                                    */
    _Atomic uint32_t most;                   /* places in all; 0: any number               */
    _Atomic uint32_t target;                 /* warm agents wanted                         */
    _Atomic uint64_t claimed;                /* agents begun that were warm; only grows    */
    _Atomic uint64_t cold;                   /* agents begun that were not; only grows     */
};
_Static_assert(sizeof(struct uf_type_counts) == UF_LINE, "a type's counts are one line");

struct uf_counts {
    alignas(UF_PAIR) _Atomic uint64_t doubts; /* times that a count may have become wrong */
    _Atomic uint64_t mended;                  /* so many of them are dealt with           */
    _Atomic uint64_t stops;                   /* what a host may not know yet          */
    _Atomic uint32_t workers;                 /* of `load`, those that were ever used     */
    alignas(UF_PAIR) _Atomic uint64_t load[UF_WORKERS_MAX]; /* counts: records of a worker       */
    struct uf_type_counts type[]; /* the last of them: all types together     */
};

static inline uint64_t uf_counts_bytes(uint32_t types)
{
    return uf_round_up(sizeof(struct uf_counts) + ((uint64_t)types + 1) * UF_LINE, UF_PAIR);
}

static inline uint32_t uf_count_value(uint64_t word)
{
    return (uint32_t)word & UF_COUNT_MOST;
}
static inline uint32_t uf_count_era(uint64_t word)
{
    return (uint32_t)(word >> 24) & 0xffff;
}
static inline uint32_t uf_count_read(const _Atomic uint64_t *count)
{
    return uf_count_value(atomic_load_explicit(count, memory_order_relaxed)); /* old at once */
}

/* Before the thing is changed. */
static inline uint32_t uf_count_begin(const _Atomic uint64_t *count)
{
    /* C7 <- C6. Acquire: the walk of the mend that began this era came before what is done now. */
    return uf_count_era(atomic_load_explicit(count, memory_order_acquire));
}

/* A count may be wrong from here on: who needs it exactly has it mended. */
static inline void uf_counts_doubt(struct uf_counts *counts)
{
    /* Release, as C4: who mends because of this finds what the doubter did to the things. */
    atomic_fetch_add_explicit(&counts->doubts, 1, memory_order_release);
}

/* The thing was changed: value + by. False: the count may be wrong. It was mended meanwhile, and may
 * have seen the change; or another change was counted before the one that it follows upon, for which
 * there is nothing below none. */
UF_API bool uf_count_add(_Atomic uint64_t *count, int32_t by, uint32_t era);
/* Take up to `wanted` places of `most` (0: there is no limit): how many, in *got. */
UF_API int uf_count_take(_Atomic uint64_t *count, uint32_t most, uint32_t wanted, uint32_t *got,
                         uint32_t *era);
/* The things of `places` taken in `era` are made. *again: the places had to be taken anew, and may be counted
 * twice. FULL: and there were none; the things are too many and must go, uncounted. */
UF_API int uf_count_settle(_Atomic uint64_t *count, uint32_t most, uint32_t places, uint32_t era,
                           bool *again);
/* A walk that began after `before` was read found so many things. False: the count has changed. */
UF_API bool uf_count_mend(_Atomic uint64_t *count, uint64_t before, uint32_t found, uint32_t era);

#endif
