/* test_queue_deaths.c -- senders, receivers, adopters, openers and recoverers killed at every mark: each
 * accepted message is delivered, none twice without saying so, and every block comes back.
 */
#include "arena.h"
#include "deaths.h"

#define MESSAGES 6u

static struct arena arena;
static struct seat parent;
static struct death_tally first;  /* of those who worked    */
static struct death_tally second; /* of those who mended it */

/* What the children write into the note; slot 0 is for their process slot. */
enum { NOTE_ACCEPTED = 1, NOTE_GOT = 2, NOTE_GIVING = 3, NOTE_GIVEN = 4 };

static const struct arena_sizes sizes = {
    .owners = 6, .queues = 2, .capacity = 4, .classes = 2, .class = {{128, 12}, {256, 40}}};

static void note(int word, uint64_t number)
{
    death_note->words[word] |= 1ull << number;
}

/* --- what is done by those who die ------------------------------------------------------------- */

static void sending(void *unused)
{
    struct seat seat;
    uint32_t handles[MESSAGES];
    uint32_t bell;
    (void)unused;
    seat_take(&seat, &arena);
    for (uint32_t i = 0; i < 2; i++) {
        if (number_send(&seat, 0, 1, i, 0, &bell) == UF_OK) {
            note(NOTE_ACCEPTED, i);
        }
    }
    for (uint32_t i = 2; i < MESSAGES; i++) { /* a batch that is too large by two */
        CHECK_EQ(uf_pool_take(&seat.pool, 150, &handles[i]), UF_OK);
        struct uf_message *message = uf_pool_block(&seat.pool, handles[i]);
        message->flags = 0;
        message->attempt = 0;
        number_put(&seat.pool, handles[i], i);
    }
    int sent = uf_queue_send(&seat.queues, 0, 1, handles + 2, MESSAGES - 2, &bell);
    CHECK_EQ(sent, 2);
    note(NOTE_ACCEPTED, 2);
    note(NOTE_ACCEPTED, 3);
    CHECK_EQ(uf_pool_give(&seat.pool, handles[4]), UF_OK);
    CHECK_EQ(uf_pool_give(&seat.pool, handles[5]), UF_OK);
    seat_leave(&seat);
}

static void giving(struct seat *seat, uint32_t handle)
{
    uint64_t number = number_of(&seat->pool, handle);
    note(NOTE_GIVING, number);
    CHECK_EQ(uf_pool_give(&seat->pool, handle), UF_OK);
    note(NOTE_GIVEN, number);
}

static void receiving(void *unused)
{
    struct seat seat;
    struct uf_receiver receiver = {0};
    uint32_t handles[MESSAGES];
    int got;
    (void)unused;
    seat_take(&seat, &arena);
    while ((got = uf_queue_take(&seat.queues, &receiver, handles, 2)) > 0) {
        for (int i = 0; i < got; i++) {
            note(NOTE_GOT, number_of(&seat.pool, handles[i]));
        }
        for (int i = 0; i < got; i++) {
            giving(&seat, handles[i]);
        }
    }
    seat_leave(&seat);
}

static void adopting(void *unused)
{
    struct seat seat;
    uint32_t handles[MESSAGES];
    int got;
    (void)unused;
    seat_take(&seat, &arena);
    while ((got = uf_queue_adopt(&seat.queues, 0, handles, 2)) > 0) {
        for (int i = 0; i < got; i++) {
            note(NOTE_GOT, number_of(&seat.pool, handles[i]));
        }
        for (int i = 0; i < got; i++) {
            giving(&seat, handles[i]);
        }
    }
    seat_leave(&seat);
}

/* Takes from queue 0 and sends the same blocks on to queue 1, as for dead letters. */
static void sending_on(void *unused)
{
    struct seat seat;
    struct uf_receiver receiver = {0};
    uint32_t handle;
    uint32_t bell;
    (void)unused;
    seat_take(&seat, &arena);
    while (uf_queue_take(&seat.queues, &receiver, &handle, 1) == 1) {
        CHECK_EQ(uf_queue_send(&seat.queues, 1, 1, &handle, 1, &bell), 1);
    }
    seat_leave(&seat);
}

