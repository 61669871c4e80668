/* uf_queue.h -- named queues of messages: four priority lanes, one bell, nothing lost with a receiver.
 *
 * WHAT       A queue is one ring a lane, a bell, and a name by which any process finds it. A message
 *            is a block of the MESSAGES pool; taking it writes the taker's name on it.
 * PICTURE    area:  [ head | record 0 .. n-1 | rings of queue 0: lane 0..3 | rings of queue 1 | ... ]
 *
 *            sender                            ring slot              block's owner word
 *            take a block                      -                      OWNED(sender)
 *            push                    Q1        FULL(handle)           OWNED(sender)
 *            receiver claims         Q2        CLAIMED(receiver)      OWNED(sender)
 *            writes its name         Q3        CLAIMED(receiver)      TAKEN(receiver, queue)
 *            clears the slot         Q4        EMPTY                  TAKEN(receiver, queue)
 *            has handled it, gives   Q5        -                      OWNED(receiver)
 *            At every line the message is named by the slot, by the block, or by both.
 * OWNERSHIP  send: OK hands the blocks (OWNED, or TAKEN and sent on) to the queue, the refused ones stay with the sender. take:
 *            the blocks are the receiver's until it gives them back (uf_pool_give).
 * THREADS    send: any. take: any, each with its own `struct uf_receiver`.
 * PROGRESS   send, take: lock-free, as uf_ring.h. A lower lane that has messages gets at least one of
 *            every UF_LANE_SHARE that a receiver takes, whatever comes in above it.
 * DEATH      Sender before Q1: recovery frees the block. After: the message is sent; recovery marks
 *            the block RING. Receiver at Q2, Q3: the claim is undone, the message stands at its old
 *            place; so do all that it had claimed with it (UF_CLAIMS at most) and not signed. At Q4: the block becomes ORPHAN; the queue's next receiver adopts orphans first,
 *            in the order of their positions, marked REDELIVERED (or they are freed, if sent
 *            at most once). After Q5: it was handled; recovery frees the block.
 *            A block that was sent on while TAKEN is in a ring: RING. An opener at Q0: recovery frees
 *            the record; at Q13: so does it, if no other opener of the name has settled it before.
 *            Recovery at any step: each step may be done again.
 *            Deleting: OPEN --Q14--> CLOSING --Q16--> FREE. Q14 is one CAS; from then on pushes and
 *            claims of who entered are refused, but for one on its way past its look at the gate:
 *            accepted, it is emptied with the rest. Who deleted dies after Q14, or while it empties:
 *            anybody may go on (the manager does), with what the dead one had as orphans. Before Q16
 *            each lane is empty, a position of it was skipped (Q15) so that no push can be on its way,
 *            it is empty still, and no block says TAKEN or ORPHAN of this queue: what a new queue has
 *            in this record is its own. Who holds a taken message (or sent it on, until it is taken
 *            there) delays that, and nobody else.
 * ORDER      Q3 owner word release -> W2, recovery's acquire   position and attempt are written
 *            Q6 orphans release -> Q7 orphans acquire          the blocks are marked ORPHAN
 *            Q8 state release -> Q9 state acquire              name and receiver are written
 *            Q14 CLOSING, then S3 of every lane -> G1          see uf_ring.h: no push or claim succeeds
 *            after Q16 that looked at the gate before Q14
 *            Q8 NAMED, then Q9 of all others, seq_cst          two openers do not miss each other
 * ERRORS     FULL: this lane. DELETED: this queue, whatever has its record now. MISSING: no queue of this name. NO_SLOT: every record is in use.
 *            BUSY from open: others opened and closed queues at every attempt.
 *            INVALID: index, lane, name. CORRUPT: as uf_ring.h.
 * PROOF      P1: `test_queue_deaths`, `explore_queue`, `explore_names`. P2: `test_queue`, `explore_delete`,
 *            `test_storm`, `steps_finds_slot_cleared_before_the_name`,
 *            `steps_finds_name_left_before_the_push`, `steps_finds_orphan_before_its_mark`. P5:
 *            holds no value. P8: `fuzz_queue`, `fuzz_finds_handle_of_a_slot_believed`.
 * SOURCE     Names in claims, and a recover that reads them: iceoryx2. The receiver's share: deficit
 *            round robin, Shreedhar & Varghese 1996, with a quantum of one message.
 */
