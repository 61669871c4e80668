/* test_storm.c -- processes at work, one after the other killed at some instant, and mended by each other.
 *
 * Senders and receivers share a queue and tell, in memory of the test's own, what was accepted, what was
 * handed to whom and what was done with. In the end each accepted message was done with, none was handed
 * out twice without saying so, and every block is accounted for.
 */
#include "whole.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#define MESSAGES (1u << 20)
#define ROLES 6u
#define KILLS (SLOWER == 1 ? 250u : 60u)

enum { ACCEPTED = 1, HANDED = 2, GIVING = 4, GIVEN = 8 };

struct ledger {
    _Atomic uint64_t next;
    _Atomic bool stop;
    _Atomic uint64_t mended;
    _Atomic uint64_t redelivered;
    _Atomic uint64_t reads;
    _Atomic uint64_t claims;
    _Atomic uint8_t message[MESSAGES];
};

static struct ledger *ledger;
static uint64_t seed;

static bool going_on(void)
{
    return !atomic_load_explicit(&ledger->stop, memory_order_relaxed) &&
           atomic_load_explicit(&ledger->next, memory_order_relaxed) < MESSAGES - 64;
}

static void sender(struct uf_system *system, uint64_t random)
{
    while (going_on()) {
        uint64_t number = atomic_fetch_add(&ledger->next, 1);
        int status;
        while ((status = whole_send(system, 0, next_random(&random) % 4, number)) != UF_OK) {
            CHECK(status == UF_FULL || status == UF_BUSY || status == UF_NO_BLOCK);
            if (!going_on()) {
                return;
            }
            sched_yield();
        }
        atomic_fetch_or(&ledger->message[number], ACCEPTED);
    }
}

static void take_in(struct uf_system *system, uint32_t handle)
{
    const struct uf_message *message = uf_pool_block(&system->messages, handle);
    uint64_t number = number_of(&system->messages, handle);
    CHECK(number < MESSAGES);
    uint8_t before = atomic_fetch_or(&ledger->message[number], HANDED);
    bool again = (message->flags & UF_MESSAGE_REDELIVERED) != 0;
    CHECK((before & GIVEN) == 0);           /* done with is done with */
    CHECK((before & HANDED) == 0 || again); /* a second time says so */
    if (again) {
        atomic_fetch_add(&ledger->redelivered, 1);
    }
}

static void give_back(struct uf_system *system, uint32_t handle)
{
    uint64_t number = number_of(&system->messages, handle);
    atomic_fetch_or(&ledger->message[number], GIVING);
    CHECK_EQ(uf_pool_give(&system->messages, handle), UF_OK);
    atomic_fetch_or(&ledger->message[number], GIVEN);
}

static bool receive(struct uf_system *system, struct uf_receiver *receiver)
{
    uint32_t handles[8];
    int got = UF_EMPTY;
    if (uf_queue_has_orphans(&system->queues, 0)) {
        got = uf_queue_adopt(&system->queues, 0, handles, 8);
    }
    if (got == UF_EMPTY) {
        got = uf_queue_take(&system->queues, receiver, handles, 8);
    }
    if (got < 0) {
        CHECK(got == UF_EMPTY || got == UF_BUSY);
        return false;
    }
    for (int i = 0; i < got; i++) {
        take_in(system, handles[i]);
    }
    if (number_of(&system->messages, handles[0]) % 4 == 0) {
        sched_yield(); /* it takes its time over some: a good moment to die */
    }
    for (int i = 0; i < got; i++) {
        give_back(system, handles[i]);
    }
    return true;
}

static void receiver(struct uf_system *system, uint64_t random)
{
    struct uf_receiver own = {0};
    (void)random;
    while (going_on()) {
        if (!receive(system, &own)) {
            sched_yield();
        }
    }
}

static void keeper(struct uf_system *system, uint64_t random)
{
    struct clerk clerk = whole_clerk(system);
    while (going_on()) {
        struct uf_entry entry = {0};
        uint64_t key = next_random(&random) % 12;
        uint64_t number;
        int status;
        switch (next_random(&random) % 4) {
        case 0:
            status = entry_delete(&clerk, key, 0);
            CHECK(status == UF_OK || status == UF_MISSING || status == UF_BUSY);
            break;
        case 1:
            status = entry_set(&clerk, key, 2 + next_random(&random) % 50, key,
                               (uint32_t)next_random(&random) % 2, &entry);
            CHECK(status == UF_OK || status == UF_EXISTS || status == UF_NO_BLOCK ||
                  status == UF_STORE_FULL || status == UF_BUSY);
            break;
        default:
            status = entry_get(&clerk, key, &number, &entry); /* checks every word */
            CHECK(status == UF_OK || status == UF_MISSING || status == UF_BUSY);
            CHECK(status != UF_OK || number == key);
            atomic_fetch_add_explicit(&ledger->reads, status == UF_OK, memory_order_relaxed);
        }
    }
}

