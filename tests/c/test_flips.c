/* test_flips.c -- bits of a live region flip at random while readers and writers work on it.
 *
 * What a process reads from shared memory may be anything: another process's fault, or its malice.
 * Every call must come back, with an answer or a status, and touch nothing outside the region. Every
 * public operation of a whole system runs, first in one thread between flips (a failure comes back with
 * its seed), then in three other processes while this one flips: two writers, and a reader that attached
 * read-only. A wild access is a fault (or a sanitizer's report), an endless loop is the watchdog's that
 * each of them has; the parent says which child died of what. Answers are not judged: they cannot be
 * right.
 */
#include "check.h"

#include <sys/mman.h>

#include "uf_deliver.h"
#include "uf_system.h"

struct dice {
    uint64_t state;
};

static uint32_t roll(struct dice *dice, uint32_t sides)
{
    return (uint32_t)(next_random(&dice->state) % sides);
}

#define FLIPS (100000 / SLOWER)
#define ROUNDS 50

static char path[96];
static uint64_t region_bytes;

/* What the processes of the test tell each other, in memory of its own: it is not flipped. */
#define CHILDREN 3
static struct tally {
    _Atomic uint64_t calls;
    _Atomic uint64_t refused;
    _Atomic uint64_t
        steps[CHILDREN]; /* its child alone: uses that came to their end, in this round */
    _Atomic bool over;
} *tally;

static const struct uf_sizes sizes = {
    .owners = 8,
    .buckets = 16,
    .extensions = 4,
    .queues = 6,
    .queue_capacity = 8,
    .agents = 100,
    .types = 4,
    .warm = 8,
    .shards = 2,
    .message_classes = 2,
    .value_classes = 2,
    .settings_bytes = 64,
    .message = {{256, 64}, {1024, 16}},
    .value = {{192, 64}, {1024, 16}},
};

static void count(int status)
{
    atomic_fetch_add_explicit(&tally->calls, 1, memory_order_relaxed);
    if (status < 0) {
        atomic_fetch_add_explicit(&tally->refused, 1, memory_order_relaxed);
    }
}

static void use_queues(struct uf_system *system, struct uf_receiver *receiver, struct dice *dice)
{
    uint32_t handles[64];
    uint32_t bell;
    uint32_t handle;
    uint32_t index;
    char name[8];
    snprintf(name, sizeof name, "q%u", roll(dice, 3));
    count(uf_queue_open(&system->queues, name, &index));
    int status = uf_pool_take(&system->messages, roll(dice, 900), &handle);
    count(status);
    if (status == UF_OK) {
        struct uf_message *message = uf_pool_block(&system->messages, handle);
        message->payload_bytes = 8;
        status = uf_queue_send(&system->queues, roll(dice, 7), roll(dice, 5), &handle, 1, &bell);
        count(status);
        if (status != 1) {
            count(uf_pool_give(&system->messages, handle));
        }
    }
    receiver->queue = roll(dice, 6);
    int taken = roll(dice, 4) == 0
                    ? uf_queue_adopt(&system->queues, receiver->queue, handles, 64)
                    : uf_queue_take(&system->queues, receiver, handles, 1 + roll(dice, 64));
    count(taken);
    for (int i = 0; i < taken; i++) {
        const struct uf_message *message = uf_pool_block(&system->messages, handles[i]);
        CHECK(message != NULL); /* what a take answers with can be looked at */
        count(uf_pool_give(&system->messages, handles[i]));
    }
    count(uf_queue_arm(&system->queues, roll(dice, 6), UF_BELL_FUTEX, &bell));
    count((int)uf_queue_length(&system->queues, roll(dice, 6), roll(dice, 4)));
    const char *text = uf_queue_name(&system->queues, roll(dice, 6));
    count(text == NULL ? UF_MISSING : UF_OK);
    if (roll(dice, 16) == 0) {
        count(uf_queue_close(&system->queues, roll(dice, 6)));
    }
}

