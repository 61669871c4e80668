/* scenes_census.c -- agents that are counted while they come, move and go: no place is lost, none is given
 * twice, every count is right again, and hosts are told of what stopped. Survivors that work take every place that is free.
 */
#include "steps.h"

#define MAY(state) (1u << UF_AGENT_##state)

static uint64_t subject;          /* made before the operation; inherited by the child */
static struct uf_places admitted; /* likewise, in the child */

static void limit_is(uint32_t type, uint32_t limit)
{
    if (uf_census_limit(&world.system.agents, type, limit) != UF_OK) {
        fatal("uf_census_limit");
    }
}

static void at_most(uint32_t limit)
{
    world.limit = limit;
    world.refusal = UF_FULL;
    limit_is(0, limit);
}

static void moved(uint64_t id, uint32_t from, uint32_t to)
{
    if (uf_census_move(&world.system.agents, id, from, to) != UF_OK) {
        fatal("uf_census_move");
    }
}

static void one_lives(void)
{
    if (agent_spawn(&subject) != UF_OK) {
        fatal("agent_spawn");
    }
    moved(subject, UF_AGENT_STARTING, UF_AGENT_ACTIVE);
    world.agent_may[uf_agent_slot(subject)] = MAY(ACTIVE);
}

static void a_warm_one(void)
{
    uint64_t id;
    if (uf_census_new(&world.system.agents, 0, SECOND, 1, UF_AGENT_BUILDING, 8, 0, 1, &id) !=
        UF_OK) {
        fatal("uf_census_new");
    }
    moved(id, UF_AGENT_BUILDING, UF_AGENT_WARM);
    world.agent_may[uf_agent_slot(id)] = MAY(WARM);
}

/* What a death left: an agent is gone, and its place is not; hosts know. */
static void one_goes_uncounted(void)
{
    if (uf_agent_move(&world.system.agents, subject, UF_AGENT_ACTIVE, UF_AGENT_FREE) != UF_OK) {
        fatal("uf_agent_move");
    }
    world.agent_may[uf_agent_slot(subject)] = MAY(FREE);
    uf_counts_doubt(world.system.agents.counts);
}

static void stands(void)
{
    world.stops = uf_census_stops(&world.system.agents);
}

/* --- what there is before -------------------------------------------------------------------------- */

static void one_of_three(void)
{
    at_most(3);
    one_lives();
    stands();
}

static void one_of_two(void)
{
    at_most(2);
    one_lives();
    stands();
}

static void one_of_one(void)
{
    at_most(1);
    one_lives();
    stands();
}

static void one_of_one_in_all(void)
{
    one_of_one();
    limit_is(0, 3);
    limit_is(world_sizes.types, 1);
    world.refusal = UF_NO_AGENT_SLOT;
}

static void one_and_two_warm(void)
{
    at_most(3);
    one_lives();
    a_warm_one();
    a_warm_one();
    stands();
}

static void one_of_three_moves(void)
{
    one_of_three();
    if (uf_census_leave(&world.system.agents, subject, SECOND, INBOX) != UF_OK) {
        fatal("uf_census_leave");
    }
    world.agent_may[uf_agent_slot(subject)] = MAY(MOVING);
}

static void full_in_error(void)
{
    at_most(2);
    one_lives();
    one_lives();
    one_goes_uncounted();
    stands();
}

/* A mend has counted its agent already: its place is not given to it again. */
static void is_refused(void)
{
    struct uf_agents *agents = &world.system.agents;
    if (uf_census_admit(agents, 0, 1, &admitted) != UF_OK ||
        uf_census_new(agents, 0, SECOND, 1, UF_AGENT_STARTING, 8, 0, 1, &subject) != UF_OK) {
        fatal("a place and an agent");
    }
    uf_counts_doubt(agents->counts);
    if (uf_census_mend(agents) != UF_OK || uf_census_settle(agents, &admitted, 1) != UF_FULL) {
        fatal("a place that is gone");
    }
}

static void two_places(void)
{
    if (uf_census_admit(&world.system.agents, 0, 2, &admitted) != UF_OK || admitted.count != 2) {
        fatal("uf_census_admit");
    }
}

/* --- the child's ----------------------------------------------------------------------------------- */

static void spawn(void)
{
    uint64_t id = 0;
    world.note->status = agent_spawn(&id);
    world.note->id = id;
}

static void withdraw(void)
{
    world.note->status = uf_census_settle(&world.system.agents, &admitted, 0);
}

static void drop(void)
{
    uf_census_drop(&world.system.agents, subject);
    world.note->id = subject;
}

static void build(void)
{
    uint64_t id;
    struct uf_agents *agents = &world.system.agents;
    world.note->status =
        uf_census_new(agents, 0, SECOND, 1, UF_AGENT_BUILDING, 8, 0, 1, &id) == UF_OK
            ? uf_census_move(agents, id, UF_AGENT_BUILDING, UF_AGENT_WARM)
            : UF_NO_AGENT_SLOT;
}

static void dismiss(void)
{
    world.note->status = uf_census_dismiss(&world.system.agents, 0);
}

static void end_free(void)
{
    world.note->status =
        uf_census_end(&world.system.agents, subject, UF_AGENT_ACTIVE, UF_AGENT_FREE);
}

static void end_stopped(void)
{
    world.note->status =
        uf_census_end(&world.system.agents, subject, UF_AGENT_ACTIVE, UF_AGENT_STOPPED);
}

