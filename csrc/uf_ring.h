/* uf_ring.h -- a bounded queue of handles: many senders, many receivers, nobody waits for anybody.
 *
 * WHAT       FIFO of 26-bit handles. A slot is one 64-bit word, so one CAS publishes; head and tail
 *            are hints that anybody may push forward, and that are moved once a line of slots.
 * PICTURE    slot:  [ version 28 | claimer 10 | handle 26 ]     version: the lap it is in
 *            position p lives in slot p % capacity, in lap p / capacity
 *
 *              EMPTY(lap) --push: one CAS--> FULL(lap, handle) --claim: one CAS--> CLAIMED(lap,
 *              claimer, handle) --clear: one store--> EMPTY(lap + 1)
 *
 *                   head hint          tail hint
 *                      v                   v
 *              . . [ C1 | F  | F  | F  | . . . ]     C1: claimed by 1, not yet cleared; a second
 *                                                    receiver passes over it to the next F
 * OWNERSHIP  A push that answered OK gives the handle to the ring; a claim gives it to the claimer,
 *            who clears the slot after it has written its name on the thing itself (uf_queue.h).
 *            Until then the slot names it too, so a death between the two leaves a visible claim.
 * THREADS    Any number of senders and receivers, of any processes.
 * PROGRESS   push, claim: lock-free; a failed CAS means that another call succeeded. clear: wait-free.
 *            A stopped receiver makes the ring look full once the others have lapped it (or are
 *            `limit` messages past it), and only then; it makes no receiver wait.
 * DEATH      R1 (before the push CAS): nothing was sent. R2 (before the tail hint): the next caller
 *            pushes the hint forward. R3 (claimed, not cleared): uf_ring_unclaim gives the message
 *            back to the ring at its old place. R4 (cleared, head hint behind): as R2. R5 (before the
 *            skip CAS): nothing was skipped.
 * ORDER      S1 push CAS release -> T1 slot acquire    the thing behind the handle is complete
 *            T2 clear release -> S2 slot acquire       the claimer has written its name on the thing
 *            S1 is seq_cst: push against arm, see uf_bell.h.
 *            S3 skip release -> G1 the gate, after the slot   whoever reads a slot as it is after the gate
 *            was shut and the slot changed, reads that it is shut. Both CASes come after that look, so
 *            one that succeeds found its slot as it was before.
 * ERRORS     FULL, EMPTY: answers. DELETED: the gate is shut. BUSY: others won every one of a bounded number of attempts.
 *            CORRUPT: a slot's version that no history of ours can produce.
 * PROOF      P1: `explore_ring`, `steps_finds_claim_never_undone`; with a ticket that nobody else
 *            can give back, `linear_finds_ticket_ring`. P2: `test_ring`,
 *            `steps_finds_claim_without_a_name`, `linear_finds_claim_of_any_lap`. P5: holds no
 *            value. P8: `fuzz_queue`, `fuzz_finds_claim_that_tries_for_ever`.
 * SOURCE     Turn numbers per slot: Vyukov 2010, but there a sender that dies between its ticket and
 *            its publication stops every receiver; here nothing is owned before the publishing CAS,
 *            and lagging hints are helped along as in Michael & Scott 1996.
 */
#ifndef UF_RING_H
#define UF_RING_H

#include "uf_pool.h"

#define UF_RING_VERSION_BITS 28u
#define UF_RING_LINE_SHIFT                                                                         \
    3u /* eight slots: a hint lags by so many, or by a lap if that is shorter */
#define UF_RING_LINE (1u << UF_RING_LINE_SHIFT)

struct uf_ring_head {
    alignas(UF_PAIR) _Atomic uint64_t tail; /* senders: no later than the first unfilled position */
    alignas(UF_PAIR) _Atomic uint64_t head; /* receivers: no later than the first uncleared one   */
    alignas(UF_PAIR) _Atomic uint64_t slot[]; /* senders fill, receivers claim and clear: S1, T1 */
};
_Static_assert(offsetof(struct uf_ring_head, head) == UF_PAIR, "senders and receivers apart");

/* Private; the capacity is not read from shared memory again. */
struct uf_ring {
    struct uf_ring_head *shared;
    uint32_t capacity; /* a power of two */
    uint32_t shift;
    uint32_t limit; /* handles in it at most, if all its senders say so; 0: its capacity */
    const _Atomic uint64_t *gate; /* or NULL: push and claim while it is `opening` */
    uint64_t opening;
};

struct uf_claim {
    uint64_t position;
    uint32_t handle;
};

static inline uint64_t uf_ring_bytes(uint32_t capacity)
{
    return uf_round_up(sizeof(struct uf_ring_head) + (uint64_t)capacity * 8, UF_PAIR);
}

