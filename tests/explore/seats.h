/* seats.h -- structures of the core in the explorer's arena, and for each thread its own doors onto them.
 *
 * Thread t is the claimer t + 1. Slot OUTSIDER is nobody's thread: what setup did, or a dead process's.
 */
#ifndef UF_EXPLORE_SEATS_H
#define UF_EXPLORE_SEATS_H

#include <string.h>

#include "explore.h"
#include "uf_queue.h"

#define OUTSIDER EXPLORE_THREADS
#define SEATS (EXPLORE_THREADS + 1)
#define BLOCK_BYTES 128u

struct seat {
    struct uf_pool pool;
    struct uf_queues queues;
};

static struct seat seat[SEATS];

/* A pool of one class; `cache`: how many free blocks a seat may keep to itself. */
static inline void seats_pool(uint32_t blocks, uint32_t cache)
{
    struct uf_class_spec spec = {BLOCK_BYTES, blocks};
    uint64_t bytes = uf_pool_bytes(&spec, 1);
    void *area = explore_alloc(bytes);
    CHECK_EQ(uf_pool_init(area, bytes, &spec, 1), UF_OK);
    for (uint32_t s = 0; s < SEATS; s++) {
        CHECK_EQ(uf_pool_open(&seat[s].pool, area, bytes, s + 1), UF_OK);
        seat[s].pool.class[0].cache_max = cache;
    }
    explore_name(seat[0].pool.class[0].bits, "bits");
    static const char *const name[] = {"block 0", "block 1", "block 2", "block 3", "block 4"};
    for (uint32_t b = 0; b < blocks && b < 5; b++) {
        explore_name(seat[0].pool.class[0].blocks + (size_t)b * BLOCK_BYTES, name[b]);
    }
    for (uint32_t s = 0; s < SEATS; s++) {
        struct uf_class *class = &seat[s].pool.class[0];
        explore_keep(&class->cursor,
                     offsetof(struct uf_class, cache[cache]) - offsetof(struct uf_class, cursor));
    }
}

static inline void seats_queues(uint32_t count, uint32_t capacity)
{
    uint64_t bytes = uf_queues_bytes(count, capacity);
    void *area = explore_alloc(bytes);
    CHECK_EQ(uf_queues_init(area, bytes, count, capacity), UF_OK);
    explore_name(area, "queues");
    for (uint32_t s = 0; s < SEATS; s++) {
        CHECK_EQ(uf_queues_open(&seat[s].queues, area, bytes, &seat[s].pool, s + 1), UF_OK);
        explore_keep(&seat[s].queues, sizeof seat[s].queues);
    }
    explore_name(seat[0].queues.record, "record");
    explore_name(seat[0].queues.rings, "rings");
}

static inline struct seat *my_seat(void)
{
    return &seat[explore_self()];
}

/* A block with a number in its payload's first word, as a sender fills it. */
static inline int number_take(struct seat *from, uint64_t number, uint16_t flags, uint32_t *handle)
{
    int status = uf_pool_take(&from->pool, 8, handle);
    if (status == UF_OK) {
        struct uf_message *message = uf_pool_block(&from->pool, *handle);
        message->flags = flags;
        message->attempt = 0;
        *(uint64_t *)(void *)((uint8_t *)message + UF_BLOCK_HEAD) = number;
    }
    return status;
}

static inline uint64_t number_of(const struct seat *at, uint32_t handle)
{
    return *(uint64_t *)(void *)((uint8_t *)uf_pool_block(&at->pool, handle) + UF_BLOCK_HEAD);
}

/* In finish, with every cache flushed: all blocks but `held` are FREE, and a taker can find each. */
static inline void blocks_are_back(uint32_t held)
{
    struct uf_class *class = &seat[OUTSIDER].pool.class[0];
    uint32_t free_blocks;
    uint32_t blocks;
    uint32_t bytes;
    for (uint32_t s = 0; s < SEATS; s++) {
        if (s != explore_dead()) {
            uf_pool_flush(&seat[s].pool);
        }
    }
    uf_pool_count(&seat[OUTSIDER].pool, 0, &free_blocks, &blocks, &bytes);
    CHECK_EQ(free_blocks, blocks - held);
    uint64_t bits = class->bits[0];
    for (uint32_t i = 0; i < blocks; i++) {
        struct uf_message *message = uf_pool_block(&seat[OUTSIDER].pool, uf_handle(0, i));
        if (uf_word_state(message->owner) == UF_BLOCK_FREE) {
            CHECK((bits >> i & 1) != 0);
        }
    }
}

#endif
