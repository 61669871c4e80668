#include "uf_census.h"

#define ADMIT_TRIES 16u

struct uf_type_counts *uf_census_of(const struct uf_agents *agents, uint32_t type)
{
    return type <= agents->types_max ? &agents->counts->type[type] : NULL;
}

int uf_census_read(const struct uf_agents *agents, uint32_t type, struct uf_census *census)
{
    const struct uf_type_counts *counts = uf_census_of(agents, type);
    if (counts == NULL) {
        return UF_INVALID;
    }
    census->alive = uf_count_read(&counts->alive);
    census->warm = uf_count_read(&counts->warm);
    census->building = uf_count_read(&counts->building);
    /* Relaxed, all: counts and settings. */
    census->most = atomic_load_explicit(&counts->most, memory_order_relaxed);
    census->target = atomic_load_explicit(&counts->target, memory_order_relaxed);
    census->claimed = atomic_load_explicit(&counts->claimed, memory_order_relaxed);
    census->cold = atomic_load_explicit(&counts->cold, memory_order_relaxed);
    return UF_OK;
}

int uf_census_limit(struct uf_agents *agents, uint32_t type, uint32_t most)
{
    struct uf_type_counts *counts = uf_census_of(agents, type);
    if (counts == NULL || most > UF_COUNT_MOST) {
        return UF_INVALID;
    }
    atomic_store_explicit(&counts->most, most, memory_order_relaxed); /* a setting */
    return UF_OK;
}

int uf_census_aim(struct uf_agents *agents, uint32_t type, uint32_t target)
{
    struct uf_type_counts *counts = uf_census_of(agents, type);
    if (counts == NULL) {
        return UF_INVALID;
    }
    atomic_store_explicit(&counts->target, target, memory_order_relaxed); /* for show */
    return UF_OK;
}

uint32_t uf_census_load(const struct uf_agents *agents, uint32_t worker)
{
    return worker < UF_WORKERS_MAX ? uf_count_read(&agents->counts->load[worker]) : 0;
}

uint64_t uf_census_stops(const struct uf_agents *agents)
{
    /* C10 <- C9. Acquire: who looks for them because of it finds them. */
    return atomic_load_explicit(&agents->counts->stops, memory_order_acquire);
}

static struct uf_type_counts *all_of(const struct uf_agents *agents)
{
    return &agents->counts->type[agents->types_max];
}

static uint32_t limit_of(const struct uf_type_counts *counts)
{
    return atomic_load_explicit(&counts->most, memory_order_relaxed); /* a setting */
}

static void change(struct uf_agents *agents, _Atomic uint64_t *count, int32_t by, uint32_t era)
{
    if (!uf_count_add(count, by, era)) {
        uf_counts_doubt(agents->counts);
    }
}

/* --- places ---------------------------------------------------------------------------------------- */

/* Places of one count; where it is full, and may be so in error, the records are asked. */
static int take(struct uf_agents *agents, struct uf_type_counts *counts, uint32_t wanted,
                uint32_t *got, uint32_t *era)
{
    int status = UF_BUSY;
    for (uint32_t tries = 0; tries < ADMIT_TRIES; tries++) {
        status = uf_count_take(&counts->alive, limit_of(counts), wanted, got, era);
        if (status != UF_FULL) {
            return status;
        }
        /* Relaxed: whether to mend; who mends reads it again. */
        uint64_t doubts = atomic_load_explicit(&agents->counts->doubts, memory_order_relaxed);
        if (*era == (doubts & 0xffff)) {
            return UF_FULL;
        }
        uf_census_mend(agents); /* what it could not, the next attempt finds changed */
    }
    return status;
}

int uf_census_admit(struct uf_agents *agents, uint32_t type, uint32_t wanted,
                    struct uf_places *places)
{
    if (type >= agents->types_max || wanted == 0) {
        return UF_INVALID;
    }
    struct uf_type_counts *mine = uf_census_of(agents, type);
    uint32_t of_type;
    int status = take(agents, mine, wanted, &of_type, &places->type_era);
    if (status != UF_OK) {
        return status;
    }
    UF_STEP(C2);
    status = take(agents, all_of(agents), of_type, &places->count, &places->all_era);
    if (status != UF_OK) {
        places->count = 0;
    }
    if (places->count < of_type) {
        change(agents, &mine->alive, (int32_t)places->count - (int32_t)of_type, places->type_era);
    }
    places->type = type;
    return status == UF_FULL ? UF_NO_AGENT_SLOT : status;
}

