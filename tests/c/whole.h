/* whole.h -- a whole system in a directory of its own, for tests of deaths anywhere in it. */
#ifndef UF_TESTS_WHOLE_H
#define UF_TESTS_WHOLE_H

#include "arena.h"
#include "entries.h"

#include "uf_system.h"

static struct arena whole_names; /* of which only the names are used */

static const struct uf_sizes whole_sizes = {
    .owners = 10,
    .buckets = 2,
    .extensions = 1,
    .queues = 2,
    .queue_capacity = 16,
    .agents = 20,
    .types = 1,
    .warm = 8,
    .shards = 2,
    .message_classes = 2,
    .value_classes = 2,
    .message = {{128, 64}, {1024, 10}},
    .value = {{128, 40}, {640, 40}},
};

static inline void whole_make(struct uf_system *system)
{
    uint64_t free_bytes;
    arena_names(&whole_names);
    CHECK_EQ(uf_system_create(system, &whole_sizes, whole_names.temp_path, whole_names.path, 42, 5,
                              1, "", 0, &free_bytes),
             UF_OK);
}

static inline void whole_attach(struct uf_system *system)
{
    CHECK_EQ(
        uf_system_attach(system, whole_names.path, UF_ROLE_WORKER, false, 6, (uint64_t)getpid()),
        UF_OK);
}

static inline void whole_remove(struct uf_system *system)
{
    uf_system_close(system);
    unlink(whole_names.path);
    CHECK_EQ(rmdir(whole_names.directory), 0);
}

/* Mend all who are dead; how many there were. */
static inline uint32_t whole_mend(struct uf_system *system)
{
    uint32_t mended = 0;
    uint64_t *scratch = malloc(uf_system_scratch_bytes(system) + 8);
    CHECK(scratch != NULL);
    for (uint32_t slot = 0; slot < system->self.count; slot++) {
        struct uf_recovery done;
        memset(scratch, 0, uf_system_scratch_bytes(system) + 8);
        int status = uf_system_recover(system, slot, scratch, &done);
        CHECK(status == UF_OK || status == UF_MISSING || status == UF_BUSY);
        mended += status == UF_OK;
    }
    free(scratch);
    return mended;
}

/* entries.h works on a clerk's table: this system's, seen as one. */
static inline struct clerk whole_clerk(const struct uf_system *system)
{
    struct clerk clerk = {.table = system->table};
    return clerk;
}

static inline int whole_send(struct uf_system *system, uint32_t queue, uint32_t lane,
                             uint64_t number)
{
    uint32_t handle;
    uint32_t bell;
    int status = uf_pool_take(&system->messages, 8, &handle);
    if (status != UF_OK) {
        return status;
    }
    struct uf_message *message = uf_pool_block(&system->messages, handle);
    message->flags = 0;
    message->attempt = 0;
    number_put(&system->messages, handle, number);
    status = uf_queue_send(&system->queues, queue, lane, &handle, 1, &bell);
    if (status == 1) {
        return UF_OK;
    }
    CHECK_EQ(uf_pool_give(&system->messages, handle), UF_OK);
    return status;
}

/* Everybody else is gone and mended: all that is not an entry is free, and no agent is in between. */
static inline void whole_account(struct uf_system *system)
{
    uf_pool_flush(&system->messages);
    uf_pool_flush(&system->values);
    CHECK_EQ(blocks_free(&system->messages), blocks_all(&system->messages));
    CHECK_EQ(blocks_findable(&system->messages), blocks_all(&system->messages));
    struct clerk clerk = whole_clerk(system);
    clerk.pool = system->values;
    clerk.table.pool = &clerk.pool;
    shelf_account(&clerk);
    for (uint32_t slot = 0; slot < whole_sizes.agents; slot++) {
        struct uf_agent_info info;
        CHECK_EQ(uf_agent_at(&system->agents, slot, &info), UF_OK);
        CHECK(info.state != UF_AGENT_BUILDING && info.state != UF_AGENT_STARTING);
    }
}

#endif
