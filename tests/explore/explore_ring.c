/* explore_ring.c -- the ring: each message once, in its sender's order, complete; FULL and EMPTY no lies.
 *
 * Deaths of receivers, whose claims recovery undoes, are in explore_queue.c.
 */
#include <stdatomic.h>
#include <string.h>

#include "explore.h"
#include "uf_ring.h"

#define PER_THREAD 4
#define HANDLES (EXPLORE_THREADS * PER_THREAD + 1)

/* What a thread did; its own. */
struct log {
    uint32_t pushed;  /* answered OK */
    uint32_t refused; /* answered FULL */
    uint32_t claimed;
    uint32_t handle[PER_THREAD];
    uint64_t position[PER_THREAD];
    uint32_t empties;
    uint32_t known_pushed[PER_THREAD]; /* by others, when this thread was told EMPTY */
    uint32_t known_cleared;            /* when it was told FULL, at most */
};

static struct uf_ring ring;
static uint64_t *payload;        /* plain words, one a handle */
static _Atomic uint32_t *pushed; /* told by each thread after its call: a count */
static _Atomic uint32_t *cleared;
static struct log log_of[EXPLORE_THREADS];
static uint32_t fulls_seen;
static uint32_t empties_seen;
static int32_t inside; /* counted late when one comes, early when one goes: never too many */

static void setup_at(uint32_t capacity, uint64_t position)
{
    memset(log_of, 0, sizeof log_of);
    CHECK_EQ(uf_ring_open(&ring, explore_alloc(uf_ring_bytes(capacity)), capacity), UF_OK);
    uf_ring_init(&ring, position);
    payload = explore_alloc(HANDLES * sizeof *payload);
    pushed = explore_alloc(EXPLORE_THREADS * sizeof *pushed);
    cleared = explore_alloc(EXPLORE_THREADS * sizeof *cleared);
    explore_keep(log_of, sizeof log_of);
    explore_name(ring.shared, "tail");
    explore_name(&ring.shared->head, "head");
    explore_name(ring.shared->slot, "slot");
    explore_name(payload, "payload");
    explore_name(pushed, "pushed");
    explore_name(cleared, "cleared");
    explore_keep(&inside, sizeof inside);
    fulls_seen = empties_seen = 0;
    inside = 0;
}

static void setup_1(void)
{
    setup_at(1, 0);
}
static void setup_2(void)
{
    setup_at(2, 0);
}
/* Fewer at a time than there are slots. */
static void setup_limit_1(void)
{
    setup_at(2, 0);
    ring.limit = 1;
}
static void setup_limit_3(void)
{
    setup_at(4, (4ull << UF_RING_VERSION_BITS) - 2);
    ring.limit = 3;
}
/* The last lap before the versions wrap. */
static void setup_wrap_1(void)
{
    setup_at(1, (1ull << UF_RING_VERSION_BITS) - 1);
}
static void setup_wrap_2(void)
{
    setup_at(2, (2ull << UF_RING_VERSION_BITS) - 1);
}

static uint32_t told(_Atomic uint32_t *counts)
{
    uint32_t sum = 0;
    for (uint32_t t = 0; t < EXPLORE_THREADS; t++) {
        if (t != explore_self()) {
            sum += atomic_load_explicit(&counts[t], memory_order_acquire);
        }
    }
    return sum;
}

static uint64_t text_of(uint32_t handle)
{
    return handle * 0x0101010101010101ull;
}

static void send(uint32_t count, bool ask)
{
    uint32_t me = explore_self();
    struct log *log = &log_of[me];
    for (uint32_t i = 0; i < count; i++) {
        uint32_t handle = me * PER_THREAD + i + 1;
        payload[handle] = text_of(handle);
        uint32_t known = ask ? told(cleared) : 0;
        int status = uf_ring_push(&ring, &handle, 1);
        if (status == UF_FULL) {
            log->refused++;
            log->known_cleared = known;
            return; /* a refused message ends the sender, so that its order is easy to judge */
        }
        CHECK_EQ(status, 1);
        log->pushed++;
        inside++;
        CHECK(inside <= (int32_t)(ring.limit != 0 ? ring.limit : ring.capacity));
        if (ask) {
            atomic_store_explicit(&pushed[me], i + 1, memory_order_release);
        }
        explore_settled(1, i, 0);
    }
}

