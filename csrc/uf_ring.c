#include "uf_ring.h"

#include <string.h>

#define VERSION_MASK ((1ull << UF_RING_VERSION_BITS) - 1)

static inline uint64_t lap_of(const struct uf_ring *ring, uint64_t position)
{
    return (position >> ring->shift) & VERSION_MASK;
}

static inline _Atomic uint64_t *slot_of(const struct uf_ring *ring, uint64_t position)
{
    return &ring->shared->slot[position & (ring->capacity - 1)];
}

/* How far `version` is ahead of `lap`, as a signed number of laps. */
static inline int64_t laps_ahead(uint64_t version, uint64_t lap)
{
    uint64_t difference = (version - lap) & VERSION_MASK;
    return difference > VERSION_MASK / 2 ? (int64_t)difference - (int64_t)(VERSION_MASK + 1)
                                         : (int64_t)difference;
}

/* Move a hint from `from` to `to` unless that is the same line, or somebody moved it already. */
static inline void help(const struct uf_ring *ring, _Atomic uint64_t *hint, uint64_t from,
                        uint64_t to)
{
    if (uf_ring_is_same_line(ring, from, to)) {
        return;
    }
    /* Release: a caller that reads the new hint also reads slots at least this new, so it never
     * judges an older slot against a newer hint. Failure relaxed: somebody else moved it. */
    atomic_compare_exchange_strong_explicit(hint, &from, to, memory_order_release,
                                            memory_order_relaxed);
}

void uf_ring_init(struct uf_ring *ring, uint64_t position)
{
    struct uf_ring_head *shared = ring->shared;
    atomic_store_explicit(&shared->tail, position, memory_order_relaxed); /* not yet published */
    atomic_store_explicit(&shared->head, position, memory_order_relaxed);
    for (uint64_t p = position; p < position + ring->capacity; p++) {
        atomic_store_explicit(slot_of(ring, p), uf_slot(lap_of(ring, p), 0, 0),
                              memory_order_relaxed);
    }
}

int uf_ring_open(struct uf_ring *ring, void *area, uint32_t capacity)
{
    if (area == NULL || !uf_is_pow2(capacity) || capacity > 1u << 24) {
        return UF_INVALID;
    }
    ring->shared = area;
    ring->capacity = capacity;
    ring->shift = uf_log2(capacity);
    ring->limit = 0;
    ring->gate = NULL;
    ring->opening = 0;
    return UF_OK;
}

/* Whether the gate is shut: asked between a look at a slot and the CAS that trusts it. */
static inline bool is_shut(const struct uf_ring *ring)
{
    /* G1 <- S3. Relaxed: the slot was loaded before, with acquire; see ORDER. */
    return ring->gate != NULL &&
           atomic_load_explicit(ring->gate, memory_order_relaxed) != ring->opening;
}

/* The first position after `at` that may still be unfilled, when at's slot is `ahead` laps ahead:
 * this slot was filled ahead - 1 times more, and positions are filled in order. */
static inline uint64_t past_filled(const struct uf_ring *ring, uint64_t at, int64_t ahead)
{
    uint64_t laps = ahead > 1 ? (uint64_t)ahead - 1 : 0;
    return at + laps * ring->capacity + 1;
}

/* The first position after `at` that may still be uncleared. A lap less than above: claims are not
 * cleared in order, and one that stands a lap behind (its claimer died, say) may be undone. */
static inline uint64_t past_cleared(const struct uf_ring *ring, uint64_t at, int64_t ahead)
{
    uint64_t laps = ahead > 2 ? (uint64_t)ahead - 2 : 0;
    return at + laps * ring->capacity + 1;
}

/* Whether a push at the first unfilled position keeps to the limit: the position so far behind it was
 * cleared. Once cleared it stays so, hence the push that follows may trust the answer: it succeeds at
 * this very position or not at all. */
static inline bool is_within_limit(const struct uf_ring *ring, uint64_t tail)
{
    uint64_t behind = tail - ring->limit;
    /* Relaxed: a count from which nothing else is inferred. */
    uint64_t word = atomic_load_explicit(slot_of(ring, behind), memory_order_relaxed);
    return laps_ahead(uf_slot_version(word), lap_of(ring, behind)) > 0;
}

