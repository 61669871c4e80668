/* checker.c -- the instrument itself: histories made by hand, that have an order and that have none.
 *
 * And the search with its memory against the search without, on random histories of a small ring:
 * both must say the same, and both answers must occur.
 */
#include "check.h"
#include "linear.h"
#include "uf_agents_in.h"

static struct history history;
static const struct scene *scene;
static uint64_t judged;

static void begin(const struct scene *of)
{
    memset(&history, 0, sizeof history);
    scene = of;
}

/* A call of one argument and one result; the moments are the caller's. */
static struct call *called(uint32_t process, uint64_t invoked, uint64_t answered, uint32_t op,
                           uint64_t in, int status, uint64_t out)
{
    struct call *call = &history.call[history.calls++];
    *call = (struct call){
        .invoked = invoked,
        .answered = answered,
        .process = process,
        .op = op,
        .status = status,
        .count = 1,
        .in = {in},
        .out = {out},
    };
    return call;
}

static bool judge(void)
{
    history.points = 0;
    for (uint32_t i = 0; i < history.calls; i++) {
        scene->points(scene, &history, i);
    }
    points_order(&history);
    struct verdict with = search(&history, scene->step, true);
    struct verdict without = search(&history, scene->step, false);
    CHECK_EQ(with.linear, without.linear);
    CHECK(with.configurations <= without.configurations);
    CHECK(with.configurations > 0);
    judged++;
    return with.linear;
}

/* --- a ring: push 0, claim 1, clear 2 --------------------------------------------------------- */

static void ring(uint32_t capacity)
{
    begin(&ring_scenes[0]);
    history.start.byte[1] = (uint8_t)capacity;
}

static void push(uint32_t process, uint64_t invoked, uint64_t answered, uint64_t number, int status)
{
    called(process, invoked, answered, 0, number, status, 0);
}

static void claim(uint32_t process, uint64_t invoked, uint64_t answered, uint64_t number,
                  uint64_t position)
{
    called(process, invoked, answered, 1, 0, UF_OK, number)->out[1] = position;
}

static void rings(void)
{
    ring(2); /* in their order, and not in another */
    push(0, 0, 1, 11, 1);
    push(0, 2, 3, 12, 1);
    claim(1, 4, 5, 11, 0);
    claim(1, 6, 7, 12, 1);
    CHECK(judge());
    ring(2);
    push(0, 0, 1, 11, 1);
    push(0, 2, 3, 12, 1);
    claim(1, 4, 5, 12, 0);
    CHECK(!judge());
    ring(2); /* pushes that overlap come in either order */
    push(0, 0, 3, 11, 1);
    push(1, 1, 2, 12, 1);
    claim(1, 4, 5, 12, 0);
    claim(1, 6, 7, 11, 1);
    CHECK(judge());
    ring(2); /* one message for two */
    push(0, 0, 1, 11, 1);
    claim(1, 2, 5, 11, 0);
    claim(2, 3, 4, 11, 0);
    CHECK(!judge());
    ring(2); /* EMPTY after a push that was answered, and beside one that was not */
    push(0, 0, 1, 11, 1);
    called(1, 2, 3, 1, 0, UF_EMPTY, 0);
    CHECK(!judge());
    ring(2);
    push(0, 0, 3, 11, 1);
    called(1, 1, 2, 1, 0, UF_EMPTY, 0);
    CHECK(judge());
    ring(1); /* a claim keeps its place until it is cleared */
    push(0, 0, 1, 11, 1);
    claim(1, 2, 3, 11, 0);
    push(0, 4, 5, 12, UF_FULL);
    called(1, 6, 7, 2, 11, UF_OK, 0);
    push(0, 8, 9, 12, 1);
    CHECK(judge());
    ring(1);
    push(0, 0, 1, 11, 1);
    claim(1, 2, 3, 11, 0);
    called(1, 4, 5, 2, 11, UF_OK, 0);
    push(0, 6, 7, 12, UF_FULL);
    CHECK(!judge());
    ring(1); /* what it should never say */
    push(0, 0, 1, 11, UF_BUSY);
    CHECK(!judge());
}

/* --- a queue: send 0, take 1 ------------------------------------------------------------------ */

static void sent(uint64_t at, uint64_t lane, uint64_t number)
{
    called(0, at, at + 1, 0, lane, 1, 0)->in[1] = number;
}

static void taken(uint64_t at, uint64_t lane, uint64_t number)
{
    called(1, at, at + 1, 1, 1, 1, lane)->out[1] = number;
}

static void queues(void)
{
    for (uint32_t urgent_first = 0; urgent_first < 2; urgent_first++) {
        begin(&queue_scenes[0]);
        history.start.byte[1] = history.start.byte[17] = 2;
        sent(0, 1, 11); /* in lane 2 */
        sent(2, 0, 12); /* in lane 0 */
        taken(4, urgent_first ? 0 : 2, urgent_first ? 12 : 11);
        taken(6, urgent_first ? 2 : 0, urgent_first ? 11 : 12);
        CHECK_EQ(judge(), urgent_first != 0);
    }
}

