/* explore_hold.c -- entries read in place: what a view shows stays what it was, whoever replaces or deletes
 * the entry meanwhile; and whoever dies, the block is freed once, and no name stays behind.
 */
#include "table_keys.h"

static uint32_t held_ever;
static uint32_t outlived_ever; /* views of an entry that was gone when they ended */

/* Keep A, read it, and read it again before letting go. */
static void view_a(void)
{
    struct uf_held held;
    struct uf_entry entry;
    uint32_t who = me();
    int status = uf_table_hold(&table[who], &key[A], 0, &held, &entry);
    CHECK(status == UF_OK || status == UF_MISSING);
    if (status == UF_OK) {
        const uint64_t *words = (const uint64_t *)(const void *)held.data;
        uint64_t first = words[0];
        CHECK(first == 1 || first == 2 || first == 7);
        CHECK_EQ(entry.value_bytes, 16);
        CHECK_EQ(entry.tag, first);
        CHECK_EQ(entry.expires_ns, 100 + first);
        explore_settled(4, held.handle, held.name << 8 | first);
        CHECK_EQ(words[1], first);
        CHECK_EQ(words[0], first);
        log_of[who].value = first;
        uf_hold_drop(&seat[who].pool, held.handle, held.name);
    }
    explore_settled(5, status == UF_OK, 0);
}

/* Replaced, and what that freed filled anew. */
static void replace_and_reuse(void)
{
    set_a_1();
    set_b_3();
}

static void mend(void)
{
    explore_inherit();
    mend_of(explore_dead());
}
static void mend_outsider(void)
{
    mend_of(OUTSIDER);
}
static void mend_both(void)
{
    explore_inherit();
    mend_outsider();
    explore_settled(6, 0, 0);
    mend();
}

/* As `finish`; and nobody's name is on any block. */
static void finish_held(void)
{
    whole_table();
    for (uint32_t t = 0; t < EXPLORE_THREADS; t++) {
        held_ever += log_of[t].value != 0;
        outlived_ever += log_of[t].value != 0 && log_of[t].value != get_as(OUTSIDER, A);
    }
    struct uf_pool *pool = &seat[OUTSIDER].pool;
    for (uint32_t i = 0; i < pool->class[0].count; i++) {
        struct uf_value *value = uf_pool_block(pool, uf_handle(0, i));
        CHECK_EQ(value->holders, 0);
        CHECK_EQ(value->more_holders, 0);
        CHECK(uf_word_state(value->owner) != UF_BLOCK_HELD);
    }
}

static void some_outlived(void)
{
    CHECK(held_ever > 0);
    CHECK(outlived_ever > 0);
}

static void setup_held(void)
{
    held_ever = outlived_ever = 0;
    setup(4, 0, 0);
    put_first(A, 7);
}

/* The dead OUTSIDER keeps A, which is replaced already; or has only written its name. */
static void setup_kept(void)
{
    struct uf_held held;
    struct uf_entry entry;
    setup_held();
    CHECK_EQ(uf_table_hold(&table[OUTSIDER], &key[A], 0, &held, &entry), UF_OK);
    CHECK_EQ(set_as(OUTSIDER, A, 1, UF_SET_ANY, 0), UF_OK);
    CHECK(uf_hold_name(&seat[OUTSIDER].pool, held.handle) >= 0);
    log_of[OUTSIDER].calls = 0;
}

#define HOLD(title, least, begin, ...)                                                             \
    {.name = title, .minimum = least, .setup = begin, .finish = finish_held, __VA_ARGS__}

static const struct explore_check checks[] = {
    HOLD("hold-beside-replace", 2000, setup_held, .body = {view_a, set_a_1},
         .after = some_outlived),
    HOLD("hold-beside-delete", 700, setup_held, .body = {view_a, delete_a}, .after = some_outlived),
    HOLD("hold-then-reused", 1000, setup_held, .body = {view_a, set_a_1, set_b_3},
         .after = some_outlived, .usual = {1, 1}, .deep = {1, 2}),
    HOLD("hold-two-views", 1300, setup_held, .body = {view_a, view_a, replace_and_reuse},
         .after = some_outlived, .usual = {1, 1}, .deep = {1, 2}),
    HOLD("hold-viewer-dies", 9000, setup_held, .body = {view_a, set_a_1, mend}, .mortal = 1,
         .mourners = 4, .usual = {1, 1}, .deep = {1, 2}),
    HOLD("hold-replacer-dies", 10000, setup_held, .body = {set_a_1, view_a, mend}, .mortal = 1,
         .mourners = 4, .usual = {1, 1}, .deep = {1, 2}),
    HOLD("hold-deleter-dies", 4800, setup_held, .body = {delete_a, view_a, mend}, .mortal = 1,
         .mourners = 4, .usual = {1, 1}, .deep = {1, 2}),
    HOLD("hold-recoverer-dies", 45, setup_kept, .body = {mend_outsider, mend_both}, .mortal = 1,
         .mourners = 2),
};

int main(int argc, char **argv)
{
    return explore_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
