/* scenes_table.c -- entries: read, set in every way, deleted, walked over. */
#include "steps.h"
#include "uf_table_in.h"

/* --- before ---------------------------------------------------------------------------------------- */

static void two_entries(void)
{
    entry_put(0, 1);
    entry_put(1, 21);
}

static void bucket_full(void)
{
    for (uint32_t key = 0; key < UF_BUCKET_SLOTS; key++) {
        entry_put(key, 1);
    }
}

static void extended(void)
{
    for (uint32_t key = 0; key < UF_BUCKET_SLOTS + 2; key++) {
        entry_put(key, 1);
    }
}

static void all_full(void)
{
    for (uint32_t key = 0; key < UF_TABLE_SLOTS; key++) {
        entry_put(key, 1);
    }
}

/* A delete that nobody has finished yet (T4): its process stands still, or is dead and mended. */
static void half_deleted(void)
{
    two_entries();
    struct uf_found entry;
    if (uf_table_find(&world.system.table, entry_key(0), &entry) != UF_OK) {
        fatal("uf_table_find");
    }
    *entry.slot |= UF_WORD_DELETED;
    world.key_may[0] = 1;
}

/* --- what is done ---------------------------------------------------------------------------------- */

static void set(uint32_t key, uint32_t value, uint32_t mode, uint64_t stamp)
{
    world.note->status = entry_write(key, value, mode, &stamp);
}

static void set_first(void)
{
    set(0, 2, UF_SET_ANY, 0);
}
static void set_first_large(void)
{
    set(0, 22, UF_SET_ANY, 0);
}
static void set_second(void)
{
    set(1, 2, UF_SET_ANY, 0);
}
static void set_third(void)
{
    set(2, 2, UF_SET_ANY, 0);
}
static void set_first_new(void)
{
    set(0, 2, UF_SET_NEW, 0);
}
static void set_eighth(void)
{
    set(7, 2, UF_SET_ANY, 0);
}
static void set_tenth(void)
{
    set(9, 2, UF_SET_NEW, 0);
}
static void set_sixteenth(void)
{
    set(15, 2, UF_SET_ANY, 0);
}

static void learn_stamp(void)
{
    struct uf_entry entry;
    uint64_t words[32];
    uf_table_get(&world.system.table, entry_key(0), 0, words, sizeof words, &entry);
    world.note->id = entry.stamp;
}
static void set_if_same(void)
{
    set(0, 2, UF_SET_STAMP, world.note->id);
}
static void set_if_other(void)
{
    set(0, 2, UF_SET_STAMP, 12345);
}
static void get_first(void)
{
    uint32_t value = 0;
    world.note->status = entry_read(0, &value);
}
static void get_missing(void)
{
    uint32_t value = 0;
    world.note->status = entry_read(5, &value);
}
static void delete_first(void)
{
    world.note->status = uf_table_delete(&world.system.table, entry_key(0), 0, 0);
}
static void delete_if_same(void)
{
    world.note->status = uf_table_delete(&world.system.table, entry_key(0), 0, world.note->id);
}
static void delete_eighth(void)
{
    world.note->status = uf_table_delete(&world.system.table, entry_key(7), 0, 0);
}
static void walk(void)
{
    uint64_t cursor = 0;
    uint64_t words[UF_KEY_BYTES_MAX / 8 + 1];
    struct uf_entry entry;
    while (uf_table_next(&world.system.table, &cursor, 0, words, &entry) == UF_OK) {
    }
}
/* The entry is read where it lies, and stays there until that is over. */
static void keep_first(struct uf_held *held)
{
    struct uf_entry entry;
    if (uf_table_hold(&world.system.table, entry_key(0), 0, held, &entry) != UF_OK) {
        fatal("uf_table_hold");
    }
}
static void view_first(void)
{
    struct uf_held held;
    keep_first(&held);
    uf_hold_drop(&world.system.values, held.handle, held.name);
}
static void view_and_set_first(void)
{
    struct uf_held held;
    keep_first(&held);
    set_first();
    uf_hold_drop(&world.system.values, held.handle, held.name);
}
/* Three in one, as a counter in the store is raised: read, compare, set. */
static void increment(void)
{
    learn_stamp();
    set_if_same();
}

