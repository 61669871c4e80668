/* test_census.c -- a limit is exact among racing spawners, and no count stays wrong after a death. */
#include "deaths.h"

#include <pthread.h>

#include "uf_census.h"

#define RECORDS 64
#define LIMIT 3
#define RACERS 6

struct world {
    struct uf_agents agents[RACERS + 1];
    struct uf_agents *mine; /* the worker child's */
};

static void world_open(struct world *world)
{
    uint64_t bytes = uf_agents_bytes(RECORDS, 1, 4);
    uint32_t type;
    void *area = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(area != MAP_FAILED);
    CHECK_EQ(uf_agents_init(area, bytes, RECORDS, 1, 4), UF_OK);
    for (uint32_t i = 0; i <= RACERS; i++) {
        CHECK_EQ(uf_agents_open(&world->agents[i], area, bytes, i + 1), UF_OK);
    }
    world->mine = &world->agents[1];
    CHECK_EQ(uf_agents_type(&world->agents[0], "few", true, &type), UF_OK);
    CHECK_EQ(uf_census_limit(&world->agents[0], 0, LIMIT), UF_OK);
    CHECK_EQ(uf_census_limit(&world->agents[0], 1, RECORDS), UF_OK); /* of all types */
    CHECK_EQ(uf_census_limit(&world->agents[0], 2, 1), UF_INVALID);
}

static void world_close(struct world *world)
{
    CHECK_EQ(munmap((uint8_t *)(void *)world->agents[0].record - UF_PAIR,
                    uf_agents_bytes(RECORDS, 1, 4)),
             0);
}

/* As the spawner does it: warm, or else cold. 0: refused. */
static uint64_t spawned(struct uf_agents *agents)
{
    struct uf_places places;
    uint64_t id;
    uint32_t worker;
    for (;;) {
        int status = uf_census_spawn(agents, 0, 1, 0, 1, &places, &id, &worker);
        if (status == UF_FULL) {
            return 0;
        }
        if (status == UF_EMPTY) {
            CHECK_EQ(uf_census_new(agents, 0, 1, 1, UF_AGENT_STARTING, 8, 0, 1, &id), UF_OK);
            status = uf_census_settle(agents, &places, 1);
            if (status != UF_OK) {
                uf_census_drop(agents, id);
            }
        } else if (status != UF_OK) {
            CHECK_EQ(status, UF_BUSY);
        }
        if (status == UF_OK) {
            return id;
        }
        CHECK_EQ(uf_census_move(agents, id, UF_AGENT_STOPPED, UF_AGENT_FREE), UF_OK); /* its host */
    }
}

static void ended(struct uf_agents *agents, uint64_t id)
{
    CHECK_EQ(uf_census_end(agents, id, UF_AGENT_STARTING, UF_AGENT_FREE), UF_OK);
}

static uint64_t warmed(struct uf_agents *agents)
{
    uint64_t id;
    CHECK_EQ(uf_census_new(agents, 0, 1, 1, UF_AGENT_BUILDING, 8, 0, 1, &id), UF_OK);
    CHECK_EQ(uf_census_move(agents, id, UF_AGENT_BUILDING, UF_AGENT_WARM), UF_OK);
    return id;
}

static void counts_are_true(struct uf_agents *agents)
{
    uint32_t states[UF_AGENT_STATES] = {0};
    struct uf_census census;
    struct uf_census all;
    uint32_t alive = 0;
    uint32_t used = 0;
    uf_agents_tally(agents, UF_EVERY_WORKER, states);
    for (uint32_t s = 0; s < UF_AGENT_STATES; s++) {
        alive += uf_agent_is_alive(s) ? states[s] : 0;
        used += states[s];
    }
    CHECK_EQ(uf_census_read(agents, 0, &census), UF_OK);
    CHECK_EQ(uf_census_read(agents, 1, &all), UF_OK);
    CHECK_EQ(census.alive, alive);
    CHECK_EQ(all.alive, alive);
    CHECK_EQ(census.warm, states[UF_AGENT_WARM]);
    CHECK_EQ(census.building, states[UF_AGENT_BUILDING]);
    CHECK_EQ(uf_census_load(agents, 1) + uf_census_load(agents, 2), used);
}

