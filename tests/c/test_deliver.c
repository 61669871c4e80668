/* test_deliver.c -- agents that change their worker all the time, and many who send to them: every message is
 * handled once, and of each sender in order.
 *
 * Every thread has an attachment of its own, as a process would.
 */
#include "arena.h"

#include "uf_deliver.h"
#include "uf_system.h"

#define WORKERS 3u
#define SENDERS 4u
#define AGENTS 8u
#define HELD 4096u
#define BATCH 24u /* messages that one call sends at most */

static const struct uf_sizes sizes = {
    .owners = 12,
    .buckets = 1,
    .extensions = 1,
    .queues = WORKERS,
    .queue_capacity = 64,
    .agents = AGENTS,
    .types = 1,
    .warm = 1,
    .shards = 1,
    .message_classes = 1,
    .value_classes = 1,
    .message = {{128, 2048}},
    .value = {{128, 1}},
};

static struct arena arena;
static uint64_t seed;
static uint64_t id[AGENTS];
/* Of each agent by each sender: the last number handled. Its host alone writes it, and hosts hand it over
 * with the agent; atomic for ThreadSanitizer, which sees no order between two mappings of a file. */
static _Atomic uint64_t handled[AGENTS][SENDERS];
static _Atomic uint32_t senders_left;
static _Atomic uint64_t moves;
static _Atomic uint64_t kept;   /* messages that came before their agent */
static _Atomic uint64_t called; /* calls that sent to several at once */
static uint64_t each_sends;

struct part {
    uint32_t index;
    struct uf_system system;
};

static void attach(struct part *part)
{
    CHECK_EQ(uf_system_attach(&part->system, arena.path, UF_ROLE_WORKER, false, 1, 2), UF_OK);
}

/* In the payload: the sender, the agent and the number. */
static uint64_t *words_of(struct uf_system *system, uint32_t handle)
{
    uint8_t *block = uf_pool_block(&system->messages, handle);
    return (uint64_t *)(void *)(block + UF_BLOCK_HEAD);
}

static void *sends(void *argument)
{
    struct part *part = argument;
    struct uf_system *system = &part->system;
    uint64_t dice = seed + part->index;
    uint64_t next[AGENTS] = {0};
    uint64_t left = each_sends;
    attach(part);
    while (left > 0) {
        uint64_t ids[BATCH];
        uint32_t handles[BATCH];
        uint32_t want = 1 + (uint32_t)(next_random(&dice) % BATCH);
        uint32_t count = 0;
        while (count < want && count < left &&
               uf_pool_take(&system->messages, 24, &handles[count]) == UF_OK) {
            uint32_t agent = (uint32_t)(next_random(&dice) % AGENTS);
            uint64_t *words = words_of(system, handles[count]);
            words[0] = part->index;
            words[1] = agent;
            words[2] = ++next[agent];
            ids[count++] = id[agent];
        }
        uint32_t at = 0;
        while (at < count) {
            uint32_t worker;
            uint32_t together;
            uint32_t bell;
            int sent = uf_deliver(&system->self, &system->agents, &system->queues, &ids[at], 2,
                                  &handles[at], count - at, &worker, &together, &bell);
            if (sent > 0) {
                CHECK((uint32_t)sent <= together);
                atomic_fetch_add(&called, sent > 1);
                at += (uint32_t)sent;
                left -= (uint32_t)sent;
            } else {
                CHECK(sent == UF_FULL || sent == UF_BUSY);
                sched_yield();
            }
        }
    }
    uf_system_close(system);
    atomic_fetch_sub(&senders_left, 1);
    return NULL;
}

/* A message that is its host's to handle. */
static void handle(struct uf_system *system, uint32_t handle)
{
    uint64_t *words = words_of(system, handle);
    CHECK(words[0] < SENDERS && words[1] < AGENTS);
    CHECK_EQ(words[2], handled[words[1]][words[0]] + 1);
    handled[words[1]][words[0]]++;
    CHECK_EQ(uf_pool_give(&system->messages, handle), UF_OK);
}

struct host {
    bool mine[AGENTS];
    bool leaving[AGENTS];
    struct uf_departure departure[AGENTS];
    uint64_t seen[AGENTS][12];
    uint32_t held[HELD];
    uint32_t held_count;
};

/* Take the agents that are to be had here, and hand out what was kept for them. */
static void arrivals(struct part *part, struct host *host)
{
    struct uf_system *system = &part->system;
    for (uint32_t a = 0; a < AGENTS; a++) {
        struct uf_agent_info info;
        CHECK_EQ(uf_agent_look(&system->agents, id[a], &info), UF_OK);
        if (info.state != UF_AGENT_ARRIVING || info.worker != part->index) {
            continue;
        }
        CHECK(info.left != part->index && !host->mine[a]);
        CHECK_EQ(uf_agent_move(&system->agents, id[a], UF_AGENT_ARRIVING, UF_AGENT_ACTIVE), UF_OK);
        host->mine[a] = true;
        uint32_t left = 0;
        for (uint32_t i = 0; i < host->held_count; i++) {
            if (words_of(system, host->held[i])[1] == a) {
                handle(system, host->held[i]);
            } else {
                host->held[left++] = host->held[i];
            }
        }
        host->held_count = left;
    }
}