static void send_two_at_once(void)
{
    uint32_t me = explore_self();
    uint32_t handles[2] = {me * PER_THREAD + 1, me * PER_THREAD + 2};
    payload[handles[0]] = text_of(handles[0]);
    payload[handles[1]] = text_of(handles[1]);
    int status = uf_ring_push(&ring, handles, 2);
    CHECK(status == UF_FULL || status == 1 || status == 2);
    log_of[me].pushed = status > 0 ? (uint32_t)status : 0;
    log_of[me].refused = status < 2;
}

static void receive(uint32_t tries, bool ask)
{
    uint32_t me = explore_self();
    struct log *log = &log_of[me];
    uint64_t from = 0;
    for (uint32_t i = 0; i < tries; i++) {
        struct uf_claim claim;
        uint32_t known = ask ? told(pushed) : 0;
        int status = uf_ring_claim(&ring, me + 1, &from, &claim);
        if (status == UF_EMPTY) {
            log->known_pushed[log->empties++] = known;
            explore_settled(2, i, from);
            continue;
        }
        CHECK_EQ(status, UF_OK);
        CHECK(claim.handle > 0 && claim.handle < HANDLES);
        CHECK_EQ(payload[claim.handle], text_of(claim.handle));
        log->handle[log->claimed] = claim.handle;
        log->position[log->claimed++] = claim.position;
        inside--;
        uf_ring_clear(&ring, claim.position);
        if (ask) {
            atomic_store_explicit(&cleared[me], log->claimed, memory_order_release);
        }
        explore_settled(2, i, from);
    }
    if (from != 0) {
        uf_ring_advance(&ring, from);
    }
}

static void send_1(void)
{
    send(1, false);
}
static void send_2(void)
{
    send(2, false);
}
static void send_3(void)
{
    send(3, false);
}
static void receive_1(void)
{
    receive(1, false);
}
static void receive_2(void)
{
    receive(2, false);
}
static void receive_3(void)
{
    receive(3, false);
}
static void honest_send_1(void)
{
    send(1, true);
}
static void honest_send_2(void)
{
    send(2, true);
}
static void honest_receive_1(void)
{
    receive(1, true);
}
static void honest_receive_2(void)
{
    receive(2, true);
}

/* Empty the ring, then judge all that was claimed by its place in the ring. */
static void finish(void)
{
    uint32_t times[HANDLES] = {0};
    uint64_t place[HANDLES] = {0};
    uint32_t claimed = 0;
    uint32_t sent = 0;
    uint32_t left = 0;
    uint32_t length = uf_ring_length(&ring);
    for (uint32_t t = 0; t < EXPLORE_THREADS; t++) {
        sent += log_of[t].pushed;
        for (uint32_t i = 0; i < log_of[t].claimed; i++, claimed++) {
            times[log_of[t].handle[i]]++;
            place[log_of[t].handle[i]] = log_of[t].position[i];
        }
    }
    struct uf_claim claim;
    for (uint64_t from = 0; uf_ring_claim(&ring, 1000, &from, &claim) == UF_OK; left++) {
        CHECK(claim.handle > 0 && claim.handle < HANDLES && left < HANDLES);
        times[claim.handle]++;
        place[claim.handle] = claim.position;
        uf_ring_clear(&ring, claim.position);
    }
    CHECK_EQ(length, left);
    CHECK(uf_ring_is_empty(&ring));
    for (uint32_t t = 0; t < EXPLORE_THREADS; t++) {
        uint32_t first = t * PER_THREAD + 1;
        for (uint32_t i = 0; i < PER_THREAD; i++) {
            bool dying = explore_dead() == t && i == log_of[t].pushed;
            CHECK(times[first + i] == (i < log_of[t].pushed) ||
                  (dying && times[first + i] == 1)); /* each once, and no refused one */
            CHECK(i == 0 || times[first + i] == 0 || place[first + i] > place[first + i - 1]);
        }
        fulls_seen += log_of[t].refused;
        empties_seen += log_of[t].empties;
        for (uint32_t i = 0; i < log_of[t].empties; i++) {
            CHECK(log_of[t].known_pushed[i] <= claimed); /* the others took them all */
        }
        if (log_of[t].refused && explore_dead() == EXPLORE_THREADS) {
            CHECK(sent - log_of[t].known_cleared >= (ring.limit != 0 ? ring.limit : ring.capacity));
        }
    }
}

