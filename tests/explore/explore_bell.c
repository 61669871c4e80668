/* explore_bell.c -- no wake-up is lost: a receiver that sleeps while a message stands in its ring is found
 * asleep by the explorer, for nobody is left to wake it.
 */
#include "seats.h"

#include <stdatomic.h>
#include <unistd.h>

#include "uf_bell.h"

static struct uf_ring ring;
static _Atomic uint32_t *bell;
static uint32_t received[EXPLORE_THREADS];
static uint32_t slept; /* over all executions */

static void setup(void)
{
    memset(received, 0, sizeof received);
    CHECK_EQ(uf_ring_open(&ring, explore_alloc(uf_ring_bytes(2)), 2), UF_OK);
    bell = explore_alloc(sizeof *bell);
    explore_name(ring.shared, "tail");
    explore_name(&ring.shared->head, "head");
    explore_name(ring.shared->slot, "slot");
    explore_name(bell, "bell");
    explore_keep(received, sizeof received);
    slept = 0;
}

static void send_one(int pipe)
{
    uint32_t handle = explore_self() + 1;
    CHECK_EQ(uf_ring_push(&ring, &handle, 1), 1);
    uint32_t seen = uf_bell_look(bell);
    if (uf_bell_mode_of(seen) != UF_BELL_AWAKE) {
        uf_bell_wake(bell, seen, pipe);
    }
}

/* Take what is there, then sleep, until `count` messages came. */
static void receive(uint32_t count, uint32_t mode)
{
    uint32_t me = explore_self();
    uint64_t from = 0;
    while (received[me] < count) {
        struct uf_claim claim;
        int status = uf_ring_claim(&ring, me + 1, &from, &claim);
        if (status == UF_OK) {
            uf_ring_clear(&ring, claim.position);
            received[me]++;
            continue;
        }
        CHECK_EQ(status, UF_EMPTY);
        uint32_t armed = uf_bell_arm(bell, mode);
        if (!uf_ring_is_empty(&ring)) {
            uf_bell_disarm(bell);
            continue;
        }
        slept++;
        if (mode == UF_BELL_FUTEX) {
            uf_bell_sleep(bell, armed, UF_BELL_SLICE_NS);
        } else {
            explore_poll(0);
            uf_bell_drain_pipe(explore_pipe(0));
        }
        uf_bell_disarm(bell);
    }
}

static void send_futex(void)
{
    send_one(-1);
}
static void send_pipe(void)
{
    send_one(explore_pipe(0));
}
static void receive_1_futex(void)
{
    receive(1, UF_BELL_FUTEX);
}
static void receive_2_futex(void)
{
    receive(2, UF_BELL_FUTEX);
}
static void receive_1_pipe(void)
{
    receive(1, UF_BELL_PIPE);
}
static void receive_2_pipe(void)
{
    receive(2, UF_BELL_PIPE);
}

/* A sender that died before its push sent nothing; then the receiver rightly sleeps on. */
static void receive_or_mourn(void)
{
    uint32_t me = explore_self();
    for (uint32_t slices = 0; slices < 3 && received[me] == 0; slices++) {
        uint64_t from = 0;
        struct uf_claim claim;
        if (uf_ring_claim(&ring, me + 1, &from, &claim) == UF_OK) {
            uf_ring_clear(&ring, claim.position);
            received[me]++;
            return;
        }
        uint32_t armed = uf_bell_arm(bell, UF_BELL_FUTEX);
        if (uf_ring_is_empty(&ring)) {
            slept++;
            uf_bell_sleep(bell, armed, UF_BELL_SLICE_NS);
        }
        uf_bell_disarm(bell);
    }
}

static void finish_all(void)
{
    CHECK(uf_ring_is_empty(&ring));
}
static void some_slept(void)
{
    CHECK(slept > 0);
}

/* --- a queue's own arming, with its lanes and its orphans ----------------------------------------- */

static uint32_t taken[EXPLORE_THREADS];
static uint64_t seen_blocks;