static void opening(void *unused)
{
    struct seat seat;
    uint32_t index;
    (void)unused;
    seat_take(&seat, &arena);
    CHECK_EQ(uf_queue_open(&seat.queues, "opened by the dying", &index), UF_OK);
    seat_leave(&seat);
}

static uint64_t deleted; /* the opening of the queue that is deleted */

/* Take all that is in a deleted queue, what its dead receivers had first, and free its record. */
static uint64_t emptying(struct seat *seat, uint64_t closing)
{
    struct uf_receiver receiver = {.opening = closing};
    uint64_t numbers = 0;
    uint32_t handle;
    while (uf_queue_adopt_as(&seat->queues, &receiver, &handle, 1) == 1 ||
           uf_queue_take(&seat->queues, &receiver, &handle, 1) == 1) {
        numbers |= 1ull << number_of(&seat->pool, handle);
        giving(seat, handle);
    }
    CHECK_EQ(uf_queue_retire(&seat->queues, 0, closing), UF_OK);
    return numbers;
}

static void deleting(void *unused)
{
    struct seat seat;
    uint64_t closing;
    (void)unused;
    seat_take(&seat, &arena);
    CHECK_EQ(uf_queue_delete(&seat.queues, 0, deleted, &closing), UF_OK);
    emptying(&seat, closing);
    seat_leave(&seat);
}

static void taking_all(void *unused)
{
    struct seat seat;
    struct uf_receiver receiver = {0};
    uint32_t handles[MESSAGES];
    (void)unused;
    seat_take(&seat, &arena);
    uf_queue_take(&seat.queues, &receiver, handles, MESSAGES);
    strcpy(death_note->label, "holding");
    raise(SIGKILL);
}

static void mending(void *unused)
{
    struct seat seat;
    struct uf_queue_recovery done;
    (void)unused;
    seat_take(&seat, &arena);
    for (uint32_t slot = 0; slot < seat.self.count; slot++) {
        seat_mend(&seat, slot, &done);
    }
    seat_leave(&seat);
}

/* --- what is checked after each death ---------------------------------------------------------- */

static void mend_all(void)
{
    struct uf_queue_recovery done;
    for (uint32_t slot = 0; slot < parent.self.count; slot++) {
        seat_mend(&parent, slot, &done);
    }
}

struct delivered {
    uint64_t numbers;
    uint64_t redelivered;
};

/* Take what is in a queue, orphans first. Everything comes once, and each part in order. */
static struct delivered drain(uint32_t queue)
{
    struct delivered delivered = {0};
    struct uf_receiver receiver = {.queue = queue};
    uint32_t handles[MESSAGES];
    uint64_t next = 0;
    int got;
    bool adopting_now = true;
    for (;;) {
        got = adopting_now ? uf_queue_adopt(&parent.queues, queue, handles, 2)
                           : uf_queue_take(&parent.queues, &receiver, handles, 3);
        if (got < 0) {
            CHECK_EQ(got, UF_EMPTY);
            if (!adopting_now) {
                break;
            }
            adopting_now = false;
            continue;
        }
        for (int i = 0; i < got; i++) {
            const struct uf_message *message = uf_pool_block(&parent.pool, handles[i]);
            uint64_t number = number_of(&parent.pool, handles[i]);
            CHECK((delivered.numbers >> number & 1) == 0);
            delivered.numbers |= 1ull << number;
            bool again = (message->flags & UF_MESSAGE_REDELIVERED) != 0;
            delivered.redelivered |= (uint64_t)again << number;
            CHECK_EQ(again, adopting_now);
            CHECK(message->attempt >= again);
            CHECK(number >= next); /* P4: what a dead receiver had comes before what it had not */
            next = number + 1;
            CHECK_EQ(uf_pool_give(&parent.pool, handles[i]), UF_OK);
        }
    }
    for (uint32_t lane = 0; lane < UF_LANES; lane++) {
        CHECK_EQ(uf_queue_length(&parent.queues, queue, lane), 0);
    }
    return delivered;
}

