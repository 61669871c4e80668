/* test_every_instruction.c -- a process killed between two machine instructions of an operation: the
 * marks of uf_step.h stand where we thought of a death, this finds the places where we did not.
 *
 * The child is traced and run step by step (ptrace). As that takes its time, every n-th instruction is
 * taken, from another one in each run; UF_TEST_THOROUGH=1 takes nearly all, in a minute or two.
 */
#include "whole.h"

#include <sys/prctl.h>
#include <sys/ptrace.h>

/* Single steps for one operation, all deaths together. */
#define STEPS_USUAL 40000u
#define STEPS_THOROUGH 600000u

static struct uf_system parent;

/* --- operations -------------------------------------------------------------------------------- */

static uint32_t taken[4]; /* handles that the child has before it is traced */

static void nothing_before(struct uf_system *system)
{
    (void)system;
}

static void messages_before(struct uf_system *system)
{
    (void)system;
    for (uint64_t i = 0; i < 4; i++) {
        CHECK_EQ(whole_send(&parent, 0, 1, i), UF_OK);
    }
    uf_pool_flush(&parent.messages);
}

static void entries_before(struct uf_system *system)
{
    (void)system;
    struct clerk clerk = whole_clerk(&parent);
    for (uint64_t key = 0; key < 14; key++) {
        struct uf_entry entry = {0};
        CHECK_EQ(entry_set(&clerk, key, 4, 1000 + key, UF_SET_ANY, &entry), UF_OK);
    }
    uf_pool_flush(&parent.values);
}

static void agents_before(struct uf_system *system)
{
    uint64_t id;
    (void)system;
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(uf_agent_new(&parent.agents, 0, 0, 0, UF_AGENT_BUILDING, 1, 0, 0, &id), UF_OK);
        CHECK_EQ(uf_agent_move(&parent.agents, id, UF_AGENT_BUILDING, UF_AGENT_WARM), UF_OK);
    }
}

static void sending(struct uf_system *system)
{
    for (uint64_t i = 0; i < 2; i++) {
        CHECK_EQ(whole_send(system, 0, 1, i), UF_OK);
    }
}

static void receiving(struct uf_system *system)
{
    struct uf_receiver receiver = {0};
    CHECK_EQ(uf_queue_take(&system->queues, &receiver, taken, 2), 2);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(uf_pool_give(&system->messages, taken[i]), UF_OK);
    }
}

static void opening(struct uf_system *system)
{
    uint32_t index;
    CHECK_EQ(uf_queue_open(&system->queues, "a name", &index), UF_OK);
}

static void storing(struct uf_system *system)
{
    struct clerk clerk = whole_clerk(system);
    struct uf_entry entry = {0};
    CHECK_EQ(entry_set(&clerk, 3, 4, 2003, UF_SET_ANY, &entry), UF_OK);
    CHECK_EQ(entry_set(&clerk, 14, 4, 2014, UF_SET_NEW, &entry), UF_OK);
    CHECK_EQ(entry_delete(&clerk, 5, 0), UF_OK);
}

static void spawning(struct uf_system *system)
{
    uint64_t id;
    uint32_t worker;
    CHECK_EQ(uf_agent_claim(&system->agents, 0, 0, 0, 0, &id, &worker), UF_OK);
    CHECK_EQ(uf_agent_move(&system->agents, id, UF_AGENT_STARTING, UF_AGENT_FREE), UF_OK);
    CHECK_EQ(uf_agent_new(&system->agents, 0, 0, 0, UF_AGENT_BUILDING, 1, 0, 0, &id), UF_OK);
    CHECK_EQ(uf_agent_move(&system->agents, id, UF_AGENT_BUILDING, UF_AGENT_WARM), UF_OK);
}

static void joining(struct uf_system *system)
{
    uf_system_close(system);
    whole_attach(system);
}

/* --- what is left behind ----------------------------------------------------------------------- */

/* Bit n: message n came, once. */
static uint64_t drain(void)
{
    struct uf_receiver receiver = {0};
    uint32_t handles[4];
    uint64_t numbers = 0;
    int got;
    while ((got = uf_queue_adopt(&parent.queues, 0, handles, 4)) > 0 ||
           (got = uf_queue_take(&parent.queues, &receiver, handles, 4)) > 0) {
        for (int i = 0; i < got; i++) {
            uint64_t bit = 1ull << number_of(&parent.messages, handles[i]);
            CHECK((numbers & bit) == 0);
            numbers |= bit;
            CHECK_EQ(uf_pool_give(&parent.messages, handles[i]), UF_OK);
        }
    }
    return numbers;
}

static void after_sending(bool ended)
{
    uint64_t numbers = drain();
    CHECK(numbers == 3 || (!ended && (numbers == 0 || numbers == 1)));
}

static void after_receiving(bool ended)
{
    uint64_t numbers = drain();
    CHECK((numbers & 0xc) == 0xc); /* those that it did not take are all there */
    CHECK(!ended || numbers == 0xc);
}

static void after_opening(bool ended)
{
    uint32_t index;
    uint32_t found;
    CHECK(!ended || uf_queue_find(&parent.queues, "a name", &found) == UF_OK);
    CHECK_EQ(uf_queue_open(&parent.queues, "a name", &index), UF_OK);
    CHECK_EQ(uf_queue_find(&parent.queues, "a name", &found), UF_OK);
    CHECK_EQ(index, found);
    CHECK_EQ(uf_queue_close(&parent.queues, index), UF_OK);
    for (uint32_t i = 0; i < parent.queues.count; i++) {
        CHECK_EQ(parent.queues.record[i].state & 0xff, UF_QUEUE_FREE);
    }
}

