/* test_ring.c -- the ring against a plain model, then under threads, then with claims undone. */
#include "check.h"

#include "uf_ring.h"

#define CAPACITY_MAX 64u

static uint64_t seed;

static struct uf_ring make(uint32_t capacity, uint64_t position)
{
    struct uf_ring ring;
    void *area = aligned_alloc(UF_PAIR, uf_ring_bytes(capacity));
    CHECK(area != NULL);
    memset(area, 0, uf_ring_bytes(capacity));
    CHECK_EQ(uf_ring_open(&ring, area, capacity), UF_OK);
    uf_ring_init(&ring, position);
    return ring;
}

/* What recovery does with a dead claimer's slot (uf_recover.c). */
static void undo(struct uf_ring *ring, const struct uf_claim *claim)
{
    _Atomic uint64_t *slot = &ring->shared->slot[claim->position & (ring->capacity - 1)];
    uint64_t word = atomic_load_explicit(slot, memory_order_relaxed);
    CHECK_EQ(uf_slot_handle(word), claim->handle);
    CHECK(uf_slot_claimer(word) != UF_NOBODY);
    atomic_store_explicit(slot, uf_slot(uf_slot_version(word), UF_NOBODY, claim->handle),
                          memory_order_seq_cst);
}

/* --- one thread, against a model -------------------------------------------------------------- */

enum { CLEARED, FULL, CLAIMED };

struct model {
    uint64_t start;
    uint64_t tail;
    uint32_t capacity;
    uint8_t state[1 << 14];
    uint32_t handle[1 << 14];
    struct uf_claim claim[CAPACITY_MAX];
    uint32_t claims;
};

static bool model_has_room(const struct model *model)
{
    uint64_t filled = model->tail - model->start;
    return filled < model->capacity || model->state[filled - model->capacity] == CLEARED;
}

/* The oldest position that is FULL, or the tail. */
static uint64_t model_oldest(const struct model *model)
{
    uint64_t at =
        model->tail > model->start + model->capacity ? model->tail - model->capacity : model->start;
    while (at < model->tail && model->state[at - model->start] != FULL) {
        at++;
    }
    return at;
}

/* From the oldest position that is not cleared to the tail. */
static uint32_t model_length(const struct model *model)
{
    uint64_t at =
        model->tail > model->start + model->capacity ? model->tail - model->capacity : model->start;
    while (at < model->tail && model->state[at - model->start] == CLEARED) {
        at++;
    }
    return (uint32_t)(model->tail - at);
}

static void model_push(struct model *model, struct uf_ring *ring, uint64_t *random)
{
    uint32_t handles[8];
    uint32_t count = (uint32_t)(next_random(random) % 8) + 1;
    uint32_t sent = 0;
    for (uint32_t i = 0; i < count; i++) {
        handles[i] = (uint32_t)(next_random(random) % ((1u << UF_HANDLE_BITS) - 1)) + 1;
    }
    while (sent < count && model_has_room(model)) {
        model->handle[model->tail - model->start] = handles[sent++];
        model->state[model->tail++ - model->start] = FULL;
    }
    CHECK_EQ(uf_ring_push(ring, handles, count), sent > 0 ? (int)sent : UF_FULL);
}

static void model_claim(struct model *model, struct uf_ring *ring)
{
    struct uf_claim claim;
    uint64_t from = 0;
    uint64_t oldest = model_oldest(model);
    CHECK_EQ(uf_ring_is_empty(ring), oldest == model->tail);
    int status = uf_ring_claim(ring, 5, &from, &claim);
    if (oldest == model->tail) {
        CHECK_EQ(status, UF_EMPTY);
        return;
    }
    CHECK_EQ(status, UF_OK);
    CHECK_EQ(claim.position, oldest);
    CHECK_EQ(claim.handle, model->handle[oldest - model->start]);
    CHECK_EQ(from, oldest + 1);
    model->state[oldest - model->start] = CLAIMED;
    model->claim[model->claims++] = claim;
}

