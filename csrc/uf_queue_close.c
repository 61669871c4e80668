#include "uf_queue.h"

/* Deleting a queue. What it rests on: a push or a claim of who entered looks at its slot, then at the
 * record's state, and then changes the slot if that is as it was. Positions are filled in order, so all pushes
 * on their way aim at the first unfilled one, and a claim aims at a message: with that position skipped and
 * all messages cleared, each finds its slot changed, looks at the state again, and answers DELETED. */

static uint32_t phase_of(uint64_t state)
{
    return (uint32_t)(state & 0xff);
}

int uf_queue_delete(struct uf_queues *queues, uint32_t index, uint64_t opening, uint64_t *closing)
{
    if (index >= queues->count || phase_of(opening) != UF_QUEUE_OPEN) {
        return UF_INVALID;
    }
    *closing = (opening & ~0xffull) | UF_QUEUE_CLOSING;
    /* Q14. Relaxed: whoever acts upon it has read it, and its skip (Q15) releases that. Failure: it was
     * deleted. */
    if (!atomic_compare_exchange_strong_explicit(&queues->record[index].state, &opening, *closing,
                                                 memory_order_relaxed, memory_order_relaxed)) {
        return UF_DELETED;
    }
    UF_STEP(Q14);
    return UF_OK;
}

bool uf_queue_stands(const struct uf_queues *queues, uint32_t index, uint64_t opening)
{
    /* Relaxed: already old when it returns. */
    return index < queues->count &&
           atomic_load_explicit(&queues->record[index].state, memory_order_relaxed) == opening;
}

uint64_t uf_queue_closing(const struct uf_queues *queues, uint32_t index)
{
    if (index >= queues->count) {
        return 0;
    }
    /* Relaxed: as Q14. */
    uint64_t state = atomic_load_explicit(&queues->record[index].state, memory_order_relaxed);
    return phase_of(state) == UF_QUEUE_CLOSING ? state : 0;
}

/* Whether some block was taken from this queue and is not given back. */
static bool is_held(const struct uf_queues *queues, uint32_t index)
{
    const struct uf_pool *pool = queues->pool;
    for (uint32_t c = 0; c < pool->classes; c++) {
        for (uint32_t i = 0; i < pool->class[c].count; i++) {
            const struct uf_message *message = uf_pool_block(pool, uf_handle(c, i));
            /* Relaxed, for the state alone: a claim was signed before its slot was cleared, which the look
             * at the lanes has acquired. Recovery goes from TAKEN to ORPHAN; neither is missed. */
            uint64_t word = atomic_load_explicit(&message->owner, memory_order_relaxed);
            uint32_t state = uf_word_state(word);
            if (uf_word_place(word) == index + 1 &&
                (state == UF_BLOCK_TAKEN || state == UF_BLOCK_ORPHAN)) {
                return true;
            }
        }
    }
    return false;
}

int uf_queue_retire(struct uf_queues *queues, uint32_t index, uint64_t closing)
{
    if (index >= queues->count || phase_of(closing) != UF_QUEUE_CLOSING) {
        return UF_INVALID;
    }
    struct uf_queue_record *record = &queues->record[index];
    for (uint32_t lane = 0; lane < UF_LANES; lane++) {
        struct uf_ring ring = uf_queue_lane(queues, index, lane);
        if (uf_queue_closing(queues, index) != closing) {
            return UF_OK; /* somebody else was as far */
        }
        int status = uf_ring_length(&ring) != 0 ? UF_BUSY : uf_ring_skip(&ring); /* Q15 */
        if (status != UF_OK) {
            return status == UF_CORRUPT ? UF_CORRUPT : UF_BUSY;
        }
        UF_STEP(Q15);
        if (uf_ring_length(&ring) != 0) {
            return UF_BUSY; /* a push that was on its way */
        }
    }
    if (is_held(queues, index)) {
        return UF_BUSY;
    }
    UF_STEP(Q16);
    /* Q16. Release: as close; the next opener's acquire. Failure relaxed: another was first. */
    atomic_compare_exchange_strong_explicit(&record->state, &closing,
                                            (closing >> 32) << 32 | UF_QUEUE_FREE,
                                            memory_order_release, memory_order_relaxed);
    return UF_OK;
}
