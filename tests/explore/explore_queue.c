/* explore_queue.c -- queues and their recovery: no death loses a message, none doubles one, and every
 * block comes back.
 */
#include "seats.h"

#include <stdatomic.h>

#define NUMBERS 8 /* a message's number: its sender's first, plus a count */
#define TAKES 4

struct taken {
    uint32_t number;
    uint16_t flags;
    uint8_t attempt;
    bool handled; /* its block was given back, or sent on */
};

/* What a thread did; its own. */
struct log {
    uint32_t sent;
    uint32_t refused;
    uint32_t takes;
    struct taken taken[TAKES];
    struct uf_queue_recovery recovery;
};

static struct log log_of[SEATS];
static struct uf_receiver receiver_of[SEATS]; /* what it remembers from take to take counts, too */
static uint64_t seen[SEATS];
static uint32_t redelivered_ever;
static uint32_t unclaimed_ever;
static uint32_t freed_ever;

static void setup(uint32_t capacity, uint32_t blocks)
{
    memset(log_of, 0, sizeof log_of);
    memset(seen, 0, sizeof seen);
    memset(receiver_of, 0, sizeof receiver_of);
    seats_pool(blocks, 0);
    seats_queues(1, capacity);
    explore_keep(log_of, sizeof log_of);
    explore_keep(seen, sizeof seen);
    explore_keep(receiver_of, sizeof receiver_of);
    redelivered_ever = unclaimed_ever = freed_ever = 0;
}

static void send_as(uint32_t who, uint32_t number, uint16_t flags)
{
    uint32_t handle;
    uint32_t bell;
    struct log *log = &log_of[who];
    CHECK_EQ(number_take(&seat[who], number, flags, &handle), UF_OK);
    explore_settled(1, handle, number);
    int status = uf_queue_send(&seat[who].queues, 0, 0, &handle, 1, &bell);
    if (status == 1) {
        log->sent++;
        return;
    }
    CHECK_EQ(status, UF_FULL);
    CHECK_EQ(uf_pool_give(&seat[who].pool, handle), UF_OK);
    log->refused++;
}

static struct taken *note(uint32_t who, uint32_t handle)
{
    struct uf_message *message = uf_pool_block(&seat[who].pool, handle);
    struct taken *taken = &log_of[who].taken[log_of[who].takes++];
    CHECK(log_of[who].takes <= TAKES);
    taken->number = (uint32_t)number_of(&seat[who], handle);
    taken->flags = message->flags;
    taken->attempt = message->attempt;
    CHECK(taken->number < NUMBERS * SEATS);
    return taken;
}

/* Take one, and handle it. */
static bool take_as(uint32_t who)
{
    uint32_t handle;
    int status = uf_queue_take(&seat[who].queues, &receiver_of[who], &handle, 1);
    if (status == UF_EMPTY) {
        return false;
    }
    CHECK_EQ(status, 1);
    struct taken *taken = note(who, handle);
    explore_settled(2, handle, 0);
    CHECK_EQ(uf_pool_give(&seat[who].pool, handle), UF_OK);
    taken->handled = true;
    return true;
}

static bool adopt_as(uint32_t who)
{
    uint32_t handle;
    int status = uf_queue_adopt(&seat[who].queues, 0, &handle, 1);
    if (status == UF_EMPTY) {
        return false;
    }
    CHECK_EQ(status, 1);
    struct taken *taken = note(who, handle);
    CHECK((taken->flags & UF_MESSAGE_REDELIVERED) != 0 && taken->attempt > 0);
    explore_settled(3, handle, 0);
    CHECK_EQ(uf_pool_give(&seat[who].pool, handle), UF_OK);
    taken->handled = true;
    return true;
}

static void recover_as(uint32_t who, uint32_t dead)
{
    seen[who] = 0;
    uf_queue_recover(&seat[who].queues, dead + 1, &seen[who], &log_of[who].recovery);
}

