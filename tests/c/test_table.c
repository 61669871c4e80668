/* test_table.c -- the table against a plain model, and under readers and writers. */
#include "entries.h"

static uint64_t seed;
static struct shelf shelf;

/* --- one thread, against a model -------------------------------------------------------------- */

#define KEYS 40u

struct kept {
    bool is;
    uint64_t number;
    uint64_t stamp;
};

static void check_walk(const struct clerk *clerk, const struct kept *kept)
{
    uint64_t words[UF_KEY_BYTES_MAX / 8 + 1];
    uint64_t cursor = 0;
    uint32_t expected = 0;
    bool met[KEYS] = {false};
    struct uf_entry entry;
    int status;
    for (uint32_t k = 0; k < KEYS; k++) {
        expected += kept[k].is;
    }
    CHECK_EQ(uf_table_count(&clerk->table), expected);
    while ((status = uf_table_next(&clerk->table, &cursor, 0, words, &entry)) == UF_OK) {
        char text[64] = {0};
        unsigned long long key;
        CHECK_EQ(entry.space_bytes, 5);
        memcpy(text, words, (size_t)entry.space_bytes + entry.key_bytes);
        CHECK_EQ(sscanf(text, "spacekey %llu", &key), 1);
        CHECK(key < KEYS && kept[key].is && !met[key]);
        CHECK_EQ(entry.stamp, kept[key].stamp);
        met[key] = true;
        expected--;
    }
    CHECK_EQ(status, UF_EMPTY);
    CHECK_EQ(expected, 0);
}

static void model_set(struct clerk *clerk, struct kept *kept, uint64_t key, uint64_t *random,
                      uint64_t *refused)
{
    uint32_t mode = (uint32_t)(next_random(random) % 3);
    uint64_t count = next_random(random) % (VALUE_WORDS_MAX - 1) + 2;
    uint64_t number = next_random(random);
    struct kept *k = &kept[key];
    bool stale = next_random(random) % 4 == 0;
    struct uf_entry entry = {.stamp = stale ? k->stamp + 64 : k->stamp, .tag = 9};
    int status = entry_set(clerk, key, count > VALUE_WORDS_MAX ? VALUE_WORDS_MAX : count, number,
                           mode, &entry);
    if (status == UF_STORE_FULL || status == UF_NO_BLOCK) {
        CHECK(status == UF_NO_BLOCK || !k->is); /* an entry that is there can be replaced */
        ++*refused;
        return;
    }
    int wanted = UF_OK;
    if (mode == UF_SET_NEW && k->is) {
        wanted = UF_EXISTS;
    } else if (mode == UF_SET_STAMP) {
        wanted = !k->is ? UF_MISSING : stale ? UF_EXISTS : UF_OK;
    }
    CHECK_EQ(status, wanted);
    if (status == UF_OK) {
        CHECK(entry.stamp != k->stamp || !k->is);
        *k = (struct kept){.is = true, .number = number, .stamp = entry.stamp};
    } else if (status == UF_EXISTS) {
        CHECK_EQ(entry.stamp, k->stamp); /* it says which one stands there */
    }
}

static void against_a_model(uint32_t buckets, uint32_t extensions)
{
    static struct kept kept[KEYS];
    struct clerk clerk;
    uint64_t random = seed;
    uint64_t refused = 0;
    char what[80];
    const uint64_t operations = 60000 / SLOWER;
    memset(kept, 0, sizeof kept);
    shelf_open(&shelf, 4, buckets, extensions, 10, 35);
    clerk_come(&clerk, &shelf);
    for (uint64_t i = 0; i < operations; i++) {
        uint64_t key = next_random(&random) % KEYS;
        struct uf_entry entry;
        uint64_t number = 0;
        int status;
        switch (next_random(&random) % 4) {
        case 0:
            model_set(&clerk, kept, key, &random, &refused);
            break;
        case 1: {
            uint64_t stamp = next_random(&random) % 2 == 0 ? 0 : kept[key].stamp;
            bool stale = stamp != 0 && next_random(&random) % 4 == 0;
            status = entry_delete(&clerk, key, stale ? stamp + 64 : stamp);
            CHECK_EQ(status, !kept[key].is ? UF_MISSING : stale ? UF_EXISTS : UF_OK);
            kept[key].is &= status != UF_OK;
            break;
        }
        default:
            status = entry_get(&clerk, key, &number, &entry);
            CHECK_EQ(status, kept[key].is ? UF_OK : UF_MISSING);
            if (status == UF_OK) {
                CHECK_EQ(number, kept[key].number);
                CHECK_EQ(entry.stamp, kept[key].stamp);
                CHECK_EQ(entry.tag, 9);
                CHECK_EQ(entry.expires_ns, 0);
            }
        }
        if (i % 64 == 0) {
            check_walk(&clerk, kept);
        }
    }
    shelf_account(&clerk);
    for (uint64_t key = 0; key < KEYS; key++) {
        entry_delete(&clerk, key, 0);
    }
    CHECK_EQ(shelf_account(&clerk), 0);
    clerk_go(&clerk);
    shelf_close(&shelf);
    snprintf(what, sizeof what, "operations that agreed with the model, %u buckets + %u", buckets,
             extensions);
    explored(what, operations);
    if (extensions == 0) {
        explored("  refused for want of room", refused);
    }
}

