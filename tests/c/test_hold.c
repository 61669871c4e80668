/* test_hold.c -- entries that views keep: whole for as long as they are kept, freed with the last view and
 * not before, whoever dies at whichever mark; and names and bits of anybody's making harm nobody.
 */
#include "deaths.h"
#include "entries.h"

static struct shelf shelf;
static struct clerk parent;
static struct death_tally tally;

enum { NOTE_REPLACED = 1 };

static int keep(struct clerk *clerk, uint64_t key, struct uf_held *held, struct uf_entry *entry)
{
    struct name name;
    name_make(&name, key);
    return uf_table_hold(&clerk->table, &name.key, 0, held, entry);
}

/* Nobody's name or bit is on any block, and every block is where it belongs. */
static void nothing_is_kept(uint64_t entries)
{
    CHECK_EQ(shelf_account(&parent), entries);
    for (uint32_t c = 0; c < parent.pool.classes; c++) {
        for (uint32_t i = 0; i < parent.pool.class[c].count; i++) {
            const struct uf_value *value = uf_pool_block(&parent.pool, uf_handle(c, i));
            CHECK_EQ(value->holders, 0);
            CHECK_EQ(value->more_holders, 0);
        }
    }
}

static void kept_while_replaced(void)
{
    struct uf_held held[UF_VIEWS + 1];
    struct uf_entry entry = {0};
    uint32_t changes = 0;
    CHECK_EQ(entry_set(&parent, 1, 8, 100, UF_SET_ANY, &entry), UF_OK);
    for (uint32_t v = 0; v < UF_VIEWS; v++) {
        CHECK_EQ(keep(&parent, 1, &held[v], &entry), UF_OK);
        CHECK(v == 0 || held[v].data == held[0].data);
    }
    CHECK_EQ(keep(&parent, 1, &held[UF_VIEWS], &entry), UF_FULL);
    uint32_t before = blocks_free(&parent.pool);
    for (uint64_t n = 0; n < 200; n++) {
        uint64_t number;
        if (n % 50 == 49) {
            CHECK_EQ(entry_delete(&parent, 1, 0), UF_OK);
        } else {
            CHECK_EQ(entry_set(&parent, 1, 4 + n % 50, 1000 + n, UF_SET_ANY, &entry), UF_OK);
            CHECK_EQ(entry_get(&parent, 1, &number, &entry), UF_OK);
            CHECK_EQ(number, 1000 + n);
        }
        value_check((const uint64_t *)(const void *)held[0].data, 64);
        CHECK_EQ(((const uint64_t *)(const void *)held[0].data)[1], 100);
        changes++;
    }
    for (uint32_t v = 0; v < UF_VIEWS; v++) {
        uint64_t word = ((struct uf_value *)uf_pool_block(&parent.pool, held[v].handle))->owner;
        CHECK_EQ(uf_word_state(word), UF_BLOCK_HELD);
        uf_hold_drop(&parent.pool, held[v].handle, held[v].name);
        uf_hold_drop(&parent.pool, held[v].handle, held[v].name); /* as recovery may */
    }
    uf_pool_flush(&parent.pool);
    CHECK(blocks_free(&parent.pool) > before);
    nothing_is_kept(0);
    explored("changes of an entry that views keep", changes);
}

static void kept_and_let_go(void)
{
    struct uf_held held;
    struct uf_entry entry = {0};
    uint64_t number;
    CHECK_EQ(entry_set(&parent, 2, 4, 5, UF_SET_ANY, &entry), UF_OK);
    uint64_t stamp = entry.stamp;
    for (uint32_t n = 0; n < 30; n++) {
        CHECK_EQ(keep(&parent, 2, &held, &entry), UF_OK);
        CHECK_EQ(entry.stamp, stamp);
        CHECK_EQ(entry_get(&parent, 2, &number, &entry), UF_OK);
        uf_hold_drop(&parent.pool, held.handle, held.name);
        CHECK_EQ(entry_get(&parent, 2, &number, &entry), UF_OK);
        CHECK_EQ(number, 5);
    }
    CHECK_EQ(entry_set(&parent, 2, 4, 6, UF_SET_STAMP, &entry), UF_OK); /* the same entry still */
    CHECK_EQ(keep(&parent, 3, &held, &entry), UF_MISSING);
    CHECK_EQ(entry_delete(&parent, 2, 0), UF_OK);
    nothing_is_kept(0);
}

