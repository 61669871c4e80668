/* explore_agents.c -- agent records: a warm agent is claimed once, none is lost with a claimer, an old id is
 * recognised.
 */
#include <stdatomic.h>
#include <string.h>

#include "explore.h"
#include "uf_agents.h"

#define OUTSIDER EXPLORE_THREADS
#define SEATS (EXPLORE_THREADS + 1)
#define RECORDS 2

static struct uf_agents agents[SEATS];
static uint64_t claimed[SEATS]; /* ids; 0: none */
static uint64_t made[SEATS];
static uint32_t empties[SEATS];
static uint32_t type_of[SEATS];
static uint32_t marked[SEATS]; /* the record that it marks in `using`, + 1; 0: none */
static uint64_t *using;        /* plain words, one a record: two owners at a time are a race */
static _Atomic uint64_t *published;
static uint64_t first; /* the agent that setup made */
static uint32_t stopped_ever;
static uint32_t freed_ever;
static uint32_t hinted_ever;

static void setup_of(uint32_t records, uint32_t types)
{
    uint64_t bytes = uf_agents_bytes(records, types, 1);
    uint32_t type;
    void *area = explore_alloc(bytes);
    memset(claimed, 0, sizeof claimed);
    memset(marked, 0, sizeof marked);
    memset(made, 0, sizeof made);
    memset(empties, 0, sizeof empties);
    CHECK_EQ(uf_agents_init(area, bytes, records, types, 1), UF_OK);
    for (uint32_t s = 0; s < SEATS; s++) {
        CHECK_EQ(uf_agents_open(&agents[s], area, bytes, s + 1), UF_OK);
    }
    CHECK_EQ(uf_agents_type(&agents[OUTSIDER], "coder", true, &type), UF_OK);
    CHECK_EQ(type, 0);
    using = explore_alloc(RECORDS * sizeof *using);
    published = explore_alloc(sizeof *published);
    explore_name(agents[0].record, "record");
    explore_name(agents[0].free_bits, "free bits");
    explore_name(agents[0].types, "type");
    explore_name(agents[0].rings, "hints");
    explore_name(using, "using");
    explore_keep(claimed, sizeof claimed);
    explore_keep(marked, sizeof marked);
    explore_keep(type_of, sizeof type_of);
    explore_keep(made, sizeof made);
    explore_keep(empties, sizeof empties);
    stopped_ever = freed_ever = hinted_ever = 0;
}

static void setup(uint32_t records)
{
    setup_of(records, 1);
}

static uint64_t warm_one(uint32_t who)
{
    uint64_t id;
    CHECK_EQ(uf_agent_new(&agents[who], 0, 1, 0, UF_AGENT_BUILDING, 8, 0, 0, &id), UF_OK);
    CHECK_EQ(uf_agent_move(&agents[who], id, UF_AGENT_BUILDING, UF_AGENT_WARM), UF_OK);
    return id;
}

/* Whatever the record is read by: an agent that is warm, or was, has all its fields. */
static void is_complete(uint32_t who, uint32_t slot)
{
    struct uf_agent_info info;
    uint32_t worker;
    CHECK_EQ(uf_agent_at(&agents[who], slot, &info), UF_OK);
    if (info.state != UF_AGENT_FREE && info.state != UF_AGENT_BUILDING) {
        CHECK_EQ(info.limit, 8);
        CHECK(uf_agent_route(&agents[who], info.id, &worker) != UF_FULL);
    }
}

static bool claim_as(uint32_t who)
{
    uint64_t id;
    uint32_t worker;
    int status = uf_agent_claim(&agents[who], 0, 1, 0, 0, &id, &worker);
    if (status == UF_EMPTY) {
        empties[who]++;
        return false;
    }
    CHECK_EQ(status, UF_OK);
    CHECK_EQ(worker, 1);
    claimed[who] = id;
    marked[who] = uf_agent_slot(id) + 1;
    CHECK_EQ(using[uf_agent_slot(id)], 0); /* before any other look at the record */
    using[uf_agent_slot(id)] = who + 1;
    is_complete(who, uf_agent_slot(id));
    explore_settled(1, id, 0);
    return true;
}

