/* test_queue.c -- names, lanes and their shares, and what a taker owns. */
#include "arena.h"
#include "deaths.h"

static struct arena arena;
static uint64_t seed;
static const struct arena_sizes usual = {
    .owners = 16, .queues = 4, .capacity = 64, .classes = 1, .class = {{128, 600}}};

static void send_one(struct seat *seat, uint32_t queue, uint32_t lane, uint64_t number)
{
    uint32_t bell;
    CHECK_EQ(number_send(seat, queue, lane, number, 0, &bell), UF_OK);
}

/* --- names ------------------------------------------------------------------------------------ */

static void names(void)
{
    struct seat seat;
    uint32_t index;
    uint32_t again;
    uint64_t cases = 0;
    char long_name[UF_NAME_BYTES + 1];
    char name[32];
    arena_open(&arena, &usual);
    seat_take(&seat, &arena);
    CHECK_EQ(uf_queue_find(&seat.queues, "a", &index), UF_MISSING);
    for (uint32_t i = 0; i < 4; i++, cases++) {
        snprintf(name, sizeof name, "queue %u", i);
        CHECK_EQ(uf_queue_open(&seat.queues, name, &index), UF_OK);
        CHECK_EQ(index, i);
        CHECK_EQ(uf_queue_open(&seat.queues, name, &again), UF_OK);
        CHECK_EQ(again, i);
        CHECK_EQ(uf_queue_find(&seat.queues, name, &again), UF_OK);
        CHECK_EQ(again, i);
        CHECK_EQ(strcmp(uf_queue_name(&seat.queues, i), name), 0);
    }
    CHECK_EQ(uf_queue_open(&seat.queues, "one more", &index), UF_NO_SLOT);
    CHECK_EQ(uf_queue_close(&seat.queues, 2), UF_OK);
    CHECK_EQ(uf_queue_close(&seat.queues, 2), UF_MISSING);
    CHECK_EQ(uf_queue_find(&seat.queues, "queue 2", &index), UF_MISSING);
    CHECK(uf_queue_name(&seat.queues, 2) == NULL);
    CHECK_EQ(uf_queue_open(&seat.queues, "one more", &index), UF_OK);
    CHECK_EQ(index, 2);
    memset(long_name, 'x', sizeof long_name);
    long_name[UF_NAME_BYTES] = '\0';
    CHECK_EQ(uf_queue_open(&seat.queues, long_name, &index), UF_INVALID);
    long_name[UF_NAME_BYTES - 1] = '\0';
    CHECK_EQ(uf_queue_close(&seat.queues, 0), UF_OK);
    CHECK_EQ(uf_queue_open(&seat.queues, long_name, &index), UF_OK);
    CHECK_EQ(uf_queue_find(&seat.queues, long_name, &again), UF_OK);
    CHECK_EQ(again, index);
    CHECK_EQ(uf_queue_open(&seat.queues, "", &index), UF_INVALID);
    uint32_t handle = 1;
    uint32_t bell;
    CHECK_EQ(uf_queue_send(&seat.queues, 4, 0, &handle, 1, &bell), UF_INVALID);
    CHECK_EQ(uf_queue_send(&seat.queues, 0, UF_LANES, &handle, 1, &bell), UF_INVALID);
    CHECK_EQ(uf_queue_close(&seat.queues, 4), UF_INVALID);
    CHECK(uf_queue_name(&seat.queues, 4) == NULL);
    CHECK(uf_queue_bell(&seat.queues, 4) == NULL);
    seat_leave(&seat);
    arena_close(&arena);
    explored("names opened, found and closed", cases + 8);
}

#define OPENERS 6
static pthread_barrier_t openers;
static uint32_t opened[OPENERS];
static _Atomic uint32_t opener_number;

