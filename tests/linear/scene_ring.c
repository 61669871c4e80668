/* scene_ring.c -- a bare ring, and a queue of lanes: first in, first out, and full and empty no lies.
 *
 * The model is uf_ring.h's picture: `capacity` places, each empty, filled or claimed. A push of several
 * is so many pushes, in their order. What the header promises less than a plain queue does:
 *
 *   FULL     is said when the next place is not empty; a claim that was not yet cleared keeps its place.
 *            So a take is two points: the claim, at which the message leaves the order of the queue,
 *            and the clear, at which its place is free. A take of several may claim them all before it
 *            clears the first.
 *   EMPTY    is said of each lane by itself. A take that looked into several lanes looked at one after
 *            the other, at moments of their own.
 *
 * BUSY is never legal here: more attempts are made than there are calls in a history to lose against.
 */
#include "check.h"
#include "linear.h"

enum { PUSH, CLAIM, CLEAR };
enum { SEND, TAKE };
enum { PUT, NO_ROOM, GET, NOTHING, FREE_PLACE };

#define CLAIMED 0x80u
#define LANE_BYTES 16u
#define LANES_USED 2u
#define BEFORE 100u /* numbers of what is in it at the beginning */

static const uint32_t lanes[LANES_USED] = {0, 2};

/* --- the model: a lane is its tail, its capacity, and a byte a place --------------------------- */

static uint8_t *place_of(uint8_t *lane, uint32_t position)
{
    return &lane[2 + position % lane[1]];
}

/* The position of the oldest message that nobody has claimed, or the tail. */
static uint32_t oldest(uint8_t *lane)
{
    for (uint32_t p = lane[0] < lane[1] ? 0 : lane[0] - lane[1]; p < lane[0]; p++) {
        uint8_t place = *place_of(lane, p);
        if (place != 0 && (place & CLAIMED) == 0) {
            return p;
        }
    }
    return lane[0];
}

/* a: the number; b: the lane; c: the position, where a bare ring's claim told it, + 1. */
static bool ring_step(union state *state, const struct point *point)
{
    uint8_t *lane = &state->byte[point->b * LANE_BYTES];
    uint8_t *next = place_of(lane, lane[0]);
    uint32_t first = oldest(lane);
    switch (point->what) {
    case PUT:
        if (*next != 0) {
            return false;
        }
        *next = (uint8_t)point->a;
        lane[0]++;
        return true;
    case NO_ROOM:
        return *next != 0;
    case GET:
        if (first == lane[0] || *place_of(lane, first) != point->a ||
            (point->c != 0 && point->c != first + 1)) {
            return false;
        }
        *place_of(lane, first) |= CLAIMED;
        return true;
    case NOTHING:
        return first == lane[0];
    case FREE_PLACE:
        for (uint32_t i = 0; i < lane[1]; i++) {
            if (lane[2 + i] == (point->a | CLAIMED)) {
                lane[2 + i] = 0;
                return true;
            }
        }
        return false;
    default:
        return false;
    }
}

static struct uf_ring ring_of(const struct uf_system *system, uint32_t lane)
{
    struct uf_ring ring;
    const struct uf_queues *queues = &system->queues;
    CHECK_EQ(uf_ring_open(&ring, queues->rings + lane * uf_ring_bytes(queues->capacity),
                          queues->capacity),
             UF_OK);
    return ring;
}

/* The points of a push of `count` numbers, of which `status` were sent. */
static void push_points(struct history *history, uint32_t index, uint64_t lane,
                        const uint64_t *numbers)
{
    const struct call *call = &history->call[index];
    uint64_t after = 0;
    if (call->status > (int32_t)call->count || call->status == 0 ||
        (call->status < 0 && call->status != UF_FULL)) {
        point_add(history, index, NEVER, 0, lane, 0);
        return;
    }
    uint32_t sent = call->status > 0 ? (uint32_t)call->status : 0;
    for (uint32_t i = 0; i < sent; i++) {
        after |= point_add(history, index, PUT, numbers[i], lane, after);
    }
    if (sent < call->count) {
        point_add(history, index, NO_ROOM, 0, lane, after);
    }
}

/* --- a bare ring ------------------------------------------------------------------------------ */

struct own {
    struct uf_ring ring;
    struct uf_receiver receiver;
    uint64_t from;
    uint64_t position;
    uint32_t handle; /* claimed, not cleared; or 0 */
    uint32_t last;   /* number given to a message */
    uint32_t process;
};

static struct own own;

