#include "uf_declared.h"

#include <string.h>

int uf_declared_open(struct uf_declared *declared, void *area, uint64_t bytes, uint64_t seed)
{
    if (area == NULL || bytes < uf_declared_bytes()) {
        return UF_CORRUPT;
    }
    declared->head = area;
    declared->record = (struct uf_declaration *)(void *)((uint8_t *)area + sizeof *declared->head);
    declared->seed = seed;
    return UF_OK;
}

/* Never 0. Its words are mixed as a key's are: by a product of 128 bits, folded. */
static uint64_t hash_of(uint64_t seed, const uint8_t *name, uint64_t bytes)
{
    uint64_t hash = seed ^ bytes * 0x9e3779b97f4a7c15ull;
    for (uint64_t i = 0; i < bytes; i += 8) {
        uint64_t word = 0;
        memcpy(&word, name + i, bytes - i < 8 ? bytes - i : 8);
        unsigned __int128 product = (unsigned __int128)(hash ^ word) * 0xd6e8feb86659fd93ull;
        hash = (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    hash ^= hash >> 29;
    return hash == 0 ? 1 : hash;
}

struct uf_declaration *uf_declared_find(const struct uf_declared *declared, const void *name,
                                        uint64_t bytes)
{
    uint64_t hash = hash_of(declared->seed, name, bytes);
    for (uint32_t i = 0; i < UF_DECLARED; i++) {
        struct uf_declaration *record = &declared->record[(hash + i) % UF_DECLARED];
        /* Relaxed: written once; which record it is follows from the value. */
        uint64_t found = atomic_load_explicit(&record->hash, memory_order_relaxed);
        if (found == hash) {
            return record;
        }
        if (found == 0) {
            break; /* records are never emptied: it is not behind this one */
        }
    }
    return NULL;
}

/* The namespace's record, made if need be; NULL when there is none left. */
static struct uf_declaration *record_of(struct uf_declared *declared, uint64_t hash)
{
    for (uint32_t i = 0; i < UF_DECLARED; i++) {
        struct uf_declaration *record = &declared->record[(hash + i) % UF_DECLARED];
        uint64_t found = 0;
        /* N1. Relaxed, both: the word says only whose the record is; what it declares is N3's. A failure
         * tells whose it is: perhaps just now this namespace's, by another. */
        if (atomic_compare_exchange_strong_explicit(&record->hash, &found, hash,
                                                    memory_order_relaxed, memory_order_relaxed) ||
            found == hash) {
            UF_STEP(N1);
            return record;
        }
    }
    return NULL;
}

int uf_declare(struct uf_declared *declared, const void *name, uint64_t bytes, uint64_t settings)
{
    if (bytes > UF_DECLARED_NAME_BYTES) {
        return UF_TOO_BIG;
    }
    struct uf_declaration *record = record_of(declared, hash_of(declared->seed, name, bytes));
    if (record == NULL) {
        return UF_FULL;
    }
    for (uint64_t i = 0; i < bytes; i += 8) {
        uint64_t word = 0;
        memcpy(&word, (const uint8_t *)name + i, bytes - i < 8 ? bytes - i : 8);
        /* N2. Relaxed: N3 releases it; another may write the same word at the same time. */
        atomic_store_explicit(&record->name[i / 8], word, memory_order_relaxed);
    }
    atomic_store_explicit(&record->length, bytes, memory_order_relaxed); /* N2, the same */
    UF_STEP(N2);
    /* Relaxed: from here on others look for records; to look for nothing costs only time. */
    atomic_store_explicit(&declared->head->any, 1, memory_order_relaxed);
    /* N3 -> N4. Release: the name is whole. */
    atomic_store_explicit(&record->settings, settings, memory_order_release);
    UF_STEP(N3);
    return UF_OK;
}

int uf_declared_at(const struct uf_declared *declared, uint32_t index, uint64_t *settings,
                   void *name, uint32_t *bytes)
{
    if (index >= UF_DECLARED) {
        return UF_INVALID;
    }
    const struct uf_declaration *record = &declared->record[index];
    /* N4 <- N3. Acquire: the name is whole. */
    *settings = atomic_load_explicit(&record->settings, memory_order_acquire);
    uint64_t length = atomic_load_explicit(&record->length, memory_order_relaxed); /* after N4 */
    if ((*settings & UF_DECLARED_TOLD) == 0 || length > UF_DECLARED_NAME_BYTES) {
        return UF_MISSING;
    }
    for (uint64_t i = 0; i < length; i += 8) {
        uint64_t word = atomic_load_explicit(&record->name[i / 8], memory_order_relaxed); /* N4 */
        memcpy((uint8_t *)name + i, &word, length - i < 8 ? length - i : 8);
    }
    *bytes = (uint32_t)length;
    return UF_OK;
}

void uf_declared_count(struct uf_declared *declared, struct uf_declaration *record,
                       uint64_t evicted, uint64_t expired)
{
    /* Relaxed, all: counts from which nothing else is inferred. */
    atomic_fetch_add_explicit(&declared->head->evicted, evicted, memory_order_relaxed);
    atomic_fetch_add_explicit(&declared->head->expired, expired, memory_order_relaxed);
    if (record != NULL) {
        atomic_fetch_add_explicit(&record->evicted, evicted, memory_order_relaxed);
        atomic_fetch_add_explicit(&record->expired, expired, memory_order_relaxed);
    }
}

void uf_declared_counted(const struct uf_declared *declared, const struct uf_declaration *record,
                         uint64_t *evicted, uint64_t *expired)
{
    /* Relaxed: counts. */
    *evicted = atomic_load_explicit(record == NULL ? &declared->head->evicted : &record->evicted,
                                    memory_order_relaxed);
    *expired = atomic_load_explicit(record == NULL ? &declared->head->expired : &record->expired,
                                    memory_order_relaxed);
}