static void *open_the_same(void *rounds)
{
    struct seat seat;
    uint32_t number = atomic_fetch_add(&opener_number, 1);
    seat_take(&seat, &arena);
    for (uintptr_t round = 0; round < (uintptr_t)rounds; round++) {
        char name[32];
        uint32_t other;
        snprintf(name, sizeof name, "shared %u", (unsigned)round);
        pthread_barrier_wait(&openers);
        CHECK_EQ(uf_queue_open(&seat.queues, name, &opened[number]), UF_OK);
        pthread_barrier_wait(&openers);
        for (uint32_t i = 0; i < OPENERS; i++) {
            CHECK_EQ(opened[i], opened[number]); /* one name, one queue */
        }
        for (uint32_t i = 0; i < seat.queues.count; i++) {
            const char *there = uf_queue_name(&seat.queues, i);
            CHECK((there != NULL && strcmp(there, name) == 0) == (i == opened[number]));
            uint64_t phase = seat.queues.record[i].state & 0xff;
            CHECK_EQ(phase, i == opened[number] ? UF_QUEUE_OPEN : UF_QUEUE_FREE);
        }
        pthread_barrier_wait(&openers);
        if (number == round % OPENERS) {
            CHECK_EQ(uf_queue_close(&seat.queues, opened[number]), UF_OK);
        } else {
            int found = uf_queue_find(&seat.queues, name, &other);
            CHECK(found == UF_MISSING || (found == UF_OK && other == opened[number]));
        }
    }
    seat_leave(&seat);
    return NULL;
}

static void one_queue_for_one_name(void)
{
    struct team team = {0};
    struct arena_sizes sizes = usual;
    sizes.queues = OPENERS + 2; /* an opener that steps back needs a record for a moment */
    arena_open(&arena, &sizes);
    pthread_barrier_init(&openers, NULL, OPENERS);
    uf_step_hook = yield_at_marks;
    uintptr_t rounds = 2000 / SLOWER;
    for (int i = 0; i < OPENERS; i++) {
        team_add(&team, open_the_same, (void *)rounds);
    }
    team_join(&team);
    uf_step_hook = NULL;
    pthread_barrier_destroy(&openers);
    arena_close(&arena);
    explored("names opened by six threads at once", rounds);
}

/* --- lanes ------------------------------------------------------------------------------------ */

static void urgent_lanes_first(void)
{
    struct seat seat;
    struct uf_receiver receiver = {0};
    uint32_t handles[64];
    uint64_t cases = 0;
    arena_open(&arena, &usual);
    seat_take(&seat, &arena);
    for (uint32_t lane = UF_LANES; lane-- > 0;) {
        for (uint64_t i = 0; i < 3; i++) {
            send_one(&seat, 0, lane, lane * 10 + i);
        }
        CHECK_EQ(uf_queue_length(&seat.queues, 0, lane), 3);
    }
    CHECK_EQ(uf_queue_take(&seat.queues, &receiver, handles, 64), 12);
    for (uint32_t i = 0; i < 12; i++, cases++) {
        const struct uf_message *message = uf_pool_block(&seat.pool, handles[i]);
        CHECK_EQ(number_of(&seat.pool, handles[i]), i / 3 * 10 + i % 3);
        CHECK_EQ(message->lane, i / 3);
        CHECK_EQ(message->position, i % 3);
        uint64_t word = message->owner;
        CHECK_EQ(uf_word_state(word), UF_BLOCK_TAKEN);
        CHECK_EQ(uf_word_owner(word), seat.me);
        CHECK_EQ(uf_word_place(word), 1);
        CHECK_EQ(uf_pool_give(&seat.pool, handles[i]), UF_OK);
    }
    CHECK_EQ(uf_queue_take(&seat.queues, &receiver, handles, 64), UF_EMPTY);
    CHECK_EQ(uf_queue_adopt(&seat.queues, 0, handles, 64), UF_EMPTY);
    receiver.queue = 4;
    CHECK_EQ(uf_queue_take(&seat.queues, &receiver, handles, 64), UF_INVALID);
    seat_leave(&seat);
    arena_close(&arena);
    explored("messages of four lanes in order", cases);
}