static void sizes_and_expiry(void)
{
    struct clerk clerk;
    struct name name;
    struct uf_entry entry = {0};
    uint64_t cases = 0;
    uint8_t data[700];
    uint8_t out[700];
    uint8_t key[UF_KEY_BYTES_MAX + 1];
    memset(key, 'k', sizeof key);
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i * 7 + 1);
    }
    shelf_open(&shelf, 4, 4, 2, 20, 20);
    clerk_come(&clerk, &shelf);
    /* Every length of value and of key that fits, to the byte; and the first that does not. */
    for (uint32_t key_bytes = 0; key_bytes < 40; key_bytes++) {
        for (uint32_t bytes = 0; bytes <= 576 - 40; bytes += bytes < 20 ? 1 : 37, cases++) {
            CHECK_EQ(uf_key_make(&name.key, 42, name.buffer, "s", 1, key, key_bytes), UF_OK);
            memset(&entry, 0, sizeof entry);
            CHECK_EQ(uf_table_set(&clerk.table, &name.key, data, bytes, 0, UF_SET_ANY, &entry),
                     UF_OK);
            memset(out, 0xee, sizeof out);
            CHECK_EQ(uf_table_get(&clerk.table, &name.key, 0, out, bytes, &entry), UF_OK);
            CHECK_EQ(entry.value_bytes, bytes);
            CHECK_EQ(memcmp(out, data, bytes), 0);
            CHECK_EQ(out[bytes], 0xee);
            if (bytes > 0) {
                memset(out, 0xee, sizeof out);
                CHECK_EQ(uf_table_get(&clerk.table, &name.key, 0, out, bytes - 1, &entry),
                         UF_TOO_BIG);
                CHECK_EQ(entry.value_bytes, bytes); /* so much room is wanted */
                CHECK_EQ(out[0], 0xee);
            }
        }
        CHECK_EQ(uf_table_delete(&clerk.table, &name.key, 0, 0), UF_OK);
    }
    CHECK_EQ(uf_table_set(&clerk.table, &name.key, data, 577, 0, UF_SET_ANY, &entry), UF_TOO_BIG);
    CHECK_EQ(uf_table_set(&clerk.table, &name.key, data, 1ull << 40, 0, UF_SET_ANY, &entry),
             UF_TOO_BIG);
    CHECK_EQ(uf_key_make(&name.key, 42, name.buffer, key, 1000, key, 24), UF_OK);
    CHECK_EQ(uf_key_make(&name.key, 42, name.buffer, key, 1000, key, 25), UF_INVALID);
    CHECK_EQ(uf_key_make(&name.key, 42, name.buffer, key, UINT64_MAX, key, 25), UF_INVALID);
    CHECK_EQ(uf_key_make(&name.key, 42, name.buffer, key, 0, key, UINT64_MAX), UF_INVALID);
    /* "ab", "c" is not "a", "bc". */
    CHECK_EQ(uf_key_make(&name.key, 42, name.buffer, "ab", 2, "c", 1), UF_OK);
    CHECK_EQ(uf_table_set(&clerk.table, &name.key, data, 3, 0, UF_SET_ANY, &entry), UF_OK);
    CHECK_EQ(uf_key_make(&name.key, 42, name.buffer, "a", 1, "bc", 2), UF_OK);
    CHECK_EQ(uf_table_get(&clerk.table, &name.key, 0, out, 700, &entry), UF_MISSING);
    explored("lengths of keys and values", cases + 7);

    entry = (struct uf_entry){.expires_ns = 1000};
    CHECK_EQ(uf_table_set(&clerk.table, &name.key, data, 3, 10, UF_SET_ANY, &entry), UF_OK);
    CHECK_EQ(uf_table_get(&clerk.table, &name.key, 999, out, 700, &entry), UF_OK);
    CHECK_EQ(entry.expires_ns, 1000);
    CHECK_EQ(uf_table_get(&clerk.table, &name.key, 1000, out, 700, &entry), UF_MISSING);
    CHECK_EQ(uf_table_get(&clerk.table, &name.key, 0, out, 700, &entry), UF_OK); /* whatever */
    uint64_t stamp = entry.stamp;
    entry = (struct uf_entry){.stamp = stamp};
    CHECK_EQ(uf_table_set(&clerk.table, &name.key, data, 3, 2000, UF_SET_STAMP, &entry),
             UF_MISSING);
    entry = (struct uf_entry){0};
    CHECK_EQ(uf_table_set(&clerk.table, &name.key, data, 4, 999, UF_SET_NEW, &entry), UF_EXISTS);
    CHECK_EQ(uf_table_set(&clerk.table, &name.key, data, 4, 1000, UF_SET_NEW, &entry), UF_OK);
    CHECK_EQ(uf_table_get(&clerk.table, &name.key, 5000, out, 700, &entry), UF_OK);
    CHECK_EQ(entry.value_bytes, 4);

    stamp = entry.stamp;
    for (uint32_t wrong = 0; wrong < 2; wrong++) { /* whatever stamp is asked for */
        entry = (struct uf_entry){.expires_ns = 1000};
        CHECK_EQ(uf_table_set(&clerk.table, &name.key, data, 3, 10, UF_SET_ANY, &entry), UF_OK);
        CHECK_EQ(uf_table_delete(&clerk.table, &name.key, 1000, wrong * stamp), UF_MISSING);
        CHECK_EQ(uf_table_get(&clerk.table, &name.key, 0, out, 700, &entry), UF_MISSING); /* gone */
    }
    entry = (struct uf_entry){.expires_ns = 1000};
    CHECK_EQ(uf_table_set(&clerk.table, &name.key, data, 3, 10, UF_SET_ANY, &entry), UF_OK);
    CHECK_EQ(uf_table_delete(&clerk.table, &name.key, 999, stamp), UF_EXISTS);
    CHECK_EQ(uf_table_delete(&clerk.table, &name.key, 999, 0), UF_OK);
    entry = (struct uf_entry){.expires_ns = 1000};
    CHECK_EQ(uf_table_set(&clerk.table, &name.key, data, 3, 10, UF_SET_ANY, &entry), UF_OK);
    CHECK_EQ(uf_table_delete(&clerk.table, &name.key, 0, entry.stamp), UF_OK); /* whatever */
    shelf_account(&clerk);
    clerk_go(&clerk);
    shelf_close(&shelf);
    explored("ways to meet an expired entry", 14);
}