static int settle(struct uf_agents *agents, struct uf_type_counts *counts, uint32_t used,
                  uint32_t unused, uint32_t era)
{
    bool again = false;
    int status = UF_OK;
    if (unused > 0) {
        /* Another era: the walk saw no records for these, so nothing is to be given back. */
        uf_count_add(&counts->alive, -(int32_t)unused, era);
    }
    if (used > 0) {
        status = uf_count_settle(&counts->alive, limit_of(counts), used, era, &again);
    }
    if (again) {
        uf_counts_doubt(agents->counts);
    }
    return status;
}

int uf_census_settle(struct uf_agents *agents, const struct uf_places *places, uint32_t used)
{
    if (places->type >= agents->types_max || used > places->count) {
        return UF_INVALID;
    }
    UF_STEP(C3);
    uint32_t unused = places->count - used;
    int of_type =
        settle(agents, uf_census_of(agents, places->type), used, unused, places->type_era);
    int of_all = settle(agents, all_of(agents), used, unused, places->all_era);
    return of_type == UF_OK && of_all == UF_OK ? UF_OK : UF_FULL;
}

void uf_census_drop(struct uf_agents *agents, uint64_t id)
{
    uf_census_move(agents, id, UF_AGENT_STARTING, UF_AGENT_STOPPED);
    UF_STEP(C1);
    uf_counts_doubt(agents->counts); /* after the move: a mend before it has counted what goes */
}

int uf_census_end(struct uf_agents *agents, uint64_t id, uint32_t from, uint32_t to)
{
    struct uf_agent_info info;
    if (!uf_agent_is_alive(from) || uf_agent_is_alive(to)) {
        return UF_INVALID;
    }
    if (uf_agent_look(agents, id, &info) != UF_OK || info.type >= agents->types_max) {
        return UF_STALE;
    }
    struct uf_type_counts *mine = uf_census_of(agents, info.type);
    uint32_t type_era = uf_count_begin(&mine->alive);
    uint32_t all_era = uf_count_begin(&all_of(agents)->alive);
    int status = uf_census_move(agents, id, from, to);
    if (status == UF_OK) {
        UF_STEP(C1);
        change(agents, &mine->alive, -1, type_era);
        change(agents, &all_of(agents)->alive, -1, all_era);
    }
    return status;
}

/* --- records ---------------------------------------------------------------------------------------- */

/* Which count of its type a record in this state is part of, beside the places. */
static _Atomic uint64_t *waiting(struct uf_type_counts *counts, uint32_t state)
{
    return state == UF_AGENT_WARM       ? &counts->warm
           : state == UF_AGENT_BUILDING ? &counts->building
                                        : NULL;
}

static uint32_t begin(const _Atomic uint64_t *count)
{
    return count != NULL ? uf_count_begin(count) : 0;
}

/* A mend looks at the loads of workers that were ever used. */
static void is_used(struct uf_agents *agents, uint32_t worker)
{
    uint32_t known = atomic_load_explicit(&agents->counts->workers, memory_order_relaxed);
    for (uint32_t tries = 0; known <= worker && tries < UF_COUNT_TRIES; tries++) {
        /* Relaxed, both: only grows, and the CAS of a load itself orders the rest. */
        if (atomic_compare_exchange_weak_explicit(&agents->counts->workers, &known, worker + 1,
                                                  memory_order_relaxed, memory_order_relaxed)) {
            return;
        }
    }
}

