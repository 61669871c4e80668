/* test_agents.c -- a warm agent is claimed once, an id that is stale is known, and the dead are mended. */
#include "arena.h"
#include "deaths.h"

#include "uf_agents.h"

static struct arena arena;
static uint64_t seed;

/* One attachment. */
struct desk {
    struct uf_region region;
    struct uf_self self;
    struct uf_agents agents;
};

static void office_open(uint32_t count, uint32_t types, uint32_t warm)
{
    uint64_t bytes;
    uint64_t free_bytes;
    memset(&arena, 0, sizeof arena);
    arena_names(&arena);
    struct uf_area areas[] = {
        {.kind = UF_AREA_OWNERS, .bytes = uf_owners_bytes(12)},
        {.kind = UF_AREA_AGENTS, .bytes = uf_agents_bytes(count, types, warm)},
    };
    CHECK_EQ(uf_region_create(&arena.region, arena.temp_path, areas, 2, 7, 0, &free_bytes), UF_OK);
    void *area = uf_region_area(&arena.region, UF_AREA_AGENTS, &bytes);
    CHECK_EQ(uf_agents_init(area, bytes, count, types, warm), UF_OK);
    CHECK_EQ(uf_region_publish(&arena.region, arena.temp_path, arena.path), UF_OK);
}

static void desk_take(struct desk *desk)
{
    uint64_t bytes;
    memset(desk, 0, sizeof *desk);
    CHECK_EQ(uf_region_attach(&desk->region, arena.path, true), UF_OK);
    CHECK_EQ(uf_owner_open(&desk->self, &desk->region), UF_OK);
    CHECK_EQ(uf_owner_join(&desk->self, 1, (uint64_t)getpid(), 0), UF_OK);
    void *area = uf_region_area(&desk->region, UF_AREA_AGENTS, &bytes);
    CHECK_EQ(uf_agents_open(&desk->agents, area, bytes, desk->self.slot + 1), UF_OK);
}

static void desk_leave(struct desk *desk)
{
    uf_owner_leave(&desk->self);
    uf_region_close(&desk->region);
}

static void desk_mend(struct desk *desk)
{
    struct uf_agents_recovery done;
    for (uint32_t slot = 0; slot < desk->self.count; slot++) {
        if (slot != desk->self.slot && uf_owner_begin_recovery(&desk->self, slot) == UF_OK) {
            uf_agents_recover(&desk->agents, slot + 1, &done);
            uf_owner_end_recovery(&desk->self, slot, true);
        }
    }
}

static uint64_t born(struct desk *desk, uint32_t type, uint32_t state)
{
    uint64_t id;
    CHECK_EQ(uf_agent_new(&desk->agents, type, 3, 1, state, 10, 99, 1000, &id), UF_OK);
    CHECK(id != 0);
    return id;
}

static uint64_t warmed(struct desk *desk, uint32_t type)
{
    uint64_t id = born(desk, type, UF_AGENT_BUILDING);
    CHECK_EQ(uf_agent_move(&desk->agents, id, UF_AGENT_BUILDING, UF_AGENT_WARM), UF_OK);
    return id;
}

static uint32_t state_of(struct desk *desk, uint64_t id)
{
    struct uf_agent_info info;
    CHECK_EQ(uf_agent_look(&desk->agents, id, &info), UF_OK);
    return info.state;
}

/* Records in a state, of all types. */
static uint32_t tally(struct desk *desk, uint32_t state)
{
    static uint32_t counts[UF_TYPES_MAX * UF_AGENT_STATES];
    uint32_t sum = 0;
    memset(counts, 0, sizeof counts);
    uf_agents_tally(&desk->agents, UF_EVERY_WORKER, counts);
    for (uint32_t type = 0; type < desk->agents.types_max; type++) {
        sum += counts[type * UF_AGENT_STATES + state];
    }
    return sum;
}

