#include "uf_pool.h"

#include <string.h>

/* The start of the area, written before publication. */
struct uf_pool_head {
    uint32_t classes;
    uint32_t reserved;
    struct uf_class_spec class[UF_CLASSES];
};

static uint64_t head_bytes(void)
{
    return uf_round_up(sizeof(struct uf_pool_head), UF_PAIR);
}

static uint64_t bits_bytes(const struct uf_class_spec *spec)
{
    return uf_round_up(uf_bits_bytes(spec->count), UF_PAIR);
}

static bool specs_are_sound(const struct uf_class_spec *specs, uint32_t classes)
{
    uint32_t last = UF_BLOCK_HEAD;
    if (classes == 0 || classes > UF_CLASSES) {
        return false;
    }
    for (uint32_t c = 0; c < classes; c++) {
        if (specs[c].block_bytes <= last || specs[c].block_bytes % UF_LINE != 0 ||
            specs[c].count >= (1u << UF_INDEX_BITS) - 1) {
            return false;
        }
        last = specs[c].block_bytes;
    }
    return true;
}

uint64_t uf_pool_bytes(const struct uf_class_spec *specs, uint32_t classes)
{
    uint64_t bytes = head_bytes();
    for (uint32_t c = 0; c < classes; c++) {
        bytes += bits_bytes(&specs[c]);
        bytes += uf_round_up((uint64_t)specs[c].block_bytes * specs[c].count, UF_PAIR);
    }
    return bytes;
}

/* Where each class lies. The same arithmetic serves init and open. */
static void place(struct uf_pool *pool, uint8_t *area, const struct uf_class_spec *specs,
                  uint32_t classes)
{
    uint8_t *at = area + head_bytes();
    pool->classes = classes;
    for (uint32_t c = 0; c < classes; c++) {
        pool->class[c].bits = (_Atomic uint64_t *)(void *)at;
        pool->class[c].block_bytes = specs[c].block_bytes;
        pool->class[c].count = specs[c].count;
        /* A cache never keeps more than a 32nd of the class from everybody else, nor much memory: of
         * large blocks, the few that are in use go round, and stay in the machine's caches. */
        uint32_t share = specs[c].count / 32;
        uint32_t few = UF_CACHE_BYTES / specs[c].block_bytes;
        uint32_t most = share < few ? share : few;
        pool->class[c].cache_max = most > UF_CACHE ? UF_CACHE : most;
        at += bits_bytes(&specs[c]);
    }
    for (uint32_t c = 0; c < classes; c++) {
        pool->class[c].blocks = at;
        at += uf_round_up((uint64_t)specs[c].block_bytes * specs[c].count, UF_PAIR);
    }
}

int uf_pool_init(void *area, uint64_t bytes, const struct uf_class_spec *specs, uint32_t classes)
{
    struct uf_pool pool;
    struct uf_pool_head *head = area;
    if (!specs_are_sound(specs, classes) || bytes < uf_pool_bytes(specs, classes)) {
        return UF_INVALID;
    }
    head->classes = classes;
    memcpy(head->class, specs, classes * sizeof *specs);
    place(&pool, area, specs, classes);
    for (uint32_t c = 0; c < classes; c++) {
        uf_bits_fill(pool.class[c].bits, specs[c].count); /* zeroed owner words say FREE */
    }
    return UF_OK;
}

int uf_pool_open(struct uf_pool *pool, void *area, uint64_t bytes, uint32_t me)
{
    struct uf_pool_head head;
    memset(pool, 0, sizeof *pool);
    if (area == NULL || bytes < sizeof head) {
        return UF_CORRUPT;
    }
    memcpy(&head, area, sizeof head);
    if (!specs_are_sound(head.class, head.classes) ||
        uf_pool_bytes(head.class, head.classes) > bytes) {
        return UF_CORRUPT;
    }
    place(pool, area, head.class, head.classes);
    pool->me = me;
    return UF_OK;
}

static _Atomic uint64_t *word_of(const struct uf_class *class, uint32_t index)
{
    return (_Atomic uint64_t *)(void *)(class->blocks + (uint64_t)index * class->block_bytes);
}

