/* survivor.c -- what a survivor does beside a process that is dead or stands still, and how it recovers.
 */
#include "steps.h"

static void work_on_messages(void)
{
    struct uf_queues *queues = &world.system.queues;
    uint32_t handle;
    uint32_t bell;
    if (world.got[SPARE] == 0 && world.most[SPARE] == 0) {
        message_make(SPARE, 40, 0);
        handle = world.held[--world.holds];
        int sent = uf_queue_send(queues, INBOX, 1, &handle, 1, &bell);
        if (sent == 1) {
            message_may(SPARE, 1, 1);
        } else {
            if (sent != UF_FULL || uf_queue_length(queues, INBOX, 1) < queues->capacity) {
                found("beside the dead, send answers %d", sent);
            }
            uf_pool_give(&world.system.messages, handle);
        }
    }
    int got = uf_queue_take(queues, &world.receiver, &handle, 1);
    if (got == 1) {
        deliver(handle, NULL);
    } else if (got != UF_EMPTY) {
        found("beside the dead, take answers %d", got);
    }
    if (uf_queue_find(queues, "second", &handle) != UF_OK) {
        found("beside the dead, a queue can't be found");
    }
    int opened = uf_queue_open(queues, "other", &handle);
    if (opened == UF_OK) {
        uf_queue_close(queues, handle);
    } else {
        found("beside the dead, open answers %d", opened);
    }
}

static void work_on_table(uint32_t flags)
{
    read_keys();
    for (uint32_t key = 17; key <= 19; key += 2) { /* one in each bucket */
        uint64_t stamp = 0;
        if (world.key_may[key] != 1) {
            continue;
        }
        int status = entry_write(key, 9, UF_SET_NEW, &stamp);
        if (status == UF_OK) {
            status = uf_table_delete(&world.system.table, entry_key(key), 0, stamp);
        } else if ((flags & SCENE_FULL) != 0 && status == UF_STORE_FULL) {
            status = UF_OK;
        }
        if (status != UF_OK) {
            found("beside the dead, an entry can't be set and deleted: %d", status);
        }
    }
}

/* All places that are free, right after a mend: whoever stands between a record and its count finds it
 * mended, and who has a place and no record yet finds the place gone. */
static void work_on_places(void)
{
    struct uf_agents *agents = &world.system.agents;
    uint64_t id;
    int status;
    uf_counts_doubt(agents->counts);
    status = uf_census_mend(agents);
    if (status != UF_OK) {
        found("beside the dead, a mend answers %d", status);
    }
    for (uint32_t i = 0; i <= world.limit; i++) {
        status = agent_spawn(&id);
        if (status != UF_OK) {
            break;
        }
        world.agent_may[uf_agent_slot(id)] = 1u << UF_AGENT_ACTIVE;
        if (uf_census_move(agents, id, UF_AGENT_STARTING, UF_AGENT_ACTIVE) != UF_OK) {
            found("beside the dead, an agent can't begin");
        }
    }
    if (status != world.refusal) {
        found("beside the dead, with %u at most, a spawn answers %d", world.limit, status);
    }
}

static void work_on_agents(void)
{
    struct uf_agents *agents = &world.system.agents;
    uint64_t id;
    uint32_t worker;
    int status = world.standing ? UF_EMPTY : uf_agent_claim(agents, 0, 1, 0, 1, &id, &worker);
    if (status == UF_OK) {
        world.agent_may[uf_agent_slot(id)] = 1u << UF_AGENT_FREE;
        status = uf_agent_move(agents, id, UF_AGENT_STARTING, UF_AGENT_FREE);
    }
    if (status != UF_OK && status != UF_EMPTY) {
        found("beside the dead, a warm agent can't be claimed and freed: %d", status);
    }
    status = uf_agent_new(agents, 0, 1, 1, UF_AGENT_STARTING, 8, 0, 1, &id);
    if (status == UF_OK) {
        status = uf_agent_move(agents, id, UF_AGENT_STARTING, UF_AGENT_FREE);
    }
    if (status != UF_OK) {
        found("beside the dead, an agent can't be made and freed: %d", status);
    }
}

void survivor_works(uint32_t flags)
{
    uint32_t handle;
    world.disordered = true;
    work_on_messages();
    work_on_table(flags);
    if (world.limit == 0) {
        work_on_agents();
    } else {
        work_on_places();
    }
    if (uf_pool_take(&world.system.messages, 150, &handle) != UF_OK ||
        uf_pool_give(&world.system.messages, handle) != UF_OK) {
        found("beside the dead, a block can't be taken and given");
    }
    if (uf_hist_record(&world.system.metrics, 1, 1000) != UF_OK) {
        found("beside the dead, a sample can't be recorded");
    }
}

static void ring_all(void)
{
    for (uint32_t q = 0; q < world.system.queues.count; q++) {
        _Atomic uint32_t *bell = uf_queue_bell(&world.system.queues, q);
        uint32_t seen = uf_bell_look(bell);
        if (uf_bell_mode_of(seen) != UF_BELL_AWAKE) {
            uf_bell_wake(bell, seen, world.pipe);
        }
    }
}

void survivor_recovers(bool downwards)
{
    uint32_t count = world.system.self.count;
    for (uint32_t i = 0; i < count; i++) {
        struct uf_recovery done;
        uint32_t slot = downwards ? count - 1 - i : i;
        memset(world.scratch, 0, uf_system_scratch_bytes(&world.system));
        int status = uf_system_recover(&world.system, slot, world.scratch, &done);
        if (status != UF_OK && status != UF_MISSING) {
            found("recovery of slot %u answers %d", slot, status);
        }
    }
    ring_all();
}
