/* scene_agents.c -- agents: a warm one is claimed by one process, an id names one life.
 *
 * In the first scene agents are claimed, and released or dismissed by who has them; there a claim is a
 * test-and-set, and EMPTY is said only when none is warm. In the second, whole lives: records are made
 * and freed, agents are moved by others than their claimers, and the ring of hints is smaller than
 * the number of agents. There the header promises less, for a claim and a new go by hints:
 *
 *   a move to WARM or FREE is two points: at the first the record has its new state, at the second the
 *                 hint or the bit shows it.
 *   EMPTY         is about hints. A claim on its way holds one, and perhaps in vain, or gives those
 *                 that are missing again: while another claim is on its way, warm agents may be
 *                 out of sight.
 *   NO_AGENT_SLOT is said when no bit is set. As in the pool (scene_pool.c), a record counts as taken
 *                 while another new is on its way that began before the record was freed.
 */
#include "check.h"
#include "linear.h"
#include "uf_agents_in.h"

enum { CLAIM, MOVE, MAKE };
enum {
    BEGIN_CLAIM,
    BEGIN_MAKE,
    CLAIMED,
    NONE_WARM,
    MOVED,
    SHOWN,
    STALE,
    BUSY,
    MADE,
    NONE_FREE,
    END
};

#define RECORDS 3u
/* state: word[record] its present id; byte[32 + record] its state; byte[40] the processes that claim,
 * byte[41] those that make, a bit each; byte[48 + process] the records that were not free at some
 * moment of that make; byte[56 + process] 1 + the record that it moved and has not yet shown. */
#define STATE 32u
#define CLAIMING 40u
#define MAKING 41u
#define SEEN 48u
#define HIDDEN 56u

static uint32_t record_of(uint64_t id)
{
    uint32_t slot = uf_agent_slot(id);
    return slot < RECORDS ? slot : 0; /* an id of no record is equal to none */
}

static bool is_hidden(const union state *state, uint32_t record)
{
    bool hidden = false;
    for (uint32_t p = 0; p < PROCESSES_MAX; p++) {
        hidden |= state->byte[HIDDEN + p] == record + 1;
    }
    return hidden;
}

static bool none_free(const union state *state, uint32_t process)
{
    for (uint32_t r = 0; r < RECORDS; r++) {
        bool away = state->byte[STATE + r] != UF_AGENT_FREE || is_hidden(state, r);
        for (uint32_t p = 0; p < PROCESSES_MAX; p++) {
            away |= p != process && (state->byte[SEEN + p] >> r & 1) != 0;
        }
        if (!away) {
            return false;
        }
    }
    return true;
}

/* c: 1 where calls on their way hide agents. */
static bool none_warm(const union state *state, const struct point *point)
{
    bool warm = false;
    for (uint32_t r = 0; r < RECORDS; r++) {
        warm |= state->byte[STATE + r] == UF_AGENT_WARM && !is_hidden(state, r);
    }
    return !warm || (point->c != 0 && (state->byte[CLAIMING] & ~(1u << point->process)) != 0);
}