/* Everything that changes a count, beside a life that goes on. */
static void a_life(void *argument)
{
    struct uf_agents *agents = ((struct world *)argument)->mine;
    uint64_t cold = spawned(agents);
    warmed(agents);
    warmed(agents);
    uint64_t warm = spawned(agents);
    CHECK_EQ(uf_census_dismiss(agents, 0), UF_OK);
    CHECK_EQ(uf_census_dismiss(agents, 0), UF_EMPTY);
    CHECK_EQ(uf_census_move(agents, cold, UF_AGENT_STARTING, UF_AGENT_ACTIVE), UF_OK);
    CHECK_EQ(uf_census_leave(agents, cold, 1, 2), UF_OK);
    CHECK_EQ(uf_census_move(agents, cold, UF_AGENT_MOVING, UF_AGENT_ARRIVING), UF_OK);
    CHECK_EQ(uf_census_move(agents, cold, UF_AGENT_ARRIVING, UF_AGENT_ACTIVE), UF_OK);
    CHECK_EQ(uf_census_end(agents, cold, UF_AGENT_ACTIVE, UF_AGENT_FREE), UF_OK);
    ended(agents, warm);
}

/* After a death at any step: as many places as there were, no more and no fewer. */
static void no_place_is_lost(void)
{
    struct death_tally tally = {0};
    deaths_open();
    for (uint32_t at = 1;; at++) {
        struct world world;
        struct uf_agents_recovery done;
        world_open(&world);
        struct uf_agents *agents = &world.agents[0];
        uint64_t kept = spawned(agents);
        bool died = death_at(at, a_life, &world);
        if (died) {
            tally_death(&tally);
            uint64_t stops = uf_census_stops(agents);
            uf_agents_recover(agents, 2, &done);
            CHECK(uf_census_stops(agents) != stops);
        }
        /* What lived in the dead worker ends when it is found; here at once. */
        uint32_t others = 0;
        for (uint32_t slot = 0; slot < RECORDS; slot++) {
            struct uf_agent_info info;
            CHECK_EQ(uf_agent_at(agents, slot, &info), UF_OK);
            others += uf_agent_is_alive(info.state) && info.id != kept;
        }
        uint32_t got = 0;
        while (spawned(agents) != 0) {
            got++;
        }
        CHECK_EQ(got, LIMIT - 1 - others);
        CHECK_EQ(uf_census_mend(agents), UF_OK);
        counts_are_true(agents);
        world_close(&world);
        if (!died) {
            break;
        }
    }
    CHECK(tally.deaths > 20);
    explored("deaths after which every place was somebody's again", tally.deaths);
}

struct race {
    struct world world;
    _Atomic uint32_t numbers;
    _Atomic uint32_t alive;
    _Atomic uint64_t granted;
    _Atomic uint64_t refused;
    _Atomic uint32_t racing;
    uint32_t rounds;
    bool warms;
};

static void *race(void *argument)
{
    struct race *race = argument;
    uint32_t number = atomic_fetch_add(&race->numbers, 1);
    struct uf_agents *agents = &race->world.agents[number];
    for (uint32_t i = 0; i < race->rounds; i++) {
        struct uf_census census;
        CHECK_EQ(uf_census_read(agents, 0, &census), UF_OK);
        if (race->warms && i % 2 == 0 && census.warm == 0) {
            warmed(agents); /* claimed before it is counted: one too many, until a mend */
        }
        uint64_t id = spawned(agents);
        if (id == 0) {
            atomic_fetch_add(&race->refused, 1);
            sched_yield();
            continue;
        }
        atomic_fetch_add(&race->granted, 1);
        CHECK(atomic_fetch_add(&race->alive, 1) < LIMIT);
        sched_yield();
        atomic_fetch_sub(&race->alive, 1);
        ended(agents, id);
    }
    atomic_fetch_sub(&race->racing, 1);
    return NULL;
}

