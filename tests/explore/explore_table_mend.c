/* explore_table_mend.c -- the table's deletes, extensions and recovery: whoever helps, mends or dies, no slot
 * and no block is lost, and nothing of the living is taken.
 */
#include "table_keys.h"

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
    explore_inherit();
    mend_of(explore_dead());
}

/* Who set up the first entries died long ago: nothing of it is to be mended, but others work. */
static void mend_outsider(void)
{
    mend_of(OUTSIDER);
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

/* No slot is left with what nobody can remove: the bucket takes as many as it has slots. */
static void finish_usable(void)
{
    uint32_t entries = whole_table();
    for (uint32_t k = 2; entries < BLOCKS_MAX && entries < UF_BUCKET_SLOTS; k++) {
        CHECK_EQ(set_as(OUTSIDER, k, 4, UF_SET_ANY, 0), UF_OK);
        entries++;
    }
    CHECK_EQ(whole_table(), entries);
}

/* Blocks enough to fill the bucket. */
static void setup_many(void)
{
    setup(UF_BUCKET_SLOTS, 0, 0);
}

static void setup_a_many(void)
{
    setup_many();
    put_first(A, 7);
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

static void some_freed(void)
{
    CHECK(freed_ever > 0);
}

static void some_emptied(void)
{
    CHECK(freed_ever > 0 && emptied_ever > 0);
}

#define DEATH .mortal = 1, .mourners = 4

static const struct explore_check checks[] = {
    TABLE("table-help-delete", 13000, setup_many, finish_usable, .body = {set_a_delete_a, set_b_3},
          .usual = {2, 2}, .deep = {0, 3}),
    TABLE("table-mend-beside-delete", 30000, setup_a_many, finish_usable,
          .body = {delete_a, mend_outsider}),
    TABLE("table-mend-beside-both", 22000, setup_many, finish_usable,
          .body = {set_a_delete_a, mend_outsider}, .usual = {2, 2}),
    TABLE("table-mend-beside-replace", 18000, setup_a_many, finish_usable,
          .body = {set_a_1, mend_outsider}),
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
