/* explore_share.c -- a payload for many receivers: each reads it whole, nobody owns it before the last has
 * let go, and whoever dies, it is freed once.
 */
#include "seats.h"

#include "uf_share.h"

#define NUMBER 77u

/* What a thread did; its own. */
struct log {
    uint32_t sent;
    uint32_t took;    /* references, in hand   */
    uint32_t handled; /* and given back        */
    uint32_t reused;  /* blocks taken anew     */
};

static struct log log_of[SEATS];
static uint64_t seen[SEATS];
static uint32_t reused_ever;
static uint32_t redelivered_ever;

static void setup(uint32_t blocks)
{
    memset(log_of, 0, sizeof log_of);
    memset(seen, 0, sizeof seen);
    seats_pool(blocks, 0);
    seats_queues(1, 2);
    explore_keep(log_of, sizeof log_of);
    explore_keep(seen, sizeof seen);
    reused_ever = redelivered_ever = 0;
}

/* A payload among `count` references, which are not sent yet. */
static void share_as(uint32_t who, uint32_t *references, uint32_t count)
{
    uint32_t handle;
    CHECK_EQ(number_take(&seat[who], NUMBER, 0, &handle), UF_OK);
    ((struct uf_message *)uf_pool_block(&seat[who].pool, handle))->payload_bytes = 8;
    for (uint32_t r = 0; r < count; r++) {
        CHECK_EQ(number_take(&seat[who], 0, 0, &references[r]), UF_OK);
        ((struct uf_message *)uf_pool_block(&seat[who].pool, references[r]))->payload_bytes =
            sizeof(struct uf_reference);
    }
    CHECK_EQ(uf_share(&seat[who].pool, handle, references, count), UF_OK);
}

static void publish_as(uint32_t who, uint32_t count)
{
    uint32_t references[2];
    uint32_t bell;
    share_as(who, references, count);
    explore_settled(1, references[0], references[1 % count]);
    for (uint32_t r = 0; r < count; r++) {
        CHECK_EQ(uf_queue_send(&seat[who].queues, 0, 0, &references[r], 1, &bell), 1);
        log_of[who].sent++;
    }
}

static bool take_as(uint32_t who, bool adopted)
{
    struct uf_receiver receiver = {0};
    struct uf_shared shared;
    uint32_t handle;
    int status = adopted ? uf_queue_adopt(&seat[who].queues, 0, &handle, 1)
                         : uf_queue_take(&seat[who].queues, &receiver, &handle, 1);
    if (status == UF_EMPTY) {
        return false;
    }
    CHECK_EQ(status, 1);
    log_of[who].took++;
    CHECK_EQ(uf_share_look(&seat[who].pool, handle, &shared), UF_OK);
    CHECK_EQ(shared.payload_bytes, 8);
    CHECK_EQ(*(const uint64_t *)(const void *)shared.payload, NUMBER);
    explore_settled(2, handle, 0);
    CHECK_EQ(uf_message_give(&seat[who].pool, handle), UF_OK);
    log_of[who].handled++;
    return true;
}

static void take_1(void)
{
    take_as(explore_self(), false);
}
static void publish_2(void)
{
    publish_as(explore_self(), 2);
}
static void publish_1(void)
{
    publish_as(explore_self(), 1);
}
/* Whatever block is free is written over: the payload's readers must be behind us. */
static void reuse(void)
{
    uint32_t handle;
    if (number_take(my_seat(), 1, 0, &handle) == UF_OK) {
        log_of[explore_self()].reused++;
        explore_settled(3, handle, 0);
        CHECK_EQ(uf_message_give(&my_seat()->pool, handle), UF_OK);
    }
}
static void recover_as(uint32_t who, uint32_t dead)
{
    struct uf_queue_recovery done;
    seen[who] = 0;
    uf_queue_recover(&seat[who].queues, dead + 1, &seen[who], &done);
}
static void mend(void)
{
    explore_inherit();
    recover_as(explore_self(), explore_dead());
}
static void mend_reuse(void)
{
    mend();
    explore_settled(4, 0, 0);
    reuse();
}
static void mend_outsider(void)
{
    recover_as(explore_self(), OUTSIDER);
}
static void mend_both(void)
{
    explore_inherit();
    mend_outsider();
    explore_settled(5, 0, 0);
    mend();
}