/* Which bits of a word name blocks: a hostile one past the end does not. */
static uint64_t real_bits(const struct uf_class *class, uint32_t word)
{
    uint32_t left = class->count - word * 64;
    return left >= 64 ? ~0ull : (1ull << left) - 1;
}

/* The lowest `count` of the set bits. */
static uint64_t lowest(uint64_t bits, uint32_t count)
{
    uint64_t rest = bits;
    while (count-- > 0 && rest != 0) {
        rest &= rest - 1;
    }
    return bits & ~rest;
}

/* Own the blocks whose bits we have picked; those that are not free after all stay without a bit until
 * whoever has them gives them back. */
static uint32_t own_picked(struct uf_pool *pool, uint32_t c, uint32_t word, uint64_t picked,
                           uint32_t *handles)
{
    struct uf_class *class = &pool->class[c];
    uint32_t got = 0;
    for (uint64_t bits = picked; bits != 0; bits &= bits - 1) {
        /* Heads and what follows them come from the core that read them last: all at once, not each
         * when its CAS waits for it. */
        uint8_t *block = (uint8_t *)word_of(class, word * 64 + (uint32_t)__builtin_ctzll(bits));
        uf_prefetch(block);
        uf_prefetch(block + UF_BLOCK_HEAD);
    }
    for (uint64_t bits = picked; bits != 0; bits &= bits - 1) {
        uint32_t index = word * 64 + (uint32_t)__builtin_ctzll(bits);
        _Atomic uint64_t *owner = word_of(class, index);
        uint64_t seen = atomic_load_explicit(owner, memory_order_relaxed); /* the CAS judges */
        UF_STEP(P1);
        /* W2 <- W1. Acquire: the last owner's reads and writes are behind ours, also when another than
         * it has set the bit (uf_pool_repair). Failure relaxed: nothing is read after it. */
        if (uf_word_state(seen) == UF_BLOCK_FREE &&
            atomic_compare_exchange_strong_explicit(owner, &seen,
                                                    uf_word_as(seen, UF_BLOCK_OWNED, pool->me, 0),
                                                    memory_order_acquire, memory_order_relaxed)) {
            UF_STEP(P2);
            handles[got++] = uf_handle(c, index);
        }
    }
    return got;
}

/* Up to `want` free blocks of those that one word's bits name. */
static uint32_t take_from_word(struct uf_pool *pool, uint32_t c, uint32_t word, uint32_t want,
                               uint32_t *handles)
{
    struct uf_class *class = &pool->class[c];
    uint32_t got = 0;
    /* Relaxed: a hint. */
    uint64_t bits = atomic_load_explicit(&class->bits[word], memory_order_relaxed);
    bits &= real_bits(class, word);
    while (got < want && bits != 0) {
        uint64_t wanted = lowest(bits, want - got);
        uint64_t picked = uf_bits_pick(class->bits, word, wanted);
        got += own_picked(pool, c, word, picked, handles + got);
        bits &= ~wanted;
    }
    return got;
}

/* Up to `want` free blocks of class c, into handles[]. One pass over the bitmap at most.
 *
 * The lowest blocks first, for they were used last and are still in somebody's cache: the look begins at
 * word 0 again as soon as as many blocks were taken as words were passed over the last time. */
static uint32_t take_shared(struct uf_pool *pool, uint32_t c, uint32_t want, uint32_t *handles)
{
    struct uf_class *class = &pool->class[c];
    uint32_t words = (uint32_t)(uf_bits_bytes(class->count) / 8);
    uint32_t got = 0;
    bool from_the_lowest = class->owed == 0;
    if (from_the_lowest) {
        class->cursor = 0;
    }
    for (uint32_t pass = 0; pass < words && got < want; pass++) {
        uint32_t index;
        if (uf_bits_find(class->bits, class->count, &class->cursor, &index) != UF_OK) {
            break;
        }
        got += take_from_word(pool, c, index / 64, want - got, handles + got);
    }
    uint32_t owed = from_the_lowest ? class->cursor : class->owed;
    class->owed = owed > got ? owed - got : 0;
    return got;
}