/* Both messages have room, wherever the hints are. */
static void finish_room(void)
{
    CHECK_EQ(log_of[0].refused + log_of[1].refused, 0);
    finish();
}

static void both_answers(void)
{
    CHECK(fulls_seen > 0);
    CHECK(empties_seen > 0);
}

#define RING(title, least, ...) {.name = title, .finish = finish, .minimum = least, __VA_ARGS__}

static const struct explore_check checks[] = {
    RING("ring-1x1", 260, .setup = setup_2, .body = {send_3, receive_3}, .after = both_answers),
    RING("ring-2x1-capacity-1", 2100, .setup = setup_1, .body = {send_1, send_1, receive_2},
         .after = both_answers),
    RING("ring-2x1-capacity-2", 34000, .setup = setup_2, .body = {send_2, send_1, receive_3},
         .after = both_answers),
    RING("ring-1x2-capacity-1", 2100, .setup = setup_1, .body = {send_2, receive_1, receive_1},
         .after = both_answers),
    RING("ring-1x2-capacity-2", 22000, .setup = setup_2, .body = {send_3, receive_2, receive_1},
         .after = both_answers),
    RING("ring-wrap-capacity-1", 2100, .setup = setup_wrap_1,
         .body = {send_2, receive_1, receive_1}),
    RING("ring-wrap-capacity-2", 19000, .setup = setup_wrap_2, .body = {send_2, send_1, receive_2}),
    RING("ring-laps", 80000, .setup = setup_1, .body = {send_3, receive_3, receive_1}),
    RING("ring-batch", 15000, .setup = setup_2, .body = {send_two_at_once, send_1, receive_2}),
    RING("ring-honest-2x1", 13000, .setup = setup_1,
         .body = {honest_send_1, honest_send_1, honest_receive_2}),
    RING("ring-honest-1x2", 26000, .setup = setup_1,
         .body = {honest_send_2, honest_receive_1, honest_receive_1}),
    RING("ring-passing", 16000, .setup = setup_2,
         .body = {honest_send_2, honest_receive_1, honest_receive_1}),
    RING("ring-limit-1", 68000, .setup = setup_limit_1, .body = {send_2, send_1, receive_2},
         .after = both_answers),
    RING("ring-limit-3", 250000, .setup = setup_limit_3, .body = {send_2, send_2, receive_2}),
    RING("ring-limit-honest", 59000, .setup = setup_limit_1,
         .body = {honest_send_2, honest_send_1, honest_receive_1}),
    {.name = "ring-room",
     .setup = setup_2,
     .body = {send_1, send_1},
     .finish = finish_room,
     .minimum = 21},
    RING("ring-sender-dies", 90000, .setup = setup_2, .body = {send_1, send_2, receive_2},
         .mortal = 1),
    RING("ring-two-senders-die", 150000, .setup = setup_1, .body = {send_2, send_1, receive_2},
         .mortal = 3),
};

int main(int argc, char **argv)
{
    return explore_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
