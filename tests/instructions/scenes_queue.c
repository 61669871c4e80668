/* scenes_queue.c -- rings, queues and bells. */
#include "steps.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct uf_claim claim;
static char pipe_path[96];

/* --- before ---------------------------------------------------------------------------------------- */

static void two_messages(void)
{
    message_put(INBOX, 1, 1);
    message_put(INBOX, 1, 2);
}

static void full_lane(void)
{
    for (uint32_t n = 1; n <= 4; n++) {
        message_put(INBOX, 1, n);
    }
}

static void two_lanes(void)
{
    message_put(INBOX, 2, 1);
    message_put(INBOX, 2, 2);
    message_put(INBOX, 3, 3);
    message_put(INBOX, 0, 4);
}

static void sent_once(void)
{
    uint32_t bell;
    message_make(1, 40, UF_MESSAGE_ONCE);
    uf_queue_send(&world.system.queues, INBOX, 1, &world.held[--world.holds], 1, &bell);
    message_may(1, 1, 1);
    message_put(INBOX, 1, 2);
}

/* A process took three and died; the survivor mended it. */
static void three_orphans(void)
{
    int status;
    for (uint32_t n = 1; n <= 3; n++) {
        message_put(INBOX, 1, n);
        world.must_tell[n] = true;
    }
    message_put(INBOX, 1, 4);
    world.recoveries = 1; /* this one, and the one to come */
    pid_t child = fork();
    if (child == 0) {
        uint32_t handles[3];
        world_join(UF_ROLE_WORKER);
        uf_queue_take(&world.system.queues, &world.receiver, handles, 3);
        raise(SIGKILL);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFSIGNALED(status)) {
        fatal("a child that dies");
    }
    survivor_recovers(false);
}

static void asleep(void)
{
    if (uf_queue_arm(&world.system.queues, INBOX, UF_BELL_FUTEX, &world.armed) != UF_EMPTY) {
        fatal("uf_queue_arm");
    }
}

static void asleep_on_pipe(void)
{
    snprintf(pipe_path, sizeof pipe_path, "%s/bell", scene_dir);
    world.pipe = uf_bell_open_pipe(pipe_path);
    if (world.pipe < 0 ||
        uf_queue_arm(&world.system.queues, INBOX, UF_BELL_PIPE, &world.armed) != UF_EMPTY) {
        fatal("uf_queue_arm");
    }
    unlink(pipe_path); /* open ends are enough from here on */
}

/* --- sending --------------------------------------------------------------------------------------- */

static void hold_one(void)
{
    message_make(11, 40, 0);
}

static void hold_three(void)
{
    message_make(11, 40, 0);
    message_make(12, 150, 0);
    message_make(13, 40, 0);
}

static void push_one(void)
{
    struct uf_ring ring = lane_ring(INBOX, 1);
    world.note->status = uf_ring_push(&ring, world.held, 1);
}

static void push_three(void)
{
    struct uf_ring ring = lane_ring(INBOX, 1);
    world.note->status = uf_ring_push(&ring, world.held, 3);
}

static void send_one(void)
{
    uint32_t bell;
    world.note->status = uf_queue_send(&world.system.queues, INBOX, 1, world.held, 1, &bell);
}

static void send_three(void)
{
    uint32_t bell;
    world.note->status = uf_queue_send(&world.system.queues, INBOX, 1, world.held, 3, &bell);
}

static void send_and_ring(void)
{
    uint32_t bell;
    world.note->status = uf_queue_send(&world.system.queues, INBOX, 1, world.held, 1, &bell);
    uf_bell_wake(uf_queue_bell(&world.system.queues, INBOX), bell, world.pipe);
}

static void sent(const struct note *note, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        bool accepted = note->ended && note->status > (int)i;
        message_may(11 + i, accepted, accepted || !note->ended);
    }
}

static void sent_one(const struct note *note)
{
    sent(note, 1);
}

static void sent_three(const struct note *note)
{
    sent(note, 3);
}

/* A batch is sent in order: whatever arrived, all before it did. */
static void in_order(const struct note *note)
{
    (void)note;
    if (uf_queue_length(&world.system.queues, INBOX, 1) > 4) {
        found("a lane is longer than it is");
    }
}