/* a: the id; b: from and to, of a move. */
static bool agents_step(union state *state, const struct point *point)
{
    uint32_t r = record_of(point->a);
    uint8_t *phase = &state->byte[STATE + r];
    uint8_t me = (uint8_t)(1u << point->process);
    bool alive = state->word[r] == point->a && *phase != UF_AGENT_FREE;
    uint8_t from = (uint8_t)(point->b >> 8);
    switch (point->what) {
    case BEGIN_CLAIM:
        state->byte[CLAIMING] |= me;
        return true;
    case BEGIN_MAKE:
        state->byte[MAKING] |= me;
        for (uint32_t i = 0; i < RECORDS; i++) {
            bool taken = state->byte[STATE + i] != UF_AGENT_FREE;
            state->byte[SEEN + point->process] |= taken ? 1u << i : 0;
        }
        return true;
    case END:
        state->byte[CLAIMING] &= (uint8_t)~me;
        state->byte[MAKING] &= (uint8_t)~me;
        state->byte[SEEN + point->process] = 0;
        return true;
    case CLAIMED:
        if (!alive || *phase != UF_AGENT_WARM) {
            return false;
        }
        *phase = UF_AGENT_STARTING;
        return true;
    case NONE_WARM:
        return none_warm(state, point);
    case MOVED:
        if (!alive || *phase != from) {
            return false;
        }
        *phase = (uint8_t)point->b;
        if (*phase == UF_AGENT_FREE) {
            uint64_t word = point->a >> UF_AGENT_SLOT_BITS << 34;
            state->word[r] = uf_agent_id(next_generation(word), r);
        }
        state->byte[HIDDEN + point->process] = point->c != 0 ? (uint8_t)(r + 1) : 0;
        return true;
    case SHOWN:
        state->byte[HIDDEN + point->process] = 0;
        return true;
    case STALE:
        return !alive;
    case BUSY:
        return alive && *phase != from;
    case MADE:
        if (state->word[r] != point->a || *phase != UF_AGENT_FREE) {
            return false;
        }
        *phase = UF_AGENT_BUILDING;
        for (uint32_t p = 0; p < PROCESSES_MAX; p++) {
            state->byte[SEEN + p] |= (state->byte[MAKING] >> p & 1) != 0 ? 1u << r : 0;
        }
        return true;
    case NONE_FREE:
        return none_free(state, point->process);
    default:
        return false;
    }
}

/* --- calls ------------------------------------------------------------------------------------ */

static uint64_t held;     /* the id that this process claimed or made, or 0 */
static uint32_t held_in;  /* its state, as far as we know */
static uint64_t released; /* one that it had, or that was there at the beginning */

static void begin(const struct scene *scene, struct uf_system *system, uint32_t process)
{
    (void)scene;
    (void)system;
    held = 0;
    held_in = UF_AGENT_FREE;
    released = given()[process % RECORDS];
}

static void move(struct uf_agents *agents, uint64_t id, uint32_t from, uint32_t to)
{
    struct call *call = call_new(MOVE);
    call->in[0] = id;
    call->in[1] = from;
    call->in[2] = to;
    call_invoke(call);
    call_answer(call, uf_agent_move(agents, id, from, to));
}

/* variant: 1 for whole lives. */
static void work(const struct scene *scene, struct uf_system *system, uint64_t *random)
{
    struct uf_agents *agents = &system->agents;
    uint64_t any = next_random(random);
    bool lives = scene->variant != 0;
    if (held != 0 && any % 8 != 0) {
        bool ends = (any >> 8) % (lives ? 3 : 8) == 0;
        uint64_t id = held;
        released = held;
        held = 0;
        move(agents, id, held_in, ends ? UF_AGENT_FREE : UF_AGENT_WARM);
        return;
    }
    if (lives && held == 0 && any % 8 == 0) {
        uint32_t from = (any >> 8) % 2 == 0 ? UF_AGENT_WARM : UF_AGENT_STARTING;
        bool frees = from == UF_AGENT_WARM || (any >> 16) % 2 == 0;
        move(agents, released, from, frees ? UF_AGENT_FREE : UF_AGENT_WARM);
        return;
    }
    uint64_t id = 0;
    uint32_t worker;
    bool makes = lives && (any >> 24) % 3 == 0;
    struct call *call = call_new(makes ? MAKE : CLAIM);
    call_invoke(call);
    int status = makes ? uf_agent_new(agents, 0, 0, 0, UF_AGENT_BUILDING, 1, 0, 0, &id)
                       : uf_agent_claim(agents, 0, 0, 0, 0, &id, &worker);
    call_answer(call, status);
    if (status == UF_OK) {
        call->out[0] = held = id;
        held_in = makes ? UF_AGENT_BUILDING : UF_AGENT_STARTING;
    }
}