static void use_table(struct uf_system *system, struct dice *dice)
{
    uint64_t buffer[UF_KEY_BYTES_MAX / 8 + 1];
    uint64_t data[128] = {0};
    uint64_t cursor = 0;
    struct uf_key key;
    struct uf_entry entry = {0};
    char name[8];
    snprintf(name, sizeof name, "k%u", roll(dice, 40));
    count(uf_key_make(&key, system->table.seed, buffer, "space", 5, name, strlen(name)));
    switch (roll(dice, 5)) {
    case 0:
        count(uf_table_get(&system->table, &key, 1, data, sizeof data, &entry));
        break;
    case 1:
        count(uf_table_delete(&system->table, &key, 0, 0));
        break;
    case 2:
        for (uint32_t i = 0; i < 4; i++) {
            count(uf_table_next(&system->table, &cursor, 1, buffer, &entry));
        }
        break;
    default:
        count(uf_table_set(&system->table, &key, data, roll(dice, sizeof data), 1, roll(dice, 3),
                           &entry));
    }
    count((int)uf_table_count(&system->table));
}

static void use_agents(struct uf_system *system, struct dice *dice)
{
    struct uf_agent_info info;
    uint64_t id = roll(dice, 100);
    uint32_t type;
    uint32_t worker;
    uint32_t mine[4 * UF_AGENT_STATES] = {0};
    count(uf_agents_type(&system->agents, roll(dice, 2) == 0 ? "coder" : "tester", true, &type));
    count(uf_agents_type_name(&system->agents, roll(dice, 5)) == NULL ? UF_MISSING : UF_OK);
    int status = uf_agent_new(&system->agents, roll(dice, 4), roll(dice, 4), 1, UF_AGENT_BUILDING,
                              9, 0, 1, &id);
    count(status);
    count(uf_agent_move(&system->agents, id, UF_AGENT_BUILDING, UF_AGENT_WARM));
    count(uf_agent_claim(&system->agents, roll(dice, 4), 1, 0, 1, &id, &worker));
    count(uf_agent_route(&system->agents, id, &worker));
    count(uf_agent_look(&system->agents, id, &info));
    count(uf_agent_move(&system->agents, id, roll(dice, 8), roll(dice, 8)));
    count(uf_agent_move(&system->agents, id, UF_AGENT_STARTING, UF_AGENT_FREE));
    uf_agents_tally(&system->agents, UF_EVERY_WORKER, mine);
}

/* An agent is sent to, leaves, and its departure is looked at, wherever what is damaged says that it goes. */
static void use_deliveries(struct uf_system *system, struct dice *dice)
{
    static _Thread_local uint64_t seen[UF_OWNERS_MAX];
    struct uf_departure departure = {.seen = seen};
    uint64_t ids[3];
    uint32_t handles[3];
    uint32_t worker;
    uint32_t together;
    uint32_t bell;
    uint32_t on_way;
    uint32_t filled = 0;
    for (uint32_t i = 0; i < 3; i++) {
        ids[i] = roll(dice, 100);
        filled += uf_pool_take(&system->messages, 8, &handles[filled]) == UF_OK;
    }
    int sent = uf_deliver(&system->self, &system->agents, &system->queues, ids, roll(dice, 4),
                          handles, filled, &worker, &together, &bell);
    count(sent);
    for (uint32_t i = sent > 0 ? (uint32_t)sent : 0; i < filled; i++) {
        count(uf_pool_give(&system->messages, handles[i]));
    }
    count(uf_agent_leave(&system->agents, ids[0], roll(dice, 4), roll(dice, 4)));
    uf_departure_begin(&system->self, &departure);
    count(uf_departure_look(&system->self, &system->queues, roll(dice, 4), &departure,
                            roll(dice, 2) == 0, &on_way));
}

static void use_metrics(struct uf_system *system, struct dice *dice)
{
    static _Thread_local uint64_t counts[UF_HIST_BUCKETS];
    uint64_t sum;
    uint64_t max;
    count(uf_hist_record(&system->metrics, roll(dice, UF_HISTS), roll(dice, 1u << 30)));
    count(uf_hist_read(&system->metrics, roll(dice, UF_HISTS), counts, &sum, &max));
    count(uf_counter_add(&system->metrics, roll(dice, UF_COUNTERS), 1));
    count(uf_counter_read(&system->metrics, roll(dice, UF_COUNTERS), &sum));
}

