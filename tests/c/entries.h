/* entries.h -- a table in an arena of its own, and values that show a torn read.
 *
 * A value of n words is: n, a number, and words that follow from the two; so a reader knows of every
 * word what it must be.
 */
#ifndef UF_TESTS_ENTRIES_H
#define UF_TESTS_ENTRIES_H

#include "arena.h"

#include "uf_table.h"
#include "uf_table_in.h"

#define VALUE_WORDS_MAX 60u

struct shelf {
    struct arena arena;
    struct uf_class_spec class[2];
    uint32_t buckets;
    uint32_t extensions;
    uint32_t owners;
};

/* One attachment: its slot, its pool, its table. */
struct clerk {
    struct uf_region region;
    struct uf_self self;
    struct uf_pool pool;
    struct uf_table table;
};

struct name {
    struct uf_key key;
    uint64_t buffer[UF_KEY_BYTES_MAX / 8 + 1];
};

static inline void shelf_open(struct shelf *shelf, uint32_t owners, uint32_t buckets,
                              uint32_t extensions, uint32_t small, uint32_t large)
{
    uint64_t bytes;
    uint64_t free_bytes;
    struct arena *arena = &shelf->arena;
    shelf->class[0] = (struct uf_class_spec){128, small};
    shelf->class[1] = (struct uf_class_spec){640, large};
    memset(arena, 0, sizeof *arena);
    arena_names(arena);
    struct uf_area areas[] = {
        {.kind = UF_AREA_OWNERS, .bytes = uf_owners_bytes(owners)},
        {.kind = UF_AREA_TABLE, .bytes = uf_table_bytes(buckets, extensions)},
        {.kind = UF_AREA_VALUES, .bytes = uf_pool_bytes(shelf->class, 2)},
    };
    CHECK_EQ(uf_region_create(&arena->region, arena->temp_path, areas, 3, 7, 0, &free_bytes),
             UF_OK);
    void *area = uf_region_area(&arena->region, UF_AREA_TABLE, &bytes);
    CHECK_EQ(uf_table_init(area, bytes, buckets, extensions), UF_OK);
    area = uf_region_area(&arena->region, UF_AREA_VALUES, &bytes);
    CHECK_EQ(uf_pool_init(area, bytes, shelf->class, 2), UF_OK);
    CHECK_EQ(uf_region_publish(&arena->region, arena->temp_path, arena->path), UF_OK);
}

static inline void clerk_come(struct clerk *clerk, const struct shelf *shelf)
{
    uint64_t bytes;
    memset(clerk, 0, sizeof *clerk);
    CHECK_EQ(uf_region_attach(&clerk->region, shelf->arena.path, true), UF_OK);
    CHECK_EQ(uf_owner_open(&clerk->self, &clerk->region), UF_OK);
    CHECK_EQ(uf_owner_join(&clerk->self, 1, (uint64_t)getpid(), 0), UF_OK);
    uint32_t slot = clerk->self.slot;
    void *area = uf_region_area(&clerk->region, UF_AREA_VALUES, &bytes);
    CHECK_EQ(uf_pool_open(&clerk->pool, area, bytes, slot + 1), UF_OK);
    area = uf_region_area(&clerk->region, UF_AREA_TABLE, &bytes);
    CHECK_EQ(uf_table_open(&clerk->table, area, bytes, &clerk->pool,
                           &clerk->self.owner[slot].intent, 42, slot + 1),
             UF_OK);
}

static inline void clerk_go(struct clerk *clerk)
{
    CHECK_EQ(clerk->self.owner[clerk->self.slot].intent, 0);
    uf_pool_flush(&clerk->pool);
    uf_owner_leave(&clerk->self);
    uf_region_close(&clerk->region);
}

/* Mend whoever is dead, as uf_system_recover does. */
static inline void clerk_mend(struct clerk *clerk)
{
    for (uint32_t slot = 0; slot < clerk->self.count; slot++) {
        struct uf_table_recovery done;
        if (slot == clerk->self.slot || uf_owner_begin_recovery(&clerk->self, slot) != UF_OK) {
            continue;
        }
        uint64_t *seen = calloc(1, uf_pool_seen_bytes(&clerk->pool) + 8);
        CHECK(seen != NULL);
        uf_table_recover(&clerk->table, slot + 1, clerk->self.owner[slot].intent, seen, &done);
        free(seen);
        uf_owner_end_recovery(&clerk->self, slot, true);
    }
}