static void viewing(void *unused)
{
    struct clerk clerk;
    struct uf_held held[2];
    struct uf_entry entry = {0};
    (void)unused;
    clerk_come(&clerk, &shelf);
    CHECK_EQ(keep(&clerk, 0, &held[0], &entry), UF_OK);
    CHECK_EQ(entry_set(&clerk, 0, 5, 11, UF_SET_ANY, &entry), UF_OK);
    death_note->words[NOTE_REPLACED] = 1;
    CHECK_EQ(keep(&clerk, 0, &held[1], &entry), UF_OK);
    value_check((const uint64_t *)(const void *)held[0].data, 32);
    uf_hold_drop(&clerk.pool, held[0].handle, held[0].name);
    uf_hold_drop(&clerk.pool, held[1].handle, held[1].name);
    clerk_go(&clerk);
}

/* A child keeps and replaces, and is killed at each mark; the parent has a view of its own all along. */
static void deaths(void)
{
    bool alive = false;
    for (uint32_t at = 1; !alive; at++) {
        struct uf_held mine;
        struct uf_entry entry = {0};
        uint64_t number;
        CHECK_EQ(entry_set(&parent, 0, 4, 10, UF_SET_ANY, &entry), UF_OK);
        CHECK_EQ(keep(&parent, 0, &mine, &entry), UF_OK);
        alive = !death_at(at, viewing, NULL);
        if (!alive) {
            tally_death(&tally);
        }
        clerk_mend(&parent);
        value_check((const uint64_t *)(const void *)mine.data, 32);
        CHECK_EQ(((const uint64_t *)(const void *)mine.data)[1], 10);
        uf_hold_drop(&parent.pool, mine.handle, mine.name);
        CHECK_EQ(entry_get(&parent, 0, &number, &entry), UF_OK);
        CHECK(number == 11 || (number == 10 && death_note->words[NOTE_REPLACED] == 0));
        CHECK_EQ(entry_delete(&parent, 0, 0), UF_OK);
        nothing_is_kept(0);
    }
    check_labels(&tally, "K1 K2 K3 K4 K5 T3a T3");
    explored("deaths of those who keep and replace", tally.deaths);
}

/* Words that nobody of ours writes: every call comes back, and no block is freed twice. */
static void hostile(void)
{
    struct uf_entry entry = {0};
    uint64_t seed = 7;
    uint32_t cases = 0;
    for (uint32_t n = 0; n < 20000 / SLOWER; n++) {
        struct uf_held held;
        CHECK_EQ(entry_set(&parent, 1, 4, 100, UF_SET_ANY, &entry), UF_OK);
        struct uf_value *value = uf_pool_block(&parent.pool, entry.handle);
        struct name name;
        name_make(&name, 1);
        struct uf_found found;
        CHECK_EQ(uf_table_find(&parent.table, &name.key, &found), UF_OK);
        value = found.value;
        uint64_t word = value->owner;
        value->holders = next_random(&seed);
        value->more_holders = next_random(&seed);
        if (n % 2 != 0) {
            value->owner = (word & ~0xfffffffull) | (uint64_t)UF_BLOCK_HELD << 24 |
                           (next_random(&seed) & 0xffffff) | UF_HELD_BY_TABLE | 1;
        }
        int status = keep(&parent, 1, &held, &entry);
        CHECK(status == UF_OK || status == UF_FULL);
        if (status == UF_OK) {
            uf_hold_drop(&parent.pool, held.handle, held.name);
        }
        uf_hold_drop(&parent.pool, found.handle, (uint32_t)next_random(&seed));
        uf_hold_drop(&parent.pool, (uint32_t)next_random(&seed), 3);
        uf_hold_recover(&parent.pool, found.handle, 3);
        value->holders = value->more_holders = 0;
        value->owner = word;
        CHECK_EQ(entry_delete(&parent, 1, 0), UF_OK);
        cases++;
    }
    explored("names and bits of anybody's making", cases);
}

int main(void)
{
    watchdog(100);
    deaths_open();
    shelf_open(&shelf, 6, 2, 2, 6, 24);
    clerk_come(&parent, &shelf);
    kept_while_replaced();
    kept_and_let_go();
    deaths();
    hostile();
    clerk_go(&parent);
    shelf_close(&shelf);
    return 0;
}