int uf_ring_push_from(struct uf_ring *ring, uint64_t *filled, const uint32_t *handles,
                      uint32_t count)
{
    struct uf_ring_head *shared = ring->shared;
    uint32_t sent = 0;
    uint32_t attempts = 4 * ring->capacity + 64 + 2 * count;
    /* Acquire: with help's release, slots are at least as new as the hint. */
    uint64_t begin = atomic_load_explicit(&shared->tail, memory_order_acquire);
    uint64_t tail = uf_ring_later(ring, begin, *filled);
    while (sent < count && attempts-- > 0) {
        _Atomic uint64_t *slot = slot_of(ring, tail);
        if (tail % UF_RING_LINE == 0) {
            uf_prefetch(slot_of(ring, tail + UF_RING_LINE)); /* its last receiver's, a lap ago */
        }
        /* S2 <- T2. Acquire: an empty slot's last claimer is done with it. */
        uint64_t word = atomic_load_explicit(slot, memory_order_acquire);
        int64_t ahead = laps_ahead(uf_slot_version(word), lap_of(ring, tail));
        if (ahead == 0 && uf_slot_handle(word) == UF_HANDLE_NONE) {
            if (ring->limit != 0 && !is_within_limit(ring, tail)) {
                break;
            }
            if (UF_UNLIKELY(is_shut(ring))) {
                return sent > 0 ? (int)sent : UF_DELETED;
            }
            UF_STEP(R1);
            /* S1 -> T1. Release: whoever sees the handle sees the message complete; seq_cst, as
             * the sender then reads the bell (uf_bell.h). Failure relaxed: the loop loads again. */
            if (atomic_compare_exchange_strong_explicit(
                    slot, &word, uf_slot(uf_slot_version(word), 0, handles[sent]),
                    memory_order_seq_cst, memory_order_relaxed)) {
                sent++;
                tail++;
                UF_STEP(R2);
            }
            continue;
        }
        if (ahead >= 0) {
            tail = past_filled(ring, tail, ahead); /* filled since the hint was moved */
            continue;
        }
        uint64_t now = atomic_load_explicit(&shared->tail, memory_order_acquire); /* as above */
        if (now > tail) {
            begin = tail = now;
            continue;
        }
        if (ahead == -1) {
            break; /* last lap's message still stands here: full */
        }
        return sent > 0 ? (int)sent : UF_CORRUPT;
    }
    help(ring, &shared->tail, begin, tail);
    *filled = tail;
    if (sent > 0) {
        return (int)sent;
    }
    return attempts == UINT32_MAX ? UF_BUSY : UF_FULL;
}

int uf_ring_claim_many(struct uf_ring *ring, uint32_t me, uint64_t *from, struct uf_claim *claims,
                       uint32_t max)
{
    struct uf_ring_head *shared = ring->shared;
    uint32_t attempts = 4 * ring->capacity + 64 + 2 * max;
    uint32_t got = 0;
    int status = UF_BUSY;
    /* Acquire: as in push. */
    uint64_t head = atomic_load_explicit(&shared->head, memory_order_acquire);
    uint64_t at = uf_ring_later(ring, head, *from);
    while (got < max && attempts-- > 0) {
        _Atomic uint64_t *slot = slot_of(ring, at);
        /* T1 <- S1. Acquire: a full slot's message is complete. */
        uint64_t word = atomic_load_explicit(slot, memory_order_acquire);
        int64_t ahead = laps_ahead(uf_slot_version(word), lap_of(ring, at));
        uint32_t handle = uf_slot_handle(word);
        bool claimed = uf_slot_claimer(word) != UF_NOBODY;
        if (ahead < -1) {
            status = UF_CORRUPT;
            break;
        }
        if (ahead == -1) {
            /* The last lap's claim stands here, so nothing newer does. Or it stood here when we
             * passed it and was undone since: begin again, it is the oldest now. (The last lap's may
             * also be our own, claimed by this very call.) */
            if (claimed) {
                status = UF_EMPTY;
                break;
            }
            at = atomic_load_explicit(&shared->head, memory_order_acquire); /* as above */
            continue;
        }
        if (ahead > 0 || claimed) {
            at = past_cleared(ring, at, ahead); /* while the hint lags, or somebody has it */
            continue;
        }
        if (handle == UF_HANDLE_NONE) {
            status = UF_EMPTY;
            break;
        }
        if (UF_UNLIKELY(is_shut(ring))) {
            status = UF_DELETED;
            break;
        }
        /* T1. Acquire on success: as the load. Failure relaxed: the loop loads again. */
        if (atomic_compare_exchange_strong_explicit(slot, &word,
                                                    uf_slot(uf_slot_version(word), me, handle),
                                                    memory_order_acquire, memory_order_relaxed)) {
            UF_STEP(R3);
            claims[got].position = at;
            claims[got++].handle = handle;
            *from = ++at;
        }
    }
    return got > 0 ? (int)got : status;
}

