/* scenes_pool.c -- blocks: taken, given back, flushed; and the counters. */
#include "steps.h"

static void take_small(void)
{
    uint32_t handle;
    world.note->status = uf_pool_take(&world.system.messages, 40, &handle);
}

static void take_large(void)
{
    uint32_t handle;
    world.note->status = uf_pool_take(&world.system.messages, 150, &handle);
}

/* The survivor has every small block, so a small message borrows a larger one. */
static void all_small_taken(void)
{
    for (uint32_t i = 0; i < 64; i++) {
        if (uf_pool_take(&world.system.messages, 40, &world.held[world.holds++]) != UF_OK) {
            fatal("uf_pool_take");
        }
    }
}

static void hold_one(void)
{
    message_make(1, 40, 0);
}

static void hold_and_give(void)
{
    message_make(1, 40, 0);
    uf_pool_give(&world.system.messages, world.held[--world.holds]);
}

/* The cache is full then, and the next give releases it. */
static void hold_three_give_two(void)
{
    for (uint32_t i = 0; i < 3; i++) {
        message_make(i, 40, 0);
    }
    for (uint32_t i = 0; i < 2; i++) {
        uf_pool_give(&world.system.messages, world.held[--world.holds]);
    }
}

static void hold_large(void)
{
    message_make(1, 150, 0);
}

static void give(void)
{
    world.note->status = uf_pool_give(&world.system.messages, world.held[0]);
}

static void give_twice(void)
{
    uf_pool_give(&world.system.messages, world.held[0]);
    world.note->status = uf_pool_give(&world.system.messages, world.held[0]);
}

static void flush(void)
{
    uf_pool_flush(&world.system.messages);
}

static void answers_ok(const struct note *note)
{
    if (note->ended && note->status != UF_OK) {
        found("answered %d", note->status);
    }
}

static void record(void)
{
    world.note->status = uf_hist_record(&world.system.metrics, 3, 123456);
}

static void recorded(const struct note *note)
{
    static uint64_t counts[UF_HIST_BUCKETS];
    uint64_t sum;
    uint64_t max;
    uint64_t samples = 0;
    uf_hist_read(&world.system.metrics, 3, counts, &sum, &max);
    for (uint32_t b = 0; b < UF_HIST_BUCKETS; b++) {
        samples += counts[b];
        if (counts[b] != 0 && b != uf_hist_bucket(123456)) {
            found("a sample is in bucket %u", b);
        }
    }
    if (samples > 1 || (note->ended && (samples != 1 || sum != 123456 || max != 123456))) {
        found("%llu samples, sum %llu", (unsigned long long)samples, (unsigned long long)sum);
    }
}

static void add(void)
{
    world.note->status = uf_counter_add(&world.system.metrics, 5, 7);
}

static void added(const struct note *note)
{
    uint64_t value;
    uf_counter_read(&world.system.metrics, 5, &value);
    if (value != 7 && (note->ended || value != 0)) {
        found("the counter stands at %llu", (unsigned long long)value);
    }
}

static void beat(void)
{
    uf_owner_beat(&world.system.self, 99);
}

const struct scene pool_scenes[] = {
    {.name = "pool take, from the bitmap", .act = take_small, .after = answers_ok},
    {.name = "pool take, from the cache",
     .ready = hold_and_give,
     .act = take_small,
     .after = answers_ok},
    {.name = "pool take, a class without cache", .act = take_large, .after = answers_ok},
    {.name = "pool take, from the next class",
     .prepare = all_small_taken,
     .act = take_small,
     .after = answers_ok},
    {.name = "pool give, into the cache", .ready = hold_one, .act = give, .after = answers_ok},
    {.name = "pool give, cache full",
     .ready = hold_three_give_two,
     .act = give,
     .after = answers_ok},
    {.name = "pool give, a class without cache",
     .ready = hold_large,
     .act = give,
     .after = answers_ok},
    {.name = "pool give, twice", .ready = hold_large, .act = give_twice},
    {.name = "pool flush", .ready = hold_three_give_two, .act = flush},
    {.name = "histogram record", .act = record, .after = recorded},
    {.name = "counter add", .act = add, .after = added},
    {.name = "owner beat", .act = beat},
};
const uint32_t pool_scenes_count = COUNT_OF(pool_scenes);
