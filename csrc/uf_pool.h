/* uf_pool.h -- blocks of shared memory in size classes; every block names who has it.
 *
 * WHAT       Fixed numbers of blocks of up to 12 sizes, each a 64-byte head and a payload. A block
 *            is addressed by a handle, never by a pointer. The same pool holds messages (areas
 *            MESSAGES) and stored values (VALUES).
 * PICTURE    area:   [ head | class table | bits of class 0 | ... | blocks of class 0 | ... ]
 *            handle: [ class 4 | index + 1 22 ]   26 bits, 0 is no block
 *            owner:  [ version 36 | state 4 | owner 10 | place 14 ]
 *
 *            FREE --take--> OWNED --push, pop--> TAKEN --give--> OWNED --release--> FREE (v + 1)
 *                             \--set--> TABLE --replace, delete--> OWNED
 *            a taker died: TAKEN -> ORPHAN;  found in a ring by recovery: OWNED -> RING
 *            a payload of many receivers: OWNED -> SHARED -> FREE (v + 1), see uf_share.h
 *            an entry read in place: TABLE -> HELD -> TABLE, or FREE (v + 1), see uf_hold.h
 * OWNERSHIP  The owner word is the truth; the bitmaps only say where to look (uf_bits.h). OWNED by a
 *            process: in its cache, being filled, or pushed by it and still in a ring (then the
 *            ring's slot names the block as well, see uf_queue.h). Blocks are type-stable: a block
 *            stays a block of its class for ever, so a late reader reads old bytes, never unmapped
 *            ones, and learns of it from the version.
 * THREADS    A `struct uf_pool` (with its cache of free blocks) belongs to one thread at a time.
 *            Any number of them work on the same area.
 * PROGRESS   take, give, give_many: wait-free; one array access a block when the cache serves, else one
 *            pass over a bitmap with one CAS a block taken, and an atomic operation a word of bits.
 * DEATH      P1 (bits cleared, CAS not done): hidden until uf_pool_repair. P2 (OWNED): found by its
 *            owner word. P3 (FREE, bit not yet set): hidden until uf_pool_repair. P4 (OWNED, in the
 *            cache): as P2. Blocks in a dead process's cache, or being filled, carry its name. A repair
 *            beside a living taker or giver may set a bit that is just cleared, or about to be set:
 *            then it lies, until somebody trips over it.
 * ORDER      W1 owner word release -> W2 owner word acquire   what the last owner did with the block
 *            is behind the next one. B1, B3 in uf_bits.h.
 * ERRORS     NO_BLOCK: this class and the next larger ones are exhausted, each block seen taken in one
 *            pass, not all at one moment. TOO_BIG: no class is large enough. INVALID: the handle
 *            names no block, or a block that is not ours (given twice). CORRUPT: open only.
 * PROOF      P1: `test_pool`, `explore_pool`, `steps`. P2: one owner a block,
 *            `linear_finds_take_without_comparing`, `linear_finds_give_of_anybodys`. P5: as
 *            uf_table.h. P8: `fuzz_queue`, `fuzz_finds_pool_larger_than_its_area`.
 * SOURCE     Size classes and per-thread caches: Bonwick & Adams 2001 (magazines). Owner in the claim:
 *            iceoryx2's robust index set.
 */
#ifndef UF_POOL_H
#define UF_POOL_H

#include "uf_bits.h"
#include "uf_owner.h"

#define UF_CLASSES 12u
#define UF_CACHE 64u
#define UF_CACHE_BYTES 32768u
#define UF_INDEX_BITS 22u
#define UF_HANDLE_BITS 26u
#define UF_HANDLE_NONE 0u
#define UF_BLOCK_HEAD 64u

enum uf_block_state {
    UF_BLOCK_FREE = 0,
    UF_BLOCK_OWNED = 1,  /* owner: has it, or pushed it into a ring            */
    UF_BLOCK_TAKEN = 2,  /* owner: handles it; place: the queue it came from   */
    UF_BLOCK_TABLE = 3,  /* owner: published it (or is about to)               */
    UF_BLOCK_ORPHAN = 4, /* place: the queue whose next receiver delivers it   */
    UF_BLOCK_RING = 5,   /* its sender is dead and mended; a ring slot names it */
    UF_BLOCK_SHARED = 6, /* owner and place: who holds it, see uf_share.h      */
    UF_BLOCK_HELD = 7,   /* as TABLE; owner and place: whose views keep it, see uf_hold.h */
};
#define UF_PLACE_REFERENCE 0x3fffu /* of an OWNED block: it holds a payload, see uf_share.h */

/* The head of a block that carries a message. Written by the owner while OWNED, then only by the
 * taker (position, attempt). */