/* In every UF_LANE_SHARE takes running, each lane that had messages throughout is there. */
static void low_lanes_get_their_share(void)
{
    struct seat seat;
    uint32_t handles[32];
    uint64_t cases = 0;
    arena_open(&arena, &usual);
    seat_take(&seat, &arena);
    for (uint32_t lanes = 1; lanes < 1u << UF_LANES; lanes++) { /* which lanes have messages */
        for (uint32_t batch = 1; batch <= 32; batch = batch * 2 + 1) {
            struct uf_receiver receiver = {0};
            uint32_t since[UF_LANES] = {0};
            uint32_t urgent = 0;
            for (uint32_t taken = 0; taken < 500;) {
                for (uint32_t lane = 0; lane < UF_LANES; lane++) {
                    while ((lanes >> lane & 1) != 0 &&
                           uf_queue_length(&seat.queues, 0, lane) < 40) {
                        send_one(&seat, 0, lane, 0);
                    }
                }
                int got = uf_queue_take(&seat.queues, &receiver, handles, batch);
                CHECK_EQ(got, batch);
                for (int i = 0; i < got; i++, taken++, cases++) {
                    const struct uf_message *message = uf_pool_block(&seat.pool, handles[i]);
                    CHECK((lanes >> message->lane & 1) != 0);
                    urgent += (lanes & ((1u << message->lane) - 1)) == 0;
                    since[message->lane] = 0;
                    for (uint32_t lane = 0; lane < UF_LANES; lane++) {
                        if ((lanes >> lane & 1) != 0 && lane != message->lane) {
                            CHECK(++since[lane] < UF_LANE_SHARE);
                        }
                    }
                    CHECK_EQ(uf_pool_give(&seat.pool, handles[i]), UF_OK);
                }
            }
            CHECK(urgent > 500 * 3 / 4); /* and most go to the most urgent */
            struct uf_receiver drain = {0};
            int got;
            while ((got = uf_queue_take(&seat.queues, &drain, handles, 32)) > 0) {
                for (int i = 0; i < got; i++) {
                    CHECK_EQ(uf_pool_give(&seat.pool, handles[i]), UF_OK);
                }
            }
        }
    }
    uf_pool_flush(&seat.pool);
    CHECK_EQ(blocks_free(&seat.pool), blocks_all(&seat.pool));
    seat_leave(&seat);
    arena_close(&arena);
    explored("takes that kept every lane's share", cases);
}

static void full_and_damaged(void)
{
    struct seat seat;
    struct uf_receiver receiver = {0};
    uint32_t handles[100];
    uint32_t bell;
    arena_open(&arena, &usual);
    seat_take(&seat, &arena);
    for (uint32_t i = 0; i < 100; i++) {
        CHECK_EQ(uf_pool_take(&seat.pool, 8, &handles[i]), UF_OK);
    }
    CHECK_EQ(uf_queue_send(&seat.queues, 0, 1, handles, 100, &bell), 64);
    CHECK_EQ(uf_queue_send(&seat.queues, 0, 1, handles + 64, 36, &bell), UF_FULL);
    CHECK_EQ(uf_queue_send(&seat.queues, 0, 2, handles + 64, 36, &bell), 36); /* another lane */
    uint64_t given = 0;
    int got;
    while ((got = uf_queue_take(&seat.queues, &receiver, handles, 7)) > 0) {
        for (int i = 0; i < got; i++, given++) {
            CHECK_EQ(uf_pool_give(&seat.pool, handles[i]), UF_OK);
        }
    }
    CHECK_EQ(given, 100);
    /* Handles that name no block are counted and passed over. */
    for (uint32_t i = 0; i < 20; i++) {
        handles[i] = uf_handle(11, i);
    }
    CHECK_EQ(uf_queue_send(&seat.queues, 0, 0, handles, 20, &bell), 20);
    send_one(&seat, 0, 0, 99);
    for (int tries = 0; tries < 4 && got != 1; tries++) {
        got = uf_queue_take(&seat.queues, &receiver, handles, 1);
        CHECK(got == 1 || got == UF_BUSY || got == UF_EMPTY);
    }
    CHECK_EQ(got, 1);
    CHECK_EQ(number_of(&seat.pool, handles[0]), 99);
    CHECK_EQ(seat.queues.record[0].lost, 20);
    CHECK_EQ(uf_pool_give(&seat.pool, handles[0]), UF_OK);
    seat_leave(&seat);
    arena_close(&arena);
    explored("messages through a full lane, and past damaged slots", given + 1);
}

