/* uf_owner.h -- process slots: who is here, who is dead, and who may mend what the dead left.
 *
 * WHAT       A slot per attached process. A claim anywhere in the region names a slot; the slot is
 *            given to another process only after recovery has removed every claim by it, so the
 *            number alone identifies the claimer.
 * PICTURE    state: [ incarnation 32 | role 8 | queue 16 | phase 8 ]
 *            FREE --join--> LIVE --leave--> FREE
 *                             \--death; a recoverer takes the slot's lock--> DEAD --mended--> FREE
 * OWNERSHIP  A process owns a slot while it holds the kernel's lock on the slot's first byte (an
 *            open-file-description lock on the region file). The kernel drops it when the process
 *            dies, however it dies; pids that return and pid namespaces change nothing.
 * THREADS    join, leave: one thread per attachment. alive, begin, end: any.
 * PROGRESS   Wait-free plus one fcntl a slot looked at; locks are tried, never waited for.
 * DEATH      O1 (lock held, state not yet LIVE): the lock is free again, nothing was written.
 *            O2 (LIVE): what recovery is for. O3 (recoverer, any step): its lock on the dead slot is
 *            free again, the state still says LIVE or DEAD, the next recoverer starts over; every
 *            step of recovery may be repeated.
 * ORDER      O1 state CAS release -> O2 state acquire   slot fields are this incarnation's
 * ERRORS     NO_SLOT, SYSTEM, READ_ONLY; BUSY from begin: somebody else mends it just now;
 *            MISSING from begin: the slot's process is alive, or the slot is free.
 * PROOF      P1: `test_owner`, `explore_owner`. P2: a slot that were free before it is mended would
 *            lose what it held, `steps_finds_slot_free_before_it_is_mended`. P5: holds no value.
 *            P8: `test_flips`.
 * SOURCE     Locks as liveness: LMDB's reader table under robust locks (H. Chu), here without
 *            waiting. Open-file-description locks: Linux fcntl(2), J. Layton 2014.
 */
#ifndef UF_OWNER_H
#define UF_OWNER_H

#include "uf_region.h"

#define UF_OWNERS_MAX 1022u /* a claimer field has ten bits: 0 is nobody, slot + 1 somebody */
#define UF_NOBODY 0u

enum uf_phase { UF_PHASE_FREE = 0, UF_PHASE_LIVE = 1, UF_PHASE_DEAD = 2 };

struct uf_owner {
    alignas(UF_PAIR) _Atomic uint64_t state; /* its process under the lock, or its recoverer   */
    _Atomic uint64_t intent;       /* its process alone: what it is about to unlink; uf_table.h */
    _Atomic uint64_t heartbeat_ns; /* its process alone: CLOCK_MONOTONIC of its last sign       */
    _Atomic uint64_t pid;          /* its process alone, for messages only; never for liveness  */
    _Atomic uint64_t started_ns;   /* its process alone: wall clock, for people                 */
    alignas(UF_LINE) _Atomic uint64_t crossing; /* its process alone, at every send: uf_deliver.h */
};
_Static_assert(sizeof(struct uf_owner) == UF_PAIR, "slots do not share lines");
_Static_assert(offsetof(struct uf_owner, crossing) == UF_LINE,
               "written at every send: a line apart");

/* Private to the attachment. */
struct uf_self {
    struct uf_owner *owner; /* the whole array, `count` slots */
    uint32_t count;
    uint32_t slot;   /* this process's, or UINT32_MAX before join and after leave */
    uint64_t offset; /* of the array in the file: where the lock bytes are */
    int fd;
};

struct uf_owner_info {
    uint32_t phase;
    uint32_t role;
    uint32_t queue; /* index of its inbox + 1, 0 when it has none */
    uint32_t incarnation;
    uint64_t pid;
    uint64_t heartbeat_ns;
    uint64_t started_ns;
};

static inline uint64_t uf_owners_bytes(uint32_t count)
{
    return (uint64_t)count * sizeof(struct uf_owner);
}

UF_API int uf_owner_open(struct uf_self *self, const struct uf_region *region);
UF_API int uf_owner_join(struct uf_self *self, uint32_t role, uint64_t pid, uint64_t wall_ns);
/* Say which queue is this process's inbox (index + 1; 0 for none). */
UF_API void uf_owner_set_queue(struct uf_self *self, uint32_t queue_plus_one);
UF_API void uf_owner_beat(struct uf_self *self, uint64_t now_ns);
/* Give the slot back. Everything it held must have been given back before. */
UF_API void uf_owner_leave(struct uf_self *self);
/* True while some process (this one too) holds the slot. */
UF_API bool uf_owner_alive(const struct uf_self *self, uint32_t slot);
UF_API int uf_owner_read(const struct uf_self *self, uint32_t slot, struct uf_owner_info *info);
/* Take the right to mend a dead slot. OK: it is dead and the lock is ours. */
UF_API int uf_owner_begin_recovery(struct uf_self *self, uint32_t slot);
/* Everything of it is mended: the slot may be given away. */
UF_API void uf_owner_end_recovery(struct uf_self *self, uint32_t slot, bool mended);

#endif