static void setup_queue(void)
{
    memset(taken, 0, sizeof taken);
    seats_pool(2, 0);
    seats_queues(1, 1);
    explore_keep(taken, sizeof taken);
    explore_keep(&seen_blocks, sizeof seen_blocks);
    slept = 0;
}
/* The dead OUTSIDER had taken a message. */
static void setup_orphan(void)
{
    struct uf_receiver receiver = {0};
    uint32_t handle;
    uint32_t word;
    setup_queue();
    CHECK_EQ(number_take(&seat[3], 1, 0, &handle), UF_OK);
    CHECK_EQ(uf_queue_send(&seat[3].queues, 0, 0, &handle, 1, &word), 1);
    CHECK_EQ(uf_queue_take(&seat[OUTSIDER].queues, &receiver, &handle, 1), 1);
}
/* The dead OUTSIDER had claimed it only. */
static void setup_claimed(void)
{
    uint32_t handle;
    uint32_t word;
    struct uf_ring lane;
    struct uf_claim claim;
    uint64_t from = 0;
    setup_queue();
    CHECK_EQ(number_take(&seat[3], 1, 0, &handle), UF_OK);
    CHECK_EQ(uf_queue_send(&seat[3].queues, 0, 0, &handle, 1, &word), 1);
    CHECK_EQ(uf_ring_open(&lane, seat[0].queues.rings, 1), UF_OK);
    CHECK_EQ(uf_ring_claim(&lane, OUTSIDER + 1, &from, &claim), UF_OK);
}
/* The dead OUTSIDER was to adopt an orphan, and had reset the hint. */
static void setup_orphan_unsaid(void)
{
    struct uf_queue_recovery done;
    setup_orphan();
    seen_blocks = 0;
    uf_queue_recover(&seat[3].queues, OUTSIDER + 1, &seen_blocks, &done);
    CHECK_EQ(done.orphaned, 1);
    seat[3].queues.record[0].orphans = 0;
}
static void ring_queue(uint32_t word)
{
    if (uf_bell_mode_of(word) != UF_BELL_AWAKE) {
        uf_bell_wake(uf_queue_bell(&my_seat()->queues, 0), word, -1);
    }
}
static void send_queue(void)
{
    uint32_t handle;
    uint32_t word;
    CHECK_EQ(number_take(my_seat(), 1, 0, &handle), UF_OK);
    CHECK_EQ(uf_queue_send(&my_seat()->queues, 0, 1, &handle, 1, &word), 1);
    ring_queue(word);
}
/* Recovery, and then every bell, as its caller must. */
static void recover_queue(void)
{
    struct uf_queue_recovery done;
    seen_blocks = 0;
    uf_queue_recover(&my_seat()->queues, OUTSIDER + 1, &seen_blocks, &done);
    ring_queue(uf_bell_look(uf_queue_bell(&my_seat()->queues, 0)));
}
static void receive_queue(void)
{
    uint32_t me = explore_self();
    struct uf_receiver receiver = {0};
    while (taken[me] == 0) {
        uint32_t handle;
        uint32_t armed;
        if (uf_queue_adopt(&my_seat()->queues, 0, &handle, 1) == 1 ||
            uf_queue_take(&my_seat()->queues, &receiver, &handle, 1) == 1) {
            CHECK_EQ(uf_pool_give(&my_seat()->pool, handle), UF_OK);
            taken[me]++;
            return;
        }
        explore_settled(1, 0, 0);
        if (uf_queue_arm(&my_seat()->queues, 0, UF_BELL_FUTEX, &armed) == UF_EMPTY) {
            slept++;
            uf_bell_sleep(uf_queue_bell(&my_seat()->queues, 0), armed, UF_BELL_SLICE_NS);
            uf_bell_disarm(uf_queue_bell(&my_seat()->queues, 0));
        }
        explore_settled(2, 0, 0);
    }
}
static void finish_queue(void)
{
    blocks_are_back(0);
}

#define BELL(title, least, begin, end, ...)                                                        \
    {.name = title,                                                                                \
     .minimum = least,                                                                             \
     .setup = begin,                                                                               \
     .finish = end,                                                                                \
     .after = some_slept,                                                                          \
     __VA_ARGS__}

static const struct explore_check checks[] = {
    BELL("bell-futex", 77, setup, finish_all, .body = {send_futex, receive_1_futex}),
    BELL("bell-futex-2-senders", 71000, setup, finish_all,
         .body = {send_futex, send_futex, receive_2_futex}, .usual = {2, 3}, .deep = {3, 3}),
    BELL("bell-pipe", 88, setup, finish_all, .body = {send_pipe, receive_1_pipe}),
    BELL("bell-pipe-2-senders", 100000, setup, finish_all,
         .body = {send_pipe, send_pipe, receive_2_pipe}, .usual = {2, 3}, .deep = {3, 3}),
    BELL("bell-sender-dies", 300, setup, finish_all, .body = {send_futex, receive_or_mourn},
         .mortal = 1, .slices = true),
    BELL("bell-queue", 330, setup_queue, finish_queue, .body = {send_queue, receive_queue},
         .usual = {3, 0}, .deep = {6, 0}),
    BELL("bell-queue-orphan", 430, setup_orphan, finish_queue,
         .body = {recover_queue, receive_queue}, .usual = {3, 0}, .deep = {6, 0}),
    BELL("bell-queue-claimed", 50, setup_claimed, finish_queue,
         .body = {recover_queue, receive_queue}, .usual = {3, 0}, .deep = {6, 0}),
    BELL("bell-queue-orphan-unsaid", 50, setup_orphan_unsaid, finish_queue,
         .body = {recover_queue, receive_queue}, .usual = {3, 0}, .deep = {6, 0}),
};

int main(int argc, char **argv)
{
    return explore_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