/* --- a table: get 0, set 1, insert 2, compare-and-set 3, delete 4, raise 5 --------------------- */

static struct call *entry(uint32_t process, uint64_t invoked, uint64_t answered, uint32_t op,
                          int status, uint64_t stamp, uint64_t value)
{
    struct call *call = called(process, invoked, answered, op, 0, status, stamp);
    call->out[1] = value;
    return call;
}

static void table(void)
{
    begin(&table_scenes[0]);
    history.start.word[0] = 70; /* the stamp */
    history.start.word[1] = 7;  /* the value */
    history.start.byte[64] = 1;
    history.start.byte[65] = 7;
}

static void tables(void)
{
    for (uint64_t old = 70; old < 72; old++) { /* of two with one stamp, one wins */
        table();
        entry(0, 0, 3, 3, UF_OK, 71, 8)->in[1] = 70;
        entry(1, 1, 2, 3, UF_OK, 72, 9)->in[1] = old;
        CHECK_EQ(judge(), old == 71);
    }
    for (uint64_t answered = 2; answered < 6; answered += 3) { /* an old value: late, or beside */
        table();
        entry(0, 0, 1 + answered, 1, UF_OK, 71, 8);
        entry(1, 4, 5, 0, UF_OK, 70, 7);
        CHECK_EQ(judge(), answered == 5);
    }
    table(); /* it was there all the time */
    entry(0, 0, 3, 1, UF_OK, 71, 8);
    entry(1, 1, 2, 0, UF_MISSING, 0, 0);
    CHECK(!judge());
    table(); /* a value that nobody wrote */
    entry(1, 1, 2, 0, UF_OK, 70, UINT64_MAX);
    CHECK(!judge());
    table(); /* deleted twice */
    entry(0, 0, 3, 4, UF_OK, 0, 0);
    entry(1, 1, 2, 4, UF_OK, 0, 0);
    CHECK(!judge());
    table(); /* two inserts between which nobody deleted */
    entry(0, 0, 1, 4, UF_OK, 0, 0);
    entry(0, 2, 5, 2, UF_OK, 71, 8);
    entry(1, 3, 4, 2, UF_OK, 72, 9);
    CHECK(!judge());
    table(); /* a count that loses one */
    entry(0, 0, 3, 5, UF_OK, 71, 8);
    entry(1, 1, 2, 5, UF_OK, 72, 8);
    CHECK(!judge());
    table(); /* full with room in it: only beside another set */
    entry(0, 0, 1, 4, UF_OK, 0, 0);
    entry(1, 2, 3, 1, UF_STORE_FULL, 0, 0);
    CHECK(!judge());
    scene = &table_scenes[1];
    CHECK(!judge());
    entry(0, 2, 5, 1, UF_OK, 71, 8);
    CHECK(judge());
}

/* --- a pool: take 0, give 1 ------------------------------------------------------------------- */

static void none(uint32_t process, uint64_t invoked, uint64_t answered)
{
    called(process, invoked, answered, 0, 8, UF_NO_BLOCK, 0);
}

/* Two of the three blocks are somebody else's; the third is process 1's, or free. */
static void pool(bool free_block)
{
    begin(&pool_scenes[0]);
    history.start.byte[0] = history.start.byte[2] = 15;
    history.start.byte[1] = free_block ? 0 : 2;
}

static void pools(void)
{
    pool(true); /* one block for two */
    called(0, 0, 3, 0, 8, UF_OK, 1);
    called(1, 1, 2, 0, 8, UF_OK, 1);
    CHECK(!judge());
    pool(true); /* given between the two */
    called(0, 0, 1, 0, 8, UF_OK, 1);
    called(0, 2, 5, 1, 1, UF_OK, 0);
    called(1, 3, 4, 0, 8, UF_OK, 1);
    CHECK(judge());
    pool(
        true); /* refused with a block free: not alone, and not beside a take that began after the give */
    none(0, 0, 1);
    CHECK(!judge());
    pool(false);
    called(1, 0, 1, 1, 1, UF_OK, 0);
    called(2, 2, 5, 0, 8, UF_OK, 1);
    none(0, 3, 4);
    CHECK(judge()); /* the other take has it */
    pool(false);
    called(1, 0, 1, 1, 1, UF_OK, 0);
    none(2, 2, 5);
    none(0, 3, 4);
    CHECK(!judge());
    pool(false); /* but beside one that began before, and hides it */
    none(2, 0, 5);
    called(1, 1, 2, 1, 1, UF_OK, 0);
    none(0, 3, 4);
    CHECK(judge());
    pool(false); /* what is not ours may not be given */
    called(0, 0, 1, 1, 1, UF_OK, 0);
    CHECK(!judge());
}

/* --- agents: claim 0, move 1, new 2 ----------------------------------------------------------- */

