/* scene_pool.c -- the pool as a set: a block that is taken is nobody else's until it is given back.
 *
 * Two classes, of two blocks and of one; a small take borrows the large block when the small ones are gone.
 * What the header promises less than a plain set: that a block was not to be had is looked up block by
 * block, in one pass over the bits.
 *
 *   NO_BLOCK  is said when each block was away at some moment of the call, not all at one. And a bit
 *             that is wrongly clear hides its block: a taker that found a block away clears its bit,
 *             and sets it again when it sees the block given back meanwhile. So a block also counts as
 *             away while another take is on its way that began before the block was given back.
 *             A small take that was answered the large block found each small one away likewise.
 */
#include "check.h"
#include "linear.h"

enum { TAKE, GIVE };
enum { BEGIN, GET, AWAY, END, PUT, NOT_OURS };

#define SMALL 2u /* blocks of the small class: numbers 0 and 1 */
#define BLOCKS 3u
#define OUTSIDER 15u
/* state: byte[block] its owner, process + 1; byte[8 + process] 1 while it takes; byte[16 + process] the
 * blocks that were away at some moment of that take. */
#define OWNER 0u
#define TAKING 8u
#define MISSED 16u

static void was_away(union state *state, uint32_t block)
{
    for (uint32_t p = 0; p < PROCESSES_MAX; p++) {
        state->byte[MISSED + p] |= state->byte[TAKING + p] != 0 ? 1u << block : 0;
    }
}

static bool is_away(const union state *state, uint32_t process, uint32_t block)
{
    bool away = state->byte[OWNER + block] != 0;
    for (uint32_t p = 0; p < PROCESSES_MAX; p++) {
        away |= p != process && (state->byte[MISSED + p] >> block & 1) != 0;
    }
    return away;
}

static bool pool_step(union state *state, const struct point *point)
{
    uint8_t *owner = &state->byte[OWNER + point->a];
    uint32_t p = point->process;
    switch (point->what) {
    case BEGIN:
        state->byte[TAKING + p] = 1;
        for (uint32_t block = 0; block < BLOCKS; block++) {
            state->byte[MISSED + p] |= state->byte[OWNER + block] != 0 ? 1u << block : 0;
        }
        return true;
    case END:
        state->byte[TAKING + p] = state->byte[MISSED + p] = 0;
        return true;
    case GET:
        if (*owner != 0) {
            return false;
        }
        *owner = (uint8_t)(p + 1);
        was_away(state, (uint32_t)point->a);
        return true;
    case AWAY:
        return is_away(state, p, (uint32_t)point->a);
    case PUT:
        if (*owner != p + 1) {
            return false;
        }
        *owner = 0;
        return true;
    case NOT_OURS:
        return *owner != p + 1;
    default:
        return false;
    }
}

static uint32_t handle_of(uint32_t block)
{
    return block < SMALL ? uf_handle(0, block) : uf_handle(1, block - SMALL);
}

static uint32_t held[BLOCKS]; /* in a child */

static void begin(const struct scene *scene, struct uf_system *system, uint32_t process)
{
    (void)scene;
    (void)system;
    (void)process;
    memset(held, 0, sizeof held);
}

static void prepare(const struct scene *scene, struct uf_system *system, uint64_t *random,
                    union state *start)
{
    struct uf_pool *pool = &system->messages;
    uint64_t any = next_random(random);
    (void)scene;
    pool_reset(pool, any % 2 == 0 ? 0 : (1ull << 36) - 1 - (any >> 8) % 4);
    uint32_t block = (any >> 16) % (2 * BLOCKS);
    if (block < BLOCKS) { /* one is somebody else's throughout; its bit may lie */
        struct uf_message *head = uf_pool_block(pool, handle_of(block));
        head->owner = uf_word_as(head->owner, UF_BLOCK_OWNED, pool->me, 0);
        start->byte[OWNER + block] = OUTSIDER;
        if ((any >> 24) % 2 == 0) {
            struct uf_class *class = &pool->class[block < SMALL ? 0 : 1];
            uf_bits_clear(class->bits, block < SMALL ? block : block - SMALL);
        }
    }
}

static void give(struct uf_pool *pool, uint32_t block)
{
    struct call *call = call_new(GIVE);
    call->in[0] = block;
    held[block] = 0;
    call_invoke(call);
    call_answer(call, uf_pool_give(pool, handle_of(block)));
}

static void work(const struct scene *scene, struct uf_system *system, uint64_t *random)
{
    struct uf_pool *pool = &system->messages;
    uint64_t any = next_random(random);
    uint32_t block = (any >> 8) % BLOCKS;
    (void)scene;
    for (uint32_t i = 0; i < BLOCKS && any % 8 < 5; i++) {
        if (held[(block + i) % BLOCKS] != 0) {
            give(pool, (block + i) % BLOCKS);
            return;
        }
    }
    if (any % 16 == 15) { /* ours, or not */
        give(pool, block);
        return;
    }
    uint32_t handle;
    struct call *call = call_new(TAKE);
    call->in[0] = (any >> 16) % 4 == 0 ? 100 : 8; /* bytes */
    call_invoke(call);
    int status = uf_pool_take(pool, (uint32_t)call->in[0], &handle);
    call_answer(call, status);
    if (status == UF_OK) {
        call->out[0] = UINT64_MAX;
        for (block = 0; block < BLOCKS; block++) {
            if (handle_of(block) == handle) {
                call->out[0] = block;
                held[block] = 1;
            }
        }
    }
}

static void points(const struct scene *scene, struct history *history, uint32_t index)
{
    const struct call *call = &history->call[index];
    (void)scene;
    if (call->op == GIVE) {
        uint32_t what = call->status == UF_OK ? PUT : call->status == UF_INVALID ? NOT_OURS : NEVER;
        point_add(history, index, what, call->in[0], 0, 0);
        return;
    }
    bool small = call->in[0] == 8;
    bool got = call->status == UF_OK;
    if ((!got && call->status != UF_NO_BLOCK) || (got && call->out[0] >= BLOCKS) ||
        (got && !small && call->out[0] < SMALL)) {
        point_add(history, index, NEVER, 0, 0, 0);
        return;
    }
    uint64_t first = point_add(history, index, BEGIN, 0, 0, 0);
    uint64_t after = first;
    history->point[history->points - 1].eager = true;
    for (uint32_t block = 0; small && block < SMALL && (!got || call->out[0] >= SMALL); block++) {
        after |= point_add(history, index, AWAY, block, 0, first);
    }
    uint64_t last = 0;
    for (uint32_t block = SMALL; !got && block < BLOCKS; block++) {
        last |= point_add(history, index, AWAY, block, 0, after);
    }
    if (got) {
        last = point_add(history, index, GET, call->out[0], 0, after);
    }
    point_add(history, index, END, 0, 0, after | last);
}

static const struct uf_sizes sizes = {
    .owners = 8,
    .buckets = 1,
    .extensions = 1,
    .queues = 1,
    .queue_capacity = 1,
    .agents = 1,
    .types = 1,
    .warm = 1,
    .shards = 1,
    .message_classes = 2,
    .value_classes = 1,
    .message = {{128, SMALL}, {256, BLOCKS - SMALL}},
    .value = {{128, 31}},
};

const struct scene pool_scenes[1] = {{
    .name = "pool",
    .ops = "take give",
    .sizes = &sizes,
    .processes = 3,
    .calls = 4,
    .prepare = prepare,
    .begin = begin,
    .work = work,
    .points = points,
    .step = pool_step,
}};