static void points(const struct scene *scene, struct history *history, uint32_t index)
{
    const struct call *call = &history->call[index];
    bool lives = scene->variant != 0;
    bool ok = call->status == UF_OK;
    uint64_t id = call->op == MOVE ? call->in[0] : call->out[0];
    uint64_t after = 0;
    uint32_t what = NEVER;
    if (call->op == MOVE) {
        what = ok                         ? MOVED
               : call->status == UF_STALE ? STALE
               : call->status == UF_BUSY  ? BUSY
                                          : what;
    } else if (call->op == CLAIM) {
        what = ok ? CLAIMED : call->status == UF_EMPTY ? NONE_WARM : what;
    } else {
        what = ok ? MADE : call->status == UF_NO_AGENT_SLOT ? NONE_FREE : what;
    }
    if (lives && call->op != MOVE) {
        after = point_add(history, index, call->op == CLAIM ? BEGIN_CLAIM : BEGIN_MAKE, 0, 0, 0);
        history->point[history->points - 1].eager = true;
    }
    after |= point_add(history, index, what, id, call->in[1] << 8 | call->in[2], after);
    history->point[history->points - 1].c = lives;
    if (lives && (call->op != MOVE || ok)) {
        point_add(history, index, call->op == MOVE ? SHOWN : END, 0, 0, after);
    }
}

static void prepare(const struct scene *scene, struct uf_system *system, uint64_t *random,
                    union state *start)
{
    struct uf_agents *agents = &system->agents;
    struct uf_ring hints = warm_ring(agents, 0);
    uint64_t any = next_random(random);
    uint32_t type;
    CHECK_EQ(uf_agents_type(agents, "a", true, &type), UF_OK);
    atomic_fetch_and(&type_row(agents, 0)->state, ~TYPE_UNHINTED);
    uf_ring_init(&hints, ring_start(hints.capacity, random));
    uf_bits_fill(agents->free_bits, RECORDS);
    for (uint32_t r = 0; r < RECORDS; r++) {
        /* Just below the wrap of the generation, or not. */
        uint64_t generation = any % 2 == 0 ? 1 : (1ull << GENERATION_BITS) - 1 - (any >> 8) % 2;
        agents->record[r].word = word_of(generation, 0, 0, UF_NOBODY, UF_AGENT_FREE, 0);
    }
    uint32_t least = scene->variant == 0; /* or there is nothing to claim */
    for (uint32_t i = 0; i < least + (any >> 16) % (RECORDS + 1 - least); i++) {
        uint64_t id;
        CHECK_EQ(uf_agent_new(agents, 0, 0, 0, UF_AGENT_BUILDING, 1, 0, 0, &id), UF_OK);
        CHECK_EQ(uf_agent_move(agents, id, UF_AGENT_BUILDING, UF_AGENT_WARM), UF_OK);
    }
    for (uint32_t r = 0; r < RECORDS; r++) {
        struct uf_agent_info info;
        CHECK_EQ(uf_agent_at(agents, r, &info), UF_OK);
        given()[r] = start->word[r] = info.id;
        start->byte[STATE + r] = (uint8_t)info.state;
    }
}

#define SIZES(hints)                                                                               \
    {                                                                                              \
        .owners = 8,                                                                               \
        .buckets = 1,                                                                              \
        .extensions = 1,                                                                           \
        .queues = 1,                                                                               \
        .queue_capacity = 1,                                                                       \
        .agents = RECORDS,                                                                         \
        .types = 1,                                                                                \
        .warm = (hints),                                                                           \
        .shards = 1,                                                                               \
        .message_classes = 1,                                                                      \
        .value_classes = 1,                                                                        \
        .message = {{128, 1}},                                                                     \
        .value = {{128, 1}},                                                                       \
    }
static const struct uf_sizes ample = SIZES(64);
static const struct uf_sizes scarce = SIZES(1);

#define AGENTS(text, of, lives)                                                                    \
    {                                                                                              \
        .name = (text),                                                                            \
        .ops = "claim move new",                                                                   \
        .sizes = (of),                                                                             \
        .processes = 4,                                                                            \
        .calls = 4,                                                                                \
        .variant = (lives),                                                                        \
        .prepare = prepare,                                                                        \
        .begin = begin,                                                                            \
        .work = work,                                                                              \
        .points = points,                                                                          \
        .step = agents_step,                                                                       \
    }
const struct scene agents_scenes[2] = {
    AGENTS("agents, claims", &ample, 0),
    AGENTS("agents, whole lives", &scarce, 1),
};
