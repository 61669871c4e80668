/* test_table_gates.c -- interleavings of the table that chance finds too seldom, one by one. */
#include "entries.h"
#include "gates.h"

static struct shelf shelf;

struct order {
    struct clerk *clerk;
    uint64_t key;
    uint64_t number;
    uint32_t mode;
    int status;
};

static void do_set(void *argument)
{
    struct order *order = argument;
    struct uf_entry entry = {0};
    order->status = entry_set(order->clerk, order->key, 4, order->number, order->mode, &entry);
}

static void do_get(void *argument)
{
    struct order *order = argument;
    struct uf_entry entry;
    order->status = entry_get(order->clerk, order->key, &order->number, &entry);
}

static void do_delete(void *argument)
{
    struct order *order = argument;
    order->status = entry_delete(order->clerk, order->key, 0);
}

static void set(struct clerk *clerk, uint64_t key, uint64_t number)
{
    struct uf_entry entry = {0};
    CHECK_EQ(entry_set(clerk, key, 4, number, UF_SET_ANY, &entry), UF_OK);
}

static void open_shelf(struct clerk *clerks, uint32_t count)
{
    shelf_open(&shelf, 8, 1, 1, 0, 12);
    for (uint32_t i = 0; i < count; i++) {
        clerk_come(&clerks[i], &shelf);
    }
}

static void close_shelf(struct clerk *clerks, uint32_t count, uint64_t entries)
{
    for (uint32_t i = 0; i < count; i++) {
        uf_pool_flush(&clerks[i].pool);
    }
    CHECK_EQ(shelf_account(&clerks[0]), entries);
    for (uint32_t i = 0; i < count; i++) {
        clerk_go(&clerks[i]);
    }
    shelf_close(&shelf);
}

/* The first reads the head; the entry in slot 0 goes, and the second reserves slot 0 for a key but
 * has not made it visible. Then the first looks into slot 0: the key is not there yet. */
static void a_reserved_slot_is_not_an_entry(bool reads)
{
    struct clerk clerk[3];
    struct gate looking;
    struct gate inserting;
    struct uf_entry entry;
    uint64_t number = 0;
    open_shelf(clerk, 3);
    set(&clerk[0], 1, 10);
    struct order first = {.clerk = &clerk[1], .key = 2, .number = 20};
    struct order second = {.clerk = &clerk[2], .key = 2, .number = 21};
    gate_run(&looking, "V6", reads ? do_get : do_set, &first);
    gate_reached(&looking);
    CHECK_EQ(entry_delete(&clerk[0], 1, 0), UF_OK);
    gate_run(&inserting, "T1", do_set, &second);
    gate_reached(&inserting);
    gate_open(&looking);
    gate_join(&looking);
    CHECK_EQ(first.status, reads ? UF_MISSING : UF_OK);
    set(&clerk[0], 3, 30); /* the head changes: the second has to withdraw and begin again */
    gate_open(&inserting);
    gate_join(&inserting);
    CHECK_EQ(second.status, UF_OK);
    CHECK_EQ(entry_get(&clerk[0], 2, &number, &entry), UF_OK);
    CHECK_EQ(number, 21); /* the later of the two writes */
    CHECK_EQ(entry_get(&clerk[0], 3, &number, &entry), UF_OK);
    close_shelf(clerk, 3, 2);
}

/* The first saw the second's reservation of slot 0. The second withdraws it, and another key's entry
 * comes to stand in slot 0, so that its bit is valid again: of what the first saw, that says nothing. */
