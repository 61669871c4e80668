/* test_system.c -- a whole system: made, attached to, left, killed, mended; and attacked. */
#include "arena.h"
#include "deaths.h"

#include <fcntl.h>

#include "uf_system.h"

static struct arena arena; /* of which only the names are used */
static uint64_t seed;

static const struct uf_sizes sizes = {
    .owners = 8,
    .buckets = 16,
    .extensions = 4,
    .queues = 4,
    .queue_capacity = 16,
    .agents = 33,
    .types = 3,
    .warm = 8,
    .shards = 2,
    .message_classes = 2,
    .value_classes = 2,
    .settings_bytes = 100,
    .message = {{128, 100}, {1024, 10}},
    .value = {{128, 50}, {1024, 20}},
};

static void make(struct uf_system *system)
{
    uint64_t free_bytes;
    CHECK_EQ(uf_system_create(system, &sizes, arena.temp_path, arena.path, 77, 5, 1, "settings", 8,
                              &free_bytes),
             UF_OK);
}

static void attach(struct uf_system *system)
{
    CHECK_EQ(uf_system_attach(system, arena.path, UF_ROLE_CLIENT, false, 6, 2), UF_OK);
}

static int mend(struct uf_system *system, uint32_t slot, struct uf_recovery *done)
{
    uint64_t *scratch = calloc(1, uf_system_scratch_bytes(system) + 8);
    CHECK(scratch != NULL);
    int status = uf_system_recover(system, slot, scratch, done);
    free(scratch);
    return status;
}

static void mend_all(struct uf_system *system)
{
    struct uf_recovery done;
    for (uint32_t slot = 0; slot < system->self.count; slot++) {
        int status = mend(system, slot, &done);
        CHECK(status == UF_OK || status == UF_MISSING);
    }
}

/* Everybody else is gone: all that is not an entry is free. */
static void check_account(struct uf_system *system)
{
    uf_pool_flush(&system->messages);
    uf_pool_flush(&system->values);
    CHECK_EQ(blocks_free(&system->messages), blocks_all(&system->messages));
    CHECK_EQ(blocks_findable(&system->messages), blocks_all(&system->messages));
    uint64_t entries = uf_table_count(&system->table);
    CHECK_EQ(blocks_free(&system->values) + entries, blocks_all(&system->values));
    CHECK_EQ(blocks_findable(&system->values), blocks_free(&system->values));
}

static void made_and_attached(void)
{
    struct uf_system first;
    struct uf_system second;
    struct uf_system reader;
    struct uf_recovery done;
    struct stat st;
    uint64_t free_bytes;
    make(&first);
    CHECK_EQ(stat(arena.path, &st), 0);
    CHECK_EQ(st.st_size, uf_system_bytes(&sizes));
    CHECK_EQ(first.self.slot, 0);
    attach(&second);
    CHECK_EQ(second.self.slot, 1);
    CHECK_EQ(uf_system_attach(&reader, arena.path, UF_ROLE_CLIENT, true, 0, 0), UF_OK);
    CHECK_EQ(reader.settings_bytes, 8);
    CHECK_EQ(memcmp(reader.settings, "settings", 8), 0);
    CHECK_EQ(mend(&reader, 0, &done), UF_READ_ONLY);
    CHECK_EQ(mend(&first, 0, &done), UF_MISSING); /* itself */
    CHECK_EQ(mend(&first, 1, &done), UF_MISSING); /* alive */
    CHECK_EQ(mend(&first, 5, &done), UF_MISSING); /* free */
    CHECK_EQ(mend(&first, 8, &done), UF_INVALID);
    CHECK(uf_owner_alive(&reader.self, 1));
    uf_system_close(&second);
    uf_system_close(&second);
    CHECK(!uf_owner_alive(&reader.self, 1));
    CHECK_EQ(uf_system_create(&second, &sizes, arena.temp_path, arena.path, 78, 5, 1, "", 0,
                              &free_bytes),
             UF_EXISTS);
    CHECK_EQ(stat(arena.temp_path, &st), -1); /* nothing is left behind */
    CHECK(uf_owner_alive(&reader.self, 0));
    uf_system_close(&reader);
    uf_system_close(&first);
    unlink(arena.path);
    CHECK_EQ(uf_system_attach(&first, arena.path, UF_ROLE_CLIENT, false, 0, 0), UF_NO_REGION);
    uf_system_close(&first);
    explored("ways to come and to go", 12);
}