int uf_census_new(struct uf_agents *agents, uint32_t type, uint32_t worker, uint32_t priority,
                  uint32_t state, uint32_t limit, uint64_t parent, uint64_t now_ns, uint64_t *id)
{
    if (type >= agents->types_max || worker >= UF_WORKERS_MAX) {
        return UF_INVALID;
    }
    struct uf_type_counts *mine = uf_census_of(agents, type);
    _Atomic uint64_t *load = &agents->counts->load[worker];
    _Atomic uint64_t *built = waiting(mine, state);
    is_used(agents, worker);
    uint32_t load_era = uf_count_begin(load);
    uint32_t built_era = begin(built);
    int status = uf_agent_new(agents, type, worker, priority, state, limit, parent, now_ns, id);
    if (status == UF_OK) {
        UF_STEP(C1);
        change(agents, load, 1, load_era);
        if (built != NULL) {
            change(agents, built, 1, built_era);
        } else {
            atomic_fetch_add_explicit(&mine->cold, 1, memory_order_relaxed); /* only grows */
        }
    }
    return status;
}

int uf_census_claim(struct uf_agents *agents, uint32_t type, uint32_t priority, uint64_t parent,
                    uint64_t now_ns, uint64_t *id, uint32_t *worker)
{
    if (type >= agents->types_max) {
        return UF_INVALID;
    }
    struct uf_type_counts *mine = uf_census_of(agents, type);
    uint32_t era = uf_count_begin(&mine->warm);
    int status = uf_agent_claim(agents, type, priority, parent, now_ns, id, worker);
    if (status == UF_OK) {
        UF_STEP(C1);
        change(agents, &mine->warm, -1, era);
        atomic_fetch_add_explicit(&mine->claimed, 1, memory_order_relaxed); /* only grows */
    }
    return status;
}

int uf_census_spawn(struct uf_agents *agents, uint32_t type, uint32_t priority, uint64_t parent,
                    uint64_t now_ns, struct uf_places *places, uint64_t *id, uint32_t *worker)
{
    int status = uf_census_admit(agents, type, 1, places);
    if (status != UF_OK) {
        return status == UF_BUSY ? UF_FULL : status;
    }
    status = uf_census_claim(agents, type, priority, parent, now_ns, id, worker);
    if (status == UF_EMPTY || status == UF_BUSY) {
        return UF_EMPTY;
    }
    if (status != UF_OK) {
        uf_census_settle(agents, places, 0);
        return status;
    }
    if (uf_census_settle(agents, places, 1) != UF_OK) {
        uf_census_drop(agents, *id);
        return UF_BUSY;
    }
    return UF_OK;
}

int uf_census_dismiss(struct uf_agents *agents, uint32_t type)
{
    uint64_t id;
    uint32_t worker;
    if (type >= agents->types_max) {
        return UF_INVALID;
    }
    struct uf_type_counts *mine = uf_census_of(agents, type);
    uint32_t era = uf_count_begin(&mine->warm);
    int status = uf_agent_retire(agents, type, &id, &worker);
    if (status == UF_OK) {
        UF_STEP(C1);
        change(agents, &mine->warm, -1, era);
        /* C9 -> C10. Release: the record is STOPPED. */
        atomic_fetch_add_explicit(&agents->counts->stops, 1, memory_order_release);
    }
    return status;
}

int uf_census_move(struct uf_agents *agents, uint64_t id, uint32_t from, uint32_t to)
{
    struct uf_agent_info info;
    _Atomic uint64_t *load = NULL;
    _Atomic uint64_t *left = NULL;
    _Atomic uint64_t *joined = NULL;
    bool counted = to == UF_AGENT_FREE || to == UF_AGENT_WARM || from == UF_AGENT_WARM ||
                   from == UF_AGENT_BUILDING;
    if (counted && uf_agent_look(agents, id, &info) == UF_OK && info.type < agents->types_max) {
        struct uf_type_counts *mine = uf_census_of(agents, info.type);
        left = waiting(mine, from);
        joined = waiting(mine, to);
        load = to == UF_AGENT_FREE ? &agents->counts->load[info.worker] : NULL; /* of 10 bits */
    }
    uint32_t left_era = begin(left);
    uint32_t joined_era = begin(joined);
    uint32_t load_era = begin(load);
    int status = uf_agent_move(agents, id, from, to);
    if (status == UF_OK) {
        UF_STEP(C8);
        if (left != NULL) {
            change(agents, left, -1, left_era);
        }
        if (joined != NULL) {
            change(agents, joined, 1, joined_era);
        }
        if (load != NULL) {
            change(agents, load, -1, load_era);
        }
        if (to == UF_AGENT_STOPPED || to == UF_AGENT_ARRIVING) {
            /* C9 -> C10. Release: the record is STOPPED. */
            atomic_fetch_add_explicit(&agents->counts->stops, 1, memory_order_release);
        }
    }
    return status;
}