static void a_withdrawn_reservation_is_not_an_entry(bool reads)
{
    struct clerk clerk[3];
    struct gate looking;
    struct gate inserting;
    struct uf_entry entry;
    uint64_t number = 0;
    open_shelf(clerk, 3);
    set(&clerk[0], 1, 10);
    struct order first = {.clerk = &clerk[1], .key = 2, .number = 20, .mode = UF_SET_NEW};
    struct order second = {.clerk = &clerk[2], .key = 2, .number = 21};
    gate_run(&looking, "V6", reads ? do_get : do_set, &first);
    gate_reached(&looking);
    CHECK_EQ(entry_delete(&clerk[0], 1, 0), UF_OK);
    gate_run(&inserting, "T1", do_set, &second);
    gate_reached(&inserting);
    gate_move(&looking, "V2"); /* it has read the reserved slot */
    set(&clerk[0], 3, 30);     /* the head changes, and the second has to withdraw */
    gate_move(&inserting, "V6");
    set(&clerk[0], 4, 40); /* in slot 0 */
    gate_open(&looking);
    gate_join(&looking);
    CHECK_EQ(first.status, reads ? UF_MISSING : UF_OK);
    CHECK_EQ(entry_get(&clerk[0], 2, &number, &entry), reads ? UF_MISSING : UF_OK);
    gate_open(&inserting);
    gate_join(&inserting);
    CHECK_EQ(second.status, UF_OK);
    CHECK_EQ(entry_get(&clerk[0], 2, &number, &entry), UF_OK);
    CHECK_EQ(number, 21);
    close_shelf(clerk, 3, 3);
}

/* A writer replaced a dead one's entry and has not yet given the old block back. Recovery finds that
 * block in no slot, frees it, and it becomes another entry: which the writer must leave alone. */
static void a_block_freed_by_recovery_is_not_freed_again(const char *mark, bool deletes)
{
    struct clerk clerk[3];
    struct gate writing;
    struct uf_entry entry;
    uint64_t number = 0;
    open_shelf(clerk, 3);
    set(&clerk[2], 1, 10);
    uf_pool_flush(&clerk[2].pool);
    uf_region_close(&clerk[2].region); /* its lock is gone: the kernel says that it is dead */
    struct order order = {.clerk = &clerk[1], .key = 1, .number = 11};
    gate_run(&writing, mark, deletes ? do_delete : do_set, &order);
    gate_reached(&writing);
    clerk_mend(&clerk[0]);
    for (uint64_t key = 2; key < 13; key++) { /* the pool is emptied: the block is taken */
        int status = entry_set(&clerk[0], key, 4, key * 10, UF_SET_NEW, &entry);
        CHECK(status == UF_OK || (status == UF_NO_BLOCK && key == 12));
    }
    gate_open(&writing);
    gate_join(&writing);
    CHECK_EQ(order.status, UF_OK);
    for (uint64_t key = 2; key < 12; key++) {
        CHECK_EQ(entry_get(&clerk[0], key, &number, &entry), UF_OK);
        CHECK_EQ(number, key * 10);
    }
    uint64_t entries = uf_table_count(&clerk[0].table);
    close_shelf(clerk, 2, entries);
}

/* Two finish one delete; the block is another entry before the slower one comes to it. */
static void a_delete_is_finished_once(const char *mark)
{
    struct clerk clerk[3];
    struct gate slow;
    struct uf_entry entry;
    uint64_t number = 0;
    open_shelf(clerk, 3);
    for (uint64_t key = 1; key < 7; key++) {
        set(&clerk[0], key, key * 10);
    }
    struct order order = {.clerk = &clerk[1], .key = 3};
    gate_run(&slow, mark, do_delete, &order);
    gate_reached(&slow);
    set(&clerk[2], 8, 80); /* meets the deleted word and finishes it */
    CHECK_EQ(entry_get(&clerk[0], 3, &number, &entry), UF_MISSING);
    for (uint64_t key = 20; entry_set(&clerk[2], key, 4, key * 10, UF_SET_NEW, &entry) == UF_OK;
         key++) {
        number = key;
    }
    gate_open(&slow);
    gate_join(&slow);
    CHECK_EQ(order.status, UF_OK);
    for (uint64_t key = 20; key <= number; key++) {
        uint64_t got;
        CHECK_EQ(entry_get(&clerk[0], key, &got, &entry), UF_OK);
        CHECK_EQ(got, key * 10);
    }
    close_shelf(clerk, 3, uf_table_count(&clerk[0].table));
}