static inline uint64_t uf_slot(uint64_t version, uint32_t claimer, uint32_t handle)
{
    return (version << 36) | ((uint64_t)claimer << UF_HANDLE_BITS) | handle;
}
static inline uint64_t uf_slot_version(uint64_t slot)
{
    return slot >> 36;
}
static inline uint32_t uf_slot_claimer(uint64_t slot)
{
    return (uint32_t)(slot >> UF_HANDLE_BITS) & 0x3ff;
}
static inline uint32_t uf_slot_handle(uint64_t slot)
{
    return (uint32_t)slot & ((1u << UF_HANDLE_BITS) - 1);
}

/* A zeroed ring is an empty ring at position 0; tests begin elsewhere. Before publication. */
UF_API void uf_ring_init(struct uf_ring *ring, uint64_t position);
UF_API int uf_ring_open(struct uf_ring *ring, void *area, uint32_t capacity);

/* Send handles[0 .. count). The number sent, in order from the first: fewer than count when the
 * ring is full. FULL when none was. `*filled`: a position before which the caller knows all to be
 * filled, as the last push from there told it (0 to begin with); it spares a walk from the hint. */
UF_API int uf_ring_push_from(struct uf_ring *ring, uint64_t *filled, const uint32_t *handles,
                             uint32_t count);
static inline int uf_ring_push(struct uf_ring *ring, const uint32_t *handles, uint32_t count)
{
    uint64_t filled = 0;
    return uf_ring_push_from(ring, &filled, handles, count);
}
/* Claim up to `max` (1 or more) of the oldest unclaimed handles at or after `*from` (0 to begin with;
 * moved past the last claim). Their number, or why there is none. */
UF_API int uf_ring_claim_many(struct uf_ring *ring, uint32_t me, uint64_t *from,
                              struct uf_claim *claims, uint32_t max);
static inline int uf_ring_claim(struct uf_ring *ring, uint32_t me, uint64_t *from,
                                struct uf_claim *claim)
{
    int got = uf_ring_claim_many(ring, me, from, claim, 1);
    return got == 1 ? UF_OK : got;
}
/* Fill and clear the first unfilled position in one step, with nothing: a push that has looked at it
 * already fails, and looks at its gate again. FULL: there is no such position. */
UF_API int uf_ring_skip(struct uf_ring *ring);
/* Done with a claim: the slot is empty again. */
UF_API void uf_ring_clear(struct uf_ring *ring, uint64_t position);
/* Push the head hint over cleared slots; it need not look beyond `to`. `known`: a position before which
 * the caller knows all to be cleared, or 0. Such a position again, at least `known`. */
UF_API uint64_t uf_ring_advance_from(struct uf_ring *ring, uint64_t known, uint64_t to);
static inline void uf_ring_advance(struct uf_ring *ring, uint64_t to)
{
    uf_ring_advance_from(ring, 0, to);
}
/* Where to begin at a ring whose hint is read: at what the caller knows better, unless that is nonsense. */
static inline uint64_t uf_ring_later(const struct uf_ring *ring, uint64_t hint, uint64_t known)
{
    return known > hint && known - hint <= ring->capacity ? known : hint;
}
/* Positions of one line of slots (or of a whole small ring): hints are not moved within it. Who begins at a
 * hint walks over the rest in a line that it reads anyway. */
static inline bool uf_ring_is_same_line(const struct uf_ring *ring, uint64_t a, uint64_t b)
{
    uint32_t shift = ring->shift < UF_RING_LINE_SHIFT ? ring->shift : UF_RING_LINE_SHIFT;
    return a >> shift == b >> shift;
}
/* True: a claim from here would have answered EMPTY at its first look. The quick way past a lane that
 * nobody uses. */
static inline bool uf_ring_is_bare(const struct uf_ring *ring, uint64_t from)
{
    /* Relaxed, both: nothing is read on account of an empty slot. No message is missed that was sent
     * before this call, as the caller knows: its sender saw all the slots before it filled, so neither is
     * read as empty here. */
    uint64_t head = atomic_load_explicit(&ring->shared->head, memory_order_relaxed);
    uint64_t at = uf_ring_later(ring, head, from);
    uint64_t word =
        atomic_load_explicit(&ring->shared->slot[at & (ring->capacity - 1)], memory_order_relaxed);
    return word == uf_slot((at >> ring->shift) & ((1u << UF_RING_VERSION_BITS) - 1), 0, 0);
}
/* True when a claim would have answered EMPTY. seq_cst, for the bell. */
UF_API bool uf_ring_is_empty(struct uf_ring *ring);
/* The first position that is not filled: every push that came to its end before this call filled one
 * before it. */
UF_API uint64_t uf_ring_end(const struct uf_ring *ring);
/* Handles in it, claimed ones too: between two moments' truths, and 0 when it rests empty. */
UF_API uint32_t uf_ring_length(struct uf_ring *ring);

#endif
