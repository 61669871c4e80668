/* test_clock.c -- room in a full table: what is over goes, and what no reader came for goes, of caches
 * alone; whoever dies at whichever mark leaves a table in order.
 */
#include "deaths.h"
#include "entries.h"

#include "uf_clock.h"

static struct shelf shelf;
static struct clerk parent;
static struct death_tally tally;
static struct uf_declared declared;

#define ENTRIES 24u /* as many as blocks of the smaller size */

static void declare(uint64_t settings)
{
    CHECK_EQ(uf_declare(&declared, "space", 5, settings), UF_OK);
}

/* Key numbers 0 .. ENTRIES - 1, every third over at time 50. */
static void fill(uint32_t use, uint64_t expires_ns)
{
    for (uint64_t key = 0; key < ENTRIES; key++) {
        struct uf_entry entry = {.use = use, .expires_ns = key % 3 == 0 ? expires_ns : 0};
        CHECK_EQ(entry_set(&parent, key, 3, key, UF_SET_ANY, &entry), UF_OK);
    }
    uf_pool_flush(&parent.pool);
}

static void clear(void)
{
    for (uint64_t key = 0; key < ENTRIES; key++) {
        int status = entry_delete(&parent, key, 0);
        CHECK(status == UF_OK || status == UF_MISSING);
    }
    CHECK_EQ(shelf_account(&parent), 0);
}

static bool is_there(uint64_t key)
{
    struct uf_entry entry;
    uint64_t number;
    return entry_get(&parent, key, &number, &entry) == UF_OK;
}

static struct uf_clocked sweep(uint32_t steps, uint32_t want, uint64_t now_ns)
{
    struct uf_clocked done = {0};
    CHECK_EQ(uf_clock_sweep(&parent.table, &declared, 0, now_ns, steps, want, &done), UF_OK);
    return done;
}

static void only_caches_and_what_is_over(void)
{
    fill(UF_USE_NONE, 50);
    declare(UF_DECLARED_TOLD);
    struct uf_clocked done = sweep(2 * ENTRIES, ENTRIES, 10);
    CHECK_EQ(done.evicted + done.expired, 0);
    CHECK_EQ(done.steps, 2 * ENTRIES);
    done = sweep(2 * ENTRIES, ENTRIES, 60);
    CHECK_EQ(done.evicted, 0);
    CHECK_EQ(done.expired, ENTRIES / 3);
    for (uint64_t key = 0; key < ENTRIES; key++) {
        CHECK_EQ(is_there(key), key % 3 != 0);
    }
    CHECK_EQ(shelf_account(&parent), ENTRIES - ENTRIES / 3);
    clear();
    uint64_t evicted;
    uint64_t expired;
    uf_declared_counted(&declared, uf_declared_find(&declared, "space", 5), &evicted, &expired);
    CHECK_EQ(evicted, 0);
    CHECK_EQ(expired, ENTRIES / 3);
    explored("entries that a full store may not take", 2 * ENTRIES);
}

/* Those that are read between two rounds stay; of the others as many go as were wanted. */
static void read_is_kept(void)
{
    uint32_t kept = 0;
    fill(UF_USE_IDLE, 0);
    declare(UF_DECLARED_TOLD | UF_DECLARED_CACHE);
    for (uint32_t round = 0; round < 5; round++) {
        for (uint64_t key = 0; key < 4; key++) {
            kept += is_there(key);
        }
        struct uf_clocked done = sweep(ENTRIES, 3, 1);
        CHECK(done.evicted <= 3);
    }
    CHECK_EQ(kept, 20);
    CHECK(shelf_account(&parent) < ENTRIES);
    /* Not read any more, they go as well: in the second round at the latest. */
    sweep(2 * ENTRIES, ENTRIES, 1);
    CHECK_EQ(shelf_account(&parent), 0);
    explored("entries that were read and stayed", kept);
}

static void a_full_bucket(void)
{
    struct name name;
    struct uf_clocked done = {0};
    declare(UF_DECLARED_TOLD | UF_DECLARED_CACHE);
    fill(UF_USE_IDLE, 0);
    name_make(&name, 0);
    for (uint64_t key = 0; key < ENTRIES; key++) {
        CHECK(is_there(key));
    }
    uf_clock_bucket(&parent.table, &declared, name.key.hash, 1, &done);
    CHECK_EQ(done.evicted, 1);
    CHECK_EQ(shelf_account(&parent), ENTRIES - 1);
    declare(0);
    done.evicted = 0;
    uf_clock_bucket(&parent.table, &declared, name.key.hash, 1, &done);
    CHECK_EQ(done.evicted, 0);
    clear();
}

static void evicting(void *unused)
{
    struct clerk clerk;
    struct uf_clocked done = {0};
    (void)unused;
    clerk_come(&clerk, &shelf);
    CHECK_EQ(uf_clock_sweep(&clerk.table, &declared, 0, 60, ENTRIES, 3, &done), UF_OK);
    clerk_go(&clerk);
}

static void deaths(void)
{
    bool alive = false;
    for (uint32_t at = 1; !alive; at++) {
        declare(UF_DECLARED_TOLD | UF_DECLARED_CACHE);
        fill(UF_USE_IDLE, 0);
        alive = !death_at(at, evicting, NULL);
        if (!alive) {
            tally_death(&tally);
        }
        clerk_mend(&parent);
        uint64_t left = shelf_account(&parent);
        CHECK(left <= ENTRIES && left >= ENTRIES - 3);
        clear();
    }
    check_labels(&tally, "C1 T4 T5 T6a T6 T9 K5 T10");
    explored("deaths of those who take back", tally.deaths);
}

/* Wild words in every head: nothing is read outside, and every call comes back. */
static void hostile(void)
{
    uint64_t seed = 11;
    uint32_t cases = 0;
    declare(UF_DECLARED_TOLD | UF_DECLARED_CACHE);
    for (uint32_t n = 0; n < 3000 / SLOWER; n++) {
        fill(UF_USE_IDLE, 0);
        for (uint32_t i = 0; i < ENTRIES; i++) {
            struct uf_value *value = uf_pool_block(&parent.pool, uf_handle(0, i));
            struct uf_value kept;
            memcpy((void *)&kept, (void *)value, sizeof kept);
            /* Not the owner word: that is test_flips'. */
            for (uint32_t w = 8; w < UF_BLOCK_HEAD; w += 8) {
                uint64_t word = next_random(&seed);
                memcpy((uint8_t *)value + w, &word, 8);
            }
            struct uf_clocked done = {0};
            uf_clock_sweep(&parent.table, &declared, 0, next_random(&seed), 1, 1, &done);
            memcpy((uint8_t *)value + 8, (uint8_t *)&kept + 8, sizeof kept - 8);
            cases++;
        }
        clear();
    }
    explored("heads of anybody's making", cases);
}

int main(void)
{
    watchdog(100);
    deaths_open();
    /* Shared with the children. */
    void *area =
        mmap(NULL, uf_declared_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(area != MAP_FAILED);
    CHECK_EQ(uf_declared_open(&declared, area, uf_declared_bytes(), 3), UF_OK);
    shelf_open(&shelf, 6, 4, 4, ENTRIES, 4);
    clerk_come(&parent, &shelf);
    only_caches_and_what_is_over();
    read_is_kept();
    a_full_bucket();
    deaths();
    hostile();
    clerk_go(&parent);
    shelf_close(&shelf);
    return 0;
}