struct user {
    struct uf_system system;
    struct uf_receiver receiver;
    struct dice dice;
    uint64_t *scratch;
};

static void attach(struct user *user, uint64_t seed, bool read_only)
{
    memset(user, 0, sizeof *user);
    user->dice.state = seed | 1;
    CHECK_EQ(uf_system_attach(&user->system, path, UF_ROLE_CLIENT, read_only, 1, 1), UF_OK);
    user->scratch = calloc(1, uf_system_scratch_bytes(&user->system));
}

static void detach(struct user *user)
{
    uf_system_close(&user->system);
    free(user->scratch);
}

static void use(struct user *user)
{
    struct uf_recovery recovery;
    use_queues(&user->system, &user->receiver, &user->dice);
    use_table(&user->system, &user->dice);
    use_agents(&user->system, &user->dice);
    use_deliveries(&user->system, &user->dice);
    if (roll(&user->dice, 16) == 0) {
        use_metrics(&user->system, &user->dice);
    }
    if (roll(&user->dice, 64) == 0) {
        memset(user->scratch, 0, uf_system_scratch_bytes(&user->system));
        count(uf_system_recover(&user->system, roll(&user->dice, 9), user->scratch, &recovery));
    }
}

static void flip(uint8_t *base, struct dice *dice)
{
    /* Not the head and the directory: those are judged once, when a process attaches (test_region).
     * The owners' area more often than its size says. */
    uint64_t at = UF_PAGE + roll(dice, (uint32_t)(region_bytes - UF_PAGE));
    if (roll(dice, 4) == 0) {
        at = UF_PAGE + roll(dice, 3 * UF_PAGE);
    }
    _Atomic uint8_t *byte = (_Atomic uint8_t *)(base + at);
    atomic_fetch_xor_explicit(byte, (uint8_t)(1u << roll(dice, 8)), memory_order_relaxed);
}

/* A new region: an old one has few whole words left. */
static void renew(struct uf_system *system, const char *temp)
{
    uint64_t free_bytes;
    unlink(path);
    CHECK_EQ(uf_system_create(system, &sizes, temp, path, 7, 1, 1, "settings", 8, &free_bytes),
             UF_OK);
    region_bytes = system->region.bytes;
}

static void flip_between_calls(const char *temp, uint64_t seed)
{
    struct uf_system system;
    struct user user;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        renew(&system, temp);
        attach(&user, seed + round * 977, false);
        for (uint32_t flips = 0; flips < FLIPS / ROUNDS; flips++) {
            flip(system.region.base, &user.dice);
            if (flips % 8 == 0) {
                use(&user);
            }
        }
        detach(&user);
        uf_system_close(&system);
    }
    explored("bits flipped between calls", FLIPS);
}

/* What a tool that attached for reading does. */
static void read_only_use(struct user *user)
{
    static uint64_t counts[UF_HIST_BUCKETS];
    uint64_t buffer[UF_KEY_BYTES_MAX / 8 + 1];
    uint64_t data[128];
    uint64_t cursor = 0;
    uint64_t sum;
    uint64_t max;
    uint32_t worker;
    uint32_t tallied[4 * UF_AGENT_STATES] = {0};
    struct uf_key key;
    struct uf_entry entry;
    struct uf_agent_info agent;
    struct uf_owner_info owner;
    struct uf_system *system = &user->system;
    struct dice *dice = &user->dice;
    char name[8];
    snprintf(name, sizeof name, "k%u", roll(dice, 40));
    count(uf_key_make(&key, system->table.seed, buffer, "space", 5, name, strlen(name)));
    count(uf_table_get(&system->table, &key, 1, data, sizeof data, &entry));
    for (uint32_t i = 0; i < 8; i++) {
        count(uf_table_next(&system->table, &cursor, 1, buffer, &entry));
    }
    count((int)uf_table_count(&system->table));
    count((int)uf_queue_length(&system->queues, roll(dice, 6), roll(dice, 4)));
    count(uf_queue_name(&system->queues, roll(dice, 6)) == NULL ? UF_MISSING : UF_OK);
    count(uf_agents_type_name(&system->agents, roll(dice, 5)) == NULL ? UF_MISSING : UF_OK);
    count(uf_agent_at(&system->agents, roll(dice, 101), &agent));
    count(uf_agent_route(&system->agents, roll(dice, 100), &worker));
    uf_agents_tally(&system->agents, UF_EVERY_WORKER, tallied);
    count(uf_owner_read(&system->self, roll(dice, 9), &owner));
    count(uf_owner_alive(&system->self, roll(dice, 9)));
    if (roll(dice, 16) == 0) {
        count(uf_hist_read(&system->metrics, roll(dice, UF_HISTS), counts, &sum, &max));
    }
}

