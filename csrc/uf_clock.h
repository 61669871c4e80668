/* uf_clock.h -- room in a full store: entries that are over, and those of caches that nobody reads.
 *
 * WHAT       Takes entries away so that their blocks are free: those whose time is over, and, of namespaces
 *            that are declared caches, those that were not read since the hand came by last.
 * PICTURE    blocks of a size:  [ a ][ b ][ c ] ... [ z ]      hand: the next one, of all processes together
 *            use of a cache's entry:  IDLE --read--> SEEN --the hand--> IDLE --the hand--> taken away
 *            A bucket that is full: the same over its fifteen places.
 * OWNERSHIP  The hand is everybody's: each takes a few blocks to look at. `use` is written by any reader and any
 *            hand; a late one writes it into the next entry of the block, which then stays a round longer.
 * THREADS    As the `struct uf_table`.
 * PROGRESS   Wait-free but for uf_table_remove; `steps` blocks at most, so that a caller decides how long.
 * DEATH      C1 (hand moved, blocks not looked at): they are looked at a round later. Within
 *            uf_table_remove: as T4 to T6 of uf_table.h. Counts may lack the last entry.
 * ORDER      none of its own: `use` and the hand are hints. What is taken away is what was judged: the CAS T4
 *            is on the word of its slot, which names version and block.
 * ERRORS     INVALID: a class that the pool has not.
 * PROOF      P1: `test_clock`, the scenes of `tests/instructions`. P2: an entry of no cache stays, `test_clock`. P5: holds no value. P8:
 *            `test_clock`, and as uf_table.h for what blocks say, `fuzz_table`.
 * SOURCE     Corbato 1969 (CLOCK): a bit instead of an order, written only when it changes.
 */
#ifndef UF_CLOCK_H
#define UF_CLOCK_H

#include "uf_declared.h"
#include "uf_table.h"

struct uf_clocked {
    uint32_t steps; /* blocks looked at */
    uint32_t evicted;
    uint32_t expired;
};

/* Look at `steps` blocks of a size, or until `want` entries were taken away. Adds to `done`. */
UF_API int uf_clock_sweep(struct uf_table *table, struct uf_declared *declared, uint32_t class,
                          uint64_t now_ns, uint32_t steps, uint32_t want, struct uf_clocked *done);
/* Take one entry out of the bucket of this hash. Adds to `done`. */
UF_API void uf_clock_bucket(struct uf_table *table, struct uf_declared *declared, uint64_t hash,
                            uint64_t now_ns, struct uf_clocked *done);

#endif