static void claim(void)
{
    claim_as(explore_self());
}
static void claim_run_free(void)
{
    uint32_t me = explore_self();
    if (claim_as(me)) {
        uint64_t id = claimed[me];
        CHECK_EQ(uf_agent_move(&agents[me], id, UF_AGENT_STARTING, UF_AGENT_ACTIVE), UF_OK);
        using[uf_agent_slot(id)] = 0;
        CHECK_EQ(uf_agent_move(&agents[me], id, UF_AGENT_ACTIVE, UF_AGENT_FREE), UF_OK);
    }
}
/* A cold spawn, from the record's taking to its end. */
static void cold_run_free(void)
{
    uint32_t me = explore_self();
    uint64_t id;
    int status = uf_agent_new(&agents[me], 0, 1, 0, UF_AGENT_STARTING, 8, 0, 0, &id);
    if (status != UF_OK) {
        CHECK_EQ(status, UF_NO_AGENT_SLOT);
        return;
    }
    CHECK_EQ(using[uf_agent_slot(id)], 0);
    using[uf_agent_slot(id)] = me + 1;
    explore_settled(4, id, 0);
    CHECK_EQ(uf_agent_move(&agents[me], id, UF_AGENT_STARTING, UF_AGENT_ACTIVE), UF_OK);
    using[uf_agent_slot(id)] = 0;
    CHECK_EQ(uf_agent_move(&agents[me], id, UF_AGENT_ACTIVE, UF_AGENT_FREE), UF_OK);
}
static void make_warm(void)
{
    uint32_t me = explore_self();
    uint64_t id;
    int status = uf_agent_new(&agents[me], 0, 1, 0, UF_AGENT_BUILDING, 8, 0, 0, &id);
    if (status != UF_OK) {
        CHECK_EQ(status, UF_NO_AGENT_SLOT);
        return;
    }
    marked[me] = uf_agent_slot(id) + 1;
    CHECK_EQ(using[uf_agent_slot(id)], 0);
    using[uf_agent_slot(id)] = me + 1;
    explore_settled(2, id, 0);
    using[uf_agent_slot(id)] = 0;
    marked[me] = 0;
    CHECK_EQ(uf_agent_move(&agents[me], id, UF_AGENT_BUILDING, UF_AGENT_WARM), UF_OK);
    made[me] = id;
    atomic_store_explicit(published, id, memory_order_release);
}
/* What is known to be warm, and nobody else's to claim, is found. */
static void claim_if_published(void)
{
    uint32_t known = atomic_load_explicit(published, memory_order_acquire) != 0;
    CHECK(claim_as(explore_self()) || !known);
}
/* The first agent's id stops to hold when its record is used again; a route never leads to another. */
static void route_first(void)
{
    uint32_t worker;
    struct uf_agent_info info;
    int status = uf_agent_look(&agents[explore_self()], first, &info);
    CHECK(status == UF_OK || status == UF_STALE);
    CHECK(status == UF_STALE || info.id == first);
    bool stale = status == UF_STALE;
    CHECK(!stale || uf_agent_look(&agents[explore_self()], first, &info) == UF_STALE);
    status = uf_agent_route(&agents[explore_self()], first, &worker);
    CHECK(status == UF_OK || status == UF_STALE);
    CHECK(!stale || status == UF_STALE); /* gone is gone */
    CHECK(status == UF_STALE || worker == 1);
}
static void observe(void)
{
    uint32_t me = explore_self();
    uint32_t worker;
    is_complete(me, 0);
    /* An id that it was not told, but could guess: the next of this record. */
    int status = uf_agent_route(&agents[me], first + (1u << UF_AGENT_SLOT_BITS), &worker);
    CHECK(status == UF_OK || status == UF_STALE);
}
/* Warm at first, then on its way to work: whoever reads the one or the other reads its fields too. */
static void make_and_claim(void)
{
    make_warm();
    explore_settled(5, 0, 0);
    claim();
}
static void observe_first(void)
{
    is_complete(explore_self(), 0);
}
static void route_guessed(void)
{
    uint32_t worker;
    int status = uf_agent_route(&agents[explore_self()], uf_agent_id(1, 0), &worker);
    CHECK(status == UF_OK || status == UF_STALE); /* FULL: a limit of nobody's */
}
/* One name, one number; and whoever is told a number reads the name. */
static void name_type(void)
{
    uint32_t me = explore_self();
    int status = uf_agents_type(&agents[me], "tester", true, &type_of[me]);
    if (status == UF_BUSY) {
        return; /* the other stopped while it wrote the name; see uf_agents.h */
    }
    CHECK_EQ(status, UF_OK);
    CHECK(type_of[me] == 1);
    CHECK(strcmp(uf_agents_type_name(&agents[me], 1), "tester") == 0);
}
static void look_for_type(void)
{
    uint32_t me = explore_self();
    const char *name = uf_agents_type_name(&agents[me], 1);
    /* Its words one by one, for libc's reads are not seen. */
    CHECK(name == NULL || *(const uint64_t *)(const void *)name != 0);
    int status = uf_agents_type(&agents[me], "tester", false, &type_of[me]);
    CHECK(status == UF_MISSING || (status == UF_OK && type_of[me] == 1));
}
static void finish_named(void)
{
    uint32_t type;
    CHECK_EQ(uf_agents_type(&agents[OUTSIDER], "tester", false, &type), UF_OK);
    CHECK_EQ(type, 1);
}
static void mend(void)
{
    uint32_t me = explore_self();
    uint32_t dead = explore_dead();
    struct uf_agents_recovery done;
    explore_inherit();
    if (marked[dead] != 0 && using[marked[dead] - 1] == dead + 1) {
        using[marked[dead] - 1] = 0;
    }
    uf_agents_recover(&agents[me], dead + 1, &done);
    stopped_ever += done.stopped;
    freed_ever += done.freed;
    hinted_ever += done.hinted;
    explore_settled(3, 0, 0);
}
static void mend_claim(void)
{
    mend();
    claim();
}

