/* uf_declared.h -- what is declared of namespaces: which are caches, and how long their entries live.
 *
 * WHAT       A namespace may be declared a cache: a full store takes back entries of it (uf_clock.h). It may
 *            be declared to give a time to live to entries that bring none. Every process knows at once.
 * PICTURE    area:     [ head ][ record 0 | record 1 | ... | record 255 ]     a namespace's: hash % 256 and on
 *            record:   [ hash | settings | evicted | expired | length | name 192 ]
 *            settings: [ ttl in ms 48 | 0 14 | cache 1 | told 1 ]              0: nothing is declared
 *
 *            a record: 0 --N1 hash CAS--> the namespace's, for good; N2 name, N3 settings, again and again
 * OWNERSHIP  A record is its namespace's, nobody's to give away: a record is known by the hash, which all who
 *            declare this name compute alike. They also write the same name into it.
 * THREADS    All calls from any thread.
 * PROGRESS   declare, find: wait-free, one pass over the records at most. count: wait-free.
 * DEATH      N1 (hash, no settings): a record that declares nothing; the next who declares the name goes on.
 *            N2 (part of the name): the same. Nothing is left to mend.
 * ORDER      N3 settings release -> N4 settings acquire   the name is whole
 * ERRORS     TOO_BIG: the name is longer than a record has room for. FULL: 256 other namespaces are declared.
 *            CORRUPT: open only.
 * PROOF      P1, P2: a death leaves nothing, what is declared stays so: `explore_declared`, `test_declared`,
 *            `steps_finds_declared_before_its_name`. P5: holds no
 *            value. P8: `test_declared`: lengths, hashes and settings of anybody's making.
 * SOURCE     Open addressing in which a key is inserted by one CAS and never removed: Click 2007.
 */
#ifndef UF_DECLARED_H
#define UF_DECLARED_H

#include "uf_pool.h"

#define UF_DECLARED 256u
#define UF_DECLARED_NAME_BYTES 192u
#define UF_DECLARED_TOLD 1ull
#define UF_DECLARED_CACHE 2ull
#define UF_DECLARED_TTL_SHIFT 16u
#define UF_DECLARED_TTL_MAX_MS ((1ull << 48) - 1)

struct uf_declaration {
    alignas(UF_PAIR) _Atomic uint64_t hash; /* N1; 0: nobody's yet                            */
    _Atomic uint64_t settings;              /* N3, N4; who declares it last                   */
    _Atomic uint64_t evicted;               /* whoever evicts: entries taken back             */
    _Atomic uint64_t expired;               /* whoever removes one whose time is over         */
    _Atomic uint64_t length;                /* N2                                             */
    _Atomic uint64_t name[UF_DECLARED_NAME_BYTES / 8]; /* N2, zero-padded                        */
};
_Static_assert(sizeof(struct uf_declaration) == 2 * UF_PAIR, "records do not share lines");

struct uf_declared_head {
    alignas(UF_PAIR) _Atomic uint64_t any; /* 1 once anything is declared: spares the search  */
    alignas(UF_PAIR) _Atomic uint64_t hand[UF_CLASSES]; /* uf_clock.h: a size's next block    */
    _Atomic uint64_t evicted;                           /* whoever evicts: of all namespaces */
    _Atomic uint64_t expired;                           /* whoever removes one that is over */
    uint64_t reserved[2];
};
_Static_assert(sizeof(struct uf_declared_head) == 2 * UF_PAIR,
               "the hands have a line to themselves");

/* Private. */
struct uf_declared {
    struct uf_declared_head *head;
    struct uf_declaration *record;
    uint64_t seed;
};

static inline uint64_t uf_declared_bytes(void)
{
    return sizeof(struct uf_declared_head) + UF_DECLARED * sizeof(struct uf_declaration);
}

/* A zeroed area declares nothing. */
UF_API int uf_declared_open(struct uf_declared *declared, void *area, uint64_t bytes,
                            uint64_t seed);
/* What holds from now on: settings 0 is nothing. */
UF_API int uf_declare(struct uf_declared *declared, const void *name, uint64_t bytes,
                      uint64_t settings);
/* A namespace's record, NULL where it never had one. */
UF_API struct uf_declaration *uf_declared_find(const struct uf_declared *declared, const void *name,
                                               uint64_t bytes);
/* The record of this index, its name copied to `name` (UF_DECLARED_NAME_BYTES). MISSING: declares nothing. */
UF_API int uf_declared_at(const struct uf_declared *declared, uint32_t index, uint64_t *settings,
                          void *name, uint32_t *bytes);
/* Count entries that went; `record` may be NULL. */
UF_API void uf_declared_count(struct uf_declared *declared, struct uf_declaration *record,
                              uint64_t evicted, uint64_t expired);

/* What was counted of a namespace, or of all when `record` is NULL. */
UF_API void uf_declared_counted(const struct uf_declared *declared,
                                const struct uf_declaration *record, uint64_t *evicted,
                                uint64_t *expired);

/* Whether anything was ever declared. */
static inline bool uf_declared_any(const struct uf_declared *declared)
{
    /* Relaxed: a declaration that returned before this call is seen by coherence of what it orders
     * (the caller's order with the declarer); nothing is read through it but the records, which are
     * atomic. */
    return atomic_load_explicit(&declared->head->any, memory_order_relaxed) != 0;
}

/* What is declared of a namespace; 0: nothing. */
static inline uint64_t uf_declared_settings(const struct uf_declared *declared, const void *name,
                                            uint64_t bytes)
{
    const struct uf_declaration *record =
        uf_declared_any(declared) ? uf_declared_find(declared, name, bytes) : NULL;
    /* Relaxed: the word is all there is. */
    return record == NULL ? 0 : atomic_load_explicit(&record->settings, memory_order_relaxed);
}

#endif