static void check_all_blocks_free(void)
{
    uf_pool_flush(&parent.pool);
    CHECK_EQ(blocks_free(&parent.pool), blocks_all(&parent.pool));
    CHECK_EQ(blocks_findable(&parent.pool), blocks_all(&parent.pool));
}

static void fill_queue(uint32_t count)
{
    uint32_t bell;
    for (uint32_t i = 0; i < count; i++) {
        CHECK_EQ(number_send(&parent, 0, 1, i, 0, &bell), UF_OK);
    }
}

static void after_sending(const uint64_t *told)
{
    struct delivered delivered = drain(0);
    uint64_t accepted = told[NOTE_ACCEPTED];
    CHECK_EQ(delivered.numbers & accepted, accepted); /* nothing accepted is lost */
    /* It may have died with a send done and not yet told: the next ones, in order, from a batch. */
    uint64_t untold = delivered.numbers & ~accepted;
    CHECK(untold == 0 || ((delivered.numbers + 1) & delivered.numbers) == 0);
    CHECK((untold & ~0xfull) == 0);
    CHECK_EQ(delivered.redelivered, 0);
}

static void after_receiving(const uint64_t *told)
{
    struct delivered delivered = drain(0);
    const uint64_t all = 0xf;
    CHECK_EQ(delivered.numbers & told[NOTE_GIVEN], 0);            /* handled: not again */
    CHECK_EQ((delivered.numbers | told[NOTE_GIVING]) & all, all); /* lost: none */
    CHECK_EQ(told[NOTE_GOT] & delivered.numbers & ~delivered.redelivered,
             0); /* twice: it says so */
}

static void after_sending_on(const uint64_t *told)
{
    (void)told;
    struct delivered there = drain(1);
    struct delivered here = drain(0);
    CHECK_EQ(there.numbers & here.numbers, 0);
    CHECK_EQ(there.numbers | here.numbers, 0xf);
}

static void after_opening(const uint64_t *told)
{
    uint32_t index;
    uint32_t again;
    (void)told;
    CHECK_EQ(uf_queue_open(&parent.queues, "opened by the dying", &index), UF_OK);
    CHECK_EQ(uf_queue_open(&parent.queues, "another", &again), UF_OK); /* no record is lost */
    CHECK_EQ(uf_queue_close(&parent.queues, index), UF_OK);
    CHECK_EQ(uf_queue_close(&parent.queues, again), UF_OK);
    for (uint32_t i = 0; i < parent.queues.count; i++) {
        CHECK_EQ(parent.queues.record[i].state & 0xff, UF_QUEUE_FREE);
    }
}

static void after_deleting(const uint64_t *told)
{
    struct uf_message *message;
    uint32_t handle;
    uint32_t bell;
    uint64_t closing = uf_queue_closing(&parent.queues, 0);
    uint64_t numbers = 0;
    if (uf_queue_stands(&parent.queues, 0, deleted)) {
        CHECK_EQ(uf_queue_delete(&parent.queues, 0, deleted, &closing), UF_OK);
    }
    if (closing != 0) {
        numbers = emptying(&parent, closing);
    }
    CHECK_EQ(numbers & told[NOTE_GIVEN], 0);
    CHECK_EQ(numbers | told[NOTE_GIVING], 0xf);
    CHECK_EQ(parent.queues.record[0].state & 0xff, UF_QUEUE_FREE);
    CHECK_EQ(uf_pool_take(&parent.pool, 8, &handle), UF_OK);
    message = uf_pool_block(&parent.pool, handle);
    message->flags = 0;
    CHECK_EQ(uf_queue_send_to(&parent.queues, 0, deleted, 1, &handle, 1, &bell), UF_DELETED);
    CHECK_EQ(uf_pool_give(&parent.pool, handle), UF_OK);
}

/* --- every death, and the deaths of those who mend --------------------------------------------- */

static void prepare_nothing(void)
{
}