static inline void name_make(struct name *name, uint64_t number)
{
    char text[32];
    snprintf(text, sizeof text, "key %llu", (unsigned long long)number);
    CHECK_EQ(uf_key_make(&name->key, 42, name->buffer, "space", 5, text, strlen(text)), UF_OK);
}

static inline void value_make(uint64_t *words, uint64_t count, uint64_t number)
{
    words[0] = count;
    words[1] = number;
    for (uint64_t i = 2; i < count; i++) {
        words[i] = (number + i) * 0x9e3779b97f4a7c15ull + count;
    }
}

static inline void value_check(const uint64_t *words, uint64_t bytes)
{
    CHECK(bytes >= 16 && bytes % 8 == 0);
    CHECK_EQ(words[0], bytes / 8);
    for (uint64_t i = 2; i < words[0]; i++) {
        CHECK_EQ(words[i], (words[1] + i) * 0x9e3779b97f4a7c15ull + words[0]);
    }
}

static inline int entry_set(struct clerk *clerk, uint64_t key, uint64_t count, uint64_t number,
                            uint32_t mode, struct uf_entry *entry)
{
    struct name name;
    uint64_t words[VALUE_WORDS_MAX];
    name_make(&name, key);
    value_make(words, count, number);
    return uf_table_set(&clerk->table, &name.key, words, count * 8, 0, mode, entry);
}

static inline int entry_get(const struct clerk *clerk, uint64_t key, uint64_t *number,
                            struct uf_entry *entry)
{
    struct name name;
    uint64_t words[VALUE_WORDS_MAX];
    name_make(&name, key);
    int status = uf_table_get(&clerk->table, &name.key, 0, words, sizeof words, entry);
    if (status == UF_OK) {
        value_check(words, entry->value_bytes);
        *number = words[1];
    }
    return status;
}

static inline int entry_delete(struct clerk *clerk, uint64_t key, uint64_t stamp)
{
    struct name name;
    name_make(&name, key);
    return uf_table_delete(&clerk->table, &name.key, 0, stamp);
}

/* At rest: every block is free, in the table, or in the clerk's cache; slots and bits agree. */
static inline uint64_t shelf_account(struct clerk *clerk)
{
    uint64_t entries = 0;
    const struct uf_table *table = &clerk->table;
    uf_pool_flush(&clerk->pool);
    for (uint32_t b = 0; b < table->buckets; b++) {
        uint64_t head = table->bucket[b].head;
        for (uint32_t i = 0; i < UF_TABLE_SLOTS; i++) {
            _Atomic uint64_t *slot = uf_table_slot(table, b, head, i);
            bool valid = (uf_head_valid(head) >> i & 1) != 0;
            uint64_t word = slot == NULL ? 0 : *slot;
            CHECK_EQ(word != 0, valid);
            if (!valid) {
                continue;
            }
            CHECK(!uf_word_is_deleted(word));
            uint32_t handle = (uint32_t)word & ((1u << UF_HANDLE_BITS) - 1);
            const struct uf_value *value = uf_pool_block(&clerk->pool, handle);
            CHECK(value != NULL);
            uint64_t owner = value->owner;
            CHECK_EQ(uf_word_state(owner), UF_BLOCK_TABLE);
            CHECK(uf_table_word(word >> 48, owner, handle) == word);
            entries++;
        }
    }
    CHECK_EQ(entries, uf_table_count(table));
    CHECK_EQ(blocks_free(&clerk->pool) + entries, blocks_all(&clerk->pool));
    CHECK_EQ(blocks_findable(&clerk->pool), blocks_free(&clerk->pool));
    return entries;
}

static inline void shelf_close(struct shelf *shelf)
{
    arena_close(&shelf->arena);
}

#endif
