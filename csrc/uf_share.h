/* uf_share.h -- one payload for many receivers: a block that its holders free together.
 *
 * WHAT       A publication's payload lies in one block; each receiver gets a small message of its own, a
 *            reference, which is sent, taken, orphaned, adopted and sent on as any message. The
 *            payload's block goes when the last reference has been given back.
 * PICTURE    owner word of the payload's block:  [ version 36 | SHARED 4 | holders 24 ]
 *                                                                 bit b: reference b is not given back
 *            reference: a message with the flag REFERENCE, whose payload is
 *                       [ version 8 | handle 4 | bit 4 | note: what the receiver alone is told ]
 *
 *            OWNED(sender) --share--> SHARED(holders) --give, not the last--> SHARED(fewer holders)
 *                                                     \--give, the last--> FREE (version + 1)
 *            a reference, OWNED and not in a ring:  place REFERENCE, from before the payload is SHARED
 *            until its holder's bit is gone; else 0
 * OWNERSHIP  share: the payload's block becomes its holders'; the references stay the caller's, to be
 *            sent. A refused one the caller gives back, which counts as a receiver's. give: a
 *            reference that is ours, OWNED or TAKEN, as uf_pool_give.
 * THREADS    share, give: as the `struct uf_pool`. drop: any.
 * PROGRESS   share, look: wait-free. give, drop: wait-free: a failed CAS means that another holder's
 *            bit went, of which there are UF_HOLDERS.
 * DEATH      H1 (references marked, payload still OWNED): recovery frees them all by their names. H2
 *            (SHARED, not all sent): the unsent are OWNED with their mark; recovery drops their bits.
 *            H3 (handled, bit there) and H4 (bit gone, mark there): OWNED with its mark; recovery
 *            drops the bit, which may be gone, and frees the reference. H5 (FREE, bit of the pool not
 *            set): as P3 of uf_pool.h. A payload SHARED by nobody is never seen: the CAS that takes the
 *            last bit frees it. Recovery writes its own name on a reference before it drops the bit
 *            (H8), so a recoverer's death there, or after (H9), is one more death like these; and a
 *            bit is taken from one version, once.
 * ORDER      H6 holder's CAS release -> W2 of uf_pool.h   its reads are behind whoever owns the block next
 *            H7 mark release -> recovery, under the lock  the reference is written
 * ERRORS     INVALID: a count of holders; a block that is not ours. CORRUPT: a reference that names no
 *            block shared at its version with its bit, or a payload larger than its block.
 * PROOF      P1: `test_share`, `explore_share`, `steps_finds_reference_without_a_mark`,
 *            `steps_finds_holder_never_dropped`. P2: `steps_finds_shared_before_the_references`,
 *            `explore_share`. P5: holds no value. P8: `test_share`,
 *            `fuzz_finds_payload_of_a_reference_believed`.
 * SOURCE     A word that counts and versions at once: Treiber 1986. Bits of named holders instead of
 *            a count, so that taking one twice is taking it once: iceoryx2's robust index set.
 */
#ifndef UF_SHARE_H
#define UF_SHARE_H

#include "uf_pool.h"

#define UF_HOLDERS 24u /* the owner and place fields of an owner word */
#define UF_HOLDERS_MASK ((1ull << UF_HOLDERS) - 1)

/* What a reference's payload begins with; its sender writes it before H7. */
struct uf_reference {
    uint64_t version; /* of the payload's block while it is SHARED */
    uint32_t handle;
    uint32_t bit;
};
_Static_assert(sizeof(struct uf_reference) == 16, "a note begins at a multiple of 8");

/* A payload, and a reference's note, where they lie. */
struct uf_shared {
    const uint8_t *payload;
    const uint8_t *note;
    uint32_t payload_bytes;
    uint32_t note_bytes;
};

/* Share a block of ours, filled, among `count` references: blocks of ours whose heads are filled, with
 * payload_bytes 16 + the note's, and the note behind the first 16. */
UF_API int uf_share(struct uf_pool *pool, uint32_t handle, const uint32_t *references,
                    uint32_t count);
/* Where the payload of a reference lies: good until the reference is given back. */
UF_API int uf_share_look(const struct uf_pool *pool, uint32_t reference, struct uf_shared *shared);
/* The reference has been handled: after this no death brings it back. It and its payload stay. */
UF_API int uf_share_handled(struct uf_pool *pool, uint32_t reference);
/* Give back a reference, and the payload with the last of them. */
UF_API int uf_share_give(struct uf_pool *pool, uint32_t reference);
/* Recovery: take a reference's bit from its payload, if it is there. */
UF_API void uf_share_drop(const struct uf_pool *pool, uint32_t reference);

/* Give back a message that is ours, whatever it is. */
static inline int uf_message_give(struct uf_pool *pool, uint32_t handle)
{
    const struct uf_message *message = uf_pool_block(pool, handle);
    if (UF_UNLIKELY(message == NULL)) {
        return UF_INVALID;
    }
    if (UF_UNLIKELY((message->flags & UF_MESSAGE_REFERENCE) != 0)) {
        return uf_share_give(pool, handle);
    }
    return uf_pool_give(pool, handle);
}

/* A message that we took has been handled: no death brings it back, and it is still ours to give. */
static inline int uf_message_handled(struct uf_pool *pool, uint32_t handle)
{
    const struct uf_message *message = uf_pool_block(pool, handle);
    if (message != NULL && (message->flags & UF_MESSAGE_REFERENCE) != 0) {
        return uf_share_handled(pool, handle);
    }
    return uf_pool_handled(pool, handle);
}

#endif
