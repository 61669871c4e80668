/* explore_deliver.c -- an agent changes its worker while others send to it: nothing is lost, and of no sender
 * a message overtakes an earlier one.
 *
 * Worker 1 has the agent and gives it to worker 2, as the runtime does: what comes to worker 1 it handles
 * until all that was on its way has come; what comes to worker 2 is handled after that.
 */
#include <fcntl.h>
#include <stdatomic.h>

#include "explore.h"
#include "seats.h"
#include "uf_deliver.h"

#define BLOCKS 3u
#define CAPACITY 4u
#define NUMBERS 2u /* that each sender sends, in order */

static struct uf_agents agents[SEATS];
static struct uf_self self[SEATS];
static uint64_t agent;
static uint64_t seen[EXPLORE_THREADS];
static struct uf_departure departure;
static uint32_t sent[SEATS];
static uint64_t handled[4 * BLOCKS]; /* thread << 8 | number, by worker 1 */
static uint32_t handled_count;
static bool moved;
static uint32_t straddled_ever; /* a sender's messages went to both */
static uint32_t waited_ever;

static void setup(void)
{
    struct uf_owner *owner = explore_alloc(uf_owners_bytes(EXPLORE_THREADS));
    uint64_t bytes = uf_agents_bytes(1, 1, 1);
    void *area = explore_alloc(bytes);
    uint32_t type;
    uint32_t queue;
    memset(sent, 0, sizeof sent);
    memset(seen, 0, sizeof seen);
    departure = (struct uf_departure){.seen = seen};
    memset(handled, 0, sizeof handled);
    handled_count = straddled_ever = waited_ever = 0;
    moved = false;
    seats_pool(BLOCKS, 0);
    seats_queues(2, CAPACITY);
    CHECK_EQ(uf_queue_open(&seat[OUTSIDER].queues, "host-1", &queue), UF_OK);
    CHECK_EQ(queue, 0);
    CHECK_EQ(uf_queue_open(&seat[OUTSIDER].queues, "host-2", &queue), UF_OK);
    CHECK_EQ(queue, 1);
    CHECK_EQ(uf_agents_init(area, bytes, 1, 1, 1), UF_OK);
    for (uint32_t s = 0; s < SEATS; s++) {
        CHECK_EQ(uf_agents_open(&agents[s], area, bytes, s + 1), UF_OK);
    }
    CHECK_EQ(uf_agents_type(&agents[OUTSIDER], "coder", true, &type), UF_OK);
    CHECK_EQ(uf_agent_new(&agents[OUTSIDER], 0, 0, 1, UF_AGENT_STARTING, 8, 0, 0, &agent), UF_OK);
    CHECK_EQ(uf_agent_move(&agents[OUTSIDER], agent, UF_AGENT_STARTING, UF_AGENT_ACTIVE), UF_OK);
    for (uint32_t t = 0; t < EXPLORE_THREADS; t++) {
        self[t] = (struct uf_self){.owner = owner,
                                   .count = EXPLORE_THREADS,
                                   .slot = UINT32_MAX,
                                   .offset = 4096,
                                   .fd = explore_fd(t)};
    }
    for (uint32_t t = 0; t < EXPLORE_THREADS; t++) {
        CHECK_EQ(uf_owner_join(&self[t], 1, t + 1, 0), UF_OK);
        CHECK_EQ(self[t].slot, t);
    }
    explore_name(owner, "owner");
    explore_name(agents[0].record, "record");
    explore_keep(seen, sizeof seen);
    explore_keep(&departure, sizeof departure);
    explore_keep(sent, sizeof sent);
    explore_keep(handled, sizeof handled);
    explore_keep(&handled_count, sizeof handled_count);
    explore_keep(&moved, sizeof moved);
}

