/* explore_census.c -- places: never more agents than there are places, never a place that nobody gets, and the
 * counts are right again after a death.
 */
#include <string.h>

#include "explore.h"
#include "uf_census.h"

#define OUTSIDER EXPLORE_THREADS
#define SEATS (EXPLORE_THREADS + 1)
#define RECORDS 2

static struct uf_agents agents[SEATS];
static uint32_t granted[SEATS]; /* agents that it may tell its caller of */
static uint32_t left[SEATS];    /* of those: ended again */
static uint64_t first;          /* the agent that setup made */
static uint32_t mended_ever;
static uint32_t told_ever;
static uint64_t stops_then;
static uint32_t refused_ever;

static void setup_of(uint32_t limit)
{
    uint64_t bytes = uf_agents_bytes(RECORDS, 1, 1);
    uint32_t type;
    void *area = explore_alloc(bytes);
    memset(granted, 0, sizeof granted);
    memset(left, 0, sizeof left);
    first = 0;
    mended_ever = refused_ever = told_ever = 0;
    CHECK_EQ(uf_agents_init(area, bytes, RECORDS, 1, 1), UF_OK);
    for (uint32_t s = 0; s < SEATS; s++) {
        CHECK_EQ(uf_agents_open(&agents[s], area, bytes, s + 1), UF_OK);
        agents[s].cursor = 0;
    }
    CHECK_EQ(uf_agents_type(&agents[OUTSIDER], "coder", true, &type), UF_OK);
    atomic_store_explicit(&uf_census_of(&agents[0], 0)->most, limit, memory_order_relaxed);
    explore_name(agents[0].record, "record");
    explore_name(agents[0].free_bits, "free bits");
    explore_name(agents[0].counts, "counts");
    explore_name(agents[0].counts->type, "types' counts");
    explore_keep(granted, sizeof granted);
    explore_keep(left, sizeof left);
}

static uint32_t alive_of(uint32_t type)
{
    return uf_count_read(&uf_census_of(&agents[OUTSIDER], type)->alive);
}

/* A cold spawn, as the spawner's. The id, or 0: refused. */
static uint64_t spawn_as(uint32_t who)
{
    for (uint32_t tries = 0; tries < 3; tries++) {
        struct uf_places places;
        uint64_t id;
        int status = uf_census_admit(&agents[who], 0, 1, &places);
        if (status != UF_OK) {
            CHECK_EQ(status, UF_FULL);
            return 0;
        }
        CHECK_EQ(places.count, 1);
        CHECK_EQ(uf_census_new(&agents[who], 0, 0, 0, UF_AGENT_STARTING, 8, 0, 0, &id), UF_OK);
        if (uf_census_settle(&agents[who], &places, 1) == UF_OK) {
            granted[who]++;
            return id;
        }
        refused_ever++;
        uf_census_drop(&agents[who], id);
        CHECK_EQ(uf_census_move(&agents[who], id, UF_AGENT_STOPPED, UF_AGENT_FREE), UF_OK);
    }
    CHECK(false); /* there was one mend, so one doubt of whether the place was still ours */
    return 0;
}

static void spawn(void)
{
    spawn_as(explore_self());
}
static void spawn_leave(void)
{
    uint32_t me = explore_self();
    uint64_t id = spawn_as(me);
    if (id != 0) {
        CHECK_EQ(uf_census_end(&agents[me], id, UF_AGENT_STARTING, UF_AGENT_FREE), UF_OK);
        left[me]++;
    }
}
static void leave_first(void)
{
    uint32_t me = explore_self();
    CHECK_EQ(uf_census_end(&agents[me], first, UF_AGENT_STARTING, UF_AGENT_FREE), UF_OK);
    left[me]++;
}
static void doubt_mend(void)
{
    uint32_t me = explore_self();
    uf_counts_doubt(agents[me].counts);
    mended_ever += uf_census_mend(&agents[me]) == UF_OK;
}
/* The dead spawner's place is somebody's again. */
static void mend_spawn(void)
{
    uint32_t me = explore_self();
    struct uf_agents_recovery done;
    explore_inherit();
    uf_agents_recover(&agents[me], explore_dead() + 1, &done);
    explore_settled(1, 0, 0);
    CHECK(spawn_as(me) != 0);
}

static void stop_first(void)
{
    CHECK_EQ(uf_census_end(&agents[explore_self()], first, UF_AGENT_STARTING, UF_AGENT_STOPPED),
             UF_OK);
}
static void dismiss_first(void)
{
    CHECK_EQ(uf_census_dismiss(&agents[explore_self()], 0), UF_OK);
}
/* A host that is told of a stop finds it. */
static void look_for_stopped(void)
{
    const struct uf_agents *mine = &agents[explore_self()];
    if (uf_census_stops(mine) != stops_then) {
        struct uf_agent_info info;
        CHECK_EQ(uf_agent_look(mine, first, &info), UF_OK);
        CHECK_EQ(info.state, UF_AGENT_STOPPED);
        told_ever++;
    }
}

