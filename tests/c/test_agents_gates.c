/* test_agents_gates.c -- interleavings of claims of warm agents that chance finds too seldom. */
#include "arena.h"
#include "gates.h"

#include "uf_system.h"

static const struct uf_sizes sizes = {
    .owners = 4,
    .buckets = 1,
    .extensions = 1,
    .queues = 1,
    .queue_capacity = 1,
    .agents = 4,
    .types = 1,
    .warm = 1, /* one hint */
    .shards = 1,
    .message_classes = 1,
    .value_classes = 1,
    .message = {{128, 1}},
    .value = {{128, 1}},
};

struct visit {
    struct uf_system *system;
    int status;
    uint64_t id;
};

static void do_claim(void *argument)
{
    struct visit *visit = argument;
    uint32_t worker;
    visit->status = uf_agent_claim(&visit->system->agents, 0, 0, 0, 0, &visit->id, &worker);
}

static uint64_t warmed(struct uf_system *system)
{
    uint64_t id;
    CHECK_EQ(uf_agent_new(&system->agents, 0, 0, 0, UF_AGENT_BUILDING, 1, 0, 0, &id), UF_OK);
    CHECK_EQ(uf_agent_move(&system->agents, id, UF_AGENT_BUILDING, UF_AGENT_WARM), UF_OK);
    return id;
}

/* A claimer gives missing hints again, and the ring is full before it comes to it: of a hint that it
 * may use itself. */
static void a_hint_given_meanwhile_is_used(void)
{
    struct arena names;
    struct uf_system mine;
    struct uf_system other;
    struct gate gate;
    struct visit visit = {.system = &other};
    struct visit last = {.system = &mine};
    uint64_t free_bytes;
    uint32_t type;
    memset(&names, 0, sizeof names);
    arena_names(&names);
    CHECK_EQ(
        uf_system_create(&mine, &sizes, names.temp_path, names.path, 42, 5, 1, "", 0, &free_bytes),
        UF_OK);
    CHECK_EQ(uf_system_attach(&other, names.path, UF_ROLE_WORKER, false, 6, (uint64_t)getpid()),
             UF_OK);
    CHECK_EQ(uf_agents_type(&mine.agents, "a", true, &type), UF_OK);
    uint64_t first = warmed(&mine);
    uint64_t second = warmed(&mine); /* no room for its hint */
    do_claim(&last);
    CHECK_EQ(last.status, UF_OK);
    CHECK(last.id == first);
    gate_run(&gate, "A7", do_claim, &visit);
    gate_reached(&gate);
    CHECK_EQ(uf_agent_move(&mine.agents, first, UF_AGENT_STARTING, UF_AGENT_WARM), UF_OK);
    gate_open(&gate);
    gate_join(&gate);
    CHECK_EQ(visit.status, UF_OK);
    do_claim(&last);
    CHECK_EQ(last.status, UF_OK);
    CHECK((visit.id == first && last.id == second) || (visit.id == second && last.id == first));
    do_claim(&last);
    CHECK_EQ(last.status, UF_EMPTY);
    uf_system_close(&other);
    uf_system_close(&mine);
    unlink(names.path);
    CHECK_EQ(rmdir(names.directory), 0);
    explored("claimers who were given a hint as they gave hints", 1);
}

int main(void)
{
    watchdog(60);
    a_hint_given_meanwhile_is_used();
    return 0;
}