static void sizes_are_judged(void)
{
    struct uf_system system;
    struct stat st;
    uint64_t free_bytes;
    uint64_t refused = 0;
    struct uf_sizes wrong[9];
    for (size_t i = 0; i < 9; i++) {
        wrong[i] = sizes;
    }
    wrong[0].owners = 0;
    wrong[1].owners = UF_OWNERS_MAX + 1;
    wrong[2].queue_capacity = 12;
    wrong[3].warm = 3;
    wrong[4].shards = 0;
    wrong[5].types = UF_TYPES_MAX + 1;
    wrong[6].message_classes = UF_CLASSES + 1;
    wrong[7].queues = 0;
    wrong[8].value[1].block_bytes = 100;
    for (size_t i = 0; i < 9; i++, refused++) {
        CHECK_EQ(uf_system_create(&system, &wrong[i], arena.temp_path, arena.path, 1, 1, 1, "", 0,
                                  &free_bytes),
                 UF_INVALID);
        CHECK(system.region.base == NULL);
        CHECK_EQ(stat(arena.temp_path, &st), -1);
    }
    explored("impossible sizes refused", refused);
}

/* --- one process does a little of everything ---------------------------------------------------- */

static void send_number(struct uf_system *system, uint32_t queue, uint64_t number)
{
    uint32_t handle;
    uint32_t bell;
    CHECK_EQ(uf_pool_take(&system->messages, 8, &handle), UF_OK);
    struct uf_message *message = uf_pool_block(&system->messages, handle);
    message->flags = 0;
    message->attempt = 0;
    number_put(&system->messages, handle, number);
    CHECK_EQ(uf_queue_send(&system->queues, queue, 0, &handle, 1, &bell), 1);
}

static void everything(void *unused)
{
    struct uf_system system;
    struct uf_receiver receiver = {0};
    struct uf_entry entry = {0};
    struct uf_key key;
    uint64_t buffer[UF_KEY_BYTES_MAX / 8 + 1];
    uint32_t handles[4];
    uint32_t queue;
    uint32_t type;
    uint32_t worker;
    uint64_t id;
    (void)unused;
    attach(&system);
    CHECK_EQ(uf_queue_open(&system.queues, "inbox", &queue), UF_OK);
    uf_owner_set_queue(&system.self, queue + 1);
    CHECK_EQ(uf_agents_type(&system.agents, "coder", true, &type), UF_OK);
    CHECK_EQ(uf_agent_new(&system.agents, type, queue, 0, UF_AGENT_BUILDING, 9, 0, 1, &id), UF_OK);
    CHECK_EQ(uf_agent_move(&system.agents, id, UF_AGENT_BUILDING, UF_AGENT_WARM), UF_OK);
    CHECK_EQ(uf_agent_claim(&system.agents, type, 0, 0, 1, &id, &worker), UF_OK);
    CHECK_EQ(uf_agent_move(&system.agents, id, UF_AGENT_STARTING, UF_AGENT_ACTIVE), UF_OK);
    for (uint64_t i = 0; i < 3; i++) {
        send_number(&system, queue, i);
    }
    receiver.queue = queue;
    CHECK_EQ(uf_queue_take(&system.queues, &receiver, handles, 2), 2);
    CHECK_EQ(uf_key_make(&key, system.table.seed, buffer, "s", 1, "k", 1), UF_OK);
    CHECK_EQ(uf_table_set(&system.table, &key, "one", 3, 0, UF_SET_ANY, &entry), UF_OK);
    CHECK_EQ(uf_table_set(&system.table, &key, "two", 3, 0, UF_SET_ANY, &entry), UF_OK);
    CHECK_EQ(uf_table_delete(&system.table, &key, 0, 0), UF_OK);
    CHECK_EQ(uf_hist_record(&system.metrics, 0, 5), UF_OK);
    CHECK_EQ(uf_pool_give(&system.messages, handles[0]), UF_OK);
    CHECK_EQ(uf_pool_give(&system.messages, handles[1]), UF_OK);
    CHECK_EQ(uf_queue_take(&system.queues, &receiver, handles, 2), 1);
    CHECK_EQ(uf_pool_give(&system.messages, handles[0]), UF_OK);
    CHECK_EQ(uf_agent_move(&system.agents, id, UF_AGENT_ACTIVE, UF_AGENT_FREE), UF_OK);
    CHECK_EQ(uf_queue_close(&system.queues, queue), UF_OK);
    uf_system_close(&system);
}