int uf_pool_take(struct uf_pool *pool, uint32_t payload_bytes, uint32_t *handle)
{
    bool fits = false;
    uint32_t tried = 0;
    for (uint32_t c = 0; c < pool->classes; c++) {
        struct uf_class *class = &pool->class[c];
        if (class->block_bytes - UF_BLOCK_HEAD < payload_bytes || class->count == 0) {
            continue;
        }
        fits = true;
        if (UF_UNLIKELY(class->cached == 0)) {
            uint32_t want = class->cache_max / 2;
            class->cached = take_shared(pool, c, want == 0 ? 1 : want, class->cache);
        }
        if (UF_LIKELY(class->cached != 0)) {
            *handle = class->cache[--class->cached];
            return UF_OK;
        }
        if (++tried == 3) {
            break; /* a small message may borrow a somewhat larger block, not the largest */
        }
    }
    return fits ? UF_NO_BLOCK : UF_TOO_BIG;
}

/* Free blocks whose bits are yet to be shown: of one word at a time. */
struct showing {
    struct uf_class *class;
    uint32_t word;
    uint64_t bits;
};

static void show(struct showing *showing)
{
    if (showing->bits != 0) {
        uf_bits_show(showing->class->bits, showing->word, showing->bits);
        showing->bits = 0;
    }
}

/* Free a block that is ours. Its bit is shown with those of its neighbours, at the latest by show(). */
static void release(struct showing *showing, struct uf_class *class, uint32_t handle)
{
    uint32_t index = uf_handle_index(handle);
    _Atomic uint64_t *owner = word_of(class, index);
    uint64_t word = atomic_load_explicit(owner, memory_order_relaxed); /* ours */
    if (showing->class != class || showing->word != index / 64) {
        show(showing);
        showing->class = class;
        showing->word = index / 64;
    }
    /* W1 -> W2. Release: our use of the block is over before anybody else can own it; and for
     * recovery: a message no longer TAKEN has been handled. */
    atomic_store_explicit(owner, uf_word(uf_word_version(word) + 1, UF_BLOCK_FREE, 0, 0),
                          memory_order_release);
    UF_STEP(P3);
    showing->bits |= 1ull << (index % 64);
}

/* Release cached blocks, the last ones first, until `keep` are left. */
static void shrink(struct showing *showing, struct uf_class *class, uint32_t keep)
{
    while (class->cached > keep) {
        release(showing, class, class->cache[--class->cached]);
    }
}

/* The class of a block that is ours to give, or NULL. */
static struct uf_class *class_of_ours(struct uf_pool *pool, uint32_t handle, uint64_t *word)
{
    _Atomic uint64_t *owner = uf_pool_block(pool, handle);
    if (owner == NULL) {
        return NULL;
    }
    *word = atomic_load_explicit(owner, memory_order_relaxed); /* ours, or refused */
    uint32_t state = uf_word_state(*word);
    if (uf_word_owner(*word) != pool->me || (state != UF_BLOCK_OWNED && state != UF_BLOCK_TAKEN)) {
        return NULL;
    }
    return &pool->class[uf_handle_class(handle)];
}

static void keep(struct uf_pool *pool, struct uf_class *class, uint32_t handle, uint64_t word)
{
    /* W1. Release, for recovery alone: a message no longer TAKEN has been handled. */
    atomic_store_explicit(word_of(class, uf_handle_index(handle)),
                          uf_word_as(word, UF_BLOCK_OWNED, pool->me, 0), memory_order_release);
    UF_STEP(P4);
    class->cache[class->cached++] = handle;
}

int uf_pool_give(struct uf_pool *pool, uint32_t handle)
{
    struct showing showing = {0};
    uint64_t word;
    struct uf_class *class = class_of_ours(pool, handle, &word);
    if (class == NULL) {
        return UF_INVALID;
    }
    if (UF_LIKELY(class->cached < class->cache_max)) {
        keep(pool, class, handle, word);
        return UF_OK;
    }
    release(&showing, class, handle);
    shrink(&showing, class, class->cache_max / 2);
    show(&showing);
    return UF_OK;
}