static void after_storing(bool ended)
{
    struct clerk clerk = whole_clerk(&parent);
    uint64_t count = 0;
    for (uint64_t key = 0; key < 15; key++) {
        struct uf_entry entry;
        uint64_t number = 0;
        int status = entry_get(&clerk, key, &number, &entry);
        bool old = status == UF_OK && number == 1000 + key;
        bool fresh = key == 5 ? status == UF_MISSING : status == UF_OK && number == 2000 + key;
        bool touched = key == 3 || key == 5 || key == 14;
        CHECK(status == UF_OK || status == UF_MISSING);
        CHECK(touched ? fresh || (!ended && (old || key == 14)) : old);
        count += status == UF_OK;
    }
    CHECK_EQ(uf_table_count(&parent.table), count);
}

static void after_spawning(bool ended)
{
    uint64_t id;
    uint32_t worker;
    uint32_t claimed = 0;
    while (uf_agent_claim(&parent.agents, 0, 0, 0, 0, &id, &worker) == UF_OK) {
        CHECK_EQ(uf_agent_move(&parent.agents, id, UF_AGENT_STARTING, UF_AGENT_FREE), UF_OK);
        claimed++;
    }
    CHECK(claimed == 3 || (!ended && claimed == 2));
    for (uint32_t slot = 0; slot < whole_sizes.agents; slot++) {
        struct uf_agent_info info;
        CHECK_EQ(uf_agent_at(&parent.agents, slot, &info), UF_OK);
        CHECK(info.state == UF_AGENT_FREE || (!ended && info.state == UF_AGENT_STOPPED));
    }
}

static void after_joining(bool ended)
{
    struct uf_owner_info info;
    (void)ended;
    for (uint32_t slot = 1; slot < parent.self.count; slot++) {
        CHECK_EQ(uf_owner_read(&parent.self, slot, &info), UF_OK);
        CHECK_EQ(info.phase, UF_PHASE_FREE);
    }
}

/* --- step by step ------------------------------------------------------------------------------ */

struct operation {
    const char *what;
    void (*before)(struct uf_system *);
    void (*work)(struct uf_system *);
    void (*after)(bool ended);
};

static const struct operation operations[] = {
    {"deaths in sending two messages", nothing_before, sending, after_sending},
    {"deaths in taking and giving two messages", messages_before, receiving, after_receiving},
    {"deaths in opening a queue", nothing_before, opening, after_opening},
    {"deaths in replacing, inserting and deleting an entry", entries_before, storing,
     after_storing},
    {"deaths in claiming, ending and building an agent", agents_before, spawning, after_spawning},
    {"deaths in leaving and joining", nothing_before, joining, after_joining},
};

static void traced_child(const struct operation *operation)
{
    struct uf_system system;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    whole_attach(&system);
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
        fprintf(stderr, "this machine lets nobody trace: %s\n", strerror(errno));
        _exit(4);
    }
    raise(SIGSTOP);
    operation->work(&system);
    raise(SIGSTOP);
    _exit(0); /* not reached: it is killed where it stands */
}

/* Kill the child after `steps` instructions. False: its work was done before; *total says when. */
static bool killed_after(const struct operation *operation, uint64_t steps, uint64_t *total)
{
    int status;
    bool ended = false;
    uint64_t done = 0;
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        traced_child(operation);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    while (done < steps && !ended) {
        CHECK_EQ(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL), 0);
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK(WIFSTOPPED(status));
        ended = WSTOPSIG(status) == SIGSTOP;
        CHECK(ended || WSTOPSIG(status) == SIGTRAP);
        done++;
    }
    CHECK_EQ(kill(child, SIGKILL), 0);
    CHECK_EQ(child_end(child), 128 + SIGKILL);
    *total = done;
    return !ended;
}

static bool one_death(const struct operation *operation, uint64_t steps, uint64_t *total)
{
    whole_make(&parent);
    operation->before(&parent);
    bool died = killed_after(operation, steps, total);
    whole_mend(&parent);
    operation->after(!died);
    whole_account(&parent);
    whole_remove(&parent);
    return died;
}

int main(void)
{
#if defined(__SANITIZE_THREAD__)
    /* It multiplies the instructions by thirty, all of them its own, and knows nothing of deaths. */
    printf("left to the other builds: single steps through ThreadSanitizer's own code\n");
    return 0;
#endif
    bool thorough = getenv("UF_TEST_THOROUGH") != NULL;
    watchdog(thorough ? 1200 : 110);
    uint64_t random = test_seed();
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        uint64_t deaths = 0;
        uint64_t total;
        uint64_t unused;
        CHECK(!one_death(&operations[i], UINT64_MAX, &total)); /* how long it is */
        uint64_t stride = 1 + total * total / 2 / (thorough ? STEPS_THOROUGH : STEPS_USUAL);
        for (uint64_t at = next_random(&random) % stride; at < total; at += stride, deaths++) {
            if (!one_death(&operations[i], at, &unused)) {
                break;
            }
        }
        explored(operations[i].what, deaths);
        explored("  of so many instructions", total);
    }
    return 0;
}