static void leave(void)
{
    world.note->status = uf_census_leave(&world.system.agents, subject, SECOND, INBOX);
}

static void arrive(void)
{
    world.note->status =
        uf_census_move(&world.system.agents, subject, UF_AGENT_MOVING, UF_AGENT_ARRIVING);
}

static void mend(void)
{
    world.note->status = uf_census_mend(&world.system.agents);
}

/* --- what may be ----------------------------------------------------------------------------------- */

static void slots_may(uint32_t now, uint32_t become)
{
    for (uint32_t slot = 0; slot < AGENTS; slot++) {
        if ((world.agent_may[slot] & now) != 0) {
            world.agent_may[slot] |= become;
        }
    }
}

/* The operation has answered: never too many, never a wrong count that nobody doubts, and who stopped an
 * agent or gave it away has said so. */
static void answered(const struct note *note, int other)
{
    const struct uf_agents *agents = &world.system.agents;
    const struct uf_census wanted = agents_by_hand();
    if (!note->ended) {
        return;
    }
    if (note->status != UF_OK && note->status != other) {
        found("answered %d", note->status);
    }
    if (wanted.alive > world.limit) {
        found("%u agents live, of %u at most", wanted.alive, world.limit);
    }
    if (!counts_are(&wanted) && agents->counts->doubts == agents->counts->mended) {
        found("a count is wrong, and nobody doubts it");
    }
    for (uint32_t slot = 0; slot < AGENTS; slot++) {
        struct uf_agent_info info;
        uf_agent_at(agents, slot, &info);
        if ((info.state == UF_AGENT_STOPPED || info.state == UF_AGENT_ARRIVING) &&
            uf_census_stops(agents) == world.stops) {
            found("agent %u is in state %u, and no host is told", slot, info.state);
        }
    }
}

/* Its agent dies with it, or it was refused: survivors had taken the places meanwhile. */
static void is_spawned(const struct note *note)
{
    slots_may(MAY(FREE) | MAY(WARM), MAY(STOPPED));
    answered(note, UF_FULL);
    if (note->ended && note->status == UF_OK) {
        world.agent_may[uf_agent_slot(note->id)] = MAY(STOPPED);
    }
}
static void is_full(const struct note *note)
{
    answered(note, world.refusal);
    if (note->ended && note->status == UF_OK) {
        found("one more is admitted");
    }
}
static void is_dropped(const struct note *note)
{
    slots_may(MAY(FREE), MAY(STOPPED));
    answered(note, UF_OK);
}
static void is_built(const struct note *note)
{
    slots_may(MAY(FREE), MAY(WARM));
    answered(note, UF_OK);
}
static void is_dismissed(const struct note *note)
{
    slots_may(MAY(WARM), MAY(STOPPED));
    answered(note, UF_EMPTY);
}
static void has_ended(const struct note *note)
{
    struct uf_agent_info info;
    world.agent_may[uf_agent_slot(subject)] |= MAY(FREE) | MAY(STOPPED);
    answered(note, UF_OK);
    if (note->ended && uf_agent_look(&world.system.agents, subject, &info) == UF_OK &&
        info.state != UF_AGENT_STOPPED) {
        found("an agent that has ended is in state %u", info.state);
    }
}
static void has_left(const struct note *note)
{
    world.agent_may[uf_agent_slot(subject)] |= MAY(MOVING);
    answered(note, UF_OK);
}
static void is_arriving(const struct note *note)
{
    world.agent_may[uf_agent_slot(subject)] |= MAY(ARRIVING);
    answered(note, UF_OK);
}
static void is_unchanged(const struct note *note)
{
    answered(note, UF_BUSY);
}

const struct scene census_scenes[] = {
    {.name = "census spawn, cold", .prepare = one_of_three, .act = spawn, .expect = is_spawned},
    {.name = "census spawn, warm", .prepare = one_and_two_warm, .act = spawn, .expect = is_spawned},
    {.name = "census spawn, full", .prepare = one_of_one, .act = spawn, .expect = is_full},
    {.name = "census spawn, full in all",
     .prepare = one_of_one_in_all,
     .act = spawn,
     .expect = is_full},
    {.name = "census spawn, full in error",
     .prepare = full_in_error,
     .act = spawn,
     .expect = is_spawned},
    {.name = "census withdraw",
     .prepare = one_of_three,
     .ready = two_places,
     .act = withdraw,
     .expect = is_unchanged},
    {.name = "census drop",
     .prepare = one_of_two,
     .ready = is_refused,
     .act = drop,
     .expect = is_dropped},
    {.name = "census build", .prepare = one_of_three, .act = build, .expect = is_built},
    {.name = "census dismiss", .prepare = one_and_two_warm, .act = dismiss, .expect = is_dismissed},
    {.name = "census end, to FREE", .prepare = one_of_three, .act = end_free, .expect = has_ended},
    {.name = "census end, to STOPPED",
     .prepare = one_of_three,
     .act = end_stopped,
     .expect = has_ended},
    {.name = "census leave", .prepare = one_of_three, .act = leave, .expect = has_left},
    {.name = "census arrive", .prepare = one_of_three_moves, .act = arrive, .expect = is_arriving},
    {.name = "census mend", .prepare = full_in_error, .act = mend, .expect = is_unchanged},
};
const uint32_t census_scenes_count = COUNT_OF(census_scenes);