static uint32_t in_state(uint32_t state)
{
    uint32_t counts[UF_AGENT_STATES] = {0};
    uf_agents_tally(&agents[OUTSIDER], UF_EVERY_WORKER, counts);
    return counts[state];
}

/* Every warm agent can be claimed, every free record can be made an agent of, and there are no others than
 * those of the living. */
static void nothing_lost(void)
{
    uint32_t warm = in_state(UF_AGENT_WARM);
    uint32_t got = 0;
    uint32_t records = agents[OUTSIDER].count;
    uint32_t held = records - warm;
    for (uint32_t r = 0; r < records; r++) {
        struct uf_agent_info info;
        CHECK_EQ(uf_agent_at(&agents[OUTSIDER], r, &info), UF_OK);
        held -= info.state == UF_AGENT_FREE;
        CHECK(info.state != UF_AGENT_BUILDING);
        using[r] = 0;
    }
    while (claim_as(OUTSIDER)) {
        got++;
    }
    CHECK_EQ(got, warm);
    for (uint32_t r = 0; r < records - warm - held; r++) {
        warm_one(OUTSIDER);
    }
    uint64_t id;
    CHECK_EQ(uf_agent_new(&agents[OUTSIDER], 0, 1, 0, UF_AGENT_BUILDING, 8, 0, 0, &id),
             UF_NO_AGENT_SLOT);
}
static uint32_t living_claims(void)
{
    uint32_t claims = 0;
    for (uint32_t t = 0; t < EXPLORE_THREADS; t++) {
        claims += t != explore_dead() && claimed[t] != 0;
    }
    return claims;
}
static void finish_one(void)
{
    CHECK_EQ(living_claims(), 1);
    CHECK_EQ(in_state(UF_AGENT_STARTING), 1);
    nothing_lost();
}
static void finish_death(void)
{
    uint32_t claims = living_claims();
    uint32_t starting = in_state(UF_AGENT_STARTING);
    CHECK(claims <= 1);
    if (explore_dead() != EXPLORE_THREADS) {
        CHECK_EQ(starting, claims); /* the dead one's is STOPPED, or was never claimed */
        CHECK_EQ(claims + in_state(UF_AGENT_STOPPED) + in_state(UF_AGENT_WARM), 1);
    }
    nothing_lost();
}
static void finish_any(void)
{
    nothing_lost();
}