static void a_life(void)
{
    struct desk desk;
    struct uf_agent_info info;
    uint64_t id;
    uint64_t cases = 0;
    uint32_t worker;
    office_open(70, 3, 8);
    desk_take(&desk);
    static uint64_t ids[71];
    for (uint64_t generation = 0; generation < 4; generation++) {
        for (uint32_t i = 0; i < 70; i++, cases++) {
            ids[i] = born(&desk, 1, UF_AGENT_STARTING);
            for (uint32_t j = 0; j < i; j++) {
                CHECK(ids[j] != ids[i]);
            }
            CHECK_EQ(uf_agent_look(&desk.agents, ids[i], &info), UF_OK);
            CHECK_EQ(info.id, ids[i]);
            CHECK_EQ(info.state, UF_AGENT_STARTING);
            CHECK_EQ(info.type, 1);
            CHECK_EQ(info.worker, 3);
            CHECK_EQ(info.priority, 1);
            CHECK_EQ(info.limit, 10);
            CHECK_EQ(info.parent, 99);
            CHECK_EQ(info.spawned_ns, 1000);
            CHECK_EQ(info.handled + info.failed + info.restarts + info.depth + info.touched_ns, 0);
        }
        CHECK_EQ(uf_agent_new(&desk.agents, 1, 3, 1, UF_AGENT_STARTING, 10, 0, 0, &id),
                 UF_NO_AGENT_SLOT);
        CHECK_EQ(tally(&desk, UF_AGENT_STARTING), 70);
        for (uint32_t i = 0; i < 70; i++) {
            uint32_t slot = uf_agent_slot(ids[i]);
            CHECK_EQ(uf_agent_move(&desk.agents, ids[i], UF_AGENT_ACTIVE, UF_AGENT_STOPPED),
                     UF_BUSY);
            CHECK_EQ(uf_agent_move(&desk.agents, ids[i], UF_AGENT_STARTING, UF_AGENT_ACTIVE),
                     UF_OK);
            CHECK_EQ(uf_agent_route(&desk.agents, ids[i], &worker), UF_OK);
            CHECK_EQ(worker, 3);
            uf_agent_set_depth(&desk.agents, slot, 10);
            CHECK_EQ(uf_agent_route(&desk.agents, ids[i], &worker), UF_FULL);
            uf_agent_set_depth(&desk.agents, slot, 9);
            uf_agent_handled(&desk.agents, slot, false, 5000);
            uf_agent_handled(&desk.agents, slot, true, 6000);
            uf_agent_restarted(&desk.agents, slot);
            CHECK_EQ(uf_agent_look(&desk.agents, ids[i], &info), UF_OK);
            CHECK_EQ(info.handled, 2);
            CHECK_EQ(info.failed, 1);
            CHECK_EQ(info.restarts, 1);
            CHECK_EQ(info.touched_ns, 6000);
            CHECK_EQ(uf_agent_move(&desk.agents, ids[i], UF_AGENT_ACTIVE, UF_AGENT_STOPPED), UF_OK);
            CHECK_EQ(uf_agent_route(&desk.agents, ids[i], &worker), UF_STALE);
            CHECK_EQ(uf_agent_move(&desk.agents, ids[i], UF_AGENT_STOPPED, UF_AGENT_FREE), UF_OK);
            /* Stale from now on, whoever has the slot next. */
            CHECK_EQ(uf_agent_look(&desk.agents, ids[i], &info), UF_STALE);
            CHECK_EQ(uf_agent_route(&desk.agents, ids[i], &worker), UF_STALE);
            CHECK_EQ(uf_agent_move(&desk.agents, ids[i], UF_AGENT_FREE, UF_AGENT_WARM), UF_STALE);
        }
    }
    CHECK_EQ(uf_agent_new(&desk.agents, 3, 0, 0, UF_AGENT_STARTING, 1, 0, 0, &id), UF_INVALID);
    CHECK_EQ(uf_agent_new(&desk.agents, 0, 1024, 0, UF_AGENT_STARTING, 1, 0, 0, &id), UF_INVALID);
    CHECK_EQ(uf_agent_new(&desk.agents, 0, 0, 4, UF_AGENT_STARTING, 1, 0, 0, &id), UF_INVALID);
    CHECK_EQ(uf_agent_new(&desk.agents, 0, 0, 0, UF_AGENT_ACTIVE, 1, 0, 0, &id), UF_INVALID);
    const uint64_t wild[] = {0, 70, UINT64_MAX, uf_agent_id(5, 69), uf_agent_id(1, 1u << 23)};
    for (size_t i = 0; i < sizeof wild / sizeof *wild; i++, cases++) {
        CHECK_EQ(uf_agent_look(&desk.agents, wild[i], &info), UF_STALE);
        CHECK_EQ(uf_agent_route(&desk.agents, wild[i], &worker), UF_STALE);
        CHECK(uf_agent_move(&desk.agents, wild[i], UF_AGENT_ACTIVE, UF_AGENT_FREE) < 0);
    }
    CHECK_EQ(uf_agent_at(&desk.agents, 70, &info), UF_INVALID);
    desk_leave(&desk);
    arena_close(&arena);
    explored("agents from birth to the end, and their stale ids", cases);
}