/* A reader stopped anywhere in its reading, while its entry is replaced, deleted or its block reused,
 * answers with a whole value or starts over. */
static void a_stopped_reader_reads_whole(const char *mark, int what)
{
    struct clerk clerk[2];
    struct gate reading;
    open_shelf(clerk, 2);
    set(&clerk[0], 1, 10);
    struct order order = {.clerk = &clerk[1], .key = 1};
    gate_run(&reading, mark, do_get, &order);
    gate_reached(&reading);
    if (what == 0) {
        set(&clerk[0], 1, 11);
    } else if (what == 1) {
        CHECK_EQ(entry_delete(&clerk[0], 1, 0), UF_OK);
    } else {
        for (uint64_t i = 0; i < 30; i++) { /* every block has been another's */
            set(&clerk[0], 1, 12 + i);
            set(&clerk[0], 2, 500 + i);
            CHECK_EQ(entry_delete(&clerk[0], 2, 0), UF_OK);
        }
    }
    gate_open(&reading);
    gate_join(&reading);
    CHECK_EQ(order.status, what == 1 ? UF_MISSING : UF_OK);
    if (what != 1) {
        CHECK_EQ(order.number, what == 0 ? 11 : 12 + 29);
    }
    close_shelf(clerk, 2, what == 1 ? 0 : 1);
}

/* Two set the same new key; one stands between reserving and making visible. */
static void of_two_inserts_one_wins(void)
{
    struct clerk clerk[2];
    struct gate inserting;
    struct uf_entry entry = {0};
    uint64_t number = 0;
    open_shelf(clerk, 2);
    struct order order = {.clerk = &clerk[1], .key = 1, .number = 10, .mode = UF_SET_NEW};
    gate_run(&inserting, "T1", do_set, &order);
    gate_reached(&inserting);
    CHECK_EQ(entry_get(&clerk[0], 1, &number, &entry), UF_MISSING);
    CHECK_EQ(entry_set(&clerk[0], 1, 4, 20, UF_SET_NEW, &entry), UF_OK);
    gate_open(&inserting);
    gate_join(&inserting);
    CHECK_EQ(order.status, UF_EXISTS);
    CHECK_EQ(entry_get(&clerk[0], 1, &number, &entry), UF_OK);
    CHECK_EQ(number, 20);
    close_shelf(clerk, 2, 1);
}

int main(void)
{
    uint64_t cases = 0;
    watchdog(60);
    a_reserved_slot_is_not_an_entry(true);
    a_reserved_slot_is_not_an_entry(false);
    a_withdrawn_reservation_is_not_an_entry(true);
    a_withdrawn_reservation_is_not_an_entry(false);
    explored("reserved slots that nobody took for entries", 4);
    a_block_freed_by_recovery_is_not_freed_again("T3", false);
    a_block_freed_by_recovery_is_not_freed_again("T9", false);
    a_block_freed_by_recovery_is_not_freed_again("T6", true);
    a_block_freed_by_recovery_is_not_freed_again("T9", true);
    explored("blocks that recovery freed before their unlinker did", 4);
    static const char *const deletes[] = {"T4", "T5", "T6a"};
    for (size_t i = 0; i < sizeof deletes / sizeof *deletes; i++, cases++) {
        a_delete_is_finished_once(deletes[i]);
    }
    explored("deletes finished by another", cases);
    cases = 0;
    for (int what = 0; what < 3; what++) {
        a_stopped_reader_reads_whole("V6", what);
        a_stopped_reader_reads_whole("V2", what);
        a_stopped_reader_reads_whole("V4", what);
        cases += 3;
    }
    explored("readers stopped while their entry changed", cases);
    of_two_inserts_one_wins();
    explored("inserts that met another's reservation", 1);
    return 0;
}