int uf_ring_skip(struct uf_ring *ring)
{
    struct uf_ring_head *shared = ring->shared;
    uint64_t tail = atomic_load_explicit(&shared->tail, memory_order_acquire); /* as in push */
    for (uint32_t attempts = 4 * ring->capacity + 64; attempts > 0; attempts--) {
        _Atomic uint64_t *slot = slot_of(ring, tail);
        uint64_t word = atomic_load_explicit(slot, memory_order_acquire); /* S2 */
        int64_t ahead = laps_ahead(uf_slot_version(word), lap_of(ring, tail));
        if (uf_slot_handle(word) == UF_HANDLE_NONE && ahead == 0) {
            UF_STEP(R5);
            /* S3 -> G1. Release: whoever reads this slot anew reads the gate as we found it. Failure
             * relaxed: somebody filled it, and the loop loads again. */
            if (atomic_compare_exchange_strong_explicit(
                    slot, &word, uf_slot((uf_slot_version(word) + 1) & VERSION_MASK, 0, 0),
                    memory_order_release, memory_order_relaxed)) {
                return UF_OK; /* the hints are moved by who comes next */
            }
            continue;
        }
        if (ahead >= 0) {
            tail = past_filled(ring, tail, ahead);
            continue;
        }
        uint64_t now = atomic_load_explicit(&shared->tail, memory_order_acquire); /* as in push */
        if (now > tail) {
            tail = now;
            continue;
        }
        return ahead == -1 ? UF_FULL : UF_CORRUPT;
    }
    return UF_BUSY;
}

void uf_ring_clear(struct uf_ring *ring, uint64_t position)
{
    /* T2 -> S2. Release: the claimer's name stands on the block before the slot forgets it.
     * A store, since a claimed slot is changed by its claimer alone (or by its recoverer). */
    atomic_store_explicit(slot_of(ring, position),
                          uf_slot((lap_of(ring, position) + 1) & VERSION_MASK, 0, 0),
                          memory_order_release);
    UF_STEP(R4);
}

uint64_t uf_ring_advance_from(struct uf_ring *ring, uint64_t known, uint64_t to)
{
    struct uf_ring_head *shared = ring->shared;
    uint64_t head = atomic_load_explicit(&shared->head, memory_order_acquire); /* as in claim */
    uint64_t at = uf_ring_later(ring, head, known);
    for (uint32_t seen = 0; at < to && seen < 4 * ring->capacity; seen++) {
        /* Acquire: with help's release, carries what this clear published. */
        uint64_t word = atomic_load_explicit(slot_of(ring, at), memory_order_acquire);
        int64_t ahead = laps_ahead(uf_slot_version(word), lap_of(ring, at));
        if (ahead < 1) {
            break; /* claimed, not yet cleared */
        }
        at = past_cleared(ring, at, ahead);
    }
    help(ring, &shared->head, head, at);
    return at;
}

bool uf_ring_is_empty(struct uf_ring *ring)
{
    uint64_t at = atomic_load_explicit(&ring->shared->head, memory_order_seq_cst);
    for (uint32_t seen = 0; seen < 4 * ring->capacity; seen++) {
        /* seq_cst: the receiver stored "asleep" before this load, the sender loads the bell after
         * its push; one of the two sees the other (uf_bell.h). */
        uint64_t word = atomic_load_explicit(slot_of(ring, at), memory_order_seq_cst);
        int64_t ahead = laps_ahead(uf_slot_version(word), lap_of(ring, at));
        bool claimed = uf_slot_claimer(word) != UF_NOBODY;
        if (ahead < 0) {
            return claimed;
        }
        if (ahead == 0 && !claimed) {
            return uf_slot_handle(word) == UF_HANDLE_NONE;
        }
        at = past_cleared(ring, at, ahead);
    }
    return false; /* others work on it as we look: the caller had better look again */
}

uint64_t uf_ring_end(const struct uf_ring *ring)
{
    /* Acquire, both: as in push. */
    uint64_t tail = atomic_load_explicit(&ring->shared->tail, memory_order_acquire);
    for (uint32_t seen = 0; seen < 4 * ring->capacity; seen++) {
        uint64_t word = atomic_load_explicit(slot_of(ring, tail), memory_order_acquire);
        int64_t ahead = laps_ahead(uf_slot_version(word), lap_of(ring, tail));
        if (ahead < 0 || (ahead == 0 && uf_slot_handle(word) == UF_HANDLE_NONE)) {
            break;
        }
        tail = past_filled(ring, tail, ahead);
    }
    return tail;
}

uint32_t uf_ring_length(struct uf_ring *ring)
{
    struct uf_ring_head *shared = ring->shared;
    /* Acquire, all: as in push and claim. The hints may lag for ever if those who should have moved
     * them died, so both ends are looked for from there. */
    uint64_t head = atomic_load_explicit(&shared->head, memory_order_acquire);
    for (uint32_t seen = 0; seen < 4 * ring->capacity; seen++) {
        uint64_t word = atomic_load_explicit(slot_of(ring, head), memory_order_acquire);
        int64_t ahead = laps_ahead(uf_slot_version(word), lap_of(ring, head));
        if (ahead < 1) {
            break;
        }
        head = past_cleared(ring, head, ahead);
    }
    uint64_t tail = uf_ring_end(ring);
    uint64_t length = tail > head ? tail - head : 0;
    return length > ring->capacity ? ring->capacity : (uint32_t)length;
}
