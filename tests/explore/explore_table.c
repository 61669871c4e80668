/* explore_table.c -- the table: one slot a key, whole values, no false miss, and no block lost, whoever
 * writes, reads or dies.
 *
 * One bucket holds every key, so that all of them meet. A value is one number twice.
 */
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

static void setup(uint32_t blocks, uint32_t cache, uint32_t extensions)
{
    uint64_t bytes = uf_table_bytes(1, extensions);
    memset(log_of, 0, sizeof log_of);
    memset(seen, 0, sizeof seen);
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

/* B's first value is shorter. */
static uint64_t bytes_of(uint64_t value)
{
    return value == 3 ? 8 : 16;
}

static int set_as(uint32_t who, uint32_t k, uint64_t value, uint32_t mode, uint64_t stamp)
{
    uint64_t data[2] = {value, value};
    struct uf_entry entry = {.stamp = stamp, .tag = (uint32_t)value, .expires_ns = 100 + value};
    int status = uf_table_set(&table[who], &key[k], data, bytes_of(value), 0, mode, &entry);
    log_of[who].status[log_of[who].calls++] = status;
    log_of[who].stamp = entry.stamp;
    explore_settled(1, k, value);
    return status;
}

static int delete_as(uint32_t who, uint32_t k)
{
    int status = uf_table_delete(&table[who], &key[k], 0);
    log_of[who].status[log_of[who].calls++] = status;
    CHECK(status == UF_OK || status == UF_MISSING);
    explore_settled(2, k, 0);
    return status;
}

/* The number, 0 when the key is missing. A torn value fails here. */
static uint64_t get_as(uint32_t who, uint32_t k)
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
        CHECK_EQ(data[1], entry.value_bytes == sizeof data ? data[0] : 0);
    }
    values_read |= 1ull << data[0];
    explore_settled(3, k, 0);
    return data[0];
}

static uint32_t me(void)
{
    return explore_self();
}
static void set_a_1(void)
{
    CHECK_EQ(set_as(me(), A, 1, UF_SET_ANY, 0), UF_OK);
}
static void set_a_2(void)
{
    CHECK_EQ(set_as(me(), A, 2, UF_SET_ANY, 0), UF_OK);
}
static void set_b_3(void)
{
    CHECK_EQ(set_as(me(), B, 3, UF_SET_ANY, 0), UF_OK);
}
static void new_a_1(void)
{
    set_as(me(), A, 1, UF_SET_NEW, 0);
}
static void new_a_2(void)
{
    set_as(me(), A, 2, UF_SET_NEW, 0);
}
static void swap_a_1(void)
{
    set_as(me(), A, 1, UF_SET_STAMP, first_stamp);
}
static void swap_a_2(void)
{
    set_as(me(), A, 2, UF_SET_STAMP, first_stamp);
}
static void delete_a(void)
{
    delete_as(me(), A);
}
static void set_a_set_b(void)
{
    set_a_1();
    set_b_3();
}
static void delete_a_set_b(void)
{
    delete_a();
    set_b_3();
}
static void set_a_set_a(void)
{
    set_a_1();
    set_a_2();
}
static void delete_a_set_a(void)
{
    delete_a();
    set_a_1();
}
/* What was there once, and is not deleted, does not go again. */
static void get_a_twice(void)
{
    uint64_t value = get_as(me(), A);
    explore_settled(5, value, 0);
    CHECK(get_as(me(), A) == 1 || value != 1);
}
static void set_a_tell(void)
{
    set_a_1();
    atomic_store_explicit(told, 1, memory_order_release);
}
static void delete_a_tell(void)
{
    CHECK_EQ(delete_as(me(), A), UF_OK);
    atomic_store_explicit(told, 1, memory_order_release);
}
static void get_a(void)
{
    uint64_t value = get_as(me(), A);
    CHECK(value == 0 || value == 1 || value == 2 || value == 7);
}
static void get_b(void)
{
    uint64_t value = get_as(me(), B);
    CHECK(value == 0 || value == 3);
}
/* Replaced, perhaps, but always there. */
static void get_a_surely(void)
{
    uint64_t value = get_as(me(), A);
    CHECK(value == 1 || value == 2 || value == 7);
}
static void get_b_surely(void)
{
    CHECK_EQ(get_as(me(), B), 8);
}
static void ask_get_a(void)
{
    uint32_t done = atomic_load_explicit(told, memory_order_acquire);
    uint64_t value = get_as(me(), A);
    CHECK(done ? value == 1 : value <= 1);
}
static void ask_miss_a(void)
{
    uint32_t done = atomic_load_explicit(told, memory_order_acquire);
    uint64_t value = get_as(me(), A);
    CHECK(value == 0 || (!done && value == 7));
}
static char last_letter(const uint64_t *words, const struct uf_entry *entry)
{
    return ((const char *)words)[entry->space_bytes + entry->key_bytes - 1];
}
/* B stays, so a walk sees it, once. */
static void walk(void)
{
    uint64_t words[(UF_KEY_BYTES_MAX + 8) / 8];
    uint64_t cursor = 0;
    uint32_t found = 0;
    struct uf_entry entry;
    while (uf_table_next(&table[me()], &cursor, 0, words, &entry) == UF_OK) {
        char name = last_letter(words, &entry);
        CHECK(name == 'a' || name == 'b');
        found += name == 'b';
        explore_settled(4, cursor, found);
    }
    CHECK_EQ(found, 1);
}
static void set_8th(void)
{
    CHECK_EQ(set_as(me(), 7, 4, UF_SET_ANY, 0), UF_OK);
}
static void set_9th(void)
{
    CHECK_EQ(set_as(me(), 8, 5, UF_SET_ANY, 0), UF_OK);
}
/* Of one extension: refused only while the other is just taking it. */
static void set_8th_tell(void)
{
    set_as(me(), 7, 4, UF_SET_ANY, 0);
    atomic_store_explicit(told, 1, memory_order_release);
}
static void ask_set_9th(void)
{
    uint32_t done = atomic_load_explicit(told, memory_order_acquire);
    int status = set_as(me(), 8, 5, UF_SET_ANY, 0);
    CHECK(status == UF_OK || (status == UF_STORE_FULL && !done));
}
static void mend(void)
{
    uint32_t dead = explore_dead();
    explore_inherit();
    uint64_t meant = atomic_load_explicit(&intent[dead], memory_order_relaxed);
    seen[me()] = 0;
    uf_table_recover(&table[me()], dead + 1, meant, &seen[me()], &log_of[me()].recovery);
}