static void model_end_claim(struct model *model, struct uf_ring *ring, uint64_t *random,
                            bool undone)
{
    if (model->claims == 0) {
        return;
    }
    uint32_t i = (uint32_t)(next_random(random) % model->claims);
    struct uf_claim claim = model->claim[i];
    model->claim[i] = model->claim[--model->claims];
    if (undone) {
        undo(ring, &claim);
    } else {
        uf_ring_clear(ring, claim.position);
    }
    model->state[claim.position - model->start] = undone ? FULL : CLEARED;
}

static void against_a_model(void)
{
    uint64_t operations = 0;
    uint64_t random = seed;
    static const uint32_t capacities[] = {1, 2, 4, 8};
    static struct model model;
    for (size_t c = 0; c < sizeof capacities / sizeof *capacities; c++) {
        uint32_t capacity = capacities[c];
        const uint64_t starts[] = {0, 1, (1ull << UF_RING_VERSION_BITS) * capacity - 3,
                                   (1ull << 32) - 3, (5ull << UF_RING_VERSION_BITS) * capacity - 1};
        for (size_t s = 0; s < sizeof starts / sizeof *starts; s++) {
            for (uint32_t laziness = 1; laziness < 2000; laziness *= 10) {
                memset(&model, 0, sizeof model);
                model.start = model.tail = starts[s];
                model.capacity = capacity;
                struct uf_ring ring = make(capacity, starts[s]);
                CHECK(uf_ring_is_empty(&ring));
                for (; model.tail - model.start < 2000; operations++) {
                    switch (next_random(&random) % 8) {
                    case 0:
                    case 1:
                        model_push(&model, &ring, &random);
                        break;
                    case 2:
                    case 3:
                    case 4:
                        model_claim(&model, &ring);
                        break;
                    case 5:
                        model_end_claim(&model, &ring, &random, true);
                        break;
                    default:
                        model_end_claim(&model, &ring, &random, false);
                    }
                    CHECK_EQ(uf_ring_length(&ring), model_length(&model));
                    /* The head hint may lag by many laps: nobody but the lucky moves it. */
                    if (next_random(&random) % laziness == 0) {
                        uf_ring_advance(&ring, model.tail);
                    }
                }
                free(ring.shared);
            }
        }
    }
    explored("operations that agreed with the model", operations);
}

/* A receiver that took more than a lap dies before it moves the head hint; the claim of another dead
 * one, passed over long ago, is undone and must be found. */
static void an_undone_claim_is_found_behind_a_lagging_hint(void)
{
    uint64_t cases = 0;
    for (uint32_t laps = 1; laps < 100; laps++, cases++) {
        struct uf_ring ring = make(4, 0);
        struct uf_claim dead;
        struct uf_claim claim;
        uint64_t from = 0;
        for (uint32_t handle = 1; handle <= 4; handle++) {
            CHECK_EQ(uf_ring_push(&ring, &handle, 1), 1);
        }
        uint32_t handle = 5;
        for (uint32_t lap = 0; lap < laps; lap++) { /* whole laps first, then one that stops */
            for (int i = 0; i < 4; i++, handle++) {
                CHECK_EQ(uf_ring_claim(&ring, 1, &from, &claim), UF_OK);
                uf_ring_clear(&ring, claim.position);
                CHECK_EQ(uf_ring_push(&ring, &handle, 1), 1);
            }
        }
        CHECK_EQ(uf_ring_claim(&ring, 1, &from, &claim), UF_OK);
        uf_ring_clear(&ring, claim.position);
        CHECK_EQ(uf_ring_claim(&ring, 2, &from, &dead), UF_OK);
        for (int i = 0; i < 2; i++) {
            CHECK_EQ(uf_ring_claim(&ring, 1, &from, &claim), UF_OK);
            uf_ring_clear(&ring, claim.position);
        }
        CHECK_EQ(uf_ring_push(&ring, &handle, 1), 1);
        CHECK_EQ(uf_ring_claim(&ring, 1, &from, &claim), UF_OK);
        uf_ring_clear(&ring, claim.position);
        CHECK(uf_ring_is_empty(&ring));
        CHECK_EQ(uf_ring_push(&ring, &handle, 1), UF_FULL); /* the dead one's slot is next */
        undo(&ring, &dead);
        CHECK(!uf_ring_is_empty(&ring));
        from = 0;
        CHECK_EQ(uf_ring_claim(&ring, 3, &from, &claim), UF_OK);
        CHECK_EQ(claim.position, dead.position);
        uf_ring_clear(&ring, claim.position);
        uf_ring_advance(&ring, claim.position + 1);
        CHECK_EQ(uf_ring_push(&ring, &handle, 1), 1);
        free(ring.shared);
    }
    explored("undone claims found behind a lagging head hint", cases);
}