int uf_pool_handled(struct uf_pool *pool, uint32_t handle)
{
    _Atomic uint64_t *owner = uf_pool_block(pool, handle);
    if (owner == NULL) {
        return UF_INVALID;
    }
    uint64_t word = atomic_load_explicit(owner, memory_order_relaxed); /* ours, or refused */
    if (uf_word_owner(word) != pool->me || uf_word_state(word) != UF_BLOCK_TAKEN) {
        return UF_INVALID;
    }
    /* W1. Release, for recovery alone: as in give. */
    atomic_store_explicit(owner, uf_word_as(word, UF_BLOCK_OWNED, pool->me, 0),
                          memory_order_release);
    UF_STEP(P4);
    return UF_OK;
}

uint32_t uf_pool_give_many(struct uf_pool *pool, const uint32_t *handles, uint32_t count)
{
    struct showing showing = {0};
    uint32_t given = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t word;
        struct uf_class *class = class_of_ours(pool, handles[i], &word);
        if (UF_UNLIKELY(class == NULL)) {
            continue;
        }
        if (class->cached < class->cache_max) {
            keep(pool, class, handles[i], word);
        } else {
            release(&showing, class, handles[i]);
        }
        given++;
    }
    show(&showing);
    return given;
}

void uf_pool_flush(struct uf_pool *pool)
{
    struct showing showing = {0};
    for (uint32_t c = 0; c < pool->classes; c++) {
        shrink(&showing, &pool->class[c], 0);
    }
    show(&showing);
}

bool uf_pool_reclaim(struct uf_pool *pool, uint32_t handle, uint64_t word)
{
    _Atomic uint64_t *owner = uf_pool_block(pool, handle);
    if (owner == NULL) {
        return false;
    }
    uint64_t freed = uf_word(uf_word_version(word) + 1, UF_BLOCK_FREE, 0, 0);
    /* W1, W2. Release: as a give; acquire: the dead owner's writes are behind us. Failure relaxed:
     * the block has another owner now and nothing of it is read. */
    if (!atomic_compare_exchange_strong_explicit(owner, &word, freed, memory_order_acq_rel,
                                                 memory_order_relaxed)) {
        return false;
    }
    UF_STEP(P5);
    uf_bits_set(pool->class[uf_handle_class(handle)].bits, uf_handle_index(handle));
    return true;
}

uint32_t uf_pool_repair(struct uf_pool *pool)
{
    uint32_t mended = 0;
    for (uint32_t c = 0; c < pool->classes; c++) {
        struct uf_class *class = &pool->class[c];
        for (uint32_t index = 0; index < class->count; index++) {
            uint64_t bits = atomic_load_explicit(&class->bits[index / 64], memory_order_relaxed);
            /* Relaxed: a bit set wrongly costs a failed CAS. */
            uint64_t word = atomic_load_explicit(word_of(class, index), memory_order_relaxed);
            if ((bits >> (index % 64) & 1) == 0 && uf_word_state(word) == UF_BLOCK_FREE) {
                uf_bits_set(class->bits, index);
                mended++;
            }
        }
    }
    return mended;
}

void uf_pool_count(const struct uf_pool *pool, uint32_t class, uint32_t *free_blocks,
                   uint32_t *blocks, uint32_t *block_bytes)
{
    *free_blocks = *blocks = *block_bytes = 0;
    if (class >= pool->classes) {
        return;
    }
    const struct uf_class *c = &pool->class[class];
    *blocks = c->count;
    *block_bytes = c->block_bytes;
    for (uint32_t index = 0; index < c->count; index++) {
        uint64_t word = atomic_load_explicit(word_of(c, index), memory_order_relaxed); /* count */
        *free_blocks += uf_word_state(word) == UF_BLOCK_FREE;
    }
}

bool uf_pool_seen(const struct uf_pool *pool, uint64_t *seen, uint32_t handle, bool mark)
{
    uint32_t class = uf_handle_class(handle);
    uint32_t index = uf_handle_index(handle);
    if (class >= pool->classes || index >= pool->class[class].count) {
        return false;
    }
    for (uint32_t c = 0; c < class; c++) {
        seen += uf_bits_bytes(pool->class[c].count) / 8;
    }
    uint64_t bit = 1ull << (index % 64);
    bool was = (seen[index / 64] & bit) != 0;
    if (mark) {
        seen[index / 64] |= bit;
    }
    return was;
}