/* Every key at most once, every block in one slot or free. The entries. */
static uint32_t whole_table(void)
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

static void finish(void)
{
    whole_table();
}
static void finish_1(void)
{
    CHECK_EQ(whole_table(), 1);
}
static void finish_2(void)
{
    CHECK_EQ(whole_table(), 2);
}
static void finish_9(void)
{
    CHECK_EQ(whole_table(), 9);
    CHECK_EQ(get_as(OUTSIDER, 7), 4);
    CHECK_EQ(get_as(OUTSIDER, 8), 5);
}
static void finish_last(void)
{
    uint32_t refused = (log_of[0].status[0] != UF_OK) + (log_of[1].status[0] != UF_OK);
    CHECK(refused <= 1);
    CHECK_EQ(whole_table(), 9 - refused);
}
/* Of two that insert, or compare and set, one wins, and its value stands. */
static void finish_one_wins(void)
{
    CHECK_EQ(whole_table(), 1);
    CHECK_EQ((log_of[0].status[0] == UF_OK) + (log_of[1].status[0] == UF_OK), 1);
    CHECK_EQ((log_of[0].status[0] == UF_EXISTS) + (log_of[1].status[0] == UF_EXISTS), 1);
    CHECK_EQ(get_as(OUTSIDER, A), log_of[0].status[0] == UF_OK ? 1 : 2);
}
static void finish_one_deletes(void)
{
    CHECK_EQ(whole_table(), 0);
    CHECK_EQ((log_of[0].status[0] == UF_OK) + (log_of[1].status[0] == UF_OK), 1);
}
/* A delete before or after the insert, and both did what they said. */
static void finish_set_delete(void)
{
    uint32_t entries = whole_table();
    CHECK(log_of[1].status[0] == UF_OK ? entries <= 1 : entries == 1);
}

static void setup_none(void)
{
    setup(3, 0, 0);
}
static void put_first(uint32_t k, uint64_t value)
{
    CHECK_EQ(set_as(OUTSIDER, k, value, UF_SET_ANY, 0), UF_OK);
    first_stamp = log_of[OUTSIDER].stamp;
    log_of[OUTSIDER].calls = 0;
}
static void setup_a(void)
{
    setup(3, 0, 0);
    put_first(A, 7);
}
/* One block to spare: what is replaced is used again at once. */
static void setup_a_tight(void)
{
    setup(2, 0, 0);
    put_first(A, 7);
}
static void setup_a_cached(void)
{
    setup(3, 2, 0);
    put_first(A, 7);
}
static void setup_a_b(void)
{
    setup(4, 0, 0);
    put_first(A, 7);
    put_first(B, 8);
}
static void fill_bucket(uint32_t extensions)
{
    setup(BLOCKS_MAX, 0, extensions);
    for (uint32_t k = 0; k < UF_BUCKET_SLOTS; k++) {
        put_first(k, 8 + k);
    }
}

static void setup_full(void)
{
    fill_bucket(2);
}
static void setup_full_last(void)
{
    fill_bucket(1);
}

static void old_and_new(void)
{
    CHECK((values_read & 1ull << 7) != 0 && (values_read & 1ull << 1) != 0);
}
static void some_freed(void)
{
    CHECK(freed_ever > 0);
}
static void some_emptied(void)
{
    CHECK(freed_ever > 0 && emptied_ever > 0);
}

#define TABLE(title, least, begin, end, ...)                                                       \
    {.name = title, .minimum = least, .setup = begin, .finish = end, __VA_ARGS__}
#define DEATH .mortal = 1, .mourners = 4

