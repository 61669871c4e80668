/* uf_hold.h -- a stored value's block that views keep: who has one is written in the block.
 *
 * WHAT       A process that reads an entry in place holds its block. Replaced or deleted meanwhile, the entry
 *            is gone for everybody else, and the block stays as it is until the last holder lets go.
 * PICTURE    owner word:  [ version 36 | HELD 4 | by the table 1 | unused 11 | holders 12 ]
 *            names:       [ name of holder 5 ... 0 ]  [ name of holder 11 ... 6 ]    ten bits each
 *
 *            TABLE --hold--> HELD(table, b) --drop--> TABLE (nobody's name)
 *                              \--the table lets go--> HELD(b) --drop--> FREE (version + 1)
 *            name b:  0 --K1--> process --K4--> 0;  bit b of the owner word: from K2 to K3
 * OWNERSHIP  Name b says whose bit b is, or may become: only that process sets it, and clears it, or who
 *            mends after its death. Names outlive the entry they were written for: a block that is filled
 *            anew keeps them, for their processes take them back.
 * THREADS    As the `struct uf_pool`; drop: any.
 * PROGRESS   name, take, leave: wait-free. drop, release: lock-free, bounded: a failed CAS means that
 *            another holder came or went, or the table let go.
 * DEATH      K1 (name, no bit): recovery takes the name back. K2 (bit): recovery drops it. K3 (bit gone,
 *            name there): as K1. K3 with FREE written and the bit of the pool not set: as P3 of uf_pool.h.
 *            K5 (the table let go): as T3 of uf_table.h; done again, it finds that it is done.
 * ORDER      K3 drop release -> W2 of uf_pool.h   our reads are behind whoever has the block next; the
 *            CASes between carry it on
 *            K4 name release -> K1 name acquire   its last process is done with the bit
 * ERRORS     FULL: twelve hold it. MISSING: the block is another entry's by now, or the table's no more.
 * PROOF      P1: `test_hold`, `explore_hold`, `steps_finds_view_never_dropped`. P2: one owner a block,
 *            `explore_hold`. P5: a held block is never filled, `explore_hold`, `test_hold`. P8: `test_hold`:
 *            bits without names, names without bits.
 * SOURCE     Bits of named holders in the word that also frees: uf_share.h. Hazard pointers (Michael 2004)
 *            announce what is read as well, but are searched by who frees; here who frees looks at one word.
 */
#ifndef UF_HOLD_H
#define UF_HOLD_H

#include "uf_pool.h"

#define UF_VIEWS 12u
#define UF_VIEWS_MASK ((1ull << UF_VIEWS) - 1)
#define UF_HELD_BY_TABLE (1ull << 23)
#define UF_HOLD_TRIES 10000u

/* Write our name into a field of the block that has none: its index, or FULL. */
UF_API int uf_hold_name(const struct uf_pool *pool, uint32_t handle);
/* Take the name back, its bit not being set. */
UF_API void uf_hold_leave(const struct uf_pool *pool, uint32_t handle, uint32_t name);
/* Hold the entry of this version under a name of ours. */
UF_API int uf_hold_take(const struct uf_pool *pool, uint32_t handle, uint64_t version,
                        uint32_t name);
/* Let go, and take the name back. */
UF_API void uf_hold_drop(const struct uf_pool *pool, uint32_t handle, uint32_t name);
/* The table lets go of the entry of this version, which it names no more. True: it is ours, OWNED, with the
 * next version, to be given back; else its holders' to free, or somebody's already. */
UF_API bool uf_hold_release(const struct uf_pool *pool, uint32_t handle, uint64_t version);
/* Recovery: drop whatever `dead` holds of a block. */
UF_API void uf_hold_recover(const struct uf_pool *pool, uint32_t handle, uint32_t dead);

#endif
