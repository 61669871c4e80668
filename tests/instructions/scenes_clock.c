/* scenes_clock.c -- namespaces that are declared, and entries of caches that are taken away to make room. */
#include <string.h>

#include "steps.h"
#include "uf_clock.h"

#define CACHE (UF_DECLARED_TOLD | UF_DECLARED_CACHE)
#define OTHER_NAME "another namespace"
#define OTHER (UF_DECLARED_TOLD | 5ull << UF_DECLARED_TTL_SHIFT)

/* --- before ---------------------------------------------------------------------------------------- */

static void declare(const char *name, uint64_t settings)
{
    if (uf_declare(&world.system.declared, name, strlen(name), settings) != UF_OK) {
        fatal("uf_declare");
    }
}

/* Of a cache, so that each may go. */
static void two_of_a_cache(void)
{
    declare("space", CACHE);
    entry_put(0, 1);
    entry_put(1, 21);
}

static void bucket_of_a_cache(void)
{
    declare("space", CACHE);
    for (uint32_t key = 0; key < UF_BUCKET_SLOTS; key++) {
        entry_put(key, 1);
    }
}

static void declared_before(void)
{
    declare(OTHER_NAME, CACHE);
}

/* --- what is done ---------------------------------------------------------------------------------- */

static void sweep(uint32_t class)
{
    struct uf_clocked done = {0};
    struct uf_system *system = &world.system;
    world.note->status = uf_clock_sweep(&system->table, &system->declared, class, 0,
                                        2 * system->values.class[class].count, 1, &done);
    world.note->id = done.evicted;
}
static void sweep_small(void)
{
    sweep(0);
}
static void sweep_large(void)
{
    sweep(1);
}

static void sweep_bucket(void)
{
    struct uf_clocked done = {0};
    uf_clock_bucket(&world.system.table, &world.system.declared, entry_key(0)->hash, 0, &done);
    world.note->id = done.evicted;
}

static void declare_other(void)
{
    world.note->status = uf_declare(&world.system.declared, OTHER_NAME, strlen(OTHER_NAME), OTHER);
}

/* --- afterwards ------------------------------------------------------------------------------------ */

/* May be gone by now; must be, where the call has answered. */
static void may_go(const struct note *note, uint32_t key)
{
    world.key_may[key] = note->ended ? 1 : world.key_may[key] | 1;
}
static void first_may_go(const struct note *note)
{
    may_go(note, 0);
}
static void second_may_go(const struct note *note)
{
    may_go(note, 1);
}
static void any_may_go(const struct note *note)
{
    (void)note;
    for (uint32_t key = 0; key < UF_BUCKET_SLOTS; key++) {
        world.key_may[key] |= 1;
    }
}

static void one_went(const struct note *note)
{
    if (note->ended && note->id != 1) {
        found("%llu entries were taken away, not 1", (unsigned long long)note->id);
    }
}

static void other_is(const struct note *note, uint64_t before)
{
    const struct uf_declared *declared = &world.system.declared;
    uint64_t settings = uf_declared_settings(declared, OTHER_NAME, strlen(OTHER_NAME));
    if (settings != OTHER && (settings != before || note->ended)) {
        found("a namespace is declared as %llx", (unsigned long long)settings);
    }
    uint32_t records = 0;
    for (uint32_t i = 0; i < UF_DECLARED; i++) {
        char name[UF_DECLARED_NAME_BYTES];
        uint32_t bytes;
        if (uf_declared_at(declared, i, &settings, name, &bytes) == UF_OK) {
            records++;
            if (bytes != strlen(OTHER_NAME) || memcmp(name, OTHER_NAME, bytes) != 0) {
                found("a namespace has a name that nobody gave it");
            }
        }
    }
    if (records > 1) {
        found("a namespace has %u records", records);
    }
    /* Whoever declares it now goes on with what there is. */
    declare(OTHER_NAME, CACHE);
    if (uf_declared_settings(declared, OTHER_NAME, strlen(OTHER_NAME)) != CACHE) {
        found("a namespace can't be declared any more");
    }
}
static void other_is_new(const struct note *note)
{
    other_is(note, 0);
}
static void other_is_said_anew(const struct note *note)
{
    other_is(note, CACHE);
}

const struct scene clock_scenes[] = {
    {.name = "clock, an entry of a cache",
     .prepare = two_of_a_cache,
     .act = sweep_small,
     .expect = first_may_go,
     .after = one_went},
    {.name = "clock, an entry of a larger size",
     .prepare = two_of_a_cache,
     .act = sweep_large,
     .expect = second_may_go,
     .after = one_went},
    {.name = "clock, a full bucket",
     .prepare = bucket_of_a_cache,
     .act = sweep_bucket,
     .expect = any_may_go,
     .after = one_went},
    {.name = "declare a namespace", .act = declare_other, .after = other_is_new},
    {.name = "declare a namespace anew",
     .prepare = declared_before,
     .act = declare_other,
     .after = other_is_said_anew},
};
const uint32_t clock_scenes_count = COUNT_OF(clock_scenes);