static void rung(const struct note *note)
{
    struct pollfd ready = {.fd = world.pipe, .events = POLLIN};
    (void)note;
    if (poll(&ready, 1, 0) != 1) {
        found("the pipe of a sleeper is silent");
    }
    uf_bell_drain_pipe(world.pipe);
}

/* --- receiving ------------------------------------------------------------------------------------- */

static void ring_claim(void)
{
    uint64_t from = 0;
    struct uf_ring ring = lane_ring(INBOX, 1);
    world.note->status = uf_ring_claim(&ring, world.system.queues.me, &from, &claim);
}

static void claim_and_name(void)
{
    ring_claim();
    struct uf_message *message = uf_pool_block(&world.system.messages, claim.handle);
    message->position = claim.position;
    message->lane = 1;
    message->owner = uf_word_as(message->owner, UF_BLOCK_TAKEN, world.system.queues.me, INBOX + 1);
}

static void ring_clear(void)
{
    struct uf_ring ring = lane_ring(INBOX, 1);
    uf_ring_clear(&ring, claim.position);
}

static void claim_and_clear(void)
{
    claim_and_name();
    ring_clear();
}

static void ring_advance(void)
{
    struct uf_ring ring = lane_ring(INBOX, 1);
    uf_ring_advance(&ring, claim.position + 1);
}

static void take(uint32_t max)
{
    int got = uf_queue_take(&world.system.queues, &world.receiver, world.held, max);
    world.note->status = got;
    world.holds = got > 0 ? (uint32_t)got : 0;
    uint64_t numbers = 0;
    for (uint32_t i = 0; i < world.holds; i++) {
        const uint8_t *block = uf_pool_block(&world.system.messages, world.held[i]);
        numbers |= 1ull << block[UF_BLOCK_HEAD];
    }
    world.note->id = numbers;
}

static void take_one(void)
{
    take(1);
}

static void take_all(void)
{
    take(8);
}

static void adopt_two(void)
{
    world.note->status = uf_queue_adopt(&world.system.queues, INBOX, world.held, 2);
}

/* What it had when it died was not handled: it says so when it comes again. */
static void took(const struct note *note)
{
    for (uint32_t n = 1; n <= 4; n++) {
        world.must_tell[n] |= note->ended && (note->id >> n & 1) != 0;
    }
}

static void took_once(const struct note *note)
{
    bool gone = note->ended && (note->id >> 1 & 1) != 0;
    message_may(1, 0, !gone);
}

static void give_first(void)
{
    world.note->status = uf_pool_give(&world.system.messages, world.held[0]);
}

static void gave_first(const struct note *note)
{
    message_may(1, 0, !note->ended);
    world.must_tell[1] = true;
}

static void send_on(void)
{
    uint32_t bell;
    world.note->status = uf_queue_send(&world.system.queues, SECOND, 0, world.held, 1, &bell);
}

/* --- bells and names ------------------------------------------------------------------------------- */

static void arm(void)
{
    uint32_t armed;
    world.note->status = uf_queue_arm(&world.system.queues, INBOX, UF_BELL_FUTEX, &armed);
}

static void arm_and_sleep(void)
{
    uint32_t armed;
    if (uf_queue_arm(&world.system.queues, INBOX, UF_BELL_FUTEX, &armed) == UF_EMPTY) {
        world.note->status = uf_bell_sleep(uf_queue_bell(&world.system.queues, INBOX), armed, 1000);
        uf_bell_disarm(uf_queue_bell(&world.system.queues, INBOX));
    }
}

static void open_new(void)
{
    uint32_t index;
    world.note->status = uf_queue_open(&world.system.queues, "third", &index);
}

static void opened(const struct note *note)
{
    uint32_t index;
    int status = uf_queue_find(&world.system.queues, "third", &index);
    if (note->ended && (note->status != UF_OK || status != UF_OK)) {
        found("open answered %d, find %d", note->status, status);
    }
    if (uf_queue_open(&world.system.queues, "third", &index) != UF_OK) {
        found("a name that the dead opened can't be opened");
    }
    uint32_t same = 0;
    for (uint32_t q = 0; q < world.system.queues.count; q++) {
        const char *name = uf_queue_name(&world.system.queues, q);
        same += name != NULL && strcmp(name, "third") == 0;
    }
    if (same != 1) {
        found("%u queues have one name", same);
    }
    uf_queue_close(&world.system.queues, index);
}