static void mending(void *unused)
{
    struct uf_system system;
    (void)unused;
    attach(&system);
    mend_all(&system);
    uf_system_close(&system);
}

/* What a successor does first: take over what is in the inbox. */
static void take_over(struct uf_system *system)
{
    struct uf_agent_info info;
    struct uf_receiver receiver = {0};
    uint32_t handles[4];
    uint64_t numbers = 0;
    int got;
    while ((got = uf_queue_adopt(&system->queues, 0, handles, 4)) > 0 ||
           (got = uf_queue_take(&system->queues, &receiver, handles, 4)) > 0) {
        for (int i = 0; i < got; i++) {
            uint64_t bit = 1ull << number_of(&system->messages, handles[i]);
            CHECK((numbers & bit) == 0);
            numbers |= bit;
            CHECK_EQ(uf_pool_give(&system->messages, handles[i]), UF_OK);
        }
    }
    for (uint32_t slot = 0; slot < sizes.agents; slot++) {
        CHECK_EQ(uf_agent_at(&system->agents, slot, &info), UF_OK);
        CHECK(info.state != UF_AGENT_BUILDING && info.state != UF_AGENT_STARTING);
    }
}

static void deaths(void)
{
    struct death_tally first = {0};
    struct death_tally second = {0};
    bool more = true;
    for (uint32_t at = 1; more; at++) {
        for (uint32_t again = 0; again < 60;
             again += again == 0 ? 1 + at % (3 * SLOWER) : 3 * SLOWER) {
            struct uf_system parent;
            uint64_t so_far = second.deaths;
            make(&parent);
            more = death_at(at, everything, NULL);
            if (more) {
                tally_death(&first);
            }
            if (again > 0 && death_at(again, mending, NULL)) {
                tally_death(&second);
            }
            mend_all(&parent);
            take_over(&parent);
            check_account(&parent);
            uf_system_close(&parent);
            unlink(arena.path);
            if ((again > 0 && second.deaths == so_far) || at % (SLOWER / 2 + 1) != 0) {
                break;
            }
        }
    }
    check_labels(&first, "O1 O2 O4 Q0 Q8 A1 A3 A4 A5 R1 Q3 Q4 V1 T1 T2 T3 T4 T6 P3 P4");
    check_labels_if_all(&second, "O3 O5 P5");
    explored("deaths anywhere in a process's life", first.deaths);
    explored("  and then of its recoverer", second.deaths);
}

/* The creator dies before the region has its name, or just after. */
static void creating(void *unused)
{
    struct uf_system system;
    (void)unused;
    make(&system);
    uf_system_close(&system);
}

static void deaths_of_creators(void)
{
    struct death_tally tally = {0};
    struct uf_system system;
    for (uint32_t at = 1; death_at(at, creating, NULL); at++) {
        tally_death(&tally);
        int status = uf_system_attach(&system, arena.path, UF_ROLE_CLIENT, false, 0, 0);
        bool there = access(arena.path, F_OK) == 0;
        CHECK_EQ(status, there ? UF_OK : UF_NO_REGION);
        if (there) {
            mend_all(&system);
            check_account(&system);
            uf_system_close(&system);
            unlink(arena.path);
        }
        CHECK(there || access(arena.temp_path, F_OK) == 0);
        unlink(arena.temp_path);
    }
    unlink(arena.path);
    check_labels(&tally, "G0 O1 O2 G1 G1b");
    explored("deaths of creators", tally.deaths);
}