static void prepare_messages(void)
{
    fill_queue(4);
}

static void prepare_orphans(void)
{
    fill_queue(4);
    CHECK(death_at(0, taking_all, NULL));
    mend_all();
}

static void prepare_deleted(void)
{
    uint32_t index;
    CHECK_EQ(uf_queue_open(&parent.queues, "deleted", &index), UF_OK);
    CHECK_EQ(index, 0);
    CHECK_EQ(uf_queue_enter(&parent.queues, "deleted", index, &deleted), UF_OK);
    fill_queue(4);
}

struct story {
    const char *what;
    void (*prepare)(void);
    void (*work)(void *);
    void (*after)(const uint64_t *);
    const char *marks; /* each must have been died at */
};

static const struct story stories[] = {
    {"deaths of senders", prepare_nothing, sending, after_sending, "R1 R2 P2 P3"},
    {"deaths of receivers", prepare_messages, receiving, after_receiving, "R3 Q2 Q3 R4 Q4 P3"},
    {"deaths of adopters", prepare_orphans, adopting, after_receiving, "Q7 P3"},
    {"deaths of those who send on", prepare_messages, sending_on, after_sending_on, "Q4 R1 R2"},
    {"deaths of those who delete", prepare_deleted, deleting, after_deleting, "Q14 R5 Q15 Q16"},
    {"deaths of openers", prepare_nothing, opening, after_opening, "Q0 Q13 Q8"},
};

/* A death at mark `at`, then the deaths of its recoverers: at mark `again`, at the one after, until
 * one comes through. False: nobody died, `at` was past the end. */
static bool one_death(const struct story *story, uint32_t at, uint32_t again)
{
    struct death_note told;
    story->prepare();
    bool died = death_at(at, story->work, NULL);
    told = *death_note;
    if (died) {
        tally_death(&first);
    }
    if (again > 0 && death_at(again, mending, NULL)) {
        tally_death(&second);
    }
    mend_all();
    story->after(told.words);
    check_all_blocks_free();
    return died;
}

static void deaths_of(const struct story *story)
{
    memset(&first, 0, sizeof first);
    uint64_t before = second.deaths;
    for (uint32_t at = 1; one_death(story, at, 0); at++) {
        for (uint32_t again = 1 + at % SLOWER; again < 60; again += SLOWER) {
            uint64_t so_far = second.deaths;
            CHECK(one_death(story, at, again));
            if (second.deaths == so_far) {
                break; /* its recoverer came through */
            }
        }
    }
    check_labels(&first, story->marks);
    explored(story->what, first.deaths);
    explored("  and then of their recoverers", second.deaths - before);
}

/* And before anybody mends: a dead opener of the same name is in nobody's way. */
static void openers_do_not_wait_for_the_dead(void)
{
    uint32_t at = 1;
    for (bool died = true; died; at++) {
        uint32_t index;
        uint32_t found;
        died = death_at(at, opening, NULL);
        CHECK_EQ(uf_queue_open(&parent.queues, "opened by the dying", &index), UF_OK);
        CHECK_EQ(uf_queue_find(&parent.queues, "opened by the dying", &found), UF_OK);
        CHECK_EQ(found, index);
        mend_all();
        CHECK_EQ(uf_queue_close(&parent.queues, index), UF_OK);
        for (uint32_t i = 0; i < parent.queues.count; i++) {
            CHECK_EQ(parent.queues.record[i].state & 0xff, UF_QUEUE_FREE);
        }
        uf_pool_flush(&parent.pool);
    }
    explored("names opened over dead openers", at - 2);
}

int main(void)
{
    watchdog(100);
    deaths_open();
    arena_open(&arena, &sizes);
    seat_take(&parent, &arena);
    for (size_t i = 0; i < sizeof stories / sizeof *stories; i++) {
        deaths_of(&stories[i]);
    }
    check_labels_if_all(&second, "O3 P5 Q10 Q11 Q12");
    openers_do_not_wait_for_the_dead();
    seat_leave(&parent);
    arena_close(&arena);
    return 0;
}