static uint32_t living(const uint32_t *sums)
{
    uint32_t sum = 0;
    for (uint32_t t = 0; t < SEATS; t++) {
        sum += t != explore_dead() ? sums[t] : 0;
    }
    return sum;
}

/* After a mend the counts are the records. */
static void counts_are_true(void)
{
    uint32_t states[UF_AGENT_STATES] = {0};
    struct uf_type_counts *of_type = uf_census_of(&agents[OUTSIDER], 0);
    CHECK_EQ(uf_census_mend(&agents[OUTSIDER]), UF_OK);
    uf_agents_tally(&agents[OUTSIDER], UF_EVERY_WORKER, states);
    CHECK_EQ(alive_of(0), states[UF_AGENT_STARTING] + states[UF_AGENT_ACTIVE]);
    CHECK_EQ(alive_of(1), alive_of(0));
    CHECK_EQ(uf_count_read(&of_type->warm), states[UF_AGENT_WARM]);
    CHECK_EQ(uf_count_read(&of_type->building), states[UF_AGENT_BUILDING]);
    CHECK_EQ(uf_census_load(&agents[OUTSIDER], 0), alive_of(0) + states[UF_AGENT_WARM] +
                                                       states[UF_AGENT_BUILDING] +
                                                       states[UF_AGENT_STOPPED]);
}
/* One place, and nobody to leave it: one got it. */
static void finish_last_place(void)
{
    CHECK_EQ(living(granted), 1);
    CHECK_EQ(alive_of(0), 1); /* without a mend */
    counts_are_true();
}
static void finish_any(void)
{
    counts_are_true();
    CHECK_EQ(alive_of(0), living(granted) - living(left) + (first != 0));
    CHECK(alive_of(0) <= 1);
}
static void finish_death(void)
{
    counts_are_true();
    CHECK_EQ(alive_of(0), 1);
}

static void setup_one_place(void)
{
    setup_of(1);
}
static void setup_full(void)
{
    setup_of(1);
    first = spawn_as(OUTSIDER);
    granted[OUTSIDER] = 0;
}
static void setup_to_stop(void)
{
    setup_full();
    stops_then = uf_census_stops(&agents[OUTSIDER]);
}
static void setup_warm(void)
{
    setup_of(0);
    CHECK_EQ(uf_census_new(&agents[OUTSIDER], 0, 0, 2, UF_AGENT_BUILDING, 1, 0, 1, &first), UF_OK);
    CHECK_EQ(uf_census_move(&agents[OUTSIDER], first, UF_AGENT_BUILDING, UF_AGENT_WARM), UF_OK);
    stops_then = uf_census_stops(&agents[OUTSIDER]);
}
static void finish_stopped(void)
{
    CHECK(uf_census_stops(&agents[OUTSIDER]) != stops_then);
    counts_are_true();
}
static void some_told(void)
{
    CHECK(told_ever > 0);
}
static void some_mended(void)
{
    CHECK(mended_ever > 0);
}

#define CENSUS(title, least, begin, end, ...)                                                      \
    {.name = title, .minimum = least, .setup = begin, .finish = end, __VA_ARGS__}

static const struct explore_check checks[] = {
    CENSUS("census-last-place", 600, setup_one_place, finish_last_place, .body = {spawn, spawn},
           .usual = {2, 3}, .deep = {3, 4}),
    CENSUS("census-place-used-again", 1500, setup_one_place, finish_any,
           .body = {spawn_leave, spawn}, .usual = {2, 3}, .deep = {3, 4}),
    CENSUS("census-left-meanwhile", 250, setup_full, finish_any, .body = {leave_first, spawn},
           .usual = {2, 3}, .deep = {3, 4}),
    CENSUS("census-mended-beside", 15000, setup_one_place, finish_any, .body = {spawn, doubt_mend},
           .after = some_mended, .usual = {2, 3}, .deep = {3, 4}),
    CENSUS("census-mended-beside-two", 40000, setup_one_place, finish_any,
           .body = {spawn, spawn, doubt_mend}, .usual = {1, 2}, .deep = {2, 2}),
    CENSUS("census-mended-beside-an-end", 15000, setup_full, finish_any,
           .body = {leave_first, doubt_mend, spawn}, .usual = {1, 2}, .deep = {2, 2}),
    CENSUS("census-told-of-a-stop", 20, setup_to_stop, finish_stopped,
           .body = {stop_first, look_for_stopped}, .after = some_told, .usual = {2, 3},
           .deep = {3, 4}),
    CENSUS("census-told-of-a-dismissal", 20, setup_warm, finish_stopped,
           .body = {dismiss_first, look_for_stopped}, .after = some_told, .usual = {2, 3},
           .deep = {3, 4}),
    CENSUS("census-spawner-dies", 25, setup_one_place, finish_death, .body = {spawn, mend_spawn},
           .mortal = 1, .mourners = 2, .usual = {2, 3}, .deep = {3, 4}),
};

int main(int argc, char **argv)
{
    return explore_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
