/* test_table_again.c -- what a reader keeps of the table: good as long as nobody wrote, and no longer. */
#include "entries.h"

#define KEYS 15u /* of one bucket and its extension */
#define ROUNDS (4000u / SLOWER)

static struct shelf shelf;

/* One that was read, so that it can be asked for again. */
struct memory {
    struct uf_found found;
    uint64_t number;
    bool is;
};

static int recollect(const struct clerk *clerk, const struct name *name, struct memory *memory)
{
    uint64_t words[VALUE_WORDS_MAX];
    struct uf_entry entry;
    if (memory->is && uf_table_again(&clerk->table, &memory->found)) {
        return UF_OK;
    }
    memory->is = false;
    if (uf_table_lacks(&clerk->table, name->key.hash)) {
        return UF_MISSING;
    }
    for (uint32_t tries = 0; tries < UF_TABLE_TRIES; tries++) {
        int status = UF_BUSY;
        if (tries == 0) { /* as a batch does */
            status = uf_table_nearer(&clerk->table, name->key.hash, &memory->found);
            if (status == UF_OK) {
                status = uf_table_met(&clerk->table, &name->key, &memory->found, &entry);
            }
        }
        if (status != UF_OK) {
            status = uf_table_glance(&clerk->table, &name->key, &memory->found, &entry);
        }
        if (status != UF_OK) {
            return status;
        }
        if (entry.value_bytes <= sizeof words &&
            uf_table_fetch(&clerk->table, &memory->found, &name->key, words, entry.value_bytes)) {
            value_check(words, entry.value_bytes);
            memory->number = words[1];
            memory->is = true;
            return UF_OK;
        }
    }
    return UF_BUSY;
}

static void after_each_write(void)
{
    static struct name names[KEYS];
    static struct memory memory[KEYS];
    struct clerk clerk;
    struct uf_entry entry = {.use = UF_USE_IDLE};
    shelf_open(&shelf, 2, 1, 1, 20, 4);
    clerk_come(&clerk, &shelf);
    for (uint32_t k = 0; k < KEYS; k++) {
        name_make(&names[k], k);
        CHECK(k > 0 || uf_table_lacks(&clerk.table, names[k].key.hash));
        CHECK_EQ(recollect(&clerk, &names[k], &memory[k]), UF_MISSING);
        CHECK_EQ(entry_set(&clerk, k, 2, k, UF_SET_ANY, &entry), UF_OK);
        CHECK(!uf_table_lacks(&clerk.table, names[k].key.hash));
        CHECK_EQ(recollect(&clerk, &names[k], &memory[k]), UF_OK);
    }
    for (uint32_t k = 0; k < KEYS; k++) { /* others came, and it is there still */
        CHECK(uf_table_again(&clerk.table, &memory[k].found));
    }

    /* A cache's entry is marked as read. */
    struct uf_value *value = memory[3].found.value;
    atomic_store(&value->use, UF_USE_IDLE);
    CHECK(uf_table_again(&clerk.table, &memory[3].found));
    CHECK_EQ(atomic_load(&value->use), UF_USE_SEEN);

    /* The same value written once more is another entry; so is that of the same block. */
    for (uint32_t times = 0; times < 100; times++) {
        CHECK_EQ(entry_set(&clerk, 3, 2, 3, UF_SET_ANY, &entry), UF_OK);
        CHECK(!uf_table_again(&clerk.table, &memory[3].found));
    }
    CHECK_EQ(recollect(&clerk, &names[3], &memory[3]), UF_OK);
    CHECK_EQ(entry_delete(&clerk, 3, 0), UF_OK);
    CHECK(!uf_table_again(&clerk.table, &memory[3].found));
    CHECK_EQ(entry_set(&clerk, 3, 2, 3, UF_SET_ANY, &entry), UF_OK);
    CHECK(!uf_table_again(&clerk.table, &memory[3].found));

    /* A view keeps the block as it is: the slot tells that another entry stands there. */
    struct uf_held held;
    CHECK_EQ(recollect(&clerk, &names[5], &memory[5]), UF_OK);
    CHECK_EQ(uf_table_hold(&clerk.table, &names[5].key, 0, &held, &entry), UF_OK);
    CHECK(uf_table_again(&clerk.table, &memory[5].found));
    CHECK_EQ(entry_set(&clerk, 5, 2, 55, UF_SET_ANY, &entry), UF_OK);
    CHECK(!uf_table_again(&clerk.table, &memory[5].found));
    uf_hold_drop(&clerk.pool, held.handle, held.name);

    /* After 2^21 uses of its block the slot has the same word, and the block another version. */
    CHECK(uf_table_again(&clerk.table, &memory[7].found));
    value = memory[7].found.value;
    uint64_t owner = atomic_load(&value->owner);
    atomic_store(&value->owner, owner + (1ull << (28 + UF_WORD_VERSION_BITS)));
    CHECK(!uf_table_again(&clerk.table, &memory[7].found));
    atomic_store(&value->owner, owner);
    clerk_go(&clerk);
    shelf_close(&shelf);
}

/* --- beside a writer: what was written before a read began is not read as it was before */

static struct name steady;
static _Atomic uint64_t written;
static _Atomic uint64_t again_ever;

static void *keeper(void *unused)
{
    struct clerk clerk;
    struct memory memory = {.is = false};
    uint64_t last = 0;
    uint64_t same = 0;
    (void)unused;
    clerk_come(&clerk, &shelf);
    while (last + 1 < ROUNDS) {
        uint64_t least = atomic_load_explicit(&written, memory_order_acquire);
        bool was = memory.is;
        uint64_t before = memory.number;
        int status = recollect(&clerk, &steady, &memory);
        CHECK(status == UF_OK || status == UF_BUSY);
        if (status == UF_OK) {
            CHECK(memory.number >= least && memory.number >= last);
            same += was && memory.number == before;
            last = memory.number;
        }
    }
    atomic_fetch_add(&again_ever, same);
    clerk_go(&clerk);
    return NULL;
}

static void beside_a_writer(void)
{
    pthread_t readers[2];
    struct clerk clerk;
    struct uf_entry entry = {0};
    shelf_open(&shelf, 4, 1, 0, 4, 4);
    clerk_come(&clerk, &shelf);
    name_make(&steady, 1);
    CHECK_EQ(entry_set(&clerk, 1, 2, 0, UF_SET_ANY, &entry), UF_OK);
    for (uint32_t i = 0; i < 2; i++) {
        CHECK_EQ(pthread_create(&readers[i], NULL, keeper, NULL), 0);
    }
    for (uint64_t round = 1; round < ROUNDS;) {
        int status = entry_set(&clerk, 1, 2 + round % 8, round, UF_SET_ANY, &entry);
        CHECK(status == UF_OK || status == UF_BUSY || status == UF_NO_BLOCK);
        if (status == UF_OK) {
            atomic_store_explicit(&written, round++, memory_order_release);
        }
        if (round % 16 == 0) {
            sched_yield();
        }
    }
    for (uint32_t i = 0; i < 2; i++) {
        CHECK_EQ(pthread_join(readers[i], NULL), 0);
    }
    CHECK(again_ever > 0); /* something was remembered at all */
    clerk_go(&clerk);
    shelf_close(&shelf);
}

int main(void)
{
    watchdog(100);
    after_each_write();
    beside_a_writer();
    return 0;
}