/* A limit is kept to at every position, also where positions and versions wrap, and whichever of
 * the claims is cleared first. */
static void a_limit_is_kept_to(void)
{
    uint64_t cases = 0;
    const uint64_t starts[] = {0, 5, (1ull << (UF_RING_VERSION_BITS + 3)) - 3};
    for (uint32_t s = 0; s < sizeof starts / sizeof starts[0]; s++) {
        for (uint32_t limit = 1; limit <= 8; limit++) {
            struct uf_ring ring = make(8, starts[s]);
            ring.limit = limit;
            for (uint32_t round = 0; round < 20; round++) {
                uint32_t handles[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
                struct uf_claim claim[8];
                uint64_t from = 0;
                CHECK_EQ(uf_ring_push(&ring, handles, 9), (int)limit);
                CHECK_EQ(uf_ring_push(&ring, handles, 1), UF_FULL);
                for (uint32_t i = 0; i < limit; i++) {
                    CHECK_EQ(uf_ring_claim(&ring, 1, &from, &claim[i]), UF_OK);
                    CHECK_EQ(claim[i].handle, i + 1);
                }
                CHECK_EQ(uf_ring_push(&ring, handles, 1), UF_FULL); /* claimed, not cleared */
                for (uint32_t i = limit; i-- > 1;) {
                    uf_ring_clear(&ring, claim[i].position);
                    CHECK_EQ(uf_ring_push(&ring, handles, 1), UF_FULL); /* the oldest stands */
                }
                uf_ring_clear(&ring, claim[0].position);
                uf_ring_advance(&ring, from);
                CHECK(uf_ring_is_empty(&ring));
                cases++;
            }
            free(ring.shared);
        }
    }
    explored("rounds within a limit", cases);
}

/* --- threads ---------------------------------------------------------------------------------- */

#define SENDERS 4u
#define EACH (16000u / SLOWER)

struct race {
    struct uf_ring ring;
    pthread_barrier_t start;
    uint64_t payload[SENDERS * EACH + 1]; /* plain: the ring's orders alone make it safe */
    _Atomic uint8_t received[SENDERS * EACH + 1];
    _Atomic uint64_t count;
    _Atomic uint64_t undone;
    _Atomic uint64_t overlaps; /* claims that were not the claimer's last plus one */
    _Atomic uint32_t numbers;
    _Atomic int32_t inside; /* counted late when one comes, early when one goes: never too many */
    uint32_t receivers;
    uint32_t batch;
};

static void *sender(void *argument)
{
    struct race *race = argument;
    uint32_t number = atomic_fetch_add(&race->numbers, 1);
    uint32_t handles[8];
    pthread_barrier_wait(&race->start);
    for (uint32_t next = 0; next < EACH;) {
        uint32_t count = race->batch < EACH - next ? race->batch : EACH - next;
        for (uint32_t i = 0; i < count; i++) {
            handles[i] = number * EACH + next + i + 1;
            race->payload[handles[i]] = handles[i] * 0x9e3779b97f4a7c15ull;
        }
        int sent = uf_ring_push(&race->ring, handles, count);
        if (sent < 0) {
            CHECK(sent == UF_FULL || sent == UF_BUSY);
            sched_yield();
            continue;
        }
        next += (uint32_t)sent;
        int32_t inside = atomic_fetch_add(&race->inside, sent) + sent;
        uint32_t limit = race->ring.limit != 0 ? race->ring.limit : race->ring.capacity;
        CHECK(inside <= (int32_t)limit);
    }
    return NULL;
}

static void *receiver(void *argument)
{
    struct race *race = argument;
    uint32_t me = atomic_fetch_add(&race->numbers, 1) + 1;
    uint64_t random = seed + me;
    uint32_t last[SENDERS] = {0};
    uint64_t expected = 0;
    pthread_barrier_wait(&race->start);
    while (atomic_load_explicit(&race->count, memory_order_relaxed) < SENDERS * EACH) {
        uint64_t from = 0;
        int status = UF_OK;
        for (uint32_t i = 0; i < race->batch && status == UF_OK; i++) {
            struct uf_claim claim;
            status = uf_ring_claim(&race->ring, me, &from, &claim);
            if (status != UF_OK) {
                CHECK(status == UF_EMPTY || status == UF_BUSY);
                break;
            }
            if (race->receivers > 1 && next_random(&random) % 32 == 0) {
                sched_yield();
                undo(&race->ring, &claim); /* as if it had died */
                atomic_fetch_add_explicit(&race->undone, 1, memory_order_relaxed);
                from = 0;
                continue;
            }
            CHECK(claim.handle > 0 && claim.handle <= SENDERS * EACH);
            CHECK_EQ(race->payload[claim.handle], claim.handle * 0x9e3779b97f4a7c15ull);
            CHECK_EQ(atomic_fetch_add(&race->received[claim.handle], 1), 0);
            uint32_t who = (claim.handle - 1) / EACH;
            if (race->receivers == 1) {
                CHECK(claim.handle > last[who]); /* each sender's come in order */
                last[who] = claim.handle;
            }
            atomic_fetch_add_explicit(&race->overlaps, claim.position != expected,
                                      memory_order_relaxed);
            expected = claim.position + 1;
            atomic_fetch_sub(&race->inside, 1);
            uf_ring_clear(&race->ring, claim.position);
            atomic_fetch_add_explicit(&race->count, 1, memory_order_relaxed);
        }
        if (from != 0 && next_random(&random) % 4 != 0) { /* now and then the hint is left behind */
            uf_ring_advance(&race->ring, from);
        }
        if (status != UF_OK) {
            sched_yield();
        }
    }
    return NULL;
}

static void under_threads(uint32_t receivers, uint32_t limit)
{
    static const uint32_t capacities[] = {1, 2, 4, 64};
    uint64_t messages = 0;
    uint64_t undone = 0;
    uint64_t overlaps = 0;
    char what[80];
    struct race *race = malloc(sizeof *race);
    CHECK(race != NULL);
    uf_step_hook = yield_at_marks;
    for (size_t c = 0; c < sizeof capacities / sizeof *capacities; c++) {
        for (uint32_t batch = 1; batch <= 8; batch *= 8) {
            struct team team = {0};
            memset(race, 0, sizeof *race);
            race->ring = make(capacities[c], (1ull << UF_RING_VERSION_BITS) * capacities[c] - 3);
            race->ring.limit = limit < capacities[c] ? limit : 0;
            race->receivers = receivers;
            race->batch = batch;
            pthread_barrier_init(&race->start, NULL, SENDERS + receivers);
            for (uint32_t i = 0; i < SENDERS; i++) {
                team_add(&team, sender, race);
            }
            while (atomic_load(&race->numbers) < SENDERS) {
                sched_yield(); /* the first numbers are the senders' */
            }
            for (uint32_t i = 0; i < receivers; i++) {
                team_add(&team, receiver, race);
            }
            team_join(&team);
            pthread_barrier_destroy(&race->start);
            for (uint32_t handle = 1; handle <= SENDERS * EACH; handle++) {
                CHECK_EQ(race->received[handle], 1);
            }
            CHECK(uf_ring_is_empty(&race->ring));
            messages += SENDERS * EACH;
            undone += race->undone;
            overlaps += race->overlaps;
            free(race->ring.shared);
        }
    }
    uf_step_hook = NULL;
    free(race);
    snprintf(what, sizeof what, "messages, each once, 4 senders, %u receivers, limit %u", receivers,
             limit);
    explored(what, messages);
    if (receivers > 1) {
        explored("  claims undone on the way", undone);
        explored("  claims that another receiver's came before", overlaps);
    }
}

int main(void)
{
    watchdog(100);
    seed = test_seed();
    against_a_model();
    an_undone_claim_is_found_behind_a_lagging_hint();
    a_limit_is_kept_to();
    under_threads(1, 0);
    under_threads(3, 0);
    under_threads(3, 3);
    return 0;
}