/* Agents come and go, and whoever is dead is mended: the menders die too. */
static void mender(struct uf_system *system, uint64_t random)
{
    while (going_on()) {
        uint64_t id;
        uint32_t worker;
        if (uf_agent_new(&system->agents, 0, 0, 0, UF_AGENT_BUILDING, 1, 0, 0, &id) == UF_OK) {
            CHECK_EQ(uf_agent_move(&system->agents, id, UF_AGENT_BUILDING, UF_AGENT_WARM), UF_OK);
        }
        if (uf_agent_claim(&system->agents, 0, 0, 0, 0, &id, &worker) == UF_OK) {
            CHECK_EQ(uf_agent_move(&system->agents, id, UF_AGENT_STARTING, UF_AGENT_FREE), UF_OK);
            atomic_fetch_add(&ledger->claims, 1);
        }
        for (uint32_t slot = 0; slot < whole_sizes.agents; slot++) {
            struct uf_agent_info info;
            CHECK_EQ(uf_agent_at(&system->agents, slot, &info), UF_OK);
            if (info.state == UF_AGENT_STOPPED) {
                uf_agent_move(&system->agents, info.id, UF_AGENT_STOPPED, UF_AGENT_FREE);
            }
        }
        if (next_random(&random) % 64 == 0) {
            atomic_fetch_add(&ledger->mended, whole_mend(system));
        }
    }
}

static void (*const role[ROLES])(struct uf_system *, uint64_t) = {sender,   sender, receiver,
                                                                  receiver, keeper, mender};

static pid_t start(uint32_t which, uint64_t *random)
{
    uint64_t own = next_random(random);
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct uf_system system;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        watchdog(100);
        /* Slots of the dead are taken until somebody mends them. */
        int status;
        while ((status = uf_system_attach(&system, whole_names.path, UF_ROLE_WORKER, false, 6,
                                          (uint64_t)getpid())) == UF_NO_SLOT) {
            sched_yield();
        }
        CHECK_EQ(status, UF_OK);
        role[which](&system, own | 1);
        uf_system_close(&system);
        _exit(0);
    }
    return child;
}

/* Some time, at most a millisecond, for the others to come to some instant. */
static void let_them_work(uint64_t *random)
{
    const struct timespec time = {.tv_nsec = (long)(next_random(random) % (1000000 * SLOWER))};
    nanosleep(&time, NULL);
}

int main(void)
{
    struct uf_system system;
    struct uf_receiver last = {0};
    pid_t child[ROLES];
    uint64_t died = 0;
    uint64_t accepted = 0;
    watchdog(100);
    seed = test_seed();
    uint64_t random = seed;
    ledger = mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(ledger != MAP_FAILED);
    whole_make(&system);
    for (uint32_t i = 0; i < ROLES; i++) {
        child[i] = start(i, &random);
    }
    while (died < KILLS && going_on()) {
        uint32_t which = (uint32_t)(next_random(&random) % ROLES);
        let_them_work(&random);
        CHECK_EQ(kill(child[which], SIGKILL), 0);
        CHECK_EQ(child_end(child[which]), 128 + SIGKILL);
        died++;
        if (next_random(&random) % 4 != 0) {
            atomic_fetch_add(&ledger->mended, whole_mend(&system));
        }
        child[which] = start(which, &random);
    }
    atomic_store(&ledger->stop, true);
    for (uint32_t i = 0; i < ROLES; i++) {
        CHECK_EQ(child_end(child[i]), 0);
    }
    atomic_fetch_add(&ledger->mended, whole_mend(&system));
    while (receive(&system, &last)) {
    }
    CHECK(!uf_queue_has_orphans(&system.queues, 0));
    whole_account(&system);
    for (uint64_t number = 0; number < ledger->next; number++) {
        uint8_t marks = ledger->message[number];
        /* GIVING alone: its receiver died in the very call that says that it is done. */
        CHECK((marks & ACCEPTED) == 0 || (marks & GIVING) != 0);
        accepted += (marks & ACCEPTED) != 0;
    }
    explored("processes killed at some instant", died);
    explored("  found dead while they had a slot, and mended", ledger->mended);
    explored("  messages accepted, and done with", accepted);
    explored("  messages handed out again", ledger->redelivered);
    explored("  whole reads", ledger->reads);
    explored("  warm agents claimed", ledger->claims);
    whole_remove(&system);
    return 0;
}