int uf_census_leave(struct uf_agents *agents, uint64_t id, uint32_t worker, uint32_t to)
{
    if (worker >= UF_WORKERS_MAX || to >= UF_WORKERS_MAX) {
        return UF_INVALID;
    }
    _Atomic uint64_t *load = agents->counts->load;
    is_used(agents, to);
    uint32_t left_era = uf_count_begin(&load[worker]);
    uint32_t joined_era = uf_count_begin(&load[to]);
    int status = uf_agent_leave(agents, id, worker, to);
    if (status == UF_OK) {
        UF_STEP(C1);
        change(agents, &load[worker], -1, left_era);
        change(agents, &load[to], 1, joined_era);
    }
    return status;
}

/* --- mending ---------------------------------------------------------------------------------------- */

struct found {
    uint64_t before;
    uint32_t found;
};

static void read_before(struct found *each, const _Atomic uint64_t *count)
{
    /* C5 <- C4. Acquire: what has been counted, the walk finds. */
    each->before = atomic_load_explicit(count, memory_order_acquire);
    each->found = 0;
}

int uf_census_mend(struct uf_agents *agents)
{
    struct uf_counts *counts = agents->counts;
    struct found alive[UF_TYPES_MAX + 1], warm[UF_TYPES_MAX], building[UF_TYPES_MAX];
    struct found load[UF_WORKERS_MAX];
    uint32_t types = agents->types_max;
    /* Acquire: what was done to the records before the doubt is found. Relaxed the other: a hint. */
    uint64_t doubts = atomic_load_explicit(&counts->doubts, memory_order_acquire);
    if (atomic_load_explicit(&counts->mended, memory_order_relaxed) == doubts) {
        return UF_OK;
    }
    uint32_t workers = atomic_load_explicit(&counts->workers, memory_order_relaxed);
    workers = workers < UF_WORKERS_MAX ? workers : UF_WORKERS_MAX;
    for (uint32_t t = 0; t < types; t++) {
        read_before(&alive[t], &counts->type[t].alive);
        read_before(&warm[t], &counts->type[t].warm);
        read_before(&building[t], &counts->type[t].building);
    }
    read_before(&alive[types], &counts->type[types].alive);
    for (uint32_t w = 0; w < workers; w++) {
        read_before(&load[w], &counts->load[w]);
    }
    for (uint32_t slot = 0; slot < agents->count; slot++) {
        /* As old as the counts at the oldest, see C5; who changes it later changes them. */
        uint32_t state, type, worker;
        uf_agent_glance(agents, slot, &state, &type, &worker);
        if (state == UF_AGENT_FREE || type >= types) {
            continue;
        }
        alive[type].found += uf_agent_is_alive(state);
        alive[types].found += uf_agent_is_alive(state);
        warm[type].found += state == UF_AGENT_WARM;
        building[type].found += state == UF_AGENT_BUILDING;
        if (worker < workers) {
            load[worker].found++;
        }
    }
    uint32_t era = (uint32_t)doubts & 0xffff;
    bool whole = true;
    for (uint32_t t = 0; t < types; t++) {
        struct uf_type_counts *mine = &counts->type[t];
        whole &= uf_count_mend(&mine->alive, alive[t].before, alive[t].found, era);
        whole &= uf_count_mend(&mine->warm, warm[t].before, warm[t].found, era);
        whole &= uf_count_mend(&mine->building, building[t].before, building[t].found, era);
    }
    whole &=
        uf_count_mend(&counts->type[types].alive, alive[types].before, alive[types].found, era);
    for (uint32_t w = 0; w < workers; w++) {
        whole &= uf_count_mend(&counts->load[w], load[w].before, load[w].found, era);
    }
    if (!whole) {
        return UF_BUSY;
    }
    /* Relaxed: a hint that spares the next walk; an older one costs a walk. */
    atomic_store_explicit(&counts->mended, doubts, memory_order_relaxed);
    return UF_OK;
}