static void begin(const struct scene *scene, struct uf_system *system, uint32_t process)
{
    (void)scene;
    memset(&own, 0, sizeof own);
    own.ring = ring_of(system, 0);
    own.process = process;
    system->queues.filled = 0; /* what it remembers of a ring is true of the last history's */
    own.last = process * 16;
}

static void ring_prepare(const struct scene *scene, struct uf_system *system, uint64_t *random,
                         union state *start)
{
    struct uf_ring ring = ring_of(system, 0);
    uint64_t position = ring_start(scene->variant, random);
    uint32_t filled = next_random(random) % (scene->variant + 1);
    uf_ring_init(&ring, position);
    given()[0] = position;
    start->byte[1] = (uint8_t)scene->variant;
    for (uint32_t i = 0; i < filled; i++) {
        uint32_t handle = BEFORE + i;
        CHECK_EQ(uf_ring_push(&ring, &handle, 1), 1);
        start->byte[2 + start->byte[0]++] = (uint8_t)handle;
    }
}

static void ring_work(const struct scene *scene, struct uf_system *system, uint64_t *random)
{
    uint64_t any = next_random(random);
    (void)scene;
    (void)system;
    if (own.handle != 0 && any % 4 != 0) {
        struct call *call = call_new(CLEAR);
        call->in[0] = own.handle;
        call->in[1] = own.position - given()[0];
        own.handle = 0;
        call_invoke(call);
        uf_ring_clear(&own.ring, own.position);
        if ((any >> 8) % 2 == 0) {
            uf_ring_advance(&own.ring, own.position + 1);
        }
        call_answer(call, UF_OK);
    } else if (own.handle != 0 || any % 2 == 0) {
        uint32_t handles[2];
        struct call *call = call_new(PUSH);
        call->count = 1 + (any >> 8) % 2;
        for (uint32_t i = 0; i < call->count; i++) {
            call->in[i] = handles[i] = ++own.last;
        }
        call_invoke(call);
        call_answer(call, uf_ring_push(&own.ring, handles, call->count));
    } else {
        struct uf_claim claim = {0};
        struct call *call = call_new(CLAIM);
        call_invoke(call);
        int status = uf_ring_claim(&own.ring, own.process + 1, &own.from, &claim);
        call_answer(call, status);
        if (status == UF_OK) {
            own.handle = claim.handle;
            own.position = claim.position;
            call->out[0] = claim.handle;
            call->out[1] = claim.position - given()[0];
        }
    }
}

static void ring_points(const struct scene *scene, struct history *history, uint32_t index)
{
    const struct call *call = &history->call[index];
    (void)scene;
    if (call->op == PUSH) {
        push_points(history, index, 0, call->in);
    } else if (call->op == CLEAR) {
        point_add(history, index, FREE_PLACE, call->in[0], 0, 0);
    } else if (call->status == UF_OK) {
        point_add(history, index, GET, call->out[0], 0, 0);
        history->point[history->points - 1].c = call->out[1] + 1;
    } else {
        point_add(history, index, call->status == UF_EMPTY ? NOTHING : NEVER, 0, 0, 0);
    }
}

/* --- a queue ---------------------------------------------------------------------------------- */

static void queue_prepare(const struct scene *scene, struct uf_system *system, uint64_t *random,
                          union state *start)
{
    pool_reset(&system->messages, (1ull << 36) - 1 - next_random(random) % 4);
    for (uint32_t i = 0; i < LANES_USED; i++) {
        struct uf_ring ring = ring_of(system, lanes[i]);
        uf_ring_init(&ring, ring_start(scene->variant, random));
        start->byte[i * LANE_BYTES + 1] = (uint8_t)scene->variant;
    }
}

static uint64_t *payload_of(struct uf_system *system, uint32_t handle)
{
    return (uint64_t *)(void *)((uint8_t *)uf_pool_block(&system->messages, handle) +
                                UF_BLOCK_HEAD);
}

static void queue_send(struct uf_system *system, uint64_t any)
{
    uint32_t handles[2];
    uint32_t bell;
    struct call *call = call_new(SEND);
    call->in[0] = (any >> 8) % LANES_USED;
    call->count = 1 + (any >> 16) % 2;
    for (uint32_t i = 0; i < call->count; i++) {
        CHECK_EQ(uf_pool_take(&system->messages, 8, &handles[i]), UF_OK);
        call->in[1 + i] = *payload_of(system, handles[i]) = ++own.last;
    }
    call_invoke(call);
    int status = uf_queue_send(&system->queues, 0, lanes[call->in[0]], handles, call->count, &bell);
    call_answer(call, status);
    for (uint32_t i = status > 0 ? (uint32_t)status : 0; i < call->count; i++) {
        CHECK_EQ(uf_pool_give(&system->messages, handles[i]), UF_OK);
    }
}