static void send_1(void)
{
    send_as(explore_self(), explore_self() * NUMBERS, 0);
}
static void send_2(void)
{
    send_1();
    explore_settled(4, 0, 0);
    send_as(explore_self(), explore_self() * NUMBERS + 1, 0);
}
static void take_1(void)
{
    take_as(explore_self());
}
static void take_2(void)
{
    take_1();
    explore_settled(5, 0, 0);
    take_1();
}
/* As a relay does: what was taken is sent on to the same queue, in another lane, without a copy. */
static void take_send_on(void)
{
    uint32_t me = explore_self();
    struct uf_receiver receiver = {0};
    uint32_t handle;
    uint32_t bell;
    if (uf_queue_take(&seat[me].queues, &receiver, &handle, 1) == 1) {
        struct taken *taken = note(me, handle);
        explore_settled(6, handle, 0);
        CHECK_EQ(uf_queue_send(&seat[me].queues, 0, 1, &handle, 1, &bell), 1);
        taken->handled = true;
    }
}
static void mend(void)
{
    explore_inherit();
    recover_as(explore_self(), explore_dead());
}
/* A process takes two messages and dies; its lock passes to the recoverer, which goes on here. */
static void take_2_die_mend(void)
{
    uint32_t handles[2];
    struct uf_receiver receiver = {0};
    CHECK_EQ(uf_queue_take(&seat[OUTSIDER].queues, &receiver, handles, 2), 2);
    explore_settled(10, 0, 0);
    recover_as(explore_self(), OUTSIDER);
}
/* All that there are, oldest first. */
static void adopt_all(void)
{
    uint32_t who = explore_self();
    uint32_t handles[TAKES];
    int status = uf_queue_adopt(&seat[who].queues, 0, handles, TAKES);
    CHECK(status > 0 || status == UF_EMPTY);
    for (int i = 0; i < status; i++) {
        const struct taken *taken = note(who, handles[i]);
        CHECK((taken->flags & UF_MESSAGE_REDELIVERED) != 0 && taken->attempt == 1);
        CHECK(i == 0 || taken[-1].number < taken->number);
        CHECK_EQ(uf_pool_give(&seat[who].pool, handles[i]), UF_OK);
    }
}
static void mend_adopt_take(void)
{
    mend();
    explore_settled(7, 0, 0);
    adopt_as(explore_self());
    explore_settled(8, 0, 0);
    take_as(explore_self());
}

static const struct taken *taken_by(uint32_t who, uint32_t number, uint32_t *times)
{
    const struct taken *last = NULL;
    for (uint32_t i = 0; i < log_of[who].takes; i++) {
        if (log_of[who].taken[i].number == number) {
            last = &log_of[who].taken[i];
            (*times)++;
        }
    }
    return last;
}

/* Take all that is left, then judge every message by where it went. `relayed`: a message may be taken
 * once more after it was sent on. */
static void judge(uint32_t relayed)
{
    uint32_t dead = explore_dead();
    for (uint32_t t = 0; t < EXPLORE_THREADS; t++) {
        const struct uf_queue_recovery *did = &log_of[t].recovery;
        unclaimed_ever += did->unclaimed;
        freed_ever += did->freed;
        redelivered_ever += did->orphaned;
    }
    while (adopt_as(OUTSIDER)) {
    }
    while (take_as(OUTSIDER)) {
    }
    for (uint32_t sender = 0; sender < SEATS; sender++) {
        for (uint32_t i = 0; i < NUMBERS; i++) {
            uint32_t number = sender * NUMBERS + i;
            uint32_t times = 0;
            uint32_t dead_times = 0;
            for (uint32_t t = 0; t < SEATS; t++) {
                if (t != dead) {
                    taken_by(t, number, &times);
                }
            }
            const struct taken *last = dead < SEATS ? taken_by(dead, number, &dead_times) : NULL;
            uint32_t sent = i < log_of[sender].sent;
            if (!sent && sender == dead && times > 0) {
                sent = 1; /* it was sent, but for the answer */
            }
            CHECK(sent || times + dead_times == 0);
            if (sent && last == NULL) {
                CHECK(times == 1 || (relayed != 0 && times == 1 + relayed));
            } else if (sent && last->handled && relayed == 0) {
                CHECK_EQ(times, 0);
            } else if (sent) {
                /* Being handled when its receiver died: again, or not if that was over. */
                CHECK(times <= 1);
            }
        }
    }
    blocks_are_back(0);
    CHECK_EQ(uf_queue_length(&seat[OUTSIDER].queues, 0, 0), 0);
    CHECK_EQ(uf_queue_length(&seat[OUTSIDER].queues, 0, 1), 0);
}

static void finish(void)
{
    judge(0);
}
static void finish_relayed(void)
{
    judge(1);
}

static void both_kinds(void)
{
    CHECK(unclaimed_ever > 0);
    CHECK(redelivered_ever > 0);
}
static void some_freed(void)
{
    CHECK(freed_ever > 0);
}

static void setup_empty(void)
{
    setup(1, 2);
}
static void setup_empty_2(void)
{
    setup(2, 3);
}
static void setup_one(void)
{
    setup(1, 2);
    send_as(OUTSIDER, OUTSIDER * NUMBERS, 0);
}
static void setup_two(void)
{
    setup(2, 2);
    send_as(OUTSIDER, OUTSIDER * NUMBERS, 0);
    send_as(OUTSIDER, OUTSIDER * NUMBERS + 1, 0);
}

/* The dead OUTSIDER has claimed what stands in a ring of one; nothing else can pass it. */
static void setup_dead_claim(void)
{
    struct uf_queues *queues = &seat[OUTSIDER].queues;
    struct uf_ring ring;
    struct uf_claim claim;
    uint64_t from = 0;
    setup_one();
    CHECK_EQ(uf_ring_open(&ring, queues->rings, 1), UF_OK);
    CHECK_EQ(uf_ring_claim(&ring, OUTSIDER + 1, &from, &claim), UF_OK);
}
static void mend_take_send_take(void)
{
    recover_as(explore_self(), OUTSIDER);
    explore_settled(11, 0, 0);
    if (take_as(explore_self())) {
        send_1();
        explore_settled(12, 0, 0);
        take_1();
    }
}

