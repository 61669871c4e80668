/* scenes_agents.c -- records of agents and their types. */
#include "steps.h"

#define MAY(state) (1u << UF_AGENT_##state)

static uint64_t agent; /* made before the operation; inherited by the child */

static uint64_t made(uint32_t state)
{
    uint64_t id;
    if (uf_agent_new(&world.system.agents, 0, 1, 1, state, 8, 0, 1, &id) != UF_OK) {
        fatal("uf_agent_new");
    }
    return id;
}

static void moved(uint64_t id, uint32_t from, uint32_t to)
{
    if (uf_agent_move(&world.system.agents, id, from, to) != UF_OK) {
        fatal("uf_agent_move");
    }
}

static uint32_t *may(void)
{
    return &world.agent_may[uf_agent_slot(agent)];
}

static void a_warm_one(void)
{
    agent = made(UF_AGENT_BUILDING);
    moved(agent, UF_AGENT_BUILDING, UF_AGENT_WARM);
    *may() = MAY(WARM);
}

static void two_warm_ones(void)
{
    a_warm_one();
    a_warm_one();
}

static void an_active_one(void)
{
    agent = made(UF_AGENT_STARTING);
    moved(agent, UF_AGENT_STARTING, UF_AGENT_ACTIVE);
    *may() = MAY(ACTIVE);
}

static void a_stopped_one(void)
{
    an_active_one();
    moved(agent, UF_AGENT_ACTIVE, UF_AGENT_STOPPED);
    *may() = MAY(STOPPED);
}

static void a_moving_one(void)
{
    an_active_one();
    if (uf_agent_leave(&world.system.agents, agent, SECOND, INBOX) != UF_OK) {
        fatal("uf_agent_leave");
    }
    *may() = MAY(MOVING);
}

static void an_arriving_one(void)
{
    a_moving_one();
    moved(agent, UF_AGENT_MOVING, UF_AGENT_ARRIVING);
    *may() = MAY(ARRIVING);
}

/* More of them than hints fit; then all are claimed that have one. */
static void one_without_hint(void)
{
    uint32_t worker;
    for (uint32_t i = 0; i < 5; i++) {
        a_warm_one();
    }
    for (uint32_t i = 0; i < 4; i++) {
        if (uf_agent_claim(&world.system.agents, 0, 1, 0, 1, &agent, &worker) != UF_OK) {
            fatal("uf_agent_claim");
        }
        moved(agent, UF_AGENT_STARTING, UF_AGENT_FREE);
        *may() = MAY(FREE);
    }
}

/* --- the child's ------------------------------------------------------------------------------------ */

static void start_building(void)
{
    agent = made(UF_AGENT_BUILDING);
}
static void start_starting(void)
{
    agent = made(UF_AGENT_STARTING);
}
static void new_building(void)
{
    uint64_t id;
    world.note->status =
        uf_agent_new(&world.system.agents, 0, 1, 1, UF_AGENT_BUILDING, 8, 0, 1, &id);
}
static void new_starting(void)
{
    uint64_t id;
    world.note->status =
        uf_agent_new(&world.system.agents, 0, 1, 1, UF_AGENT_STARTING, 8, 0, 1, &id);
}
static void claim(void)
{
    uint64_t id;
    uint32_t worker;
    world.note->status = uf_agent_claim(&world.system.agents, 0, 1, 0, 1, &id, &worker);
    world.note->id = id;
}
static void move(uint32_t from, uint32_t to)
{
    world.note->status = uf_agent_move(&world.system.agents, agent, from, to);
}
static void to_warm(void)
{
    move(UF_AGENT_BUILDING, UF_AGENT_WARM);
}
static void to_active(void)
{
    move(UF_AGENT_STARTING, UF_AGENT_ACTIVE);
}
static void to_stopped(void)
{
    move(UF_AGENT_ACTIVE, UF_AGENT_STOPPED);
}
static void to_free(void)
{
    move(UF_AGENT_STOPPED, UF_AGENT_FREE);
}
static void hold_one(void)
{
    message_make(11, 40, 0);
}
static void deliver_one(void)
{
    uint32_t worker;
    uint32_t together;
    uint32_t bell;
    world.note->status = uf_deliver(&world.system.self, &world.system.agents, &world.system.queues,
                                    &agent, 1, world.held, 1, &worker, &together, &bell);
}
static void leave(void)
{
    world.note->status = uf_agent_leave(&world.system.agents, agent, SECOND, INBOX);
}
static void depart(void)
{
    uint64_t seen[SEATS + 4];
    uint32_t on_way;
    struct uf_departure departure = {.seen = seen};
    uf_departure_begin(&world.system.self, &departure);
    world.note->status = uf_departure_look(&world.system.self, &world.system.queues, SECOND,
                                           &departure, true, &on_way);
    move(UF_AGENT_MOVING, UF_AGENT_ARRIVING);
}
static void to_arrived(void)
{
    move(UF_AGENT_ARRIVING, UF_AGENT_ACTIVE);
}
static void name_type(void)
{
    uint32_t type;
    world.note->status = uf_agents_type(&world.system.agents, "beta", true, &type);
    world.note->index = type;
}
static void find_type(void)
{
    uint32_t type;
    world.note->status = uf_agents_type(&world.system.agents, "alpha", false, &type);
}
static void count_all(void)
{
    uint32_t counts[3 * UF_AGENT_STATES] = {0};
    uint32_t worker;
    struct uf_agent_info info;
    uf_agents_tally(&world.system.agents, UF_EVERY_WORKER, counts);
    world.note->status = uf_agent_route(&world.system.agents, agent, &worker);
    uf_agent_look(&world.system.agents, agent, &info);
    uf_agent_handled(&world.system.agents, uf_agent_slot(agent), true, 5);
    uf_agent_set_depth(&world.system.agents, uf_agent_slot(agent), 3);
    uf_agent_restarted(&world.system.agents, uf_agent_slot(agent));
}