static void *keep_mending(void *argument)
{
    struct race *race = argument;
    struct uf_agents *agents = &race->world.agents[RACERS];
    while (atomic_load(&race->racing) != 0) {
        uf_counts_doubt(agents->counts);
        uf_census_mend(agents);
        sched_yield();
    }
    return NULL;
}

static void a_limit_holds_among_racers(bool mending)
{
    static struct race the_race;
    pthread_t threads[RACERS + 1];
    memset(&the_race, 0, sizeof the_race);
    world_open(&the_race.world);
    the_race.rounds = 20000 / SLOWER;
    the_race.racing = RACERS;
    the_race.warms = mending;
    for (uint32_t i = 0; i < RACERS; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, race, &the_race), 0);
    }
    if (mending) {
        CHECK_EQ(pthread_create(&threads[RACERS], NULL, keep_mending, &the_race), 0);
    }
    for (uint32_t i = 0; i < RACERS + (mending ? 1u : 0u); i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    struct uf_agents *agents = &the_race.world.agents[0];
    if (!mending) {
        counts_are_true(agents); /* nobody died: they never were wrong */
    }
    CHECK_EQ(uf_census_mend(agents), UF_OK);
    counts_are_true(agents);
    CHECK(the_race.granted > 0);
    explored(mending ? "agents of racers beside one who mends" : "agents of racers",
             the_race.granted);
    explored("of them refused, three being alive", the_race.refused);
    world_close(&the_race.world);
}

/* The other may claim a warm agent before it has been counted: nothing is below none, so the count would
 * stay one too high, and its pool one too small. */
static void a_claim_before_the_count_is_made_good(void)
{
    struct world world;
    struct uf_agents *agents = &world.agents[0];
    struct uf_places places;
    uint64_t id, claimed;
    uint32_t worker;
    world_open(&world);
    struct uf_type_counts *counts = uf_census_of(agents, 0);
    CHECK_EQ(uf_census_new(agents, 0, 1, 1, UF_AGENT_BUILDING, 8, 0, 1, &id), UF_OK);
    uint32_t era = uf_count_begin(&counts->warm);
    CHECK_EQ(uf_agent_move(agents, id, UF_AGENT_BUILDING, UF_AGENT_WARM), UF_OK);
    CHECK_EQ(uf_census_spawn(&world.agents[1], 0, 1, 0, 1, &places, &claimed, &worker), UF_OK);
    CHECK_EQ(claimed, id);
    CHECK(uf_count_add(&counts->building, -1, era));
    CHECK(uf_count_add(&counts->warm, 1, era));
    CHECK_EQ(uf_count_read(&counts->warm), 1);
    CHECK_EQ(uf_census_mend(agents), UF_OK);
    counts_are_true(agents);
    world_close(&world);
}

static void hostile_words_are_bounded(void)
{
    struct world world;
    struct uf_places places;
    world_open(&world);
    struct uf_agents *agents = &world.agents[0];
    memset(agents->counts, 0xff, uf_counts_bytes(1));
    CHECK_EQ(uf_census_admit(agents, 0, 1, &places), UF_FULL);
    memset(agents->counts->type, 0, 2 * sizeof(struct uf_type_counts));
    CHECK_EQ(uf_census_admit(agents, 0, 1, &places), UF_OK);
    places.type = 9;
    CHECK_EQ(uf_census_settle(agents, &places, 1), UF_INVALID);
    places.type = 0;
    CHECK_EQ(uf_census_settle(agents, &places, places.count + 1), UF_INVALID);
    CHECK_EQ(uf_census_admit(agents, 1, 1, &places), UF_INVALID);
    CHECK_EQ(uf_census_load(agents, UINT32_MAX), 0);
    uf_counts_doubt(agents->counts);
    uf_counts_doubt(agents->counts); /* the first leads to the era that zeroed words are of */
    CHECK_EQ(uf_census_mend(agents), UF_OK);
    counts_are_true(agents);
    world_close(&world);
}

int main(void)
{
    watchdog(100);
    no_place_is_lost();
    a_limit_holds_among_racers(false);
    a_limit_holds_among_racers(true);
    a_claim_before_the_count_is_made_good();
    hostile_words_are_bounded();
    return 0;
}