static void setup_warm(void)
{
    setup(1);
    first = warm_one(OUTSIDER);
}
static void setup_warm_2(void)
{
    setup(2);
    first = warm_one(OUTSIDER);
}
static void setup_none(void)
{
    setup(2);
}
static void setup_none_1(void)
{
    setup(1);
}
static void setup_types(void)
{
    setup_of(1, 3);
}
/* The ring's one hint lies: its agent is gone, and the record free. */
static void setup_lying(void)
{
    setup(1);
    first = warm_one(OUTSIDER);
    CHECK_EQ(uf_agent_move(&agents[OUTSIDER], first, UF_AGENT_WARM, UF_AGENT_FREE), UF_OK);
}
static void some_stopped(void)
{
    CHECK(stopped_ever > 0);
}
static void some_freed(void)
{
    CHECK(freed_ever > 0 && hinted_ever > 0);
}

#define AGENTS(title, least, begin, end, ...)                                                      \
    {.name = title, .minimum = least, .setup = begin, .finish = end, __VA_ARGS__}

static const struct explore_check checks[] = {
    AGENTS("agents-two-claimers", 210, setup_warm, finish_one, .body = {claim, claim}),
    AGENTS("agents-three-claimers", 6300, setup_warm, finish_one, .body = {claim, claim, claim},
           .usual = {2, 2}, .deep = {3, 3}),
    AGENTS("agents-make-claim", 63, setup_none_1, finish_any,
           .body = {make_warm, claim_if_published}),
    AGENTS("agents-two-makers", 13000, setup_none, finish_any, .body = {make_warm, make_warm},
           .usual = {0, 4}),
    AGENTS("agents-full-of-hints", 14000, setup_warm_2, finish_any,
           .body = {make_warm, claim, claim}, .usual = {2, 2}, .deep = {3, 3}),
    AGENTS("agents-used-again", 39, setup_warm, finish_any, .body = {claim_run_free, make_warm},
           .usual = {0, 4}),
    AGENTS("agents-cold", 2000, setup_none_1, finish_any, .body = {cold_run_free, cold_run_free},
           .usual = {0, 4}),
    AGENTS("agents-old-id", 18000, setup_warm, finish_any,
           .body = {claim_run_free, make_warm, route_first}, .usual = {2, 2}, .deep = {3, 3}),
    AGENTS("agents-type-named", 20, setup_types, finish_named, .body = {name_type, look_for_type}),
    AGENTS("agents-type-named-twice", 50, setup_types, finish_named, .body = {name_type, name_type},
           .usual = {2, 3}, .deep = {3, 4}),
    AGENTS("agents-lying-hint", 400, setup_lying, finish_any, .body = {make_warm, claim}),
    AGENTS("agents-observed", 2000, setup_lying, finish_any, .body = {make_warm, claim, observe},
           .usual = {1, 2}, .deep = {2, 3}),
    AGENTS("agents-observed-first", 70000, setup_none_1, finish_any,
           .body = {make_and_claim, observe_first, route_guessed}, .usual = {2, 2}, .deep = {3, 3}),
    AGENTS("agents-two-reusers", 4000, setup_warm, finish_any,
           .body = {claim_run_free, make_warm, make_warm}, .usual = {2, 2}, .deep = {3, 3}),
    AGENTS("agents-claimer-dies", 7, setup_warm, finish_death, .body = {claim, mend_claim},
           .mortal = 1, .mourners = 2, .after = some_stopped),
    AGENTS("agents-claimer-dies-beside", 19000, setup_warm, finish_death,
           .body = {claim, claim, mend}, .mortal = 1, .mourners = 4, .after = some_stopped,
           .usual = {2, 3}, .deep = {3, 3}),
    AGENTS("agents-maker-dies", 11, setup_none_1, finish_any, .body = {make_warm, mend_claim},
           .mortal = 1, .mourners = 2, .after = some_freed),
    AGENTS("agents-maker-dies-beside", 7000, setup_none, finish_any,
           .body = {make_warm, claim, mend}, .mortal = 1, .mourners = 4, .after = some_freed,
           .usual = {2, 3}, .deep = {3, 3}),
};

int main(int argc, char **argv)
{
    return explore_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