/* The model's kernel keeps no lock from setup: a sender takes its slot's before it does anything. */
static void be_here(void)
{
    uint32_t me = explore_self();
    struct flock lock = {.l_type = F_WRLCK,
                         .l_whence = SEEK_SET,
                         .l_start = (off_t)(4096 + me * sizeof(struct uf_owner)),
                         .l_len = 1};
    CHECK_EQ(fcntl(explore_fd(me), F_OFD_SETLK, &lock), 0);
}
static void send_number(uint32_t number)
{
    uint32_t me = explore_self();
    uint32_t handle;
    uint32_t worker;
    uint32_t together;
    uint32_t bell;
    CHECK_EQ(number_take(&seat[me], me << 8 | number, 0, &handle), UF_OK);
    CHECK_EQ(uf_deliver(&self[me], &agents[me], &seat[me].queues, &agent, 0, &handle, 1, &worker,
                        &together, &bell),
             1);
    CHECK_EQ(together, 1);
    sent[me] = number;
    explore_settled(10 + number, worker, 0);
}
static void send_two(void)
{
    be_here();
    send_number(1);
    send_number(2);
}
static void send_one(void)
{
    be_here();
    send_number(1);
}
/* Two in one call, for one agent twice. */
static void send_both(void)
{
    uint32_t me = explore_self();
    const uint64_t ids[2] = {agent, agent};
    uint32_t handles[2];
    uint32_t worker;
    uint32_t together;
    uint32_t bell;
    be_here();
    for (uint32_t i = 0; i < 2; i++) {
        CHECK_EQ(number_take(&seat[me], me << 8 | (i + 1), 0, &handles[i]), UF_OK);
    }
    explore_settled(9, 0, 0);
    for (uint32_t at = 0; at < 2; at += together) {
        CHECK(uf_deliver(&self[me], &agents[me], &seat[me].queues, &ids[at], 0, &handles[at],
                         2 - at, &worker, &together, &bell) >= 1);
        sent[me] = at + together;
        explore_settled(10 + sent[me], worker, 0);
    }
}

static void handle_all(struct seat *by, uint32_t queue)
{
    struct uf_receiver receiver = {.queue = queue};
    uint32_t handle;
    int status;
    while ((status = uf_queue_take(&by->queues, &receiver, &handle, 1)) == 1) {
        CHECK(handled_count < sizeof handled / sizeof handled[0]);
        handled[handled_count++] = number_of(by, handle);
        CHECK_EQ(uf_pool_give(&by->pool, handle), UF_OK);
    }
    CHECK(status == UF_EMPTY || status == UF_BUSY);
}

/* Worker 1, from the agent's leave to its being ready for worker 2, or as far as it comes without waiting. */
static void go_on(void)
{
    uint32_t me = explore_self();
    struct uf_queues *queues = &seat[me].queues;
    uint32_t on_way;
    uf_departure_begin(&self[me], &departure);
    for (uint32_t tries = 0; tries < 3; tries++) {
        if (uf_departure_look(&self[me], queues, 0, &departure, true, &on_way) == UF_OK) {
            CHECK_EQ(uf_agent_move(&agents[me], agent, UF_AGENT_MOVING, UF_AGENT_ARRIVING), UF_OK);
            moved = true;
            return;
        }
        waited_ever += on_way;
        handle_all(&seat[me], 0);
    }
}
static void leave(void)
{
    CHECK_EQ(uf_agent_leave(&agents[explore_self()], agent, 0, 1), UF_OK);
    go_on();
}

/* All is quiet: worker 1 ends what it began, if it has not; then worker 2 handles what is its. Who has the
 * agent says the record. */