static void types(void)
{
    struct desk desk;
    uint32_t type;
    char name[UF_TYPE_NAME_BYTES + 1];
    office_open(10, 3, 2);
    desk_take(&desk);
    CHECK_EQ(uf_agents_type(&desk.agents, "coder", false, &type), UF_MISSING);
    static const char *const names[] = {"coder", "tester", "analyst"};
    for (uint32_t i = 0; i < 3; i++) {
        CHECK_EQ(uf_agents_type(&desk.agents, names[i], true, &type), UF_OK);
        CHECK_EQ(type, i);
        CHECK_EQ(strcmp(uf_agents_type_name(&desk.agents, i), names[i]), 0);
    }
    CHECK_EQ(uf_agents_type(&desk.agents, "tester", true, &type), UF_OK);
    CHECK_EQ(type, 1);
    CHECK_EQ(uf_agents_type(&desk.agents, "analyst", false, &type), UF_OK);
    CHECK_EQ(type, 2);
    CHECK_EQ(uf_agents_type(&desk.agents, "one more", true, &type), UF_NO_SLOT);
    CHECK_EQ(uf_agents_type(&desk.agents, "", true, &type), UF_INVALID);
    memset(name, 'n', sizeof name);
    name[UF_TYPE_NAME_BYTES] = '\0';
    CHECK_EQ(uf_agents_type(&desk.agents, name, true, &type), UF_INVALID);
    CHECK(uf_agents_type_name(&desk.agents, 3) == NULL);
    desk_leave(&desk);
    arena_close(&arena);
    explored("types named", 3);
}

static pthread_barrier_t start;
static _Atomic uint32_t numbers;
#define NAMERS 5
static uint32_t named[NAMERS];

static void *name_the_same(void *rounds)
{
    struct desk desk;
    uint32_t me = atomic_fetch_add(&numbers, 1);
    desk_take(&desk);
    for (uintptr_t round = 0; round < (uintptr_t)rounds; round++) {
        char name[32];
        int status;
        snprintf(name, sizeof name, "type %u", (unsigned)round);
        pthread_barrier_wait(&start);
        while ((status = uf_agents_type(&desk.agents, name, true, &named[me])) == UF_BUSY) {
            sched_yield();
        }
        CHECK_EQ(status, UF_OK);
        pthread_barrier_wait(&start);
        for (uint32_t i = 0; i < NAMERS; i++) {
            CHECK_EQ(named[i], round);
        }
        pthread_barrier_wait(&start);
    }
    desk_leave(&desk);
    return NULL;
}

static void one_number_for_one_name(void)
{
    struct team team = {0};
    office_open(10, 200, 2);
    pthread_barrier_init(&start, NULL, NAMERS);
    uf_step_hook = yield_at_marks;
    for (int i = 0; i < NAMERS; i++) {
        team_add(&team, name_the_same, (void *)(uintptr_t)200);
    }
    team_join(&team);
    uf_step_hook = NULL;
    pthread_barrier_destroy(&start);
    arena_close(&arena);
    explored("types named by five threads at once", 200);
}

/* Hints run out, lie and are lost; whoever is warm can be claimed all the same. */
static void warm_agents_are_found(void)
{
    struct desk desk;
    uint64_t id;
    uint64_t cases = 0;
    uint32_t worker;
    office_open(70, 2, 4);
    desk_take(&desk);
    CHECK_EQ(uf_agent_claim(&desk.agents, 0, 0, 0, 0, &id, &worker), UF_EMPTY);
    CHECK_EQ(uf_agent_claim(&desk.agents, 2, 0, 0, 0, &id, &worker), UF_INVALID);
    for (int round = 0; round < 3; round++) {
        uint64_t warm[40];
        for (uint32_t i = 0; i < 40; i++) { /* ten times as many as there are hints */
            warm[i] = warmed(&desk, i % 2);
        }
        for (uint32_t i = 0; i < 4; i++) { /* retired unclaimed: their hints lie */
            CHECK_EQ(uf_agent_move(&desk.agents, warm[i], UF_AGENT_WARM, UF_AGENT_STOPPED), UF_OK);
            CHECK_EQ(uf_agent_move(&desk.agents, warm[i], UF_AGENT_STOPPED, UF_AGENT_FREE), UF_OK);
        }
        for (uint32_t i = 4; i < 40; i++, cases++) {
            struct uf_agent_info info;
            CHECK_EQ(uf_agent_claim(&desk.agents, i % 2, 2, 55, 777, &id, &worker), UF_OK);
            CHECK_EQ(uf_agent_look(&desk.agents, id, &info), UF_OK);
            CHECK_EQ(info.state, UF_AGENT_STARTING);
            CHECK_EQ(info.type, i % 2);
            CHECK_EQ(info.priority, 2);
            CHECK_EQ(info.parent, 55);
            CHECK_EQ(info.spawned_ns, 777);
            CHECK_EQ(worker, 3);
            CHECK_EQ(uf_agent_move(&desk.agents, id, UF_AGENT_STARTING, UF_AGENT_FREE), UF_OK);
        }
        CHECK_EQ(uf_agent_claim(&desk.agents, 0, 0, 0, 0, &id, &worker), UF_EMPTY);
        CHECK_EQ(uf_agent_claim(&desk.agents, 1, 0, 0, 0, &id, &worker), UF_EMPTY);
        CHECK_EQ(tally(&desk, UF_AGENT_WARM), 0);
    }
    desk_leave(&desk);
    arena_close(&arena);
    explored("warm agents claimed through too few hints", cases);
}