/* Left without its slot: what it had taken goes to the next receiver. */
static void abandoned(void)
{
    struct uf_system parent;
    struct uf_system worker;
    struct uf_receiver receiver = {0};
    struct uf_recovery done;
    uint32_t handles[4];
    make(&parent);
    for (uint64_t i = 0; i < 3; i++) {
        send_number(&parent, 0, i);
    }
    attach(&worker);
    uint32_t slot = worker.self.slot;
    CHECK_EQ(uf_queue_take(&worker.queues, &receiver, handles, 2), 2);
    uf_system_abandon(&worker);
    uf_system_abandon(&worker);
    CHECK_EQ(mend(&parent, slot, &done), UF_OK);
    CHECK_EQ(done.queue.orphaned, 2);
    CHECK_EQ(uf_queue_adopt(&parent.queues, 0, handles, 4), 2);
    CHECK_EQ(number_of(&parent.messages, handles[0]), 0);
    CHECK_EQ(number_of(&parent.messages, handles[1]), 1);
    CHECK_EQ(uf_queue_take(&parent.queues, &receiver, handles + 2, 2), 1);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(uf_pool_give(&parent.messages, handles[i]), UF_OK);
    }
    check_account(&parent);
    uf_system_close(&parent);
    unlink(arena.path);
    explored("messages of one who abandoned its slot", 3);
}

/* --- a hostile or damaged region ---------------------------------------------------------------- */

/* Whatever the words say, calls end and stay inside the region; their answers do not matter. */
static void use_it_all(struct uf_system *system, uint64_t *random)
{
    struct uf_receiver receiver = {.queue = (uint32_t)next_random(random) % 5};
    struct uf_entry entry = {0};
    struct uf_key key;
    struct uf_agent_info info;
    struct uf_recovery done;
    uint64_t buffer[UF_KEY_BYTES_MAX / 8 + 2];
    uint8_t out[2048];
    uint32_t handles[8];
    uint32_t word;
    uint64_t id;
    uint64_t sum;
    uint64_t cursor = 0;
    static uint64_t counts[UF_HIST_BUCKETS];
    static uint32_t tallied[UF_TYPES_MAX * UF_AGENT_STATES];
    uint32_t handle;
    if (uf_pool_take(&system->messages, 8, &handle) == UF_OK) {
        struct uf_message *message = uf_pool_block(&system->messages, handle);
        message->flags = 0;
        if (uf_queue_send(&system->queues, receiver.queue, 1, &handle, 1, &word) != 1) {
            uf_pool_give(&system->messages, handle);
        }
    }
    for (int i = 0; i < 3; i++) {
        int got = i == 0 ? uf_queue_adopt(&system->queues, receiver.queue, handles, 8)
                         : uf_queue_take(&system->queues, &receiver, handles, 8);
        for (int h = 0; h < got; h++) {
            CHECK(uf_pool_block(&system->messages, handles[h]) != NULL);
            uf_pool_give(&system->messages, handles[h]);
        }
    }
    uf_queue_arm(&system->queues, receiver.queue, UF_BELL_PIPE, &word);
    uf_queue_length(&system->queues, receiver.queue, 1);
    uf_queue_open(&system->queues, "another", &word);
    uf_queue_name(&system->queues, word % 4);
    CHECK_EQ(uf_key_make(&key, system->table.seed, buffer, "s", 1, "key", next_random(random) % 4),
             UF_OK);
    uf_table_get(&system->table, &key, 0, out, sizeof out, &entry);
    entry.expires_ns = 0;
    uf_table_set(&system->table, &key, out, next_random(random) % 900, 0, UF_SET_ANY, &entry);
    uf_table_delete(&system->table, &key, 0, 0);
    while (uf_table_next(&system->table, &cursor, 0, buffer, &entry) == UF_OK) {
    }
    uf_agents_type(&system->agents, "another", true, &word);
    uf_agents_type_name(&system->agents, (uint32_t)next_random(random) % 3);
    if (uf_agent_claim(&system->agents, 0, 0, 0, 0, &id, &word) == UF_OK) {
        uf_agent_move(&system->agents, id, UF_AGENT_STARTING, UF_AGENT_FREE);
    }
    if (uf_agent_new(&system->agents, 0, 0, 0, UF_AGENT_BUILDING, 1, 0, 0, &id) == UF_OK) {
        uf_agent_move(&system->agents, id, UF_AGENT_BUILDING, UF_AGENT_WARM);
    }
    uf_agent_at(&system->agents, (uint32_t)next_random(random) % 40, &info);
    uf_agents_tally(&system->agents, UF_EVERY_WORKER, tallied);
    uf_hist_record(&system->metrics, 0, 7);
    uf_hist_read(&system->metrics, 0, counts, &sum, &id);
    for (uint32_t slot = 1; slot < 4; slot++) {
        mend(system, slot, &done);
    }
}