static void *hosts(void *argument)
{
    struct part *part = argument;
    struct uf_system *system = &part->system;
    static struct host all[WORKERS];
    struct host *host = &all[part->index];
    struct uf_receiver receiver = {.queue = part->index};
    uint64_t dice = seed + 100 + part->index;
    memset(host, 0, sizeof *host);
    attach(part);
    CHECK_EQ(system->self.count, 12);
    for (uint32_t a = 0; a < AGENTS; a++) {
        host->mine[a] = a % WORKERS == part->index;
        host->departure[a].seen = host->seen[a];
    }
    for (bool over = false; !over;) {
        uint32_t handles[16];
        over = atomic_load(&senders_left) == 0;
        int got = uf_queue_take(&system->queues, &receiver, handles, 16);
        for (int i = 0; i < got; i++) {
            uint32_t agent = (uint32_t)words_of(system, handles[i])[1];
            if (host->mine[agent]) {
                handle(system, handles[i]);
            } else {
                arrivals(part, host);
                if (host->mine[agent]) {
                    handle(system, handles[i]);
                } else {
                    CHECK(host->held_count < HELD);
                    host->held[host->held_count++] = handles[i];
                    atomic_fetch_add(&kept, 1);
                }
            }
        }
        arrivals(part, host);
        uint32_t on_way;
        for (uint32_t a = 0; a < AGENTS; a++) {
            if (host->leaving[a] &&
                uf_departure_look(&system->self, &system->queues, part->index, &host->departure[a],
                                  true, &on_way) == UF_OK) {
                host->leaving[a] = host->mine[a] = false;
                CHECK_EQ(uf_agent_move(&system->agents, id[a], UF_AGENT_MOVING, UF_AGENT_ARRIVING),
                         UF_OK);
                atomic_fetch_add(&moves, 1);
            } else if (host->mine[a] && !host->leaving[a] && !over && next_random(&dice) % 8 == 0) {
                uint32_t to = (part->index + 1 + (uint32_t)(next_random(&dice) % (WORKERS - 1)));
                CHECK_EQ(uf_agent_leave(&system->agents, id[a], part->index, to % WORKERS), UF_OK);
                uf_departure_begin(&system->self, &host->departure[a]);
                host->leaving[a] = true;
            }
            over &= !host->leaving[a];
        }
        over &=
            got <= 0 && host->held_count == 0 && uf_queue_is_empty(&system->queues, part->index);
        sched_yield();
    }
    uf_system_close(system);
    return NULL;
}

static void nothing_lost_or_overtaken(void)
{
    static struct part sender[SENDERS];
    static struct part host[WORKERS];
    struct team team = {.size = 0};
    for (uint32_t i = 0; i < SENDERS; i++) {
        sender[i].index = i;
    }
    atomic_store(&senders_left, SENDERS);
    for (uint32_t i = 0; i < WORKERS; i++) {
        host[i].index = i;
        team_add(&team, hosts, &host[i]);
    }
    for (uint32_t i = 0; i < SENDERS; i++) {
        team_add(&team, sends, &sender[i]);
    }
    team_join(&team);
    uint64_t all = 0;
    for (uint32_t a = 0; a < AGENTS; a++) {
        for (uint32_t s = 0; s < SENDERS; s++) {
            all += handled[a][s];
        }
    }
    CHECK_EQ(all, SENDERS * each_sends);
    explored("messages handled once, and of each sender in order", all);
    explored("changes of workers meanwhile", atomic_load(&moves));
    explored("messages that came before their agent, and waited", atomic_load(&kept));
    explored("calls that sent several at once", atomic_load(&called));
}

/* One call sends to those that live with the first, as many as stand together; and to who ended, nothing. */
static void a_call_stops_where_another_lives(struct uf_system *system)
{
    _Atomic uint64_t *crossing = &system->self.owner[system->self.slot].crossing;
    const uint64_t wanted[4] = {id[0], id[3], id[1], id[0]}; /* of workers 0, 0, 1, 0 */
    uint32_t handles[4];
    uint32_t worker;
    uint32_t together;
    uint32_t bell;
    struct uf_receiver receiver = {.queue = 0};
    uint64_t before = atomic_load(crossing);
    for (uint32_t i = 0; i < 4; i++) {
        CHECK_EQ(uf_pool_take(&system->messages, 24, &handles[i]), UF_OK);
    }
    CHECK_EQ(uf_deliver(&system->self, &system->agents, &system->queues, wanted, 0, handles, 4,
                        &worker, &together, &bell),
             2);
    CHECK_EQ(worker, 0);
    CHECK_EQ(together, 2);
    CHECK_EQ(atomic_load(crossing), before + 2);
    CHECK_EQ(uf_queue_length(&system->queues, 0, 0), 2);
    const uint64_t ended = uf_agent_id(77, 0);
    CHECK_EQ(uf_deliver(&system->self, &system->agents, &system->queues, &ended, 0, &handles[2], 1,
                        &worker, &together, &bell),
             UF_STALE);
    CHECK_EQ(together, 0);
    CHECK_EQ(atomic_load(crossing) % 2, 0);
    CHECK_EQ(uf_deliver(&system->self, &system->agents, &system->queues, wanted, 0, handles, 0,
                        &worker, &together, &bell),
             UF_INVALID);
    CHECK_EQ(uf_queue_take(&system->queues, &receiver, handles, 2), 2);
    for (uint32_t i = 0; i < 4; i++) {
        CHECK_EQ(uf_pool_give(&system->messages, handles[i]), UF_OK);
    }
    explored("calls that stop where another worker's agents begin", 1);
}