/* --- what a dead receiver had ------------------------------------------------------------------ */

static void take_and_die(void *count)
{
    struct seat seat;
    struct uf_receiver receiver = {0};
    uint32_t handles[64];
    seat_take(&seat, &arena);
    death_note->words[0] = seat.self.slot;
    CHECK_EQ(uf_queue_take(&seat.queues, &receiver, handles, *(uint32_t *)count),
             *(uint32_t *)count);
    strcpy(death_note->label, "taken");
    raise(SIGKILL);
}

static void orphans_come_first_and_in_order(void)
{
    struct seat seat;
    struct uf_receiver receiver = {0};
    struct uf_queue_recovery done;
    uint32_t handles[64];
    uint64_t cases = 0;
    arena_open(&arena, &usual);
    seat_take(&seat, &arena);
    for (uint32_t max = 1; max <= 40; max++) {
        uint32_t bell;
        for (uint64_t i = 0; i < 30; i++) {
            /* Lanes 1 and 3, some of them at most once. */
            uint16_t flags = i % 5 == 4 ? UF_MESSAGE_ONCE : 0;
            CHECK_EQ(number_send(&seat, 0, i % 2 == 0 ? 1 : 3, i, flags, &bell), UF_OK);
        }
        uint32_t taken = 20;
        CHECK(death_at(0, take_and_die, &taken));
        CHECK(seat_mend(&seat, (uint32_t)death_note->words[0], &done));
        CHECK_EQ(done.unclaimed, 0);
        CHECK_EQ(done.orphaned + done.dropped, 20);
        CHECK(done.dropped >= 3);
        CHECK(uf_queue_has_orphans(&seat.queues, 0));
        CHECK(!uf_queue_has_orphans(&seat.queues, 1));
        uint64_t last = 0;
        uint32_t adopted = 0;
        int got;
        while ((got = uf_queue_adopt(&seat.queues, 0, handles, max)) > 0) {
            CHECK(got <= (int)max);
            for (int i = 0; i < got; i++, adopted++, cases++) {
                const struct uf_message *message = uf_pool_block(&seat.pool, handles[i]);
                uint64_t age = (uint64_t)message->lane << 32 | (message->position + 1);
                CHECK(age > last); /* by lane, then as they stood in the ring */
                last = age;
                CHECK((message->flags & UF_MESSAGE_REDELIVERED) != 0);
                CHECK_EQ(message->attempt, 1);
                CHECK(number_of(&seat.pool, handles[i]) % 5 != 4);
                CHECK_EQ(uf_pool_give(&seat.pool, handles[i]), UF_OK);
            }
        }
        CHECK_EQ(got, UF_EMPTY);
        CHECK_EQ(adopted, done.orphaned);
        uint32_t rest = 0;
        while ((got = uf_queue_take(&seat.queues, &receiver, handles, 64)) > 0) {
            for (int i = 0; i < got; i++, rest++) {
                const struct uf_message *message = uf_pool_block(&seat.pool, handles[i]);
                CHECK((message->flags & UF_MESSAGE_REDELIVERED) == 0);
                CHECK_EQ(uf_pool_give(&seat.pool, handles[i]), UF_OK);
            }
        }
        CHECK_EQ(rest, 10);
        uf_pool_flush(&seat.pool);
        CHECK_EQ(blocks_free(&seat.pool), blocks_all(&seat.pool));
    }
    seat_leave(&seat);
    arena_close(&arena);
    explored("orphans adopted, oldest first", cases);
}

/* --- many ------------------------------------------------------------------------------------- */

#define SENDERS 3u
#define EACH (12000u / SLOWER)

struct crowd {
    _Atomic uint32_t numbers;
    _Atomic uint64_t received;
    _Atomic uint8_t seen[SENDERS * EACH];
    uint32_t receivers;
};