struct uf_message {
    _Atomic uint64_t owner; /* see PICTURE; W1, W2                                      */
    uint64_t position;      /* where it stood in its ring when it was taken: uf_queue.h */
    uint32_t payload_bytes;
    uint8_t kind;         /* what the runtime means by it                             */
    uint8_t lane;         /* priority, 0 first                                        */
    uint16_t flags;       /* UF_MESSAGE_*                                             */
    uint64_t sender;      /* agent id, or 0                                           */
    uint64_t receiver;    /* agent id, or 0                                           */
    uint64_t correlation; /* ties a reply to its request                             */
    uint64_t sent_ns;     /* intended send time, CLOCK_MONOTONIC                      */
    uint16_t reply_queue; /* index + 1 of the queue that wants the answer, or 0       */
    uint8_t codec;        /* how the payload is encoded                               */
    uint8_t attempt;      /* deliveries begun before this one (a death in recovery: 1 more) */
    uint32_t extra;       /* meaning depends on kind                                  */
};

/* The head of a block that carries a stored entry. Written while OWNED, constant while TABLE. */
struct uf_value {
    _Atomic uint64_t owner;        /* see PICTURE; W1, W2                            */
    _Atomic uint64_t holders;      /* whose views keep the block: uf_hold.h          */
    _Atomic uint64_t sizes;        /* uf_value_sizes: a late reader may race a writer */
    _Atomic uint64_t hash;         /* of namespace and key; the owner, while it fills  */
    _Atomic uint64_t more_holders; /* the same                                      */
    _Atomic uint64_t expires_ns;   /* CLOCK_REALTIME, 0 for never                     */
    _Atomic uint32_t tag;          /* the value's type, the codec's business          */
    _Atomic uint32_t use; /* UF_USE_*: its writer, then readers and the hand of uf_clock.h */
    uint64_t reserved2;
};
/* [ key 16 | namespace 16 | value 32 ]: bytes of the value, of the namespace's name (first in the
 * payload) and of the key (then, both padded to 8; then the value). */
static inline uint64_t uf_value_sizes(uint16_t space_bytes, uint16_t key_bytes,
                                      uint32_t value_bytes)
{
    return (uint64_t)key_bytes << 48 | (uint64_t)space_bytes << 32 | value_bytes;
}
_Static_assert(sizeof(struct uf_message) == UF_BLOCK_HEAD, "a head is one line");
_Static_assert(sizeof(struct uf_value) == UF_BLOCK_HEAD, "a head is one line");
_Static_assert(offsetof(struct uf_message, owner) == 0, "both heads begin with the owner word");
_Static_assert(offsetof(struct uf_value, owner) == 0, "both heads begin with the owner word");

enum uf_use {
    UF_USE_NONE = 0, /* not a cache's entry: readers leave it alone            */
    UF_USE_IDLE = 1, /* a cache's, and not read since the hand came by          */
    UF_USE_SEEN = 2, /* a cache's, and read since                               */
};

#define UF_MESSAGE_REDELIVERED 1u /* its last taker died before it was done with it            */
#define UF_MESSAGE_ONCE 2u        /* at most once: a taken message is not delivered again      */
#define UF_MESSAGE_REFERENCE 4u   /* its payload lies in a SHARED block: uf_share.h            */
#define UF_MESSAGE_TRACED 8u      /* UF_TRACE_BYTES behind the payload name a trace             */
#define UF_TRACE_BYTES 32u

struct uf_class_spec {
    uint32_t block_bytes; /* with the head; a multiple of 64 */
    uint32_t count;
};

struct uf_class {
    uint8_t *blocks;
    _Atomic uint64_t *bits;
    uint32_t block_bytes;
    uint32_t count;
    uint32_t cache_max;
    uint32_t cursor; /* the word of bits to look at first                      */
    uint32_t owed;   /* blocks to take before the look begins at word 0 again  */
    uint32_t cached;
    uint32_t cache[UF_CACHE]; /* handles, OWNED by us */
};

/* Private to one thread of one attachment; counts are verified copies. */
struct uf_pool {
    uint32_t me; /* slot + 1 */
    uint32_t classes;
    struct uf_class class[UF_CLASSES];
};

