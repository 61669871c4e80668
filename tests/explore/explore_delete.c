/* explore_delete.c -- deleting queues: what was accepted is delivered or emptied out, never lost, and nothing
 * that was meant for a queue comes out of the one that has its record next.
 */
#include "seats.h"

#include <stdatomic.h>

#define FIRST 11 /* what is sent to the one queue, and to the other */
#define SECOND 22

/* A thread's own. */
struct deed {
    uint32_t sent;    /* accepted */
    uint32_t taken;   /* as a receiver of the queue */
    uint32_t emptied; /* as who deletes it */
    bool deleted;
    bool second; /* the other queue is open here */
};

static struct deed deed_of[SEATS];
static uint64_t seen[SEATS];
static uint64_t opening; /* of the first queue; constant */
static uint32_t reused_ever;
static uint32_t late_ever; /* accepted by the queue, and emptied out of it */
static uint32_t refused_ever;

static void setup(uint32_t capacity, uint32_t blocks)
{
    uint32_t index;
    memset(deed_of, 0, sizeof deed_of);
    memset(seen, 0, sizeof seen);
    seats_pool(blocks, 0);
    seats_queues(1, capacity);
    CHECK_EQ(uf_queue_open(&seat[OUTSIDER].queues, "first", &index), UF_OK);
    CHECK_EQ(uf_queue_enter(&seat[OUTSIDER].queues, "first", index, &opening), UF_OK);
    explore_keep(deed_of, sizeof deed_of);
    explore_keep(seen, sizeof seen);
    reused_ever = late_ever = refused_ever = 0;
}
static void send_as(uint32_t who)
{
    uint32_t handle;
    uint32_t bell;
    CHECK_EQ(number_take(&seat[who], FIRST, 0, &handle), UF_OK);
    explore_settled(1, handle, 0);
    int status = uf_queue_send_to(&seat[who].queues, 0, opening, 0, &handle, 1, &bell);
    if (status == 1) {
        deed_of[who].sent++;
        return;
    }
    CHECK(status == UF_DELETED || status == UF_FULL);
    refused_ever += status == UF_DELETED;
    CHECK_EQ(uf_pool_give(&seat[who].pool, handle), UF_OK);
}
static void setup_empty(void)
{
    setup(1, 2);
}
static void setup_empty_2(void)
{
    setup(2, 2);
}
static void setup_one(void)
{
    setup(1, 2);
    send_as(OUTSIDER);
}

/* A receiver had it and died. */
static void setup_orphan(void)
{
    struct uf_receiver receiver = {0};
    struct uf_queue_recovery done;
    uint32_t handle;
    setup_one();
    receiver.opening = opening;
    CHECK_EQ(uf_queue_take(&seat[OUTSIDER].queues, &receiver, &handle, 1), 1);
    uf_queue_recover(&seat[0].queues, OUTSIDER + 1, &seen[0], &done);
    CHECK_EQ(done.orphaned, 1);
    seen[0] = 0;
}

static void send_1(void)
{
    send_as(explore_self());
}
/* A receiver of the first queue. */
static void take_1(void)
{
    uint32_t me = explore_self();
    struct uf_receiver receiver = {.opening = opening};
    uint32_t handle;
    int status = uf_queue_take(&seat[me].queues, &receiver, &handle, 1);
    if (status == 1) {
        CHECK_EQ(number_of(&seat[me], handle), FIRST);
        explore_settled(2, handle, 0);
        deed_of[me].taken++;
        CHECK_EQ(uf_pool_give(&seat[me].pool, handle), UF_OK);
        return;
    }
    CHECK(status == UF_EMPTY || status == UF_DELETED);
}
/* What is in a deleted queue comes out, and its record is freed if nobody holds any of it. */
static void empty_as(uint32_t who, uint64_t closing)
{
    struct uf_receiver receiver = {.opening = closing};
    for (uint32_t round = 0; round < 3; round++) {
        uint32_t handle;
        int status = uf_queue_adopt_as(&seat[who].queues, &receiver, &handle, 1);
        if (status == UF_EMPTY) {
            status = uf_queue_take(&seat[who].queues, &receiver, &handle, 1);
        }
        if (status == 1) {
            CHECK_EQ(number_of(&seat[who], handle), FIRST);
            explore_settled(3, handle, round);
            deed_of[who].emptied++;
            CHECK_EQ(uf_pool_give(&seat[who].pool, handle), UF_OK);
            continue;
        }
        CHECK(status == UF_EMPTY || status == UF_DELETED);
        explore_settled(4, round, 0);
        if (uf_queue_retire(&seat[who].queues, 0, closing) == UF_OK) {
            return;
        }
    }
}
static void delete_it(void)
{
    uint32_t me = explore_self();
    uint64_t closing;
    int status = uf_queue_delete(&seat[me].queues, 0, opening, &closing);
    CHECK(status == UF_OK || status == UF_DELETED);
    deed_of[me].deleted = status == UF_OK;
    explore_settled(5, (uint64_t)status, 0);
    if (status == UF_OK) {
        empty_as(me, closing);
    }
}
/* Another queue, which has the record when that is free. What is sent there comes out there, and nothing
 * else does. `orphaned`: a receiver of it dies, and is mended by us. */
