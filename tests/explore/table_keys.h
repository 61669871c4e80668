/* table_keys.h -- a table of one bucket in the explorer's arena, its keys, and what threads do with them.
 *
 * One bucket holds every key, so that all of them meet. A value is one number twice.
 */
#ifndef UF_EXPLORE_TABLE_KEYS_H
#define UF_EXPLORE_TABLE_KEYS_H

#include "seats.h"

#include <stdatomic.h>

#include "uf_table.h"

#define KEYS 10
#define A 0
#define B 1
#define BLOCKS_MAX 10

struct log {
    int status[3]; /* of its calls, in their order */
    uint32_t calls;
    uint64_t stamp;
    uint64_t value; /* that it read */
    struct uf_table_recovery recovery;
};

static struct uf_table table[SEATS];
static struct uf_key key[KEYS];
static uint64_t key_words[KEYS][(UF_KEY_BYTES_MAX + 8) / 8];
static _Atomic uint64_t *intent;
static _Atomic uint32_t *told; /* a thread has finished */
static struct log log_of[SEATS];
static uint64_t seen[SEATS];
static uint64_t first_stamp;
static uint64_t values_read; /* by anybody, a bit each; over all executions */
static uint32_t freed_ever;
static uint32_t emptied_ever;
static uint32_t tails; /* 1, or 0 */

static inline void setup(uint32_t blocks, uint32_t cache, uint32_t extensions)
{
    uint64_t bytes = uf_table_bytes(1, extensions);
    memset(log_of, 0, sizeof log_of);
    memset(seen, 0, sizeof seen);
    tails = 0;
    seats_pool(blocks, cache);
    void *area = explore_alloc(bytes);
    intent = explore_alloc(SEATS * sizeof *intent);
    told = explore_alloc(sizeof *told);
    CHECK_EQ(uf_table_init(area, bytes, 1, extensions), UF_OK);
    for (uint32_t s = 0; s < SEATS; s++) {
        CHECK_EQ(uf_table_open(&table[s], area, bytes, &seat[s].pool, &intent[s], 1, s + 1), UF_OK);
    }
    for (uint32_t k = 0; k < KEYS; k++) {
        /* No field of B's is like one of another's: a mixture of two entries shows. */
        char name[2] = {(char)('a' + k), (char)('a' + k)};
        CHECK_EQ(uf_key_make(&key[k], 1, key_words[k], "nn", 1 + (k == B), name, 1 + (k == B)),
                 UF_OK);
    }
    explore_name(area, "extension owner");
    explore_name(table[0].bucket, "bucket");
    explore_name(intent, "intent");
    explore_name(told, "told");
    explore_keep(log_of, sizeof log_of);
    explore_keep(seen, sizeof seen);
    values_read = freed_ever = emptied_ever = 0;
}

/* B's first value is shorter. With `tails`, values end within a word. */
static inline uint64_t bytes_of(uint64_t value)
{
    return (value == 3 ? 8 : 16) - tails * 4;
}

static inline int set_as(uint32_t who, uint32_t k, uint64_t value, uint32_t mode, uint64_t stamp)
{
    uint64_t data[2] = {value, value};
    struct uf_entry entry = {.stamp = stamp, .tag = (uint32_t)value, .expires_ns = 100 + value};
    int status = uf_table_set(&table[who], &key[k], data, bytes_of(value), 0, mode, &entry);
    log_of[who].status[log_of[who].calls++] = status;
    log_of[who].stamp = entry.stamp;
    explore_settled(1, k, value);
    return status;
}

static inline int delete_as(uint32_t who, uint32_t k)
{
    int status = uf_table_delete(&table[who], &key[k], 0, 0);
    log_of[who].status[log_of[who].calls++] = status;
    CHECK(status == UF_OK || status == UF_MISSING);
    explore_settled(2, k, 0);
    return status;
}