static void *crowd_sender(void *argument)
{
    struct crowd *crowd = argument;
    struct seat seat;
    uint32_t number = atomic_fetch_add(&crowd->numbers, 1);
    uint64_t random = seed + number;
    seat_take(&seat, &arena);
    for (uint32_t i = 0; i < EACH;) {
        uint32_t bell;
        uint32_t lane = (uint32_t)next_random(&random) % UF_LANES;
        int status = number_send(&seat, 0, lane, number * EACH + i, 0, &bell);
        if (status != UF_OK) {
            CHECK(status == UF_FULL || status == UF_BUSY || status == UF_NO_BLOCK);
            sched_yield();
            continue;
        }
        i++;
        if (uf_bell_mode_of(bell) != UF_BELL_AWAKE) {
            uf_bell_wake(uf_queue_bell(&seat.queues, 0), bell, -1);
        }
    }
    seat_leave(&seat);
    return NULL;
}

static void *crowd_receiver(void *argument)
{
    struct crowd *crowd = argument;
    struct uf_receiver receiver = {0};
    struct seat seat;
    uint32_t handles[16];
    uint64_t next[SENDERS][UF_LANES] = {{0}};
    seat_take(&seat, &arena);
    while (atomic_load(&crowd->received) < SENDERS * EACH) {
        int got = uf_queue_take(&seat.queues, &receiver, handles, 16);
        if (got < 0) {
            uint32_t armed;
            CHECK(got == UF_EMPTY || got == UF_BUSY);
            if (uf_queue_arm(&seat.queues, 0, UF_BELL_FUTEX, &armed) == UF_EMPTY) {
                uf_bell_sleep(uf_queue_bell(&seat.queues, 0), armed, 1000000);
            }
            continue;
        }
        for (int i = 0; i < got; i++) {
            const struct uf_message *message = uf_pool_block(&seat.pool, handles[i]);
            uint64_t number = number_of(&seat.pool, handles[i]);
            CHECK_EQ(atomic_fetch_add(&crowd->seen[number], 1), 0);
            if (crowd->receivers == 1) {
                CHECK(number + 1 > next[number / EACH][message->lane]);
                next[number / EACH][message->lane] = number + 1;
            }
            CHECK_EQ(uf_pool_give(&seat.pool, handles[i]), UF_OK);
            atomic_fetch_add(&crowd->received, 1);
        }
    }
    seat_leave(&seat);
    return NULL;
}

static void each_message_once(uint32_t receivers)
{
    static const uint32_t capacities[] = {1, 4, 64};
    uint64_t messages = 0;
    char what[80];
    struct crowd *crowd = malloc(sizeof *crowd);
    CHECK(crowd != NULL);
    uf_step_hook = yield_at_marks;
    for (size_t c = 0; c < sizeof capacities / sizeof *capacities; c++) {
        struct team team = {0};
        struct seat seat;
        const struct arena_sizes sizes = {.owners = 16,
                                          .queues = 1,
                                          .capacity = capacities[c],
                                          .classes = 1,
                                          .class = {{128, 70}}};
        memset(crowd, 0, sizeof *crowd);
        crowd->receivers = receivers;
        arena_open(&arena, &sizes);
        for (uint32_t i = 0; i < SENDERS; i++) {
            team_add(&team, crowd_sender, crowd);
        }
        for (uint32_t i = 0; i < receivers; i++) {
            team_add(&team, crowd_receiver, crowd);
        }
        team_join(&team);
        seat_take(&seat, &arena);
        CHECK_EQ(blocks_free(&seat.pool), 70);
        CHECK_EQ(blocks_findable(&seat.pool), 70);
        seat_leave(&seat);
        arena_close(&arena);
        messages += crowd->received;
    }
    uf_step_hook = NULL;
    free(crowd);
    snprintf(what, sizeof what, "messages, each once, 3 senders, %u receivers, 4 lanes", receivers);
    explored(what, messages);
}

int main(void)
{
    watchdog(100);
    seed = test_seed();
    deaths_open();
    names();
    urgent_lanes_first();
    low_lanes_get_their_share();
    full_and_damaged();
    orphans_come_first_and_in_order();
    one_queue_for_one_name();
    each_message_once(1);
    each_message_once(2);
    return 0;
}