static const struct explore_check checks[] = {
    TABLE("table-insert-insert", 4100, setup_none, finish_1, .body = {set_a_1, set_a_2}),
    TABLE("table-new-new", 4100, setup_none, finish_one_wins, .body = {new_a_1, new_a_2}),
    TABLE("table-two-keys", 3900, setup_none, finish_2, .body = {set_a_1, set_b_3}),
    TABLE("table-insert-get", 47, setup_none, finish_1, .body = {set_a_tell, ask_get_a}),
    TABLE("table-insert-insert-get", 28000, setup_none, finish_1, .body = {set_a_1, set_a_2, get_a},
          .usual = {2, 2}, .deep = {3, 3}),
    TABLE("table-swap-swap", 73000, setup_a, finish_one_wins, .body = {swap_a_1, swap_a_2}),
    TABLE("table-replace-replace", 78000, setup_a, finish_1, .body = {set_a_1, set_a_2}),
    TABLE("table-replace-get", 1100, setup_a_tight, finish_1, .body = {set_a_1, get_a_surely},
          .after = old_and_new),
    TABLE("table-replace-replace-get", 4100, setup_a, finish_1,
          .body = {set_a_1, set_a_2, get_a_surely}, .usual = {2, 1}, .deep = {2, 2}),
    TABLE("table-reuse-same-key", 78000, setup_a_tight, finish_1,
          .body = {set_a_set_a, get_a_surely}),
    TABLE("table-reuse-other-key", 20000, setup_a_tight, finish_2,
          .body = {set_a_set_b, get_a_surely}),
    TABLE("table-reuse-deleted", 3700, setup_a_tight, finish, .body = {delete_a_set_b, get_a}),
    TABLE("table-reuse-cached", 28000, setup_a_cached, finish, .body = {set_a_set_a, get_a_surely}),
    TABLE("table-deleted-and-back", 6000, setup_a, finish_1, .body = {delete_a_set_a, get_a_twice}),
    TABLE("table-delete-get", 470, setup_a, finish, .body = {delete_a_tell, ask_miss_a}),
    TABLE("table-delete-delete", 510, setup_a, finish_one_deletes, .body = {delete_a, delete_a}),
    TABLE("table-insert-delete", 24, setup_none, finish_set_delete, .body = {set_a_1, delete_a}),
    TABLE("table-replace-delete", 9800, setup_a, finish_set_delete, .body = {set_a_1, delete_a}),
    TABLE("table-replace-delete-get", 21000, setup_a, finish_set_delete,
          .body = {set_a_1, delete_a, get_a}, .usual = {1, 2}, .deep = {3, 3}),
    TABLE("table-insert-beside-delete", 14000, setup_a, finish_1,
          .body = {set_b_3, delete_a, get_b}, .usual = {2, 2}, .deep = {3, 3}),
    TABLE("table-other-key-stays", 24000, setup_a_b, finish,
          .body = {set_a_1, delete_a, get_b_surely}, .usual = {1, 2}, .deep = {2, 3}),
    TABLE("table-walk", 39000, setup_a_b, finish, .body = {walk, set_a_1, delete_a},
          .usual = {1, 2}, .deep = {2, 2}),
    TABLE("table-extend", 10000, setup_full, finish_9, .body = {set_8th, set_9th}, .usual = {1, 2},
          .deep = {0, 3}),
    TABLE("table-extend-last", 11000, setup_full_last, finish_last,
          .body = {set_8th_tell, ask_set_9th}, .usual = {1, 2}, .deep = {0, 3}),
    TABLE("table-inserter-dies", 11000, setup_none, finish_1, .body = {set_a_1, set_a_2, mend},
          DEATH, .after = some_emptied, .usual = {2, 1}, .deep = {2, 2}),
    TABLE("table-replacer-dies", 43000, setup_a, finish_1, .body = {set_a_1, set_a_2, mend}, DEATH,
          .after = some_freed, .usual = {2, 1}, .deep = {2, 2}),
    TABLE("table-replacer-dies-read", 3800, setup_a, finish_1,
          .body = {set_a_1, get_a_surely, mend}, DEATH, .after = some_freed, .usual = {2, 1},
          .deep = {2, 2}),
    TABLE("table-deleter-dies", 16000, setup_a, finish, .body = {delete_a, set_a_1, mend}, DEATH,
          .after = some_emptied, .usual = {2, 1}, .deep = {2, 2}),
    TABLE("table-deleter-dies-other", 10000, setup_a, finish, .body = {delete_a, set_b_3, mend},
          DEATH, .after = some_emptied, .usual = {2, 1}, .deep = {2, 2}),
    TABLE("table-one-of-two-dies", 33000, setup_a, finish, .body = {set_a_1, delete_a, mend},
          .mortal = 3, .mourners = 4, .after = some_emptied, .usual = {2, 1}, .deep = {2, 2}),
    TABLE("table-extender-dies", 32000, setup_full, finish, .body = {set_8th, set_9th, mend}, DEATH,
          .after = some_freed, .usual = {1, 1}, .deep = {1, 2}),
};

int main(int argc, char **argv)
{
    return explore_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
