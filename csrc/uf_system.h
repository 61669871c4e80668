/* uf_system.h -- all structures of one region, opened together and mended together.
 *
 * WHAT       Makes a region of the sizes asked for, attaches to one, and recovers after a death. The
 *            one place that knows every structure.
 * PICTURE    [ head | OWNERS | TABLE | QUEUES | MESSAGES | AGENTS | METRICS | VALUES | DECLARED | SETTINGS ]
 * OWNERSHIP  A `struct uf_system` is one attachment: its slot, its caches of blocks. The settings are
 *            bytes of the creator's, read by those who attach, never interpreted here.
 * THREADS    One thread at a time for each `struct uf_system`.
 * PROGRESS   As the structures'. recover: one pass over rings, blocks, buckets and records.
 * DEATH      In create: an unpublished file. In recover: see uf_owner.h O3; it starts over.
 * ORDER      Those of the structures.
 * ERRORS     Those of the structures. NO_SPACE tells `needed_bytes` and `free_bytes`.
 * PROOF      P1, P2, P5: `test_storm`, in which all of them are killed and mended at once; recovery
 *            killed at each of its own instructions, `steps`. P8: `test_system`, `fuzz_attach`.
 * SOURCE     Ours.
 */
#ifndef UF_SYSTEM_H
#define UF_SYSTEM_H

#include "uf_agents.h"
#include "uf_clock.h"
#include "uf_hist.h"
#include "uf_queue.h"
#include "uf_table.h"

enum uf_role { UF_ROLE_MANAGER = 1, UF_ROLE_WORKER = 2, UF_ROLE_CLIENT = 3 };

struct uf_sizes {
    uint32_t owners;
    uint32_t buckets;
    uint32_t extensions;
    uint32_t queues;
    uint32_t queue_capacity; /* messages a lane, a power of two */
    uint32_t agents;
    uint32_t types;
    uint32_t warm; /* hints a type, a power of two */
    uint32_t shards;
    uint32_t message_classes;
    uint32_t value_classes;
    uint64_t settings_bytes;
    struct uf_class_spec message[UF_CLASSES];
    struct uf_class_spec value[UF_CLASSES];
};

struct uf_system {
    struct uf_region region;
    struct uf_self self;
    struct uf_pool messages;
    struct uf_pool values;
    struct uf_queues queues;
    struct uf_table table;
    struct uf_declared declared;
    struct uf_agents agents;
    struct uf_metrics metrics;
    const uint8_t *settings; /* in the region */
    uint64_t settings_bytes;
    bool joined;
};

struct uf_recovery {
    struct uf_queue_recovery queue;
    struct uf_table_recovery table;
    struct uf_agents_recovery agents;
};

/* Bytes that a region of these sizes needs. */
UF_API uint64_t uf_system_bytes(const struct uf_sizes *sizes);
/* Make a region, initialise it, join it (slot 0), publish it under `path`. */
UF_API int uf_system_create(struct uf_system *system, const struct uf_sizes *sizes,
                            const char *temp_path, const char *path, uint64_t id, uint64_t wall_ns,
                            uint64_t pid, const void *settings, uint64_t settings_bytes,
                            uint64_t *free_bytes);
/* Attach. Read-only: no slot, nothing may be written. */
UF_API int uf_system_attach(struct uf_system *system, const char *path, uint32_t role,
                            bool read_only, uint64_t wall_ns, uint64_t pid);
/* Give everything back, leave, unmap. May be called twice. */
UF_API void uf_system_close(struct uf_system *system);
/* As close, but keep the slot: taken messages that were not given back are for recovery, which hands
 * them to their queue's next receiver. May be called twice. */
UF_API void uf_system_abandon(struct uf_system *system);
/* Private memory that recover wants, zeroed, 8-aligned. */
UF_API uint64_t uf_system_scratch_bytes(const struct uf_system *system);
/* Mend the dead slot. MISSING: it is alive or free. BUSY: another process mends it. The caller rings
 * every queue's bell afterwards. */
UF_API int uf_system_recover(struct uf_system *system, uint32_t slot, uint64_t *scratch,
                             struct uf_recovery *done);

#endif