/* A process that stands between its look and its push is waited for, until it is through, or dead, or the
 * caller's patience ends. */
static void who_is_on_its_way_is_waited_for(struct uf_system *system)
{
    struct part other = {.index = 0};
    uint64_t seen[12];
    uint32_t on_way;
    struct uf_departure departure = {.seen = seen};
    attach(&other);
    _Atomic uint64_t *crossing = &other.system.self.owner[other.system.self.slot].crossing;
    atomic_fetch_add(crossing, 1);
    CHECK_EQ(atomic_load(crossing) % 2, 1);
    for (uint32_t ways = 0; ways < 3; ways++) {
        uf_departure_begin(&system->self, &departure);
        CHECK_EQ(uf_departure_look(&system->self, &system->queues, 1, &departure, true, &on_way),
                 UF_BUSY);
        CHECK_EQ(on_way, 1);
        bool patient = ways != 0;
        if (ways == 1) {
            atomic_fetch_add(crossing, 2); /* through, and on its way again */
        } else if (ways == 2) {
            uf_system_abandon(&other.system);
        }
        CHECK_EQ(uf_departure_look(&system->self, &system->queues, 1, &departure, patient, &on_way),
                 UF_OK);
        CHECK_EQ(on_way, patient ? 0 : 1);
    }
    explored("ways that a wait for who is on its way ends", 3);
}

/* The slot of one that died on its way is mended and another's: that one is not waited for. */
static void who_comes_after_is_not_taken_for_the_dead(struct uf_system *system)
{
    struct part first = {.index = 0};
    struct part next = {.index = 0};
    struct uf_recovery done;
    uint64_t seen[12];
    uint32_t on_way;
    struct uf_departure departure = {.seen = seen};
    uint64_t *scratch = calloc(1, uf_system_scratch_bytes(system));
    attach(&first);
    uint32_t slot = first.system.self.slot;
    atomic_fetch_add(&first.system.self.owner[slot].crossing, 1);
    uf_departure_begin(&system->self, &departure);
    uf_system_abandon(&first.system);
    CHECK_EQ(uf_system_recover(system, slot, scratch, &done), UF_OK);
    attach(&next);
    CHECK_EQ(next.system.self.slot, slot);
    CHECK_EQ(atomic_load(&next.system.self.owner[slot].crossing) % 2, 0);
    CHECK_EQ(uf_departure_look(&system->self, &system->queues, 1, &departure, true, &on_way),
             UF_OK);
    uf_system_close(&next.system);
    free(scratch);
    explored("slots of the dead that others had meanwhile", 1);
}

int main(void)
{
    struct uf_system mine;
    uint64_t free_bytes;
    uint32_t type;
    watchdog(100);
    seed = test_seed();
    uf_step_hook = yield_at_marks;
    each_sends = 30000 / SLOWER;
    arena_names(&arena);
    CHECK_EQ(
        uf_system_create(&mine, &sizes, arena.temp_path, arena.path, 42, 5, 1, "", 0, &free_bytes),
        UF_OK);
    CHECK_EQ(uf_agents_type(&mine.agents, "coder", true, &type), UF_OK);
    for (uint32_t i = 0; i < WORKERS; i++) {
        char name[16];
        uint32_t queue;
        snprintf(name, sizeof name, "host-%u", i);
        CHECK_EQ(uf_queue_open(&mine.queues, name, &queue), UF_OK);
        CHECK_EQ(queue, i);
    }
    for (uint32_t a = 0; a < AGENTS; a++) {
        CHECK_EQ(uf_agent_new(&mine.agents, type, a % WORKERS, 2, UF_AGENT_STARTING, UINT32_MAX, 0,
                              0, &id[a]),
                 UF_OK);
        CHECK_EQ(uf_agent_move(&mine.agents, id[a], UF_AGENT_STARTING, UF_AGENT_ACTIVE), UF_OK);
        CHECK_EQ(uf_agent_leave(&mine.agents, id[a], (a + 1) % WORKERS, a % WORKERS), UF_BUSY);
        CHECK_EQ(uf_agent_leave(&mine.agents, id[a], a % WORKERS, a % WORKERS), UF_INVALID);
    }
    a_call_stops_where_another_lives(&mine);
    who_comes_after_is_not_taken_for_the_dead(&mine);
    who_is_on_its_way_is_waited_for(&mine);
    nothing_lost_or_overtaken();
    uf_system_close(&mine);
    unlink(arena.path);
    CHECK_EQ(rmdir(arena.directory), 0);
    return 0;
}