/* --- what may be ----------------------------------------------------------------------------------- */

/* From `before` to `after` if it answered OK; else either. */
static void becomes(const struct note *note, uint32_t key, uint32_t after)
{
    if (!note->ended) {
        world.key_may[key] |= 1u << after;
    } else if (note->status == UF_OK) {
        world.key_may[key] = 1u << after;
    } else {
        found("answered %d", note->status);
    }
}

static void first_set(const struct note *note)
{
    becomes(note, 0, 2);
}
static void first_set_large(const struct note *note)
{
    becomes(note, 0, 22);
}
static void second_set(const struct note *note)
{
    becomes(note, 1, 2);
}
static void third_set(const struct note *note)
{
    becomes(note, 2, 2);
}
static void eighth_set(const struct note *note)
{
    becomes(note, 7, 2);
}
static void tenth_set(const struct note *note)
{
    becomes(note, 9, 2);
}
static void first_deleted(const struct note *note)
{
    becomes(note, 0, 0);
}
static void eighth_deleted(const struct note *note)
{
    becomes(note, 7, 0);
}
static void refused(const struct note *note)
{
    if (note->ended && note->status != UF_EXISTS) {
        found("answered %d, not that another entry exists", note->status);
    }
}
static void no_room(const struct note *note)
{
    if (note->ended && note->status != UF_STORE_FULL) {
        found("answered %d, not that the table is full", note->status);
    }
}
static void absent(const struct note *note)
{
    if (note->ended && note->status != UF_MISSING) {
        found("answered %d, not that there is no such entry", note->status);
    }
}
static void present(const struct note *note)
{
    if (note->ended && note->status != UF_OK) {
        found("answered %d", note->status);
    }
}

const struct scene table_scenes[] = {
    {.name = "table get", .prepare = two_entries, .act = get_first, .after = present},
    {.name = "table get, missing", .prepare = two_entries, .act = get_missing, .after = absent},
    {.name = "table set, insert", .prepare = two_entries, .act = set_third, .expect = third_set},
    {.name = "table set, replace", .prepare = two_entries, .act = set_first, .expect = first_set},
    {.name = "table set, replace by a larger one",
     .prepare = two_entries,
     .act = set_first_large,
     .expect = first_set_large},
    {.name = "table set, replace by a smaller one",
     .prepare = two_entries,
     .act = set_second,
     .expect = second_set},
    {.name = "table set, only new", .prepare = two_entries, .act = set_first_new, .after = refused},
    {.name = "table compare and set",
     .prepare = two_entries,
     .ready = learn_stamp,
     .act = set_if_same,
     .expect = first_set},
    {.name = "table compare and set, refused",
     .prepare = two_entries,
     .act = set_if_other,
     .after = refused},
    {.name = "table increment", .prepare = two_entries, .act = increment, .expect = first_set},
    {.name = "table set, a first extension",
     .prepare = bucket_full,
     .act = set_eighth,
     .expect = eighth_set},
    {.name = "table set, into an extension",
     .prepare = extended,
     .act = set_tenth,
     .expect = tenth_set},
    {.name = "table set, replace in an extension",
     .prepare = extended,
     .act = set_eighth,
     .expect = eighth_set},
    {.name = "table set, no room",
     .prepare = all_full,
     .act = set_sixteenth,
     .after = no_room,
     .flags = SCENE_FULL},
    {.name = "table set, finishing a delete",
     .prepare = half_deleted,
     .act = set_first,
     .expect = first_set},
    {.name = "table delete", .prepare = two_entries, .act = delete_first, .expect = first_deleted},
    {.name = "table delete, of one stamp",
     .prepare = two_entries,
     .ready = learn_stamp,
     .act = delete_if_same,
     .expect = first_deleted},
    {.name = "table delete, in an extension",
     .prepare = extended,
     .act = delete_eighth,
     .expect = eighth_deleted},
    {.name = "table view", .prepare = two_entries, .act = view_first},
    {.name = "table view, replaced meanwhile",
     .prepare = two_entries,
     .act = view_and_set_first,
     .expect = first_set},
    {.name = "table next, all of it", .prepare = extended, .act = walk},
};
const uint32_t table_scenes_count = COUNT_OF(table_scenes);