static void fill_it(struct uf_system *system)
{
    struct uf_entry entry = {0};
    struct uf_key key;
    uint64_t buffer[UF_KEY_BYTES_MAX / 8 + 1];
    uint32_t type;
    uint64_t id;
    uint32_t queue;
    for (uint64_t i = 0; i < 8; i++) {
        send_number(system, (uint32_t)i % 4, i);
    }
    CHECK_EQ(uf_queue_open(&system->queues, "inbox", &queue), UF_OK);
    for (uint64_t i = 0; i < 20; i++) {
        char text[8];
        snprintf(text, sizeof text, "%u", (unsigned)i);
        CHECK_EQ(uf_key_make(&key, system->table.seed, buffer, "s", 1, text, strlen(text)), UF_OK);
        CHECK_EQ(uf_table_set(&system->table, &key, text, 3, 0, UF_SET_ANY, &entry), UF_OK);
    }
    CHECK_EQ(uf_agents_type(&system->agents, "coder", true, &type), UF_OK);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(uf_agent_new(&system->agents, type, 0, 0, UF_AGENT_BUILDING, 1, 0, 0, &id), UF_OK);
        CHECK_EQ(uf_agent_move(&system->agents, id, UF_AGENT_BUILDING, UF_AGENT_WARM), UF_OK);
    }
}

static void flipped_bits(void)
{
    struct uf_system system;
    uint64_t random = seed;
    uint64_t flips = 0;
    uint64_t refused = 0;
    make(&system);
    fill_it(&system);
    uf_pool_flush(&system.messages);
    uf_pool_flush(&system.values);
    uint64_t bytes = system.region.bytes;
    uint8_t *whole = malloc(bytes);
    CHECK(whole != NULL);
    memcpy(whole, system.region.base, bytes);
    uint8_t *base = system.region.base;
    for (uint32_t round = 0; round < 6000 / (SLOWER * SLOWER); round++) {
        struct uf_system victim;
        memcpy(base + UF_PAGE, whole + UF_PAGE, bytes - UF_PAGE);
        for (uint32_t i = 0; i < 1 + round % 40; i++, flips++) {
            /* Mostly where structures are, not in the expanse of the metrics. */
            uint64_t span = next_random(&random) % 8 == 0 ? bytes : bytes / 4;
            uint64_t at = UF_PAGE + next_random(&random) % (span - UF_PAGE);
            base[at] ^= (uint8_t)(1u << next_random(&random) % 8);
        }
        int status = uf_system_attach(&victim, arena.path, UF_ROLE_CLIENT, false, 0, 0);
        if (status == UF_OK) {
            use_it_all(&victim, &random);
            uf_system_close(&victim);
        } else {
            refused++;
        }
    }
    free(whole);
    uf_system_close(&system);
    unlink(arena.path);
    explored("bits flipped under a system in use", flips);
    if (SLOWER == 1) { /* a head is hit seldom: not by the few flips of a sanitized build */
        explored("  times that it would not be attached to", refused);
    }
}

int main(void)
{
    watchdog(110);
    seed = test_seed();
    deaths_open();
    arena_names(&arena);
    made_and_attached();
    sizes_are_judged();
    abandoned();
    deaths_of_creators();
    deaths();
    flipped_bits();
    CHECK_EQ(rmdir(arena.directory), 0);
    return 0;
}
