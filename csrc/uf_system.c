#include "uf_system.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static uint32_t plan(const struct uf_sizes *sizes, struct uf_area *areas)
{
    const struct {
        uint32_t kind;
        uint64_t bytes;
    } wanted[] = {
        {UF_AREA_OWNERS, uf_owners_bytes(sizes->owners)},
        {UF_AREA_TABLE, uf_table_bytes(sizes->buckets, sizes->extensions)},
        {UF_AREA_QUEUES, uf_queues_bytes(sizes->queues, sizes->queue_capacity)},
        {UF_AREA_MESSAGES, uf_pool_bytes(sizes->message, sizes->message_classes)},
        {UF_AREA_AGENTS, uf_agents_bytes(sizes->agents, sizes->types, sizes->warm)},
        {UF_AREA_METRICS, uf_metrics_bytes(sizes->shards)},
        {UF_AREA_VALUES, uf_pool_bytes(sizes->value, sizes->value_classes)},
        {UF_AREA_DECLARED, uf_declared_bytes()},
        {UF_AREA_SETTINGS, 8 + sizes->settings_bytes},
    };
    uint32_t count = sizeof wanted / sizeof wanted[0];
    for (uint32_t i = 0; i < count; i++) {
        areas[i].kind = wanted[i].kind;
        areas[i].bytes = wanted[i].bytes;
    }
    return count;
}

static bool is_sound(const struct uf_sizes *sizes)
{
    return sizes->owners > 0 && sizes->owners <= UF_OWNERS_MAX && sizes->shards > 0 &&
           sizes->shards <= UF_OWNERS_MAX && sizes->queues <= UF_QUEUES_MAX &&
           sizes->message_classes <= UF_CLASSES && sizes->value_classes <= UF_CLASSES &&
           uf_is_pow2(sizes->queue_capacity) && uf_is_pow2(sizes->warm) &&
           sizes->agents <= UF_AGENTS_MAX && sizes->types <= UF_TYPES_MAX;
}

uint64_t uf_system_bytes(const struct uf_sizes *sizes)
{
    struct uf_area areas[UF_AREAS_MAX];
    return is_sound(sizes) ? uf_region_layout(areas, plan(sizes, areas)) : 0;
}

/* Open every structure of a mapped region for slot `slot` (UINT32_MAX: read-only, nobody). */
static int open_all(struct uf_system *system, uint32_t slot)
{
    const struct uf_region *region = &system->region;
    uint32_t me = slot == UINT32_MAX ? UF_NOBODY : slot + 1;
    _Atomic uint64_t *intent = slot == UINT32_MAX ? NULL : &system->self.owner[slot].intent;
    uint64_t bytes;
    void *area = uf_region_area(region, UF_AREA_MESSAGES, &bytes);
    int status = uf_pool_open(&system->messages, area, bytes, me);
    if (status == UF_OK) {
        area = uf_region_area(region, UF_AREA_VALUES, &bytes);
        status = uf_pool_open(&system->values, area, bytes, me);
    }
    if (status == UF_OK) {
        area = uf_region_area(region, UF_AREA_QUEUES, &bytes);
        status = uf_queues_open(&system->queues, area, bytes, &system->messages, me);
    }
    if (status == UF_OK) {
        area = uf_region_area(region, UF_AREA_TABLE, &bytes);
        status =
            uf_table_open(&system->table, area, bytes, &system->values, intent, region->id, me);
    }
    if (status == UF_OK) {
        area = uf_region_area(region, UF_AREA_DECLARED, &bytes);
        status = uf_declared_open(&system->declared, area, bytes, region->id);
    }
    if (status == UF_OK) {
        area = uf_region_area(region, UF_AREA_AGENTS, &bytes);
        status = uf_agents_open(&system->agents, area, bytes, me);
    }
    if (status == UF_OK) {
        area = uf_region_area(region, UF_AREA_METRICS, &bytes);
        status = uf_metrics_open(&system->metrics, area, bytes, me);
    }
    if (status != UF_OK) {
        return status;
    }
    const uint8_t *settings = uf_region_area(region, UF_AREA_SETTINGS, &bytes);
    uint64_t length = 0;
    if (settings == NULL || bytes < 8) {
        return UF_CORRUPT;
    }
    memcpy(&length, settings, 8);
    if (length > bytes - 8) {
        return UF_CORRUPT;
    }
    system->settings = settings + 8;
    system->settings_bytes = length;
    return UF_OK;
}