/* The number, 0 when the key is missing. A torn value fails here. */
static inline uint64_t get_as(uint32_t who, uint32_t k)
{
    uint64_t data[2] = {0, 0};
    struct uf_entry entry;
    int status = uf_table_get(&table[who], &key[k], 0, data, sizeof data, &entry);
    CHECK(status == UF_OK || status == UF_MISSING);
    if (status == UF_MISSING) {
        data[0] = data[1] = 0; /* what was copied before it was found gone */
    }
    if (status == UF_OK) {
        CHECK(data[0] != 0);
        CHECK_EQ(entry.value_bytes, bytes_of(data[0]));
        CHECK_EQ(entry.tag, data[0]);
        CHECK_EQ(entry.expires_ns, 100 + data[0]);
        CHECK_EQ(entry.space_bytes, 1 + (k == B));
        CHECK_EQ(entry.key_bytes, 1 + (k == B));
        CHECK_EQ(data[1], entry.value_bytes > 8 ? data[0] : 0);
    }
    values_read |= 1ull << data[0];
    explore_settled(3, k, 0);
    return data[0];
}

static inline uint32_t me(void)
{
    return explore_self();
}

static inline void set_a_1(void)
{
    CHECK_EQ(set_as(me(), A, 1, UF_SET_ANY, 0), UF_OK);
}

static inline void set_a_2(void)
{
    CHECK_EQ(set_as(me(), A, 2, UF_SET_ANY, 0), UF_OK);
}

static inline void set_b_3(void)
{
    CHECK_EQ(set_as(me(), B, 3, UF_SET_ANY, 0), UF_OK);
}

static inline void delete_a(void)
{
    delete_as(me(), A);
}

static inline void set_a_delete_a(void)
{
    set_a_1();
    CHECK_EQ(delete_as(me(), A), UF_OK);
}

/* Replaced, perhaps, but always there. */
static inline void get_a_surely(void)
{
    uint64_t value = get_as(me(), A);
    CHECK(value == 1 || value == 2 || value == 7);
}

static inline char last_letter(const uint64_t *words, const struct uf_entry *entry)
{
    return ((const char *)words)[entry->space_bytes + entry->key_bytes - 1];
}

static inline void mend_of(uint32_t dead)
{
    uint64_t meant = atomic_load_explicit(&intent[dead], memory_order_relaxed);
    seen[me()] = 0;
    uf_table_recover(&table[me()], dead + 1, meant, &seen[me()], &log_of[me()].recovery);
}

/* Every key at most once, every block in one slot or free. The entries. */
static inline uint32_t whole_table(void)
{
    uint64_t words[(UF_KEY_BYTES_MAX + 8) / 8];
    uint64_t cursor = 0;
    uint32_t entries = 0;
    uint32_t times[KEYS] = {0};
    struct uf_entry entry;
    while (uf_table_next(&table[OUTSIDER], &cursor, 0, words, &entry) == UF_OK) {
        uint32_t k = (uint32_t)(last_letter(words, &entry) - 'a');
        CHECK(k < KEYS);
        times[k]++;
        entries++;
    }
    for (uint32_t k = 0; k < KEYS; k++) {
        CHECK(times[k] <= 1);
        CHECK_EQ(get_as(OUTSIDER, k) != 0, times[k]);
    }
    for (uint32_t t = 0; t < EXPLORE_THREADS; t++) {
        freed_ever += log_of[t].recovery.freed;
        emptied_ever += log_of[t].recovery.emptied;
    }
    CHECK_EQ(uf_table_count(&table[OUTSIDER]), entries);
    blocks_are_back(entries);
    return entries;
}

static inline void finish(void)
{
    whole_table();
}

static inline void finish_1(void)
{
    CHECK_EQ(whole_table(), 1);
}

static inline void setup_none(void)
{
    setup(3, 0, 0);
}

static inline void put_first(uint32_t k, uint64_t value)
{
    CHECK_EQ(set_as(OUTSIDER, k, value, UF_SET_ANY, 0), UF_OK);
    first_stamp = log_of[OUTSIDER].stamp;
    log_of[OUTSIDER].calls = 0;
}

static inline void setup_a(void)
{
    setup(3, 0, 0);
    put_first(A, 7);
}

#define TABLE(title, least, begin, end, ...)                                                       \
    {.name = title, .minimum = least, .setup = begin, .finish = end, __VA_ARGS__}

#endif