/* The dead OUTSIDER had four blocks: one claimed, one claimed with its name on it, one taken, and one
 * that it was filling. Its recoverer, thread 0, may die too, and thread 1 begins again. */
static void setup_dead(void)
{
    struct uf_receiver receiver = {0};
    struct uf_queues *queues = &seat[OUTSIDER].queues;
    uint32_t handle;
    setup(4, 4);
    for (uint32_t i = 0; i < 3; i++) {
        send_as(3, 3 * NUMBERS + i, 0);
    }
    CHECK_EQ(uf_queue_take(queues, &receiver, &handle, 1), 1);
    struct uf_ring ring;
    CHECK_EQ(uf_ring_open(&ring, queues->rings, 4), UF_OK);
    struct uf_claim claim;
    uint64_t from = 0;
    CHECK_EQ(uf_ring_claim(&ring, OUTSIDER + 1, &from, &claim), UF_OK);
    struct uf_message *message = uf_pool_block(queues->pool, claim.handle);
    message->position = claim.position;
    message->owner = uf_word_as(message->owner, UF_BLOCK_TAKEN, OUTSIDER + 1, 1);
    CHECK_EQ(uf_ring_claim(&ring, OUTSIDER + 1, &from, &claim), UF_OK);
    CHECK_EQ(number_take(&seat[OUTSIDER], 0, 0, &handle), UF_OK);
}
static void mend_outsider(void)
{
    recover_as(explore_self(), OUTSIDER);
}
static void mend_both(void)
{
    explore_inherit();
    mend_outsider();
    explore_settled(9, 0, 0);
    mend();
}
/* Everything of the dead is mended, by the one or by the other. */
static void finish_dead(void)
{
    uint32_t dead = explore_dead();
    uint32_t times[3] = {0};
    for (;;) {
        if (!adopt_as(OUTSIDER) && !take_as(OUTSIDER)) {
            break;
        }
    }
    for (uint32_t t = 0; t < SEATS; t++) {
        for (uint32_t i = 0; i < log_of[t].takes; i++) {
            CHECK(log_of[t].taken[i].number / NUMBERS == 3 &&
                  log_of[t].taken[i].number % NUMBERS < 3);
            times[log_of[t].taken[i].number % NUMBERS]++;
        }
    }
    for (uint32_t i = 0; i < 3; i++) {
        CHECK_EQ(times[i], 1);
    }
    CHECK(dead == EXPLORE_THREADS || dead == 0);
    blocks_are_back(0);
}

#define QUEUE(title, least, end, ...) {.name = title, .minimum = least, .finish = end, __VA_ARGS__}

static const struct explore_check checks[] = {
    QUEUE("queue-send-take", 670, finish, .setup = setup_empty_2, .body = {send_2, take_2}),
    QUEUE("queue-two-receivers", 4200, finish, .setup = setup_two, .body = {take_1, take_2}),
    QUEUE("queue-adopt-beside-recovery", 800, finish, .setup = setup_two,
          .body = {take_2_die_mend, adopt_all}),
    QUEUE("queue-undone-and-lapped", 21000, finish, .setup = setup_dead_claim,
          .body = {mend_take_send_take, take_1}),
    QUEUE("queue-sender-dies", 4200, finish, .setup = setup_empty, .body = {send_1, take_1, mend},
          .mortal = 1, .mourners = 4, .after = some_freed),
    QUEUE("queue-receiver-dies", 9, finish, .setup = setup_one, .body = {take_1, mend_adopt_take},
          .mortal = 1, .mourners = 2, .after = both_kinds),
    QUEUE("queue-receiver-dies-beside", 26000, finish, .setup = setup_one,
          .body = {take_1, take_1, mend}, .mortal = 1, .mourners = 4, .after = both_kinds),
    QUEUE("queue-receiver-dies-sending", 24000, finish, .setup = setup_one,
          .body = {take_1, send_1, mend}, .mortal = 1, .mourners = 4, .after = both_kinds),
    QUEUE("queue-relay-dies", 9, finish_relayed, .setup = setup_one,
          .body = {take_send_on, mend_adopt_take}, .mortal = 1, .mourners = 2),
    QUEUE("queue-recoverer-dies", 21, finish_dead, .setup = setup_dead,
          .body = {mend_outsider, mend_both}, .mortal = 1, .mourners = 2),
    QUEUE("queue-recoverer-dies-beside", 20000, finish_dead, .setup = setup_dead,
          .body = {mend_outsider, mend_both, take_1}, .mortal = 1, .mourners = 2, .usual = {2, 1},
          .deep = {2, 2}),
};

int main(int argc, char **argv)
{
    return explore_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