#ifndef UF_QUEUE_H
#define UF_QUEUE_H

#include "uf_bell.h"

#define UF_LANES 4u
#define UF_LANE_SHARE 16u
#define UF_QUEUES_MAX 16000u /* a place field has fourteen bits */
#define UF_NAME_BYTES 64u
#define UF_QUEUE_TRIES 64u
#define UF_CLAIMS 16u /* a receiver claims at most so many before it signs the first */

struct uf_queue_record {
    alignas(UF_PAIR) _Atomic uint64_t state; /* [ opens 32 | receiver 10 | phase 8 ]; Q8, Q9     */
    _Atomic uint32_t bell;    /* receivers arm, senders ring; uf_bell.h                           */
    _Atomic uint32_t orphans; /* recovery: there are ORPHAN blocks; the adopter resets it; Q6, Q7 */
    _Atomic uint64_t lost;    /* handles found in a slot that name no block: a damaged region     */
    char name[UF_NAME_BYTES]; /* its opener, before Q8; zero-terminated                           */
};
_Static_assert(sizeof(struct uf_queue_record) == UF_PAIR, "records do not share lines");

enum uf_queue_phase {
    UF_QUEUE_FREE = 0,
    UF_QUEUE_OPENING = 1, /* its opener alone writes the name          */
    UF_QUEUE_OPEN = 2,
    UF_QUEUE_NAMED = 3,   /* the name is written; its rivals are looked for           */
    UF_QUEUE_CLOSING = 4, /* deleted: to be emptied, by whoever comes, and then freed */
};

/* Private to one thread of one attachment. */
struct uf_queues {
    struct uf_queue_record *record;
    uint8_t *rings;
    struct uf_pool *pool; /* of messages */
    uint32_t count;
    uint32_t capacity; /* of each lane */
    uint32_t me;       /* slot + 1 */
    uint32_t limit;    /* messages a lane that sends keep to; 0 as opened: the capacity */
    uint32_t shift;    /* log2(capacity) */
    uint32_t sent_to;  /* the ring sent to last, and */
    uint64_t filled;   /* a position before which it was filled then */
    uint64_t ring_bytes;
};

/* A receiver's own memory; zero, but for queue and opening, to begin with. */
struct uf_receiver {
    uint32_t queue;
    uint64_t opening;           /* takes while this is the record's state; 0: without asking    */
    uint32_t of;                /* the queue that the rest is about, + 1                        */
    uint32_t lane;              /* served last                                                  */
    uint32_t debt[UF_LANES];    /* taken from other lanes since this one was last served        */
    uint64_t cleared[UF_LANES]; /* positions before which all were seen cleared: they stay so    */
};

UF_API uint64_t uf_queues_bytes(uint32_t count, uint32_t capacity);
UF_API int uf_queues_init(void *area, uint64_t bytes, uint32_t count, uint32_t capacity);
UF_API int uf_queues_open(struct uf_queues *queues, void *area, uint64_t bytes,
                          struct uf_pool *pool, uint32_t me);

/* The queue of this name, made if there is none. `*index` tells it to everybody. */
UF_API int uf_queue_open(struct uf_queues *queues, const char *name, uint32_t *index);
UF_API int uf_queue_find(struct uf_queues *queues, const char *name, uint32_t *index);
/* The opening of a queue that stands under this name: it tells the queue from every other that had its
 * record or will have it. MISSING: none does any more. */
UF_API int uf_queue_enter(struct uf_queues *queues, const char *name, uint32_t index,
                          uint64_t *opening);
/* Delete a queue that was entered: nobody finds it any more, who entered it gets DELETED, and its record
 * stays CLOSING. `*closing` is the opening for a receiver that empties it. DELETED: it was before. */
UF_API int uf_queue_delete(struct uf_queues *queues, uint32_t index, uint64_t opening,
                           uint64_t *closing);