static void open_there(void)
{
    uint32_t index;
    world.note->status = uf_queue_open(&world.system.queues, "second", &index);
}

static void third_is_open(void)
{
    uint32_t index;
    if (uf_queue_open(&world.system.queues, "third", &index) != UF_OK || index != 2) {
        fatal("uf_queue_open");
    }
}

static void close_third(void)
{
    world.note->status = uf_queue_close(&world.system.queues, 2);
}

static void closed(const struct note *note)
{
    uint32_t index;
    int status = uf_queue_find(&world.system.queues, "third", &index);
    if (note->ended && status != UF_MISSING) {
        found("a closed queue is found: %d", status);
    }
    if (status == UF_OK && uf_queue_close(&world.system.queues, index) != UF_OK) {
        found("a queue that the dead was closing can't be closed");
    }
}

static void set_queue(void)
{
    uf_owner_set_queue(&world.system.self, 1);
}

static void look_around(void)
{
    uint32_t index;
    world.note->status = uf_queue_find(&world.system.queues, "second", &index);
    world.note->index = uf_queue_length(&world.system.queues, INBOX, 1);
    world.note->handle = uf_queue_has_orphans(&world.system.queues, INBOX);
}

const struct scene queue_scenes[] = {
    {.name = "ring push",
     .prepare = two_messages,
     .ready = hold_one,
     .act = push_one,
     .expect = sent_one},
    {.name = "ring push, a batch too large",
     .prepare = two_messages,
     .ready = hold_three,
     .act = push_three,
     .expect = sent_three,
     .after = in_order},
    {.name = "ring claim", .prepare = two_messages, .act = ring_claim},
    {.name = "ring clear", .prepare = two_messages, .ready = claim_and_name, .act = ring_clear},
    {.name = "ring advance",
     .prepare = two_messages,
     .ready = claim_and_clear,
     .act = ring_advance},
    {.name = "queue send", .ready = hold_one, .act = send_one, .expect = sent_one},
    {.name = "queue send, a batch",
     .ready = hold_three,
     .act = send_three,
     .expect = sent_three,
     .after = in_order},
    {.name = "queue send, lane full",
     .prepare = full_lane,
     .ready = hold_one,
     .act = send_one,
     .expect = sent_one},
    {.name = "queue send, what was taken",
     .prepare = two_messages,
     .ready = take_one,
     .act = send_on},
    {.name = "queue take", .prepare = two_messages, .act = take_one, .expect = took},
    {.name = "queue take, a batch of three lanes",
     .prepare = two_lanes,
     .act = take_all,
     .expect = took},
    {.name = "queue take, at most once",
     .prepare = sent_once,
     .act = take_all,
     .expect = took_once},
    {.name = "queue take, empty", .act = take_one},
    {.name = "queue give after take",
     .prepare = two_messages,
     .ready = take_one,
     .act = give_first,
     .expect = gave_first},
    {.name = "queue adopt", .prepare = three_orphans, .act = adopt_two},
    {.name = "queue arm", .act = arm},
    {.name = "queue arm, not empty", .prepare = two_messages, .act = arm},
    {.name = "queue arm, sleep, disarm", .act = arm_and_sleep},
    {.name = "queue send and wake a thread",
     .prepare = asleep,
     .ready = hold_one,
     .act = send_and_ring,
     .expect = sent_one},
    {.name = "queue send and wake a loop",
     .prepare = asleep_on_pipe,
     .ready = hold_one,
     .act = send_and_ring,
     .expect = sent_one,
     .after = rung},
    {.name = "queue open, new", .act = open_new, .after = opened},
    {.name = "queue open, there", .act = open_there},
    {.name = "queue close", .prepare = third_is_open, .act = close_third, .after = closed},
    {.name = "queue find, length", .prepare = two_messages, .act = look_around},
    {.name = "owner set queue", .act = set_queue},
};
const uint32_t queue_scenes_count = COUNT_OF(queue_scenes);
