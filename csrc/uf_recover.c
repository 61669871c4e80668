#include "uf_queue.h"
#include "uf_share.h"

/* Everything uf_queue_recover does, apart from the calls that run every day. */

/* Undo the dead process's claims in one ring, and note which handles stand in it. */
static void recover_ring(struct uf_queues *queues, struct uf_ring_head *ring, uint32_t dead,
                         uint64_t *seen, struct uf_queue_recovery *done)
{
    for (uint32_t i = 0; i < queues->capacity; i++) {
        _Atomic uint64_t *slot = &ring->slot[i];
        /* T1 <- S1, T2. Acquire: a slot seen cleared was cleared after its taker wrote its name. */
        uint64_t word = atomic_load_explicit(slot, memory_order_acquire);
        uint32_t handle = uf_slot_handle(word);
        if (handle == UF_HANDLE_NONE) {
            continue;
        }
        uf_pool_seen(queues->pool, seen, handle, true);
        if (uf_slot_claimer(word) != dead) {
            continue;
        }
        struct uf_message *message = uf_pool_block(queues->pool, handle);
        if (message != NULL) {
            uint64_t owner = atomic_load_explicit(&message->owner, memory_order_acquire); /* Q3 */
            /* W1. Release, before the claim is undone: a new claimer finds the block in the ring's
             * hands. A store: the claimed block is its dead claimer's, whose lock we hold. */
            atomic_store_explicit(&message->owner, uf_word_as(owner, UF_BLOCK_RING, 0, 0),
                                  memory_order_release);
        }
        UF_STEP(Q10);
        /* S1. Release: as a push, at the old place. A store, for the same reason. */
        atomic_store_explicit(slot, uf_slot(uf_slot_version(word), UF_NOBODY, handle),
                              memory_order_seq_cst);
        done->unclaimed++;
    }
}

/* Free a dead process's block; the holder's bit of a reference goes first. `word` is the block's. */
static uint32_t recover_freed(struct uf_queues *queues, uint32_t handle, uint64_t word,
                              bool reference)
{
    struct uf_message *message = uf_pool_block(queues->pool, handle);
    if (reference) {
        uint64_t mine = uf_word_as(word, UF_BLOCK_OWNED, queues->me, UF_PLACE_REFERENCE);
        /* H8. Relaxed: the dead one's writes are behind us by its lock, and if we die, by ours. Failure: a
         * receiver has it after all, and with it the payload. Before the bit goes: the CAS judges. */
        if (!atomic_compare_exchange_strong_explicit(&message->owner, &word, mine,
                                                     memory_order_relaxed, memory_order_relaxed)) {
            return 0;
        }
        UF_STEP(H8);
        uf_share_drop(queues->pool, handle);
        UF_STEP(H9);
        word = mine;
    }
    return uf_pool_reclaim(queues->pool, handle, word);
}

/* One block that names the dead process, or waits for a receiver. */
static void recover_block(struct uf_queues *queues, uint32_t handle, uint32_t dead, uint64_t *seen,
                          struct uf_queue_recovery *done)
{
    struct uf_message *message = uf_pool_block(queues->pool, handle);
    uint64_t word = atomic_load_explicit(&message->owner, memory_order_acquire); /* W2, Q3 */
    uint32_t queue = uf_word_place(word) - 1;
    if (uf_word_state(word) == UF_BLOCK_ORPHAN && queue < queues->count) {
        /* Its adopter may have died between resetting the hint and adopting: say it again. */
        atomic_store_explicit(&queues->record[queue].orphans, 1, memory_order_seq_cst); /* Q6 */
        return;
    }
    if (uf_word_owner(word) != dead) {
        return;
    }
    uint32_t state = uf_word_state(word);
    if (state != UF_BLOCK_OWNED && state != UF_BLOCK_TAKEN) {
        return;
    }
    if (uf_pool_seen(queues->pool, seen, handle, false)) {
        /* W1. Sent before its sender died, or taken and sent on. Release and failure: a receiver that
         * took it meanwhile has written its own name, which stays. */
        atomic_compare_exchange_strong_explicit(&message->owner, &word,
                                                uf_word_as(word, UF_BLOCK_RING, 0, 0),
                                                memory_order_release, memory_order_relaxed);
        return;
    }
    if (state == UF_BLOCK_OWNED) {
        bool marked = uf_word_place(word) == UF_PLACE_REFERENCE; /* H7 */
        done->freed += recover_freed(queues, handle, word, marked);
        return;
    }
    if ((message->flags & UF_MESSAGE_ONCE) != 0 || queue >= queues->count) {
        bool reference = (message->flags & UF_MESSAGE_REFERENCE) != 0;
        done->dropped += recover_freed(queues, handle, word, reference);
        return;
    }
    message->flags |= UF_MESSAGE_REDELIVERED;
    message->attempt += message->attempt != UINT8_MAX;
    UF_STEP(Q11);
    /* Q3, Q6. Release: the flags are written. Alone on this word: its owner is dead and we hold its
     * lock. */
    atomic_store_explicit(&message->owner, uf_word_as(word, UF_BLOCK_ORPHAN, 0, queue + 1),
                          memory_order_release);
    UF_STEP(Q12);
    atomic_store_explicit(&queues->record[queue].orphans, 1, memory_order_seq_cst);
    done->orphaned++;
}

void uf_queue_recover(struct uf_queues *queues, uint32_t dead, uint64_t *seen,
                      struct uf_queue_recovery *done)
{
    uint64_t ring_bytes = uf_ring_bytes(queues->capacity);
    *done = (struct uf_queue_recovery){0};
    for (uint64_t r = 0; r < (uint64_t)queues->count * UF_LANES; r++) {
        recover_ring(queues, (struct uf_ring_head *)(void *)(queues->rings + r * ring_bytes), dead,
                     seen, done);
    }
    for (uint32_t c = 0; c < queues->pool->classes; c++) {
        for (uint32_t i = 0; i < queues->pool->class[c].count; i++) {
            recover_block(queues, uf_handle(c, i), dead, seen, done);
        }
    }
    for (uint32_t q = 0; q < queues->count; q++) {
        struct uf_queue_record *record = &queues->record[q];
        uint64_t state = atomic_load_explicit(&record->state, memory_order_relaxed);
        uint32_t phase = (uint32_t)(state & 0xff);
        if ((phase == UF_QUEUE_OPENING || phase == UF_QUEUE_NAMED) &&
            ((state >> 8) & 0x3ff) == dead) {
            /* Release: as close. Failure relaxed: another opener of the name has settled it. */
            atomic_compare_exchange_strong_explicit(&record->state, &state,
                                                    (state & ~0xffull) | UF_QUEUE_FREE,
                                                    memory_order_release, memory_order_relaxed);
        }
    }
    uf_pool_repair(queues->pool);
}