static void agents(const struct scene *of, uint32_t state)
{
    begin(of);
    for (uint32_t r = 0; r < 3; r++) {
        history.start.word[r] = uf_agent_id(1, r);
        history.start.byte[32 + r] = UF_AGENT_ACTIVE;
    }
    history.start.byte[32] = (uint8_t)state;
}

static void moved(uint64_t at, uint64_t id, uint32_t from, uint32_t to, int status)
{
    struct call *call = called(0, at, at + 1, 1, id, status, 0);
    call->in[1] = from;
    call->in[2] = to;
}

static void all_agents(void)
{
    const uint64_t id = uf_agent_id(1, 0);
    for (uint32_t lives = 0; lives < 2; lives++) {
        const struct scene *of = &agents_scenes[lives];
        agents(of, UF_AGENT_WARM); /* one agent for two claimers */
        called(0, 0, 3, 0, 0, UF_OK, id);
        called(1, 1, 2, 0, 0, UF_OK, id);
        CHECK(!judge());
        agents(of, UF_AGENT_WARM); /* EMPTY with a warm one */
        called(1, 0, 1, 0, 0, UF_EMPTY, 0);
        CHECK(!judge());
        agents(of, UF_AGENT_WARM); /* and beside two claims that both went away empty */
        called(1, 0, 3, 0, 0, UF_EMPTY, 0);
        called(2, 1, 2, 0, 0, UF_EMPTY, 0);
        CHECK(!judge() || lives != 0);
        agents(of, UF_AGENT_STARTING); /* a freed id is stale for ever */
        moved(0, id, UF_AGENT_STARTING, UF_AGENT_FREE, UF_OK);
        moved(2, id, UF_AGENT_STARTING, UF_AGENT_WARM, UF_STALE);
        called(1, 4, 5, 2, 0, UF_OK, uf_agent_id(2, 0));
        CHECK(judge());
        moved(6, id, UF_AGENT_BUILDING, UF_AGENT_WARM, UF_OK);
        CHECK(!judge());
        agents(of, UF_AGENT_FREE); /* a free record that is not to be had */
        called(1, 0, 1, 2, 0, UF_NO_AGENT_SLOT, 0);
        CHECK(!judge());
    }
}

/* --- overlap ---------------------------------------------------------------------------------- */

static void overlaps(void)
{
    ring(
        1); /* one after the other, and within another of the same process: no process makes such */
    push(0, 0, 3, 11, 1);
    push(0, 1, 2, 12, 1);
    push(1, 4, 5, 13, 1);
    CHECK_EQ(overlapping(&history), 0);
    push(2, 3, 5, 14, 1); /* meets the third; begins as the first ends */
    CHECK_EQ(overlapping(&history), 2);
    push(3, 0, 9, 15, 1);
    CHECK_EQ(overlapping(&history), 5);
}

/* --- the memory ------------------------------------------------------------------------------- */

/* Seven calls done in an order on a ring of which nothing is cleared, each within an interval about its
 * moment. In half of the histories one of them is then given another answer. */
static bool random_history(uint64_t *random)
{
    uint64_t free_from[3] = {0};
    uint32_t capacity = 1 + next_random(random) % 3;
    uint32_t tail = 0;
    uint32_t head = 0;
    ring(capacity);
    for (uint64_t moment = 100; moment < 800; moment += 100) {
        uint64_t any = next_random(random);
        uint32_t process = any % 3;
        if (free_from[process] >= moment) {
            continue;
        }
        uint64_t invoked = free_from[process] + 1 + (any >> 8) % (moment - free_from[process]);
        uint64_t answered = free_from[process] = moment + 1 + (any >> 24) % 400;
        invoked = invoked * 3 + process; /* no two moments are one */
        answered = answered * 3 + process;
        if ((any >> 40) % 2 == 0) {
            push(process, invoked, answered, 11 + tail, tail < capacity ? 1 : UF_FULL);
            tail += tail < capacity;
        } else if (head < tail) {
            claim(process, invoked, answered, 11 + head, head);
            head++;
        } else {
            called(process, invoked, answered, 1, 0, UF_EMPTY, 0);
        }
    }
    uint64_t any = next_random(random);
    if (any % 2 == 0) {
        struct call *call = &history.call[(any >> 8) % history.calls];
        if (call->op == 0) {
            call->status = call->status == 1 ? UF_FULL : 1;
        } else {
            call->status = UF_OK;
            call->out[1] = (call->out[1] + (call->out[0] != 0)) % capacity;
            call->out[0] = 11 + call->out[1];
        }
    }
    return judge();
}

int main(void)
{
    uint64_t random = test_seed();
    uint64_t linear = 0;
    uint64_t others = 0;
    watchdog(60);
    rings();
    queues();
    tables();
    pools();
    all_agents();
    overlaps();
    explored("histories made by hand", judged);
    for (uint32_t i = 0; i < 20000; i++) {
        bool is_linear = random_history(&random);
        linear += is_linear;
        others += !is_linear;
    }
    explored("random histories that have an order, by both searches", linear);
    explored("random histories that have none, by both searches", others);
    return 0;
}