/* --- threads ---------------------------------------------------------------------------------- */

#define AGENTS 24u
static _Atomic uint32_t holders[AGENTS];
static _Atomic uint64_t claimed;
static _Atomic uint64_t built;
static _Atomic uint64_t none;

static void *claim_and_build(void *argument)
{
    struct desk desk;
    uint64_t random = seed + atomic_fetch_add(&numbers, 1);
    uint64_t stale = 0;
    desk_take(&desk);
    pthread_barrier_wait(&start);
    for (uint32_t i = 0; i < (uintptr_t)argument; i++) {
        uint64_t id;
        uint32_t worker;
        uint32_t type = next_random(&random) % 2 == 0;
        if (next_random(&random) % 2 == 0) {
            int status = uf_agent_new(&desk.agents, type, 1, 0, UF_AGENT_BUILDING, 1, 0, 0, &id);
            CHECK(status == UF_OK || status == UF_NO_AGENT_SLOT);
            if (status == UF_OK) {
                CHECK_EQ(atomic_fetch_add(&holders[uf_agent_slot(id)], 1), 0);
                sched_yield();
                CHECK_EQ(atomic_fetch_sub(&holders[uf_agent_slot(id)], 1), 1);
                CHECK_EQ(uf_agent_move(&desk.agents, id, UF_AGENT_BUILDING, UF_AGENT_WARM), UF_OK);
                atomic_fetch_add(&built, 1);
            }
        } else {
            int status = uf_agent_claim(&desk.agents, type, 0, 0, 0, &id, &worker);
            CHECK(status == UF_OK || status == UF_EMPTY || status == UF_BUSY);
            if (status != UF_OK) {
                atomic_fetch_add(&none, 1);
                sched_yield();
                continue;
            }
            CHECK(id != stale);
            stale = id;
            CHECK_EQ(atomic_fetch_add(&holders[uf_agent_slot(id)], 1), 0); /* ours alone */
            sched_yield();
            CHECK_EQ(atomic_fetch_sub(&holders[uf_agent_slot(id)], 1), 1);
            CHECK_EQ(uf_agent_move(&desk.agents, id, UF_AGENT_STARTING, UF_AGENT_FREE), UF_OK);
            CHECK_EQ(uf_agent_move(&desk.agents, id, UF_AGENT_STARTING, UF_AGENT_FREE), UF_STALE);
            atomic_fetch_add(&claimed, 1);
        }
    }
    desk_leave(&desk);
    return NULL;
}

static void each_is_claimed_once(uint32_t hints)
{
    struct team team = {0};
    struct desk desk;
    uint64_t id;
    uint32_t worker;
    char what[80];
    office_open(AGENTS, 2, hints);
    atomic_store(&claimed, 0);
    atomic_store(&built, 0);
    pthread_barrier_init(&start, NULL, 6);
    uf_step_hook = yield_at_marks;
    for (int i = 0; i < 6; i++) {
        team_add(&team, claim_and_build, (void *)(uintptr_t)(12000 / SLOWER));
    }
    team_join(&team);
    uf_step_hook = NULL;
    pthread_barrier_destroy(&start);
    desk_take(&desk);
    uint64_t warm = tally(&desk, UF_AGENT_WARM);
    CHECK_EQ(claimed + warm, built);
    for (uint32_t type = 0; type < 2; type++) { /* and none was lost on the way */
        while (uf_agent_claim(&desk.agents, type, 0, 0, 0, &id, &worker) == UF_OK) {
            CHECK_EQ(uf_agent_move(&desk.agents, id, UF_AGENT_STARTING, UF_AGENT_FREE), UF_OK);
            warm--;
        }
    }
    CHECK_EQ(warm, 0);
    for (uint32_t i = 0; i < AGENTS; i++) {
        born(&desk, 0, UF_AGENT_STARTING); /* every record can be had again */
    }
    desk_leave(&desk);
    arena_close(&arena);
    snprintf(what, sizeof what, "warm agents claimed by six threads, once each, %u hints", hints);
    explored(what, claimed);
}

