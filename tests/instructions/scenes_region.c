/* scenes_region.c -- a region made, attached to, left. */
#include "steps.h"

#include <stdio.h>
#include <unistd.h>

static char other_path[96];
static char other_temp[96];
static char third_temp[96];

static void names(void)
{
    snprintf(other_path, sizeof other_path, "%s/other", scene_dir);
    snprintf(other_temp, sizeof other_temp, "%s/other.tmp", scene_dir);
    snprintf(third_temp, sizeof third_temp, "%s/third.tmp", scene_dir);
}

static void create(void)
{
    uint64_t free_bytes;
    world.note->status = uf_system_create(&world.system, &world_sizes, other_temp, other_path, 9, 0,
                                          7, "settings", 8, &free_bytes);
}

/* The name leads to a whole region or to none; then the next start makes one. */
static void created(const struct note *note)
{
    static struct uf_system system;
    struct uf_recovery done;
    uint64_t free_bytes;
    uint32_t index;
    bool there = access(other_path, F_OK) == 0;
    if (note->ended && (note->status != UF_OK || !there)) {
        found("create answered %d, the file is %s", note->status, there ? "there" : "not there");
    }
    /* Whatever stands under the temporary name is judged, not trusted. */
    if (uf_system_attach(&system, other_temp, UF_ROLE_CLIENT, false, 0, 8) == UF_OK) {
        uf_system_close(&system);
    }
    int status;
    if (there) {
        status = uf_system_attach(&system, other_path, UF_ROLE_MANAGER, false, 0, 8);
    } else {
        status = uf_system_create(&system, &world_sizes, third_temp, other_path, 9, 0, 8,
                                  "settings", 8, &free_bytes);
    }
    if (status != UF_OK) {
        found("the next start answers %d, the file was %s", status, there ? "there" : "not there");
    } else {
        memset(world.scratch, 0, uf_system_scratch_bytes(&system));
        status = uf_system_recover(&system, there ? 0 : 1, world.scratch, &done);
        if (status != (there ? UF_OK : UF_MISSING)) {
            found("recovery of the creator answers %d", status);
        }
        if (system.settings_bytes != 8 || memcmp(system.settings, "settings", 8) != 0 ||
            uf_queue_open(&system.queues, "inbox", &index) != UF_OK) {
            found("a region that was published is not whole");
        }
        uf_system_close(&system);
    }
    unlink(other_path);
    unlink(other_temp);
    unlink(third_temp);
}

static void attach(void)
{
    world.note->status = uf_system_attach(&world.system, scene_path, UF_ROLE_WORKER, false, 0, 7);
}

static void attach_to_read(void)
{
    world.note->status = uf_system_attach(&world.system, scene_path, UF_ROLE_CLIENT, true, 0, 7);
}

static void attached(const struct note *note)
{
    if (note->ended && note->status != UF_OK) {
        found("attach answers %d", note->status);
    }
}

static void fill_caches(void)
{
    uint64_t stamp = 0;
    for (uint32_t i = 0; i < 4; i++) {
        message_make(i, 40, 0);
    }
    while (world.holds > 0) {
        uf_pool_give(&world.system.messages, world.held[--world.holds]);
    }
    entry_write(4, 1, UF_SET_ANY, &stamp);
    uf_table_delete(&world.system.table, entry_key(4), 0, 0);
}

static void leave(void)
{
    uf_system_close(&world.system);
}

static void message_waits(void)
{
    message_put(INBOX, 1, 1);
    world.must_tell[1] = true;
}

static void take_it(void)
{
    uf_queue_take(&world.system.queues, &world.receiver, world.held, 1);
}

static void abandon(void)
{
    uf_system_abandon(&world.system);
}

const struct scene region_scenes[] = {
    {.name = "region create and publish",
     .prepare = names,
     .act = create,
     .after = created,
     .flags = SCENE_ALONE | SCENE_ELSEWHERE},
    {.name = "region attach, join", .act = attach, .after = attached, .flags = SCENE_ALONE},
    {.name = "region attach, to read",
     .act = attach_to_read,
     .after = attached,
     .flags = SCENE_ALONE},
    {.name = "region close, leave", .ready = fill_caches, .act = leave, .flags = SCENE_LEAVES},
    {.name = "region abandon",
     .prepare = message_waits,
     .ready = take_it,
     .act = abandon,
     .flags = SCENE_LEAVES},
};
const uint32_t region_scenes_count = COUNT_OF(region_scenes);