/* The owner word. */
static inline uint64_t uf_word(uint64_t version, uint32_t state, uint32_t owner, uint32_t place)
{
    return (version << 28) | ((uint64_t)state << 24) | ((uint64_t)owner << 14) | place;
}
static inline uint64_t uf_word_version(uint64_t word)
{
    return word >> 28;
}
static inline uint32_t uf_word_state(uint64_t word)
{
    return (uint32_t)(word >> 24) & 0xf;
}
static inline uint32_t uf_word_owner(uint64_t word)
{
    return (uint32_t)(word >> 14) & 0x3ff;
}
static inline uint32_t uf_word_place(uint64_t word)
{
    return (uint32_t)word & 0x3fff;
}
/* The same version with another state, owner and place. */
static inline uint64_t uf_word_as(uint64_t word, uint32_t state, uint32_t owner, uint32_t place)
{
    return uf_word(uf_word_version(word), state, owner, place);
}

/* What stays of the owner word while the block is one entry: the version, and that it is TABLE or HELD. */
#define UF_WORD_ENTRY (~0ull << 28 | 0xbull << 24)
static inline bool uf_word_is_entry(uint64_t word)
{
    return (word & 0xbull << 24) == (uint64_t)UF_BLOCK_TABLE << 24;
}
_Static_assert((UF_BLOCK_HELD & 0xb) == UF_BLOCK_TABLE, "one bit tells them apart");

static inline uint32_t uf_handle(uint32_t class, uint32_t index)
{
    return (class << UF_INDEX_BITS) | (index + 1);
}
static inline uint32_t uf_handle_class(uint32_t handle)
{
    return handle >> UF_INDEX_BITS;
}
static inline uint32_t uf_handle_index(uint32_t handle)
{
    return (handle & ((1u << UF_INDEX_BITS) - 1)) - 1; /* of no block: huge, refused below */
}

/* The block's head, or NULL for a handle that names no block. */
static inline void *uf_pool_block(const struct uf_pool *pool, uint32_t handle)
{
    uint32_t class = uf_handle_class(handle);
    uint32_t index = uf_handle_index(handle);
    if (UF_UNLIKELY(class >= pool->classes || index >= pool->class[class].count)) {
        return NULL;
    }
    return pool->class[class].blocks + (uint64_t)index * pool->class[class].block_bytes;
}

/* Bytes the block can carry behind its head; the handle is good. */
static inline uint32_t uf_pool_room(const struct uf_pool *pool, uint32_t handle)
{
    return pool->class[uf_handle_class(handle)].block_bytes - UF_BLOCK_HEAD;
}

UF_API uint64_t uf_pool_bytes(const struct uf_class_spec *specs, uint32_t classes);
/* Lay out a zeroed area. Classes grow in block_bytes. */
UF_API int uf_pool_init(void *area, uint64_t bytes, const struct uf_class_spec *specs,
                        uint32_t classes);
UF_API int uf_pool_open(struct uf_pool *pool, void *area, uint64_t bytes, uint32_t me);

/* A block with room for `payload_bytes`: OWNED by us, its head undefined but for the owner word. */
UF_API int uf_pool_take(struct uf_pool *pool, uint32_t payload_bytes, uint32_t *handle);
/* Give back a block that is ours (OWNED or TAKEN). */
UF_API int uf_pool_give(struct uf_pool *pool, uint32_t handle);
/* A message of ours has been handled: no death brings it back. It is still ours to give. */
UF_API int uf_pool_handled(struct uf_pool *pool, uint32_t handle);
/* Give back many at once, those that are not ours left alone; the number given. A receiver that gives
 * what it took shows a word of bits at a time, where uf_pool_give shows a block's. */
UF_API uint32_t uf_pool_give_many(struct uf_pool *pool, const uint32_t *handles, uint32_t count);
/* Release every cached block; before leaving. */
UF_API void uf_pool_flush(struct uf_pool *pool);

/* Recovery: free a block whose owner word is still `word`. False: somebody else has it now. */
UF_API bool uf_pool_reclaim(struct uf_pool *pool, uint32_t handle, uint64_t word);
/* Recovery: make visible again every FREE block whose bit was lost (P3). Counts them. */
UF_API uint32_t uf_pool_repair(struct uf_pool *pool);
/* Blocks whose word says FREE, and blocks in all: exact when nobody works. */
UF_API void uf_pool_count(const struct uf_pool *pool, uint32_t class, uint32_t *free_blocks,
                          uint32_t *blocks, uint32_t *block_bytes);

/* One bit for every block of the pool, for recovery's "seen in a ring or table" set. */
static inline uint64_t uf_pool_seen_bytes(const struct uf_pool *pool)
{
    uint64_t bytes = 0;
    for (uint32_t c = 0; c < pool->classes; c++) {
        bytes += uf_bits_bytes(pool->class[c].count);
    }
    return bytes;
}
/* Private memory, one writer: plain words. */
UF_API bool uf_pool_seen(const struct uf_pool *pool, uint64_t *seen, uint32_t handle, bool mark);

#endif