/* Whether a queue that was entered has not been deleted. */
UF_API bool uf_queue_stands(const struct uf_queues *queues, uint32_t index, uint64_t opening);
/* The opening for who empties a deleted queue; 0: this record is of none. */
UF_API uint64_t uf_queue_closing(const struct uf_queues *queues, uint32_t index);
/* Free the record of a deleted queue. OK: now, or before. BUSY: something is in it, or was taken from it
 * and is not given back. */
UF_API int uf_queue_retire(struct uf_queues *queues, uint32_t index, uint64_t closing);
/* The queue's name goes; what is still in it is the caller's to take first. */
UF_API int uf_queue_close(struct uf_queues *queues, uint32_t index);
/* Of an open queue, or a deleted one that is not freed. */
UF_API const char *uf_queue_name(const struct uf_queues *queues, uint32_t index);

/* Send blocks that are ours. The number sent (from the first on) or FULL. `*bell` is the bell's word
 * after the push: not AWAKE, the caller wakes (uf_bell_wake). */
UF_API int uf_queue_send(struct uf_queues *queues, uint32_t index, uint32_t lane,
                         const uint32_t *handles, uint32_t count, uint32_t *bell);
/* As uf_queue_send, to a queue that was entered. DELETED: it was, and nothing is sent. */
UF_API int uf_queue_send_to(struct uf_queues *queues, uint32_t index, uint64_t opening,
                            uint32_t lane, const uint32_t *handles, uint32_t count, uint32_t *bell);
/* Take up to `max` messages, urgent lanes first. The number taken, or EMPTY. */
UF_API int uf_queue_take(struct uf_queues *queues, struct uf_receiver *receiver, uint32_t *handles,
                         uint32_t max);
/* Take up to `max` messages that a dead receiver had, oldest first. The number, or EMPTY. */
UF_API int uf_queue_adopt(struct uf_queues *queues, uint32_t index, uint32_t *handles,
                          uint32_t max);
/* The same, for a receiver that entered its queue; DELETED: it was. */
UF_API int uf_queue_adopt_as(struct uf_queues *queues, const struct uf_receiver *receiver,
                             uint32_t *handles, uint32_t max);
/* Arm the bell, then look: EMPTY (sleep now) or OK (there is something; the bell is disarmed). */
UF_API int uf_queue_arm(struct uf_queues *queues, uint32_t index, uint32_t mode, uint32_t *armed);
/* Nothing to take or adopt. seq_cst, for the bell: receivers that share one arm it themselves and
 * leave it armed, for another of them may sleep on it. */
UF_API bool uf_queue_is_empty(struct uf_queues *queues, uint32_t index);
/* Messages in a lane, and whether a dead receiver's wait. */
UF_API uint32_t uf_queue_length(struct uf_queues *queues, uint32_t index, uint32_t lane);
UF_API struct uf_ring uf_queue_lane(const struct uf_queues *queues, uint32_t index, uint32_t lane);
UF_API bool uf_queue_has_orphans(const struct uf_queues *queues, uint32_t index);
/* Where each lane ends now: all that was sent before this call stands before it. */
UF_API int uf_queue_ends(struct uf_queues *queues, uint32_t index, uint64_t ends[UF_LANES]);
/* Whether all that stood before `ends` has been taken, and no dead receiver's messages wait. */
UF_API bool uf_queue_is_past(struct uf_queues *queues, uint32_t index,
                             const uint64_t ends[UF_LANES]);
UF_API _Atomic uint32_t *uf_queue_bell(struct uf_queues *queues, uint32_t index);

struct uf_queue_recovery {
    uint32_t unclaimed; /* claims undone                                     */
    uint32_t orphaned;  /* taken messages that wait for the next receiver    */
    uint32_t freed;     /* blocks that the dead process had                  */
    uint32_t dropped;   /* taken, sent at most once: freed                   */
};
/* Give back everything slot `dead` (+ 1) held in queues and messages. `seen`: zeroed private memory,
 * uf_pool_seen_bytes. Under the dead slot's lock (uf_owner_begin_recovery). */
UF_API void uf_queue_recover(struct uf_queues *queues, uint32_t dead, uint64_t *seen,
                             struct uf_queue_recovery *done);

#endif