static void use_another(bool orphaned)
{
    uint32_t me = explore_self();
    struct uf_queues *queues = &seat[me].queues;
    struct uf_receiver receiver = {0};
    uint32_t handle;
    uint32_t bell;
    int status = uf_queue_open(queues, "second", &receiver.queue);
    CHECK(status == UF_OK || status == UF_NO_SLOT);
    if (status != UF_OK) {
        return;
    }
    CHECK_EQ(uf_queue_enter(queues, "second", receiver.queue, &receiver.opening), UF_OK);
    deed_of[me].second = true;
    explore_settled(6, receiver.opening, 0);
    CHECK_EQ(uf_queue_adopt_as(queues, &receiver, &handle, 1), UF_EMPTY);
    CHECK_EQ(number_take(&seat[me], SECOND, 0, &handle), UF_OK);
    CHECK_EQ(uf_queue_send_to(queues, 0, receiver.opening, 0, &handle, 1, &bell), 1);
    explore_settled(8, receiver.opening, handle);
    if (orphaned) {
        struct uf_receiver dead = {.opening = receiver.opening};
        struct uf_queue_recovery done;
        CHECK_EQ(uf_queue_take(&seat[OUTSIDER].queues, &dead, &handle, 1), 1);
        uf_queue_recover(queues, OUTSIDER + 1, &seen[me], &done);
        explore_settled(10, receiver.opening, handle);
        CHECK_EQ(uf_queue_adopt_as(queues, &receiver, &handle, 1), 1);
    } else {
        CHECK_EQ(uf_queue_take(queues, &receiver, &handle, 1), 1);
    }
    CHECK_EQ(number_of(&seat[me], handle), SECOND);
    CHECK_EQ(uf_pool_give(&seat[me].pool, handle), UF_OK);
}
static void use_second(void)
{
    use_another(false);
}
static void orphan_second(void)
{
    use_another(true);
}
static void adopt_1(void)
{
    uint32_t me = explore_self();
    struct uf_receiver receiver = {.opening = opening};
    uint32_t
        handle[2]; /* more than there are: an adopter that is too late says that some are left */
    int status = uf_queue_adopt_as(&seat[me].queues, &receiver, handle, 2);
    if (status == 1) {
        CHECK_EQ(number_of(&seat[me], handle[0]), FIRST);
        explore_settled(11, handle[0], 0);
        deed_of[me].taken++;
        CHECK_EQ(uf_pool_give(&seat[me].pool, handle[0]), UF_OK);
        return;
    }
    CHECK(status == UF_EMPTY || status == UF_DELETED);
}
static void mend_and_empty(void)
{
    uint32_t me = explore_self();
    struct uf_queue_recovery done;
    explore_inherit();
    uf_queue_recover(&seat[me].queues, explore_dead() + 1, &seen[me], &done);
    explore_settled(7, 0, 0);
    uint64_t closing = uf_queue_closing(&seat[me].queues, 0);
    if (closing != 0) {
        empty_as(me, closing);
    }
}
static void mend_and_use_second(void)
{
    mend_and_empty();
    explore_settled(9, 0, 0);
    use_second();
}