/* Deliver what is left; each reference that was sent is handled once, but for what died with its taker's
 * answer; and every block comes back. */
static void finish(void)
{
    uint32_t dead = explore_dead();
    uint32_t sent = 0;
    uint32_t handled = 0;
    while (take_as(OUTSIDER, true)) {
        redelivered_ever++;
    }
    while (take_as(OUTSIDER, false)) {
    }
    for (uint32_t t = 0; t < SEATS; t++) {
        sent += log_of[t].sent;
        handled += log_of[t].handled;
        reused_ever += log_of[t].reused;
    }
    if (dead == EXPLORE_THREADS) {
        CHECK_EQ(handled, sent);
    } else {
        /* It may have died with a push done, or a give, and not told. */
        CHECK(handled <= sent + 1 && handled + 1 >= sent);
    }
    blocks_are_back(0);
}

static void some_reused(void)
{
    CHECK(reused_ever > 0);
}
static void some_redelivered(void)
{
    CHECK(redelivered_ever > 0);
}

static void setup_empty(void)
{
    setup(3);
}
static void setup_published_1(void)
{
    setup(2);
    publish_as(OUTSIDER, 1);
}
static void setup_published_2(void)
{
    setup(3);
    publish_as(OUTSIDER, 2);
}
/* The dead OUTSIDER had shared a payload, sent one reference and kept the other. */
static void setup_dead(void)
{
    uint32_t references[2];
    uint32_t bell;
    setup(3);
    share_as(OUTSIDER, references, 2);
    CHECK_EQ(uf_queue_send(&seat[OUTSIDER].queues, 0, 0, references, 1, &bell), 1);
    log_of[OUTSIDER].sent++;
}

/* The dead OUTSIDER had the last reference, and its bit is gone; the block it freed is another's soon. */
static void setup_dropped(void)
{
    struct uf_receiver receiver = {0};
    uint32_t handle;
    setup(3);
    publish_as(OUTSIDER, 1);
    CHECK_EQ(uf_queue_take(&seat[OUTSIDER].queues, &receiver, &handle, 1), 1);
    CHECK_EQ(uf_message_handled(&seat[OUTSIDER].pool, handle), UF_OK);
    uf_share_drop(&seat[OUTSIDER].pool, handle);
    log_of[OUTSIDER].handled++;
}

#define SHARE(title, least, ...) {.name = title, .minimum = least, .finish = finish, __VA_ARGS__}

static const struct explore_check checks[] = {
    SHARE("share-read-then-reused", 76, .setup = setup_published_1, .body = {take_1, reuse},
          .after = some_reused),
    SHARE("share-two-holders", 14000, .setup = setup_published_2, .body = {take_1, take_1, reuse},
          .after = some_reused, .usual = {1, 2}, .deep = {0, 3}),
    SHARE("share-published-and-taken", 190, .setup = setup_empty, .body = {publish_1, take_1}),
    SHARE("share-publisher-dies", 4600, .setup = setup_empty, .body = {publish_2, take_1, mend},
          .mortal = 1, .mourners = 4, .usual = {1, 1}, .deep = {1, 2}),
    SHARE("share-receiver-dies", 5000, .setup = setup_published_2, .body = {take_1, take_1, mend},
          .mortal = 1, .mourners = 4, .after = some_redelivered, .usual = {1, 1}, .deep = {1, 2}),
    SHARE("share-last-receiver-dies", 20, .setup = setup_published_1, .body = {take_1, mend_reuse},
          .mortal = 1, .mourners = 2, .after = some_redelivered),
    SHARE("share-dropped-twice", 100, .setup = setup_dropped, .body = {mend_outsider, publish_1}),
    SHARE("share-recoverer-dies", 20, .setup = setup_dead, .body = {mend_outsider, mend_both},
          .mortal = 1, .mourners = 2),
    SHARE("share-recoverer-dies-beside", 5000, .setup = setup_dead,
          .body = {mend_outsider, mend_both, take_1}, .mortal = 1, .mourners = 2, .usual = {1, 1},
          .deep = {1, 2}),
};

int main(int argc, char **argv)
{
    return explore_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