/* --- deaths ----------------------------------------------------------------------------------- */

static struct desk parent;

static void living(void *unused)
{
    struct desk desk;
    uint64_t id;
    uint32_t worker;
    uint32_t type;
    (void)unused;
    desk_take(&desk);
    CHECK_EQ(uf_agents_type(&desk.agents, "late", true, &type), UF_OK);
    uint64_t warm = warmed(&desk, 0);
    CHECK_EQ(uf_agent_claim(&desk.agents, 0, 0, 0, 0, &id, &worker), UF_OK);
    CHECK_EQ(uf_agent_move(&desk.agents, id, UF_AGENT_STARTING, UF_AGENT_ACTIVE), UF_OK);
    CHECK_EQ(uf_agent_move(&desk.agents, id, UF_AGENT_ACTIVE, UF_AGENT_FREE), UF_OK);
    CHECK_EQ(uf_agent_claim(&desk.agents, 0, 0, 0, 0, &id, &worker), UF_OK);
    CHECK_EQ(uf_agent_move(&desk.agents, id, UF_AGENT_STARTING, UF_AGENT_FREE), UF_OK);
    death_note->words[1] = warm;
    desk_leave(&desk);
}

static void mending(void *unused)
{
    struct desk desk;
    (void)unused;
    desk_take(&desk);
    desk_mend(&desk);
    desk_leave(&desk);
}

/* Nothing is stuck: the half-born are free, the half-started stopped, the warm can be claimed. */
static void check_all_usable(void)
{
    struct uf_agent_info info;
    uint64_t id;
    uint32_t worker;
    uint32_t type;
    CHECK_EQ(tally(&parent, UF_AGENT_BUILDING), 0);
    CHECK_EQ(tally(&parent, UF_AGENT_STARTING), 0);
    uint32_t warm = tally(&parent, UF_AGENT_WARM);
    while (uf_agent_claim(&parent.agents, 0, 0, 0, 0, &id, &worker) == UF_OK) {
        CHECK_EQ(uf_agent_move(&parent.agents, id, UF_AGENT_STARTING, UF_AGENT_ACTIVE), UF_OK);
        warm--;
    }
    CHECK_EQ(warm, 0);
    for (uint32_t slot = 0; slot < parent.agents.count; slot++) {
        CHECK_EQ(uf_agent_at(&parent.agents, slot, &info), UF_OK);
        if (info.state != UF_AGENT_FREE) {
            CHECK(info.state == UF_AGENT_ACTIVE || info.state == UF_AGENT_STOPPED);
            CHECK_EQ(uf_agent_move(&parent.agents, info.id, info.state, UF_AGENT_FREE), UF_OK);
        }
    }
    CHECK_EQ(uf_agents_type(&parent.agents, "late", true, &type), UF_OK);
    for (uint32_t slot = 0; slot < parent.agents.count; slot++) {
        CHECK(state_of(&parent, born(&parent, 0, UF_AGENT_STARTING)) == UF_AGENT_STARTING);
    }
}

static void deaths(void)
{
    struct death_tally first = {0};
    struct death_tally second = {0};
    bool more = true;
    for (uint32_t at = 1; more; at++) {
        for (uint32_t again = 0; again < 40; again += again == 0 ? 1 + at % SLOWER : SLOWER) {
            uint64_t so_far = second.deaths;
            office_open(5, 4, 2);
            desk_take(&parent);
            uint32_t type;
            CHECK_EQ(uf_agents_type(&parent.agents, "first", true, &type), UF_OK);
            warmed(&parent, 0);
            more = death_at(at, living, NULL);
            if (more) {
                tally_death(&first);
            }
            if (again > 0 && death_at(again, mending, NULL)) {
                tally_death(&second);
            }
            desk_mend(&parent);
            check_all_usable();
            desk_leave(&parent);
            arena_close(&arena);
            if (again > 0 && second.deaths == so_far) {
                break;
            }
        }
    }
    check_labels(&first, "A1 A2 A3 A4 A5 R1 R2 R3 R4");
    explored("deaths at a mark of an agent's life", first.deaths);
    explored("  and then of their recoverers", second.deaths);
}

int main(void)
{
    watchdog(100);
    seed = test_seed();
    deaths_open();
    types();
    a_life();
    warm_agents_are_found();
    deaths();
    one_number_for_one_name();
    each_is_claimed_once(1);
    each_is_claimed_once(4);
    each_is_claimed_once(64);
    return 0;
}
