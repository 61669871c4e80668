/* ticket_ring.c -- a seeded fault, never part of the library: uf_ring.h by Vyukov's ticket queue.
 *
 * A sender takes the position first and publishes afterwards, so one that dies between the two stops every
 * receiver. tools/mutants.py puts this file in the place of csrc/uf_ring.c and expects the explorer
 * to object.
 */
#include "uf_ring.h"

static _Atomic uint64_t *slot_of(const struct uf_ring *ring, uint64_t position)
{
    return &ring->shared->slot[position & (ring->capacity - 1)];
}

static uint64_t lap_of(const struct uf_ring *ring, uint64_t position)
{
    return (position >> ring->shift) & ((1ull << UF_RING_VERSION_BITS) - 1);
}

void uf_ring_init(struct uf_ring *ring, uint64_t position)
{
    atomic_store_explicit(&ring->shared->tail, position, memory_order_relaxed);
    atomic_store_explicit(&ring->shared->head, position, memory_order_relaxed);
    for (uint64_t p = position; p < position + ring->capacity; p++) {
        atomic_store_explicit(slot_of(ring, p), uf_slot(lap_of(ring, p), 0, 0),
                              memory_order_relaxed);
    }
}

int uf_ring_open(struct uf_ring *ring, void *area, uint32_t capacity)
{
    ring->shared = area;
    ring->capacity = capacity;
    ring->shift = uf_log2(capacity);
    return UF_OK;
}

int uf_ring_push_from(struct uf_ring *ring, uint64_t *filled, const uint32_t *handles,
                      uint32_t count)
{
    (void)filled;
    uint32_t sent = 0;
    uint64_t tail = atomic_load_explicit(&ring->shared->tail, memory_order_seq_cst);
    while (sent < count) {
        uint64_t word = atomic_load_explicit(slot_of(ring, tail), memory_order_acquire);
        if (uf_slot_version(word) != lap_of(ring, tail) || uf_slot_handle(word) != 0) {
            uint64_t now = atomic_load_explicit(&ring->shared->tail, memory_order_seq_cst);
            if (now == tail) {
                break;
            }
            tail = now;
            continue;
        }
        /* The ticket. */
        if (atomic_compare_exchange_strong_explicit(&ring->shared->tail, &tail, tail + 1,
                                                    memory_order_seq_cst, memory_order_seq_cst)) {
            /* The publication. */
            atomic_store_explicit(slot_of(ring, tail),
                                  uf_slot(lap_of(ring, tail), 0, handles[sent++]),
                                  memory_order_seq_cst);
            tail++;
        }
    }
    return sent > 0 ? (int)sent : UF_FULL;
}

int uf_ring_claim_many(struct uf_ring *ring, uint32_t me, uint64_t *from, struct uf_claim *claim,
                       uint32_t max)
{
    (void)max; /* one, for whoever wants more */
    uint64_t head = atomic_load_explicit(&ring->shared->head, memory_order_seq_cst);
    for (;;) {
        uint64_t word = atomic_load_explicit(slot_of(ring, head), memory_order_acquire);
        if (uf_slot_version(word) != lap_of(ring, head) || uf_slot_handle(word) == 0) {
            uint64_t now = atomic_load_explicit(&ring->shared->head, memory_order_seq_cst);
            if (now == head) {
                return UF_EMPTY;
            }
            head = now;
            continue;
        }
        if (atomic_compare_exchange_strong_explicit(&ring->shared->head, &head, head + 1,
                                                    memory_order_seq_cst, memory_order_seq_cst)) {
            atomic_store_explicit(slot_of(ring, head),
                                  uf_slot(uf_slot_version(word), me, uf_slot_handle(word)),
                                  memory_order_release);
            claim->position = head;
            claim->handle = uf_slot_handle(word);
            *from = head + 1;
            return 1;
        }
    }
}

/* Nothing is there to skip: a ticket once drawn is its sender's. */
int uf_ring_skip(struct uf_ring *ring)
{
    (void)ring;
    return UF_BUSY;
}

void uf_ring_clear(struct uf_ring *ring, uint64_t position)
{
    atomic_store_explicit(slot_of(ring, position),
                          uf_slot(lap_of(ring, position + ring->capacity), 0, 0),
                          memory_order_release);
}

uint64_t uf_ring_advance_from(struct uf_ring *ring, uint64_t known, uint64_t to)
{
    (void)ring;
    (void)to;
    return known;
}

bool uf_ring_is_empty(struct uf_ring *ring)
{
    return uf_ring_length(ring) == 0;
}

uint32_t uf_ring_length(struct uf_ring *ring)
{
    return (uint32_t)(atomic_load_explicit(&ring->shared->tail, memory_order_seq_cst) -
                      atomic_load_explicit(&ring->shared->head, memory_order_seq_cst));
}

uint64_t uf_ring_end(const struct uf_ring *ring)
{
    return atomic_load_explicit(&ring->shared->tail, memory_order_seq_cst);
}