static int initialise(struct uf_system *system, const struct uf_sizes *sizes, const void *settings,
                      uint64_t settings_bytes)
{
    const struct uf_region *region = &system->region;
    uint64_t bytes;
    void *area = uf_region_area(region, UF_AREA_TABLE, &bytes);
    int status = uf_table_init(area, bytes, sizes->buckets, sizes->extensions);
    if (status == UF_OK) {
        area = uf_region_area(region, UF_AREA_QUEUES, &bytes);
        status = uf_queues_init(area, bytes, sizes->queues, sizes->queue_capacity);
    }
    if (status == UF_OK) {
        area = uf_region_area(region, UF_AREA_MESSAGES, &bytes);
        status = uf_pool_init(area, bytes, sizes->message, sizes->message_classes);
    }
    if (status == UF_OK) {
        area = uf_region_area(region, UF_AREA_VALUES, &bytes);
        status = uf_pool_init(area, bytes, sizes->value, sizes->value_classes);
    }
    if (status == UF_OK) {
        area = uf_region_area(region, UF_AREA_AGENTS, &bytes);
        status = uf_agents_init(area, bytes, sizes->agents, sizes->types, sizes->warm);
    }
    if (status != UF_OK) {
        return status;
    }
    uint8_t *place = uf_region_area(region, UF_AREA_SETTINGS, &bytes);
    memcpy(place, &settings_bytes, 8);
    if (settings_bytes > 0) {
        memcpy(place + 8, settings, settings_bytes);
    }
    return UF_OK;
}

int uf_system_create(struct uf_system *system, const struct uf_sizes *sizes, const char *temp_path,
                     const char *path, uint64_t id, uint64_t wall_ns, uint64_t pid,
                     const void *settings, uint64_t settings_bytes, uint64_t *free_bytes)
{
    struct uf_area areas[UF_AREAS_MAX];
    memset(system, 0, sizeof *system);
    system->region.fd = -1;
    if (!is_sound(sizes) || settings_bytes > sizes->settings_bytes) {
        return UF_INVALID;
    }
    uint32_t count = plan(sizes, areas);
    int status =
        uf_region_create(&system->region, temp_path, areas, count, id, wall_ns, free_bytes);
    if (status != UF_OK) {
        return status;
    }
    status = initialise(system, sizes, settings, settings_bytes);
    if (status == UF_OK) {
        status = uf_owner_open(&system->self, &system->region);
    }
    if (status == UF_OK) {
        status = uf_owner_join(&system->self, UF_ROLE_MANAGER, pid, wall_ns);
    }
    if (status == UF_OK) {
        status = open_all(system, system->self.slot);
    }
    if (status == UF_OK) {
        status = uf_region_publish(&system->region, temp_path, path);
    }
    if (status != UF_OK) {
        int reason = errno;
        unlink(temp_path);
        uf_region_close(&system->region);
        errno = reason;
        return status;
    }
    system->joined = true;
    return UF_OK;
}

int uf_system_attach(struct uf_system *system, const char *path, uint32_t role, bool read_only,
                     uint64_t wall_ns, uint64_t pid)
{
    memset(system, 0, sizeof *system);
    system->region.fd = -1;
    int status = uf_region_attach(&system->region, path, !read_only);
    if (status != UF_OK) {
        return status;
    }
    status = uf_owner_open(&system->self, &system->region);
    if (status == UF_OK && !read_only) {
        status = uf_owner_join(&system->self, role, pid, wall_ns);
        system->joined = status == UF_OK;
    }
    if (status == UF_OK) {
        status = open_all(system, system->self.slot);
    }
    if (status != UF_OK) {
        if (system->joined) {
            uf_owner_leave(&system->self);
        }
        uf_region_close(&system->region);
    }
    return status;
}

void uf_system_abandon(struct uf_system *system)
{
    if (system->region.base == NULL) {
        return;
    }
    if (system->joined && system->region.fd >= 0) {
        uf_pool_flush(&system->messages);
        uf_pool_flush(&system->values);
    }
    system->joined = false;
    uf_region_close(
        &system->region); /* the lock goes with its descriptor: the slot reads as dead */
}

void uf_system_close(struct uf_system *system)
{
    if (system->joined && system->region.fd >= 0) {
        uf_pool_flush(&system->messages);
        uf_pool_flush(&system->values);
        uf_owner_leave(&system->self);
        system->joined = false;
    }
    uf_system_abandon(system);
}

uint64_t uf_system_scratch_bytes(const struct uf_system *system)
{
    return uf_pool_seen_bytes(&system->messages) + uf_pool_seen_bytes(&system->values);
}

int uf_system_recover(struct uf_system *system, uint32_t slot, uint64_t *scratch,
                      struct uf_recovery *done)
{
    memset(done, 0, sizeof *done);
    if (!system->joined) {
        return UF_READ_ONLY;
    }
    int status = uf_owner_begin_recovery(&system->self, slot);
    if (status == UF_INVALID && slot == system->self.slot) {
        return UF_MISSING; /* ourselves: alive */
    }
    if (status != UF_OK) {
        return status;
    }
    uint64_t *seen_values = scratch + uf_pool_seen_bytes(&system->messages) / 8;
    /* Relaxed: written by the dead process before it died, read under its lock. */
    uint64_t intent = atomic_load_explicit(&system->self.owner[slot].intent, memory_order_relaxed);
    uf_agents_recover(&system->agents, slot + 1, &done->agents);
    uf_queue_recover(&system->queues, slot + 1, scratch, &done->queue);
    uf_table_recover(&system->table, slot + 1, intent, seen_values, &done->table);
    UF_STEP(O5);
    uf_owner_end_recovery(&system->self, slot, true);
    return UF_OK;
}
