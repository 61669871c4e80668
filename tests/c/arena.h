/* arena.h -- a small region in a directory of its own, for one test: owners, messages, queues.
 *
 * Every process or thread of a test attaches to it by a `struct seat`, as a program would: its own
 * mapping and descriptor, its own slot, its own cache of blocks.
 */
#ifndef UF_TESTS_ARENA_H
#define UF_TESTS_ARENA_H

#include "check.h"

#include <sys/stat.h>

#include "uf_queue.h"

struct arena {
    char directory[64];
    char path[96];
    char temp_path[96];
    struct uf_region region; /* the creator's mapping; it holds no slot */
};

struct seat {
    struct uf_region region;
    struct uf_self self;
    struct uf_pool pool;
    struct uf_queues queues;
    uint32_t me;
};

struct arena_sizes {
    uint32_t owners;
    uint32_t queues;
    uint32_t capacity;
    uint32_t classes;
    struct uf_class_spec class[UF_CLASSES];
};

static inline void arena_names(struct arena *arena)
{
    struct stat st;
    bool memory = stat("/dev/shm", &st) == 0 && access("/dev/shm", W_OK) == 0;
    snprintf(arena->directory, sizeof arena->directory, "%s/uf-c-test-XXXXXX",
             memory ? "/dev/shm" : "/tmp");
    CHECK(mkdtemp(arena->directory) != NULL);
    snprintf(arena->path, sizeof arena->path, "%s/region", arena->directory);
    snprintf(arena->temp_path, sizeof arena->temp_path, "%s/region.tmp", arena->directory);
}

static inline void arena_open(struct arena *arena, const struct arena_sizes *sizes)
{
    uint64_t bytes;
    uint64_t free_bytes;
    memset(arena, 0, sizeof *arena);
    arena_names(arena);
    struct uf_area areas[] = {
        {.kind = UF_AREA_OWNERS, .bytes = uf_owners_bytes(sizes->owners)},
        {.kind = UF_AREA_MESSAGES, .bytes = uf_pool_bytes(sizes->class, sizes->classes)},
        {.kind = UF_AREA_QUEUES, .bytes = uf_queues_bytes(sizes->queues, sizes->capacity)},
    };
    CHECK_EQ(uf_region_create(&arena->region, arena->temp_path, areas, 3, 7, 0, &free_bytes),
             UF_OK);
    void *area = uf_region_area(&arena->region, UF_AREA_MESSAGES, &bytes);
    CHECK_EQ(uf_pool_init(area, bytes, sizes->class, sizes->classes), UF_OK);
    area = uf_region_area(&arena->region, UF_AREA_QUEUES, &bytes);
    CHECK_EQ(uf_queues_init(area, bytes, sizes->queues, sizes->capacity), UF_OK);
    CHECK_EQ(uf_region_publish(&arena->region, arena->temp_path, arena->path), UF_OK);
}

static inline void arena_close(struct arena *arena)
{
    uf_region_close(&arena->region);
    unlink(arena->path);
    CHECK_EQ(rmdir(arena->directory), 0);
}

/* Attach and join. */
static inline void seat_take(struct seat *seat, const struct arena *arena)
{
    uint64_t bytes;
    memset(seat, 0, sizeof *seat);
    CHECK_EQ(uf_region_attach(&seat->region, arena->path, true), UF_OK);
    CHECK_EQ(uf_owner_open(&seat->self, &seat->region), UF_OK);
    CHECK_EQ(uf_owner_join(&seat->self, 1, (uint64_t)getpid(), 0), UF_OK);
    seat->me = seat->self.slot + 1;
    void *area = uf_region_area(&seat->region, UF_AREA_MESSAGES, &bytes);
    CHECK_EQ(uf_pool_open(&seat->pool, area, bytes, seat->me), UF_OK);
    area = uf_region_area(&seat->region, UF_AREA_QUEUES, &bytes);
    CHECK_EQ(uf_queues_open(&seat->queues, area, bytes, &seat->pool, seat->me), UF_OK);
}

static inline void seat_leave(struct seat *seat)
{
    uf_pool_flush(&seat->pool);
    uf_owner_leave(&seat->self);
    uf_region_close(&seat->region);
}

/* Mend a slot whose process is dead, as uf_system_recover does; false when there was nothing to. */
static inline bool seat_mend(struct seat *seat, uint32_t slot, struct uf_queue_recovery *done)
{
    memset(done, 0, sizeof *done);
    if (slot == seat->self.slot) {
        return false;
    }
    int status = uf_owner_begin_recovery(&seat->self, slot);
    if (status == UF_MISSING) {
        return false;
    }
    CHECK_EQ(status, UF_OK);
    uint64_t *seen = calloc(1, uf_pool_seen_bytes(&seat->pool) + 8);
    CHECK(seen != NULL);
    uf_queue_recover(&seat->queues, slot + 1, seen, done);
    free(seen);
    uf_owner_end_recovery(&seat->self, slot, true);
    return true;
}

/* What a test's message carries: one number, in the first eight bytes. */
static inline void number_put(const struct uf_pool *pool, uint32_t handle, uint64_t number)
{
    memcpy((uint8_t *)uf_pool_block(pool, handle) + UF_BLOCK_HEAD, &number, 8);
}

static inline uint64_t number_of(const struct uf_pool *pool, uint32_t handle)
{
    uint64_t number;
    memcpy(&number, (uint8_t *)uf_pool_block(pool, handle) + UF_BLOCK_HEAD, 8);
    return number;
}

/* Send one number: UF_OK, or why not, and then the block is ours no more. */
static inline int number_send(struct seat *seat, uint32_t queue, uint32_t lane, uint64_t number,
                              uint16_t flags, uint32_t *bell)
{
    uint32_t handle;
    int status = uf_pool_take(&seat->pool, 8, &handle);
    if (status != UF_OK) {
        return status;
    }
    struct uf_message *message = uf_pool_block(&seat->pool, handle);
    message->payload_bytes = 8;
    message->flags = flags;
    message->attempt = 0;
    number_put(&seat->pool, handle, number);
    status = uf_queue_send(&seat->queues, queue, lane, &handle, 1, bell);
    if (status == 1) {
        return UF_OK;
    }
    CHECK_EQ(uf_pool_give(&seat->pool, handle), UF_OK);
    return status;
}

/* Blocks of all classes that say FREE, and all that there are. */
static inline uint32_t blocks_free(const struct uf_pool *pool)
{
    uint32_t sum = 0;
    for (uint32_t c = 0; c < pool->classes; c++) {
        uint32_t free_blocks;
        uint32_t blocks;
        uint32_t bytes;
        uf_pool_count(pool, c, &free_blocks, &blocks, &bytes);
        sum += free_blocks;
    }
    return sum;
}

static inline uint32_t blocks_all(const struct uf_pool *pool)
{
    uint32_t sum = 0;
    for (uint32_t c = 0; c < pool->classes; c++) {
        sum += pool->class[c].count;
    }
    return sum;
}

/* Every FREE block has its bit, so that somebody can find it. */
static inline uint32_t blocks_findable(const struct uf_pool *pool)
{
    uint32_t sum = 0;
    for (uint32_t c = 0; c < pool->classes; c++) {
        sum += uf_bits_count(pool->class[c].bits, pool->class[c].count);
    }
    return sum;
}

#endif