/* --- what may be ------------------------------------------------------------------------------------ */

static void became(const struct note *note, uint32_t slot, uint32_t before, uint32_t after)
{
    world.agent_may[slot] = note->ended ? after : before | after;
    if (note->ended && note->status != UF_OK) {
        found("answered %d", note->status);
    }
}

static void is_free(const struct note *note)
{
    became(note, 0, MAY(FREE), MAY(FREE));
}
static void is_stopped(const struct note *note)
{
    became(note, 0, MAY(FREE), MAY(STOPPED));
}
static void is_warm(const struct note *note)
{
    became(note, 0, MAY(FREE), MAY(WARM));
}
static void is_active(const struct note *note)
{
    became(note, 0, MAY(STOPPED), MAY(ACTIVE));
}
static void was_active(const struct note *note)
{
    became(note, 0, MAY(ACTIVE), MAY(STOPPED));
}
static void was_stopped(const struct note *note)
{
    became(note, 0, MAY(STOPPED), MAY(FREE));
}
static void was_warm(const struct note *note)
{
    if (note->ended && note->status == UF_OK) {
        became(note, uf_agent_slot(note->id), 0, MAY(STOPPED));
    } else if (note->ended) {
        found("answered %d", note->status);
    } else {
        /* Any one of the warm: which is in the books of uf_agents_recover. */
        for (uint32_t slot = 0; slot < AGENTS; slot++) {
            if (world.agent_may[slot] == MAY(WARM)) {
                world.agent_may[slot] |= MAY(STOPPED);
            }
        }
    }
}
static void is_moving(const struct note *note)
{
    became(note, 0, MAY(ACTIVE), MAY(MOVING));
}
static void is_arriving(const struct note *note)
{
    became(note, 0, MAY(MOVING), MAY(ARRIVING));
}
static void has_arrived(const struct note *note)
{
    became(note, 0, MAY(ARRIVING), MAY(ACTIVE));
}
/* It came, or never will; and nobody who gives agents away waits for the dead. */
static void delivered(const struct note *note)
{
    uint64_t seen[SEATS + 4];
    uint32_t on_way;
    struct uf_departure departure = {.seen = seen};
    bool accepted = note->ended && note->status == 1;
    message_may(11, accepted, accepted || !note->ended);
    if (world.system.self.count > COUNT_OF(seen)) {
        fatal("more slots than a departure is given room for");
    }
    uf_departure_begin(&world.system.self, &departure);
    (void)uf_departure_look(&world.system.self, &world.system.queues, SECOND, &departure, true,
                            &on_way);
    for (uint32_t slot = 0; slot < world.system.self.count; slot++) {
        if (seen[slot] != 0 && !uf_owner_alive(&world.system.self, slot)) {
            found("slot %u is dead and waited for", slot);
        }
    }
}
static void one_claimed(const struct note *note)
{
    uint32_t stopped = 0;
    (void)note;
    for (uint32_t slot = 0; slot < AGENTS; slot++) {
        struct uf_agent_info info;
        uf_agent_at(&world.system.agents, slot, &info);
        stopped += info.state == UF_AGENT_STOPPED;
    }
    if (stopped > 1) {
        found("one claim took %u agents", stopped);
    }
}
static void type_is_named(const struct note *note)
{
    uint32_t type;
    int status = uf_agents_type(&world.system.agents, "beta", true, &type);
    if (status != UF_OK || (note->ended && (note->status != UF_OK || note->index != type))) {
        found("a type that the dead was naming: %d then, %d now", note->status, status);
    }
}

const struct scene agent_scenes[] = {
    {.name = "agent new, to build", .act = new_building, .expect = is_free},
    {.name = "agent new, to start", .act = new_starting, .expect = is_stopped},
    {.name = "agent claim",
     .prepare = two_warm_ones,
     .act = claim,
     .expect = was_warm,
     .after = one_claimed},
    {.name = "agent claim, hints used up",
     .prepare = one_without_hint,
     .act = claim,
     .expect = was_warm,
     .after = one_claimed},
    {.name = "agent claim, none", .act = claim},
    {.name = "agent move, built", .ready = start_building, .act = to_warm, .expect = is_warm},
    {.name = "agent move, started", .ready = start_starting, .act = to_active, .expect = is_active},
    {.name = "agent move, stopped",
     .prepare = an_active_one,
     .act = to_stopped,
     .expect = was_active},
    {.name = "agent move, freed", .prepare = a_stopped_one, .act = to_free, .expect = was_stopped},
    {.name = "agent leave", .prepare = an_active_one, .act = leave, .expect = is_moving},
    {.name = "agent departs", .prepare = a_moving_one, .act = depart, .expect = is_arriving},
    {.name = "agent arrives", .prepare = an_arriving_one, .act = to_arrived, .expect = has_arrived},
    {.name = "deliver",
     .prepare = an_active_one,
     .ready = hold_one,
     .act = deliver_one,
     .expect = delivered},
    {.name = "agent type, new", .act = name_type, .after = type_is_named},
    {.name = "agent type, there", .act = find_type},
    {.name = "agent look, route, count", .prepare = an_active_one, .act = count_all},
};
const uint32_t agent_scenes_count = COUNT_OF(agent_scenes);