static void queue_work(const struct scene *scene, struct uf_system *system, uint64_t *random)
{
    uint64_t any = next_random(random);
    (void)scene;
    if (any % 2 == 0) {
        queue_send(system, any);
        return;
    }
    uint32_t handles[2];
    struct call *call = call_new(TAKE);
    call->in[0] = 1 + (any >> 8) % 2;
    call_invoke(call);
    int status = uf_queue_take(&system->queues, &own.receiver, handles, (uint32_t)call->in[0]);
    call_answer(call, status);
    for (uint32_t i = 0; status > 0 && i < (uint32_t)status; i++) {
        const struct uf_message *message = uf_pool_block(&system->messages, handles[i]);
        call->out[2 * i] = message->lane;
        call->out[2 * i + 1] = *payload_of(system, handles[i]);
        CHECK_EQ(uf_pool_give(&system->messages, handles[i]), UF_OK);
    }
}

/* What it saw on its way through the lanes; those that nobody sends to are left out. A receiver's
 * debts to lower lanes stay too small in one history for it to serve one early. */
static void take_points(struct history *history, uint32_t index)
{
    const struct call *call = &history->call[index];
    uint32_t lane = 0;
    uint32_t taken = call->status > 0 ? (uint32_t)call->status : 0;
    uint64_t after = 0;
    uint64_t freed = 0;
    bool sound = (call->status > 0 && taken <= call->in[0]) || call->status == UF_EMPTY;
    for (uint32_t i = 0; i < taken && sound; i++) {
        while (lane < LANES_USED && lanes[lane] != call->out[2 * i]) {
            after |= freed;
            after |= point_add(history, index, NOTHING, 0, lane++, after);
        }
        if (lane == LANES_USED) {
            sound = false; /* urgent lanes come first */
            break;
        }
        after |= point_add(history, index, GET, call->out[2 * i + 1], lane, after);
        freed |= point_add(history, index, FREE_PLACE, call->out[2 * i + 1], lane, after | freed);
    }
    after |= freed;
    while (sound && taken < call->in[0] && lane < LANES_USED) {
        after |= point_add(history, index, NOTHING, 0, lane++, after);
    }
    if (!sound) {
        point_add(history, index, NEVER, 0, 0, after);
    }
}

static void queue_points(const struct scene *scene, struct history *history, uint32_t index)
{
    const struct call *call = &history->call[index];
    (void)scene;
    if (call->op == SEND) {
        push_points(history, index, call->in[0], call->in + 1);
    } else {
        take_points(history, index);
    }
}

#define SIZES(places)                                                                              \
    {                                                                                              \
        .owners = 8,                                                                               \
        .buckets = 1,                                                                              \
        .extensions = 1,                                                                           \
        .queues = 1,                                                                               \
        .queue_capacity = (places),                                                                \
        .agents = 1,                                                                               \
        .types = 1,                                                                                \
        .warm = 1,                                                                                 \
        .shards = 1,                                                                               \
        .message_classes = 1,                                                                      \
        .value_classes = 1,                                                                        \
        .message = {{128, 31}},                                                                    \
        .value = {{128, 31}},                                                                      \
    }
static const struct uf_sizes of_1 = SIZES(1);
static const struct uf_sizes of_2 = SIZES(2);
static const struct uf_sizes of_4 = SIZES(4);

#define RING(text, places)                                                                         \
    {                                                                                              \
        .name = (text),                                                                            \
        .ops = "push claim clear",                                                                 \
        .sizes = &of_##places,                                                                     \
        .processes = 4,                                                                            \
        .calls = 4,                                                                                \
        .variant = (places),                                                                       \
        .prepare = ring_prepare,                                                                   \
        .begin = begin,                                                                            \
        .work = ring_work,                                                                         \
        .points = ring_points,                                                                     \
        .step = ring_step,                                                                         \
    }
const struct scene ring_scenes[3] = {
    RING("ring of 1", 1),
    RING("ring of 2", 2),
    RING("ring of 4", 4),
};

const struct scene queue_scenes[1] = {{
    .name = "queue",
    .ops = "send take",
    .sizes = &of_2,
    .processes = 4,
    .calls = 3,
    .variant = 2,
    .prepare = queue_prepare,
    .begin = begin,
    .work = queue_work,
    .points = queue_points,
    .step = ring_step,
}};