/* --- threads ---------------------------------------------------------------------------------- */

#define STEADY 6u  /* keys that always exist     */
#define PASSING 6u /* keys that come and go      */

static pthread_barrier_t start;
static _Atomic uint32_t numbers;
static _Atomic bool stop;
static _Atomic uint64_t reads;
static _Atomic uint64_t writes;

static void *reader(void *unused)
{
    struct clerk clerk;
    uint64_t random = seed + atomic_fetch_add(&numbers, 1);
    uint64_t last[STEADY] = {0};
    uint64_t done = 0;
    (void)unused;
    clerk_come(&clerk, &shelf);
    pthread_barrier_wait(&start);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        struct uf_entry entry;
        uint64_t number;
        uint64_t key = next_random(&random) % (STEADY + PASSING);
        int status = entry_get(&clerk, key, &number, &entry); /* checks every word */
        if (status == UF_BUSY) {
            continue;
        }
        if (key < STEADY) {
            CHECK_EQ(status, UF_OK);           /* no false miss */
            CHECK(number / 1000 >= last[key]); /* one writer counts up: time goes forward */
            last[key] = number / 1000;
        } else {
            CHECK(status == UF_OK || status == UF_MISSING);
        }
        if (status == UF_OK) {
            CHECK_EQ(number % 1000, key); /* this key's value, not another's */
        }
        done++;
        if (done % 64 == 0) { /* a walk meets each key that stays, once */
            uint64_t words[UF_KEY_BYTES_MAX / 8 + 1];
            uint64_t cursor = 0;
            uint32_t met[STEADY + PASSING] = {0};
            while (uf_table_next(&clerk.table, &cursor, 0, words, &entry) == UF_OK) {
                char text[64] = {0};
                unsigned long long at;
                memcpy(text, words, (size_t)entry.space_bytes + entry.key_bytes);
                CHECK_EQ(sscanf(text, "spacekey %llu", &at), 1);
                CHECK(at < STEADY + PASSING);
                met[at]++;
            }
            for (uint32_t k = 0; k < STEADY; k++) {
                CHECK_EQ(met[k], 1);
            }
        }
    }
    atomic_fetch_add(&reads, done);
    clerk_go(&clerk);
    return NULL;
}