static _Noreturn void work(uint32_t child, uint64_t seed)
{
    static struct user user;
    bool read_only = child == 0;
    watchdog(60); /* an alarm is not inherited */
    attach(&user, seed, read_only);
    while (!atomic_load_explicit(&tally->over, memory_order_relaxed)) {
        if (read_only) {
            read_only_use(&user);
        } else {
            use(&user);
        }
        atomic_fetch_add_explicit(&tally->steps[child], 1, memory_order_relaxed);
    }
    detach(&user);
    _exit(0);
}

/* Wait until `child` has come to the end of one more use; it may have died instead. */
static void await_step(uint32_t child, pid_t pid)
{
    uint64_t seen = atomic_load_explicit(&tally->steps[child], memory_order_relaxed);
    for (uint32_t tries = 1;
         atomic_load_explicit(&tally->steps[child], memory_order_relaxed) == seen; tries++) {
        sched_yield();
        siginfo_t info = {0};
        if (tries % 64 == 0 && waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            info.si_pid == pid) {
            return; /* child_end tells of what */
        }
    }
}

static void flip_during_calls(const char *temp, uint64_t seed)
{
    struct uf_system system;
    struct dice dice = {seed};
    uint64_t steps = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        pid_t pid[CHILDREN];
        renew(&system, temp);
        atomic_store_explicit(&tally->over, false, memory_order_relaxed);
        fflush(NULL);
        for (uint32_t i = 0; i < CHILDREN; i++) {
            uint64_t own = next_random(&dice.state);
            atomic_store_explicit(&tally->steps[i], 0, memory_order_relaxed);
            pid[i] = fork();
            CHECK(pid[i] >= 0);
            if (pid[i] == 0) {
                work(i, own);
            }
        }
        for (uint32_t i = 0; i < CHILDREN; i++) {
            await_step(i, pid[i]); /* all are at it before the first flip */
        }
        for (uint32_t flips = 0; flips < FLIPS / ROUNDS; flips++) {
            flip(system.region.base, &dice);
            if (flips % 128 == 0) {
                await_step(flips / 128 % CHILDREN, pid[flips / 128 % CHILDREN]);
            }
        }
        atomic_store_explicit(&tally->over, true, memory_order_relaxed);
        for (uint32_t i = 0; i < CHILDREN; i++) {
            CHECK_EQ(child_end(pid[i]), 0);
            steps += atomic_load_explicit(&tally->steps[i], memory_order_relaxed);
        }
        uf_system_close(&system);
    }
    explored("bits flipped during calls of three other processes", FLIPS);
    explored("rounds of calls that they came to the end of meanwhile", steps);
}

int main(void)
{
    char temp[112];
    char directory[64] = "/tmp/uf-c-test-XXXXXX";
    uint64_t seed = test_seed();
    watchdog(100);
    tally = mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(tally != MAP_FAILED);
    CHECK(mkdtemp(directory) != NULL);
    snprintf(path, sizeof path, "%s/region", directory);
    snprintf(temp, sizeof temp, "%s/temp", directory);
    flip_between_calls(temp, seed);
    flip_during_calls(temp, seed);
    unlink(path);
    CHECK_EQ(rmdir(directory), 0);
    explored("calls that came back", atomic_load(&tally->calls));
    explored("of them with a status other than OK", atomic_load(&tally->refused));
    return 0;
}