static void finish(void)
{
    struct uf_agent_info info;
    bool both = false;
    CHECK_EQ(uf_agent_look(&agents[OUTSIDER], agent, &info), UF_OK);
    if (!moved) {
        CHECK(info.state == UF_AGENT_MOVING || info.state == UF_AGENT_ACTIVE);
        CHECK_EQ(info.left, 0);
        handle_all(&seat[OUTSIDER], 0);
        if (info.state == UF_AGENT_MOVING) {
            CHECK_EQ(uf_agent_move(&agents[OUTSIDER], agent, UF_AGENT_MOVING, UF_AGENT_ARRIVING),
                     UF_OK);
        }
    }
    uint32_t first = handled_count;
    CHECK_EQ(uf_queue_length(&seat[OUTSIDER].queues, 0, 0), 0); /* nothing comes late */
    handle_all(&seat[OUTSIDER], 1);
    for (uint32_t t = 0; t < EXPLORE_THREADS; t++) {
        uint32_t last = 0;
        bool early = false;
        for (uint32_t i = 0; i < handled_count; i++) {
            if (handled[i] >> 8 == t) {
                CHECK_EQ(handled[i] & 0xff, last + 1);
                last++;
                both |= early && i >= first;
                early |= i < first;
            }
        }
        CHECK(last == sent[t] || (t == explore_dead() && last == sent[t] + 1));
    }
    straddled_ever += both;
    if (explore_dead() == EXPLORE_THREADS) {
        blocks_are_back(0);
    }
}
static void some_straddled(void)
{
    CHECK(straddled_ever > 0);
    CHECK(waited_ever > 0);
}

/* Worker 1 dies, at any step: its successor has the agent, if the record says so, and begins anew. */
static void take_over(void)
{
    struct uf_agent_info info;
    explore_inherit();
    CHECK_EQ(uf_agent_look(&agents[explore_self()], agent, &info), UF_OK);
    if (info.state == UF_AGENT_MOVING) {
        CHECK_EQ(info.left, 0);
        go_on();
    } else {
        CHECK(info.state == UF_AGENT_ACTIVE || info.state == UF_AGENT_ARRIVING);
        moved = info.state == UF_AGENT_ARRIVING;
    }
}
/* Gives it away without what the dead one had taken, which is not this check's matter: it takes nothing. */
static void leave_only(void)
{
    uint32_t me = explore_self();
    CHECK_EQ(uf_agent_leave(&agents[me], agent, 0, 1), UF_OK);
    uint32_t on_way;
    uf_departure_begin(&self[me], &departure);
    if (uf_departure_look(&self[me], &seat[me].queues, 0, &departure, true, &on_way) == UF_OK) {
        CHECK_EQ(uf_agent_move(&agents[me], agent, UF_AGENT_MOVING, UF_AGENT_ARRIVING), UF_OK);
        moved = true;
    }
}
/* A sender died on its way: nobody waits for it. */
static void leave_after_death(void)
{
    explore_inherit();
    leave();
    CHECK(moved);
}

static const struct explore_check checks[] = {
    {.name = "deliver-beside-move",
     .setup = setup,
     .body = {leave, send_two},
     .finish = finish,
     .after = some_straddled,
     .usual = {2, 3},
     .deep = {3, 4},
     .minimum = 14000},
    {.name = "deliver-two-senders",
     .setup = setup,
     .body = {leave, send_two, send_one},
     .finish = finish,
     .after = some_straddled,
     .usual = {1, 2},
     .deep = {2, 3},
     .minimum = 60000},
    {.name = "deliver-two-at-once",
     .setup = setup,
     .body = {leave, send_both},
     .finish = finish,
     .usual = {2, 3},
     .deep = {3, 4},
     .minimum = 5000},
    {.name = "deliver-sender-dies",
     .setup = setup,
     .body = {send_two, leave_after_death},
     .finish = finish,
     .mortal = 1,
     .mourners = 2,
     .minimum = 30},
    {.name = "deliver-mover-dies",
     .setup = setup,
     .body = {leave_only, send_two, take_over},
     .finish = finish,
     .mortal = 1,
     .mourners = 4,
     .usual = {1, 2},
     .deep = {2, 3},
     .minimum = 80000},
};

int main(int argc, char **argv)
{
    return explore_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