/* Writes half of the steady keys, each of which only it writes, and all of the passing ones. */
static void *writer(void *argument)
{
    struct clerk clerk;
    uint32_t half = (uint32_t)(uintptr_t)argument;
    uint64_t random = seed + atomic_fetch_add(&numbers, 1);
    uint64_t done = 0;
    clerk_come(&clerk, &shelf);
    pthread_barrier_wait(&start);
    for (uint64_t round = 1; round < 12000 / SLOWER; round++) {
        struct uf_entry entry = {0};
        uint64_t count = 2 + next_random(&random) % (VALUE_WORDS_MAX - 2);
        uint64_t key = next_random(&random) % (STEADY + PASSING);
        int status;
        if (key < STEADY) {
            key = key / 2 * 2 + half;
            status = entry_set(&clerk, key, count, round * 1000 + key, UF_SET_ANY, &entry);
            CHECK(status == UF_OK || status == UF_NO_BLOCK || status == UF_BUSY);
        } else if (next_random(&random) % 2 == 0) {
            status = entry_set(&clerk, key, count, round * 1000 + key,
                               (uint32_t)(next_random(&random) % 2), &entry);
            CHECK(status == UF_OK || status == UF_NO_BLOCK || status == UF_EXISTS ||
                  status == UF_STORE_FULL || status == UF_BUSY);
        } else {
            status = entry_delete(&clerk, key, 0);
            CHECK(status == UF_OK || status == UF_MISSING || status == UF_BUSY);
        }
        done += status == UF_OK;
    }
    atomic_fetch_add(&writes, done);
    clerk_go(&clerk);
    return NULL;
}

static void readers_and_writers(uint32_t buckets, uint32_t extensions)
{
    struct team readers = {0};
    struct team writers = {0};
    struct clerk clerk;
    char what[80];
    uint64_t number;
    struct uf_entry entry = {0};
    shelf_open(&shelf, 16, buckets, extensions, 16, 30);
    clerk_come(&clerk, &shelf);
    for (uint64_t key = 0; key < STEADY; key++) {
        CHECK_EQ(entry_set(&clerk, key, 5, key, UF_SET_ANY, &entry), UF_OK);
    }
    uf_pool_flush(&clerk.pool);
    atomic_store(&stop, false);
    atomic_store(&reads, 0);
    atomic_store(&writes, 0);
    pthread_barrier_init(&start, NULL, 5);
    uf_step_hook = yield_at_marks;
    for (uintptr_t i = 0; i < 3; i++) {
        team_add(&readers, reader, NULL);
    }
    for (uintptr_t i = 0; i < 2; i++) {
        team_add(&writers, writer, (void *)i);
    }
    team_join(&writers);
    atomic_store(&stop, true);
    team_join(&readers);
    uf_step_hook = NULL;
    pthread_barrier_destroy(&start);
    for (uint64_t key = 0; key < STEADY; key++) {
        CHECK_EQ(entry_get(&clerk, key, &number, &entry), UF_OK);
    }
    CHECK(shelf_account(&clerk) >= STEADY);
    clerk_go(&clerk);
    shelf_close(&shelf);
    snprintf(what, sizeof what, "whole reads beside two writers, %u buckets + %u", buckets,
             extensions);
    explored(what, reads);
    explored("  writes", writes);
}

/* --- one winner ------------------------------------------------------------------------------- */

#define RIVALS 4u
static _Atomic uint64_t wins;
static _Atomic uint64_t winner_value;
static _Atomic uint64_t rounds_done;

