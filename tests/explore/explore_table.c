/* explore_table.c -- the table: one slot a key, whole values, no false miss, whoever writes and reads.
 */
#include "table_keys.h"

#include <unistd.h>

static uint64_t again_ever; /* values that were kept and good, a bit each; over all executions */
static bool passed[SEATS];  /* a mark at which turns are given */
static struct {
    uint64_t marks[8];
    uint64_t number[UF_TABLE_SLOTS];
    char letter[UF_TABLE_SLOTS];
} copied;

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
static void get_a_note(void)
{
    log_of[me()].value = get_as(me(), A);
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
/* As a batch reads: the entry is found at one time, and compared and copied at another. */
static void get_a_in_steps(void)
{
    uint64_t data[2] = {0, 0};
    struct uf_found found;
    struct uf_entry entry;
    CHECK(uf_table_nearer(&table[me()], key[A].hash, &found) != UF_MISSING);
    if (uf_table_met(&table[me()], &key[A], &found, &entry) != UF_OK) {
        values_read |= 1ull << 9; /* a search would tell */
        return;
    }
    CHECK(entry.value_bytes <= sizeof data);
    if (uf_table_fetch(&table[me()], &found, &key[A], data, entry.value_bytes)) {
        CHECK(data[0] == 7 || data[0] == 1 || data[0] == 2);
        CHECK_EQ(entry.value_bytes, bytes_of(data[0]));
        CHECK_EQ(entry.tag, data[0]);
        CHECK_EQ(data[1], data[0]);
        values_read |= 1ull << data[0];
    }
}
/* What was kept of A is A still, or it was written since. */
static void keep_a_ask_again(void)
{
    uint64_t data[2];
    struct uf_found found;
    struct uf_entry entry;
    CHECK(!uf_table_lacks(&table[me()], key[A].hash));
    CHECK_EQ(uf_table_glance(&table[me()], &key[A], &found, &entry), UF_OK);
    if (entry.value_bytes > sizeof data ||
        !uf_table_fetch(&table[me()], &found, &key[A], data, entry.value_bytes)) {
        return;
    }
    uint32_t done = atomic_load_explicit(told, memory_order_acquire);
    explore_settled(8, done, data[0]);
    if (uf_table_again(&table[me()], &found)) {
        CHECK(!done || data[0] == 1);
        again_ever |= 1ull << data[0];
    } else {
        CHECK_EQ(data[0], 7);
    }
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
/* A turn passes between threads by pipes, which order nothing in memory. */
static void give_turn(uint32_t turn)
{
    CHECK_EQ(write(explore_pipe(turn), "", 1), 1);
}
/* A reader has the head of a bucket where A is, when A goes (0); an insert of A reserves its slot (1), but
 * before it is visible (2, 3) another A is inserted (4): it withdraws (5), and then the slot is B's. */
static void delete_a_set_a_set_b(void)
{
    explore_poll(0);
    delete_a();
    give_turn(1);
    explore_poll(3);
    set_a_1();
    give_turn(4);
    explore_poll(5);
    set_b_3();
}
static void new_a_between(void)
{
    explore_poll(1);
    new_a_2();
    give_turn(5);
}
static void pass_turns(const char *mark)
{
    if (me() == 2 && strcmp(mark, "V6") == 0 && !passed[2]) {
        passed[2] = true;
        give_turn(0);
        explore_poll(2);
    }
    if (me() == 1 && strcmp(mark, "T1") == 0 && !passed[1]) {
        passed[1] = true;
        give_turn(2);
        give_turn(3);
        explore_poll(4);
    }
}
/* A stays, though replaced, and so a walk sees it. */
static void walk_a(void)
{
    uint64_t words[(UF_KEY_BYTES_MAX + 8) / 8];
    uint64_t cursor = 0;
    struct uf_entry entry;
    CHECK_EQ(uf_table_next(&table[me()], &cursor, 0, words, &entry), UF_OK);
    CHECK_EQ(last_letter(words, &entry), 'a');
}
/* What a walk sees of B has been inserted, and so is there afterwards. */
static void walk_get_b(void)
{
    uint64_t words[(UF_KEY_BYTES_MAX + 8) / 8];
    uint64_t cursor = 0;
    uint32_t found = 0;
    struct uf_entry entry;
    while (uf_table_next(&table[me()], &cursor, 0, words, &entry) == UF_OK) {
        found |= last_letter(words, &entry) == 'b';
    }
    explore_settled(6, found, 0);
    CHECK(!found || get_as(me(), B) == 3);
}

/* A copy of the table, kept by looks at what changed: by place, the key's letter and its number. */
static void look(void)
{
    uint64_t words[(UF_KEY_BYTES_MAX + 8) / 8];
    uint64_t data[2] = {0, 0};
    uint64_t cursor = 0;
    struct uf_entry entry;
    int status;
    while ((status = uf_table_changed(&table[me()], copied.marks, &cursor, 16, words, data,
                                      sizeof data, &entry)) == UF_OK) {
        bool is = entry.handle != UF_HANDLE_NONE;
        CHECK(cursor - 1 < UF_TABLE_SLOTS);
        CHECK(!is || entry.value_bytes == bytes_of(data[0]));
        CHECK(!is || entry.value_bytes == 8 || data[1] == data[0]);
        copied.letter[cursor - 1] = is ? last_letter(words, &entry) : 0;
        copied.number[cursor - 1] = is ? data[0] : 0;
    }
    CHECK_EQ(status, UF_EMPTY);
    explore_settled(7, 0, 0);
}
static void look_twice(void)
{
    look();
    look();
}
/* When all is quiet one more look makes the copy equal, whatever the others saw. */
static void finish_look(void)
{
    uint32_t entries = whole_table();
    look();
    for (uint32_t place = 0; place < UF_TABLE_SLOTS; place++) {
        if (copied.letter[place] != 0) {
            CHECK_EQ(get_as(OUTSIDER, (uint32_t)(copied.letter[place] - 'a')),
                     copied.number[place]);
            entries--;
        }
    }
    CHECK_EQ(entries, 0);
}

static void finish_2(void)
{
    CHECK_EQ(whole_table(), 2);
}
/* Of two that insert, or compare and set, one wins, and its value stands. */
static void finish_one_wins(void)
{
    CHECK_EQ(whole_table(), 1);
    CHECK_EQ((log_of[0].status[0] == UF_OK) + (log_of[1].status[0] == UF_OK), 1);
    CHECK_EQ((log_of[0].status[0] == UF_EXISTS) + (log_of[1].status[0] == UF_EXISTS), 1);
    CHECK_EQ(get_as(OUTSIDER, A), log_of[0].status[0] == UF_OK ? 1 : 2);
}
/* What was refused was never there. */
static void finish_refused(void)
{
    CHECK_EQ(whole_table(), 2);
    CHECK(log_of[2].value != 2 || log_of[1].status[0] == UF_OK);
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

/* One block to spare: what is replaced is used again at once. */
static void setup_a_tight(void)
{
    setup(2, 0, 0);
    put_first(A, 7);
}
static void setup_a_tails(void)
{
    setup_a_tight();
    tails = 1;
    put_first(A, 7);
}
static void setup_turns(void)
{
    memset(passed, 0, sizeof passed);
    setup(3, 1, 0); /* caches, so that nobody else uses the refused block */
    put_first(A, 7);
    explore_keep(passed, sizeof passed);
    uf_step_hook = pass_turns;
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

static void copies(void)
{
    memset(&copied, 0, sizeof copied);
    explore_keep(&copied, sizeof copied);
}
static void setup_look(void)
{
    setup(3, 0, 0);
    copies();
}
static void setup_look_a(void)
{
    setup_a_tight();
    copies();
}

static void old_and_new(void)
{
    CHECK((values_read & 1ull << 7) != 0 && (values_read & 1ull << 1) != 0);
}

static void all_and_none(void)
{
    CHECK_EQ(values_read >> 1, 0x143); /* 1, 2, 7, and what a search would tell */
}

static void both_again(void)
{
    CHECK((again_ever & 1ull << 7) != 0 && (again_ever & 1ull << 1) != 0);
}

static const struct explore_check checks[] = {
    TABLE("table-insert-insert", 2300, setup_none, finish_1, .body = {set_a_1, set_a_2}),
    TABLE("table-new-new", 2300, setup_none, finish_one_wins, .body = {new_a_1, new_a_2}),
    TABLE("table-two-keys", 2200, setup_none, finish_2, .body = {set_a_1, set_b_3}),
    TABLE("table-insert-get", 47, setup_none, finish_1, .body = {set_a_tell, ask_get_a}),
    TABLE("table-insert-insert-get", 28000, setup_none, finish_1, .body = {set_a_1, set_a_2, get_a},
          .usual = {2, 2}, .deep = {3, 3}),
    TABLE("table-swap-swap", 20000, setup_a, finish_one_wins, .body = {swap_a_1, swap_a_2}),
    TABLE("table-replace-replace", 22000, setup_a, finish_1, .body = {set_a_1, set_a_2}),
    TABLE("table-replace-get", 1000, setup_a_tight, finish_1, .body = {set_a_1, get_a_surely},
          .after = old_and_new),
    TABLE("table-replace-again", 1150, setup_a, finish_1, .body = {set_a_tell, keep_a_ask_again},
          .after = both_again),
    TABLE("table-replace-replace-get", 4100, setup_a, finish_1,
          .body = {set_a_1, set_a_2, get_a_surely}, .usual = {2, 1}, .deep = {2, 2}),
    TABLE("table-reuse-same-key", 51000, setup_a_tight, finish_1,
          .body = {set_a_set_a, get_a_surely}),
    TABLE("table-reuse-in-steps", 4900, setup_a_tight, finish_1,
          .body = {set_a_set_a, get_a_in_steps}, .after = all_and_none),
    TABLE("table-reuse-tails", 1000, setup_a_tails, finish_1, .body = {set_a_set_a, get_a_surely},
          .usual = {2, 2}),
    TABLE("table-reuse-other-key", 11000, setup_a_tight, finish_2,
          .body = {set_a_set_b, get_a_surely}),
    TABLE("table-reuse-deleted", 2700, setup_a_tight, finish, .body = {delete_a_set_b, get_a}),
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
    TABLE("table-walk-replaced", 700, setup_a, finish_1, .body = {set_a_1, walk_a}),
    TABLE("table-walk-inserted", 24000, setup_a, finish_1, .body = {delete_a_set_b, walk_get_b}),
    TABLE("table-look-inserted", 110, setup_look, finish_look, .body = {set_a_1, look}),
    TABLE("table-look-replaced", 59000, setup_look_a, finish_look, .body = {set_a_set_a, look}),
    TABLE("table-look-moved", 6200, setup_look_a, finish_look, .body = {delete_a_set_b, look_twice},
          .usual = {2, 2}),
    TABLE("table-look-withdrawn", 1370, setup_look, finish_look, .body = {new_a_1, new_a_2, look},
          .usual = {2, 1}, .deep = {2, 2}),
    TABLE("table-withdrawn", 18000, setup_turns, finish_refused,
          .body = {delete_a_set_a_set_b, new_a_between, get_a_note}, .usual = {3, 1},
          .deep = {3, 2}),
};

int main(int argc, char **argv)
{
    return explore_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