/* Each accepted message came out once; but what a dead thread was handling may have been done. */
static void finish(void)
{
    struct deed all = {0};
    uint32_t dead = explore_dead();
    uint32_t kept = 0; /* by somebody who died: accepted without an answer, or handled */
    uint64_t closing = uf_queue_closing(&seat[OUTSIDER].queues, 0);
    if (closing != 0) {
        empty_as(OUTSIDER, closing);
        CHECK_EQ(uf_queue_closing(&seat[OUTSIDER].queues, 0), 0);
    }
    uint64_t state = seat[OUTSIDER].queues.record[0].state;
    if (state == opening) {
        struct uf_receiver receiver = {.opening = opening};
        uint32_t handle;
        while (uf_queue_adopt_as(&seat[OUTSIDER].queues, &receiver, &handle, 1) == 1 ||
               uf_queue_take(&seat[OUTSIDER].queues, &receiver, &handle, 1) == 1) {
            deed_of[OUTSIDER].taken++;
            CHECK_EQ(uf_pool_give(&seat[OUTSIDER].pool, handle), UF_OK);
        }
    }
    for (uint32_t s = 0; s < SEATS; s++) {
        all.sent += deed_of[s].sent;
        all.taken += deed_of[s].taken;
        all.emptied += deed_of[s].emptied;
        reused_ever += deed_of[s].second;
        kept += s == dead;
    }
    CHECK(all.taken + all.emptied <= all.sent + kept);
    CHECK(all.taken + all.emptied + kept >= all.sent);
    late_ever += all.emptied;
    CHECK_EQ(uf_queue_length(&seat[OUTSIDER].queues, 0, 0), 0);
    blocks_are_back(0);
}
static void finish_twice(void)
{
    CHECK_EQ(deed_of[0].deleted + deed_of[1].deleted, 1);
    finish();
}
static void all_ways(void)
{
    CHECK(reused_ever > 0);
    CHECK(late_ever > 0);
    CHECK(refused_ever > 0);
}
static void emptied(void)
{
    CHECK(reused_ever > 0);
    CHECK(late_ever > 0);
}

static const struct explore_check checks[] = {
    {.name = "delete-send",
     .setup = setup_empty,
     .body = {send_1, delete_it, use_second},
     .finish = finish,
     .after = all_ways,
     .minimum = 1550,
     .usual = {1, 1},
     .deep = {2, 2}},
    {.name = "delete-send-two",
     .setup = setup_empty_2,
     .body = {send_1, delete_it, use_second},
     .finish = finish,
     .after = all_ways,
     .minimum = 23500,
     .usual = {1, 2},
     .deep = {2, 3}},
    {.name = "delete-take",
     .setup = setup_one,
     .body = {take_1, delete_it, use_second},
     .finish = finish,
     .after = emptied,
     .minimum = 1950,
     .usual = {1, 1},
     .deep = {2, 2}},
    {.name = "delete-adopt",
     .setup = setup_orphan,
     .body = {adopt_1, delete_it, orphan_second},
     .finish = finish,
     .after = emptied,
     .minimum = 1900,
     .usual = {1, 1},
     .deep = {1, 2}},
    {.name = "delete-twice",
     .setup = setup_one,
     .body = {delete_it, delete_it, send_1},
     .finish = finish_twice,
     .minimum = 850,
     .usual = {1, 1},
     .deep = {1, 2}},
    {.name = "delete-deleter-dies",
     .setup = setup_one,
     .body = {delete_it, mend_and_empty, send_1},
     .finish = finish,
     .mortal = 1,
     .mourners = 2,
     .minimum = 23000,
     .usual = {1, 1},
     .deep = {1, 2}},
    {.name = "delete-sender-dies",
     .setup = setup_empty,
     .body = {send_1, delete_it, mend_and_use_second},
     .finish = finish,
     .mortal = 1,
     .mourners = 4,
     .minimum = 12500,
     .usual = {1, 1},
     .deep = {1, 2}},
    {.name = "delete-receiver-dies",
     .setup = setup_one,
     .body = {take_1, delete_it, mend_and_use_second},
     .finish = finish,
     .mortal = 1,
     .mourners = 4,
     .minimum = 21500,
     .usual = {1, 1},
     .deep = {1, 2}},
};

int main(int argc, char **argv)
{
    return explore_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