/* All insert the same key at once; exactly one may, and its value is the one that all then read. */
static void *insert_rival(void *argument)
{
    struct clerk clerk;
    uint32_t me = (uint32_t)(uintptr_t)argument;
    clerk_come(&clerk, &shelf);
    for (uint64_t round = 0; round < 3000 / SLOWER; round++) {
        struct uf_entry entry = {0};
        uint64_t number;
        uint64_t key = round % 5;
        pthread_barrier_wait(&start);
        int status;
        do {
            status = entry_set(&clerk, key, 4, round * RIVALS + me, UF_SET_NEW, &entry);
        } while (status == UF_BUSY || status == UF_STORE_FULL);
        CHECK(status == UF_OK || status == UF_EXISTS);
        if (status == UF_OK) {
            CHECK_EQ(atomic_fetch_add(&wins, 1), round);
            atomic_store(&winner_value, round * RIVALS + me);
        } else { /* whoever was told that it exists can read it */
            CHECK_EQ(entry_get(&clerk, key, &number, &entry), UF_OK);
        }
        pthread_barrier_wait(&start);
        CHECK_EQ(atomic_load(&wins), round + 1);
        CHECK_EQ(entry_get(&clerk, key, &number, &entry), UF_OK);
        CHECK_EQ(number, atomic_load(&winner_value));
        pthread_barrier_wait(&start);
        /* And all delete it: again one. */
        status = entry_delete(&clerk, key, 0);
        CHECK(status == UF_OK || status == UF_MISSING);
        if (status == UF_OK) {
            CHECK_EQ(atomic_fetch_add(&rounds_done, 1), round);
        }
    }
    clerk_go(&clerk);
    return NULL;
}

/* All raise a counter by compare-and-set: no raise is lost. */
static void *counting_rival(void *argument)
{
    struct clerk clerk;
    uint64_t *sum = argument;
    clerk_come(&clerk, &shelf);
    pthread_barrier_wait(&start);
    for (uint64_t raised = 0; raised < 2500 / SLOWER;) {
        struct uf_entry entry;
        uint64_t number;
        int status = entry_get(&clerk, 77, &number, &entry);
        if (status == UF_OK) {
            status = entry_set(&clerk, 77, 2 + number % 50, number + 1, UF_SET_STAMP, &entry);
        }
        CHECK(status == UF_OK || status == UF_EXISTS || status == UF_BUSY);
        raised += status == UF_OK;
    }
    *sum = 2500 / SLOWER;
    clerk_go(&clerk);
    return NULL;
}

static void one_winner(void)
{
    struct team team = {0};
    struct clerk clerk;
    struct uf_entry entry = {0};
    uint64_t number;
    uint64_t sums[RIVALS] = {0};
    for (uint32_t buckets = 1; buckets <= 2; buckets++) {
        shelf_open(&shelf, 16, buckets, 1, 0, 20);
        pthread_barrier_init(&start, NULL, RIVALS);
        atomic_store(&wins, 0);
        atomic_store(&rounds_done, 0);
        uf_step_hook = yield_at_marks;
        for (uintptr_t i = 0; i < RIVALS; i++) {
            team_add(&team, insert_rival, (void *)i);
        }
        team_join(&team);
        uf_step_hook = NULL;
        clerk_come(&clerk, &shelf);
        CHECK_EQ(shelf_account(&clerk), 0);
        CHECK_EQ(wins, rounds_done);
        CHECK_EQ(entry_set(&clerk, 77, 2, 0, UF_SET_ANY, &entry), UF_OK);
        uf_pool_flush(&clerk.pool);
        uf_step_hook = yield_at_marks;
        for (uint32_t i = 0; i < RIVALS; i++) {
            team_add(&team, counting_rival, &sums[i]);
        }
        team_join(&team);
        uf_step_hook = NULL;
        CHECK_EQ(entry_get(&clerk, 77, &number, &entry), UF_OK);
        CHECK_EQ(number, sums[0] + sums[1] + sums[2] + sums[3]);
        CHECK_EQ(shelf_account(&clerk), 1);
        pthread_barrier_destroy(&start);
        clerk_go(&clerk);
        shelf_close(&shelf);
        explored("inserts of one key by four threads: one winner, one deleter", wins);
        explored("compare-and-sets by four threads: none lost", number);
    }
}

int main(void)
{
    watchdog(100);
    seed = test_seed();
    against_a_model(1, 0);
    against_a_model(1, 1);
    against_a_model(2, 1);
    against_a_model(3, 3);
    sizes_and_expiry();
    readers_and_writers(1, 1);
    readers_and_writers(2, 1);
    readers_and_writers(64, 8);
    one_winner();
    return 0;
}
