/* calls.c -- every public call on an attachment, with arguments off the tape. What a header lists under
 * ERRORS is an answer; anything else, and anything that an answer does not keep, is a finding. Buffers
 * have the very size that the call was told. */
#include "fuzz.h"

#define OR(status) (1u << -(UF_##status))

/* Judge an answer: 0 .. most, or one of the statuses. */
static int judged(struct guest *guest, const char *call, int status, int most, uint32_t statuses)
{
    if (status >= 0 ? status > most : status <= -UF_STATUS_COUNT || !(statuses >> -status & 1)) {
        fuzz_found(call, status);
    }
    guest->past |= status >= 0;
    return status;
}

static void *must(size_t bytes)
{
    void *memory = malloc(bytes == 0 ? 1 : bytes);
    if (memory == NULL) {
        fuzz_broken("no memory for a test's own buffer");
    }
    return memory;
}

/* What every reader of a message does: look at the head, and at as much payload as it may believe. */
static void look_at(struct guest *guest, uint32_t handle)
{
    const struct uf_message *message = uf_pool_block(&guest->system.messages, handle);
    if (message == NULL) {
        fuzz_found("a take answered with a handle that names no block", handle);
    }
    uint32_t room = uf_pool_room(&guest->system.messages, handle);
    uint32_t bytes = message->payload_bytes <= room ? message->payload_bytes : room;
    uint8_t *copy = must(bytes);
    memcpy(copy, (const uint8_t *)message + UF_BLOCK_HEAD, bytes);
    free(copy);
}

static void give(struct guest *guest, uint32_t handle)
{
    judged(guest, "uf_pool_give", uf_pool_give(&guest->system.messages, handle), 0, OR(INVALID));
}

/* Keep what was taken, or give it back. */
static void settle(struct guest *guest, struct tape *tape, uint32_t *handles, int taken)
{
    bool keep = tape_byte(tape) % 4 == 0;
    for (int i = 0; i < taken; i++) {
        look_at(guest, handles[i]);
        if (keep && guest->holds < GUEST_HOLDS) {
            guest->held[guest->holds++] = handles[i];
        } else {
            give(guest, handles[i]);
        }
    }
}

static void send(struct guest *guest, struct tape *tape)
{
    const uint32_t refusals = OR(FULL) | OR(BUSY) | OR(CORRUPT) | OR(INVALID);
    uint32_t handles[8];
    uint32_t bell;
    uint32_t wanted = 1 + tape_below(tape, 8);
    uint32_t count = 0;
    bool forward = guest->holds > 0 && tape_byte(tape) % 4 == 0;
    if (forward) {
        handles[count++] = guest->held[--guest->holds];
    }
    for (; count < wanted && !forward; count++) {
        int status = judged(guest, "uf_pool_take",
                            uf_pool_take(&guest->system.messages,
                                         (uint32_t)tape_bytes(tape, 2) % 1200, &handles[count]),
                            0, OR(NO_BLOCK) | OR(TOO_BIG));
        if (status != UF_OK) {
            break;
        }
        struct uf_message *message = uf_pool_block(&guest->system.messages, handles[count]);
        if (message == NULL) {
            fuzz_found("uf_pool_take answered with a handle that names no block", handles[count]);
        }
        message->payload_bytes = (uint32_t)tape_bytes(tape, 1);
        message->flags = (uint16_t)tape_bytes(tape, 1);
    }
    uint32_t queue = tape_below(tape, 5);
    int sent = judged(
        guest, "uf_queue_send",
        uf_queue_send(&guest->system.queues, queue, tape_below(tape, 5), handles, count, &bell),
        (int)count, refusals);
    if (sent > 0 && uf_bell_mode_of(bell) != UF_BELL_AWAKE) {
        uf_bell_wake(uf_queue_bell(&guest->system.queues, queue), bell, -1);
    }
    for (uint32_t i = sent > 0 ? (uint32_t)sent : 0; i < count; i++) {
        give(guest, handles[i]);
    }
}

static void take(struct guest *guest, struct tape *tape, bool adopt)
{
    struct uf_queues *queues = &guest->system.queues;
    uint32_t max = tape_below(tape, 65);
    uint32_t *handles = must(max * sizeof *handles);
    guest->receiver.queue = tape_below(tape, 5);
    int taken = adopt ? judged(guest, "uf_queue_adopt",
                               uf_queue_adopt(queues, guest->receiver.queue, handles, max),
                               (int)max, OR(EMPTY) | OR(INVALID))
                      : judged(guest, "uf_queue_take",
                               uf_queue_take(queues, &guest->receiver, handles, max), (int)max,
                               OR(EMPTY) | OR(BUSY) | OR(CORRUPT) | OR(INVALID));
    settle(guest, tape, handles, taken);
    free(handles);
}

static void name_of(struct tape *tape, char *name, uint32_t room)
{
    static const char *const known[] = {"inbox", "other", "third", "fourth"};
    uint32_t which = tape_below(tape, 6);
    snprintf(name, room, "%s", which < 4 ? known[which] : "");
    if (which == 5) {
        memset(name, 'n', room - 1);
        name[room - 1] = '\0';
    }
}

static void length_of(struct guest *guest, const char *text, uint32_t room)
{
    if (text != NULL && strnlen(text, room) == room) {
        fuzz_found("a name without an end", room);
    }
    guest->past |= text != NULL;
}

static void read_queues(struct guest *guest, struct tape *tape)
{
    struct uf_queues *queues = &guest->system.queues;
    uint32_t index = tape_below(tape, 5);
    char name[UF_NAME_BYTES + 1];
    name_of(tape, name, sizeof name);
    uint32_t length = uf_queue_length(queues, index, tape_below(tape, 5));
    if (length > queues->capacity) {
        fuzz_found("uf_queue_length", length);
    }
    uf_queue_has_orphans(queues, index);
    length_of(guest, uf_queue_name(queues, index), UF_NAME_BYTES);
    judged(guest, "uf_queue_find", uf_queue_find(queues, name, &index), 0,
           OR(MISSING) | OR(INVALID));
}

void call_queues(struct guest *guest, struct tape *tape)
{
    struct uf_queues *queues = &guest->system.queues;
    uint32_t index = 0;
    uint32_t armed;
    char name[UF_NAME_BYTES + 1];
    switch (tape_below(tape, 12)) {
    case 0:
    case 1:
    case 2:
        send(guest, tape);
        break;
    case 3:
    case 4:
    case 5:
        take(guest, tape, false);
        break;
    case 6:
        take(guest, tape, true);
        break;
    case 7:
        name_of(tape, name, sizeof name);
        if (judged(guest, "uf_queue_open", uf_queue_open(queues, name, &index), 0,
                   OR(BUSY) | OR(NO_SLOT) | OR(INVALID)) == UF_OK &&
            index >= queues->count) {
            fuzz_found("uf_queue_open answered with a queue that is none", index);
        }
        break;
    case 8:
        judged(guest, "uf_queue_close", uf_queue_close(queues, tape_below(tape, 5)), 0,
               OR(MISSING) | OR(INVALID));
        break;
    case 9:
        index = tape_below(tape, 5);
        judged(guest, "uf_queue_arm", uf_queue_arm(queues, index, 1 + tape_below(tape, 2), &armed),
               0, OR(EMPTY) | OR(INVALID));
        break;
    default:
        read_queues(guest, tape);
    }
}

void call_pool(struct guest *guest, struct tape *tape)
{
    struct uf_pool *pool =
        tape_byte(tape) % 2 == 0 ? &guest->system.messages : &guest->system.values;
    uint32_t handle = (uint32_t)tape_bytes(tape, 4);
    uint32_t free_blocks;
    uint32_t blocks;
    uint32_t bytes;
    switch (tape_below(tape, 4)) {
    case 0:
        judged(guest, "uf_pool_give", uf_pool_give(pool, handle), 0, OR(INVALID));
        break;
    case 1:
        uf_pool_repair(pool);
        break;
    case 2:
        uf_pool_flush(pool);
        break;
    default:
        uf_pool_count(pool, handle % 16, &free_blocks, &blocks, &bytes);
        if (free_blocks > blocks) {
            fuzz_found("uf_pool_count", free_blocks);
        }
    }
}

struct key {
    struct uf_key key;
    uint64_t buffer[UF_KEY_BYTES_MAX / 8 + 1];
};

/* One of those that are in the region, or one that is not; some of the longest. */
static void key_of(struct guest *guest, struct tape *tape, struct key *key)
{
    char text[UF_KEY_BYTES_MAX + 8];
    uint32_t which = tape_below(tape, 32);
    memset(text, 'k', sizeof text);
    snprintf(text, sizeof text, "key %u", which);
    uint64_t bytes = which < 31 ? strlen(text) : tape_bytes(tape, 2) % sizeof text;
    judged(guest, "uf_key_make",
           uf_key_make(&key->key, guest->system.table.seed, key->buffer, "space", 5, text, bytes),
           0, OR(INVALID));
    if (bytes > UF_KEY_BYTES_MAX - 5) {
        uf_key_make(&key->key, guest->system.table.seed, key->buffer, "space", 5, text, 3);
    }
}

static void get(struct guest *guest, struct key *key, uint32_t room, uint64_t now_ns)
{
    struct uf_entry entry;
    uint8_t *out = must(room);
    int status = judged(guest, "uf_table_get",
                        uf_table_get(&guest->system.table, &key->key, now_ns, out, room, &entry), 0,
                        OR(MISSING) | OR(TOO_BIG) | OR(BUSY) | OR(CORRUPT));
    if (status == UF_OK && entry.value_bytes > room) {
        fuzz_found("uf_table_get copied more than there was room for", entry.value_bytes);
    }
    free(out);
}

static void read_table(struct guest *guest, struct tape *tape)
{
    static const uint32_t rooms[] = {16384, 0, 7, 64, 600, 4096};
    const struct uf_table *table = &guest->system.table;
    struct key key;
    struct uf_entry entry;
    uint64_t cursor = 0;
    uint32_t how = tape_below(tape, 3);
    uint32_t room = rooms[tape_below(tape, 6)];
    if (how == 0) {
        key_of(guest, tape, &key);
        get(guest, &key, room, tape_byte(tape) % 2);
        return;
    }
    for (uint32_t i = 0; how == 1 && i < 32; i++) {
        struct tape number = {(const uint8_t[]){(uint8_t)i}, 1};
        key_of(guest, &number, &key);
        get(guest, &key, room, 1);
    }
    uint64_t *words = must(UF_KEY_BYTES_MAX + 8);
    uint64_t steps = 0;
    while (judged(guest, "uf_table_next",
                  uf_table_next(table, &cursor, tape_byte(tape) % 2, words, &entry), 0,
                  OR(EMPTY)) == UF_OK) {
        if (steps++ > (uint64_t)table->buckets * 16 ||
            entry.space_bytes + entry.key_bytes > UF_KEY_BYTES_MAX) {
            fuzz_found("uf_table_next", (long long)steps);
        }
    }
    free(words);
    if (uf_table_count(table) > (uint64_t)table->buckets * UF_TABLE_SLOTS) {
        fuzz_found("uf_table_count", (long long)uf_table_count(table));
    }
}

void call_table(struct guest *guest, struct tape *tape)
{
    struct uf_table *table = &guest->system.table;
    struct key key;
    struct uf_entry entry = {0};
    switch (tape_below(tape, 8)) {
    case 0:
    case 1:
    case 2: {
        key_of(guest, tape, &key);
        uint32_t bytes = tape_below(tape, 1200);
        uint8_t *data = must(bytes);
        memset(data, 'v', bytes);
        entry.expires_ns = tape_byte(tape) % 4;
        entry.stamp = tape_bytes(tape, 2);
        judged(guest, "uf_table_set",
               uf_table_set(table, &key.key, data, bytes, 1, tape_below(tape, 3), &entry), 0,
               OR(EXISTS) | OR(MISSING) | OR(NO_BLOCK) | OR(TOO_BIG) | OR(STORE_FULL) | OR(BUSY) |
                   OR(CORRUPT));
        free(data);
        break;
    }
    case 3:
        key_of(guest, tape, &key);
        judged(guest, "uf_table_delete", uf_table_delete(table, &key.key, tape_bytes(tape, 1)), 0,
               OR(MISSING) | OR(EXISTS) | OR(BUSY) | OR(CORRUPT));
        break;
    default:
        read_table(guest, tape);
    }
}

/* The id of a record, or of none; `*state` is the one it is in. */
static uint64_t id_of(struct guest *guest, struct tape *tape, uint32_t *state)
{
    struct uf_agent_info info;
    uint32_t slot = tape_below(tape, 26);
    *state = tape_below(tape, 9);
    if (slot == 25) {
        return tape_bytes(tape, 8);
    }
    if (judged(guest, "uf_agent_at", uf_agent_at(&guest->system.agents, slot, &info), 0,
               OR(INVALID)) != UF_OK) {
        return slot;
    }
    *state = *state % 2 == 0 ? info.state : *state;
    return info.id;
}

static void read_agents(struct guest *guest, struct tape *tape)
{
    const struct uf_agents *agents = &guest->system.agents;
    struct uf_agent_info info;
    uint32_t worker;
    uint64_t id = id_of(guest, tape, &worker);
    judged(guest, "uf_agent_look", uf_agent_look(agents, id, &info), 0, OR(STALE));
    judged(guest, "uf_agent_route", uf_agent_route(agents, id, &worker), 0, OR(STALE) | OR(FULL));
    length_of(guest, uf_agents_type_name(agents, tape_byte(tape)), UF_TYPE_NAME_BYTES);
    uint32_t *counts = calloc(agents->types_max, UF_AGENT_STATES * sizeof *counts);
    if (counts == NULL) {
        fuzz_broken("no memory for a test's own buffer");
    }
    uf_agents_tally(agents, tape_byte(tape) % 2 == 0 ? UF_EVERY_WORKER : 1, counts);
    free(counts);
}

void call_agents(struct guest *guest, struct tape *tape)
{
    struct uf_agents *agents = &guest->system.agents;
    char name[UF_TYPE_NAME_BYTES + 1];
    uint64_t id;
    uint32_t got;
    uint32_t from;
    switch (tape_below(tape, 8)) {
    case 0:
        name_of(tape, name, sizeof name);
        if (judged(guest, "uf_agents_type",
                   uf_agents_type(agents, name, tape_byte(tape) % 2 == 0, &got), 0,
                   OR(MISSING) | OR(NO_SLOT) | OR(BUSY) | OR(INVALID)) == UF_OK &&
            got >= agents->types_max) {
            fuzz_found("uf_agents_type answered with a type that is none", got);
        }
        break;
    case 1:
        from = tape_below(tape, 4) * 2 + 1; /* BUILDING and STARTING, and two that are refused */
        judged(
            guest, "uf_agent_new",
            uf_agent_new(agents, tape_below(tape, 5), tape_below(tape, 5), 1, from, 9, 0, 1, &id),
            0, OR(NO_AGENT_SLOT) | OR(INVALID));
        break;
    case 2:
    case 3:
        judged(guest, "uf_agent_claim",
               uf_agent_claim(agents, tape_below(tape, 4), tape_below(tape, 5), 0, 1, &id, &got), 0,
               OR(EMPTY) | OR(BUSY) | OR(CORRUPT) | OR(INVALID));
        break;
    case 4:
    case 5:
        id = id_of(guest, tape, &from);
        judged(guest, "uf_agent_move", uf_agent_move(agents, id, from, tape_below(tape, 9)), 0,
               OR(STALE) | OR(BUSY) | OR(INVALID) | OR(CORRUPT));
        break;
    case 6:
        uf_agent_handled(agents, tape_byte(tape), tape_byte(tape) % 2 == 0, 1);
        uf_agent_set_depth(agents, tape_byte(tape), tape_byte(tape));
        uf_agent_restarted(agents, tape_byte(tape));
        break;
    default:
        read_agents(guest, tape);
    }
}

static void use_metrics(struct guest *guest, struct tape *tape)
{
    static uint64_t counts[UF_HIST_BUCKETS];
    struct uf_metrics *metrics = &guest->system.metrics;
    uint32_t which = tape_byte(tape);
    uint64_t sum;
    uint64_t max;
    if (guest->no_metrics) {
        return;
    }
    judged(guest, "uf_hist_read", uf_hist_read(metrics, which % 16, counts, &sum, &max), 0,
           OR(INVALID));
    judged(guest, "uf_counter_read", uf_counter_read(metrics, which, &sum), 0, OR(INVALID));
    if (guest->system.joined) {
        judged(guest, "uf_hist_record", uf_hist_record(metrics, which % 16, tape_bytes(tape, 6)), 0,
               OR(INVALID));
        judged(guest, "uf_counter_add", uf_counter_add(metrics, which, 1), 0, OR(INVALID));
    }
}

static void read_others(struct guest *guest, struct tape *tape)
{
    const struct uf_system *system = &guest->system;
    struct uf_owner_info info;
    uint32_t which = tape_byte(tape);
    uint64_t sum = 0;
    uf_owner_alive(&system->self, which);
    judged(guest, "uf_owner_read", uf_owner_read(&system->self, which, &info), 0, OR(INVALID));
    for (uint64_t i = 0; i < system->settings_bytes; i++) {
        sum += system->settings[i];
    }
    guest->past |= sum == 0;
    use_metrics(guest, tape);
}

void call_others(struct guest *guest, struct tape *tape)
{
    struct uf_system *system = &guest->system;
    struct uf_recovery recovery;
    uint32_t which = tape_byte(tape);
    switch (which % 8) {
    case 0:
        uf_owner_beat(&system->self, 1);
        uf_owner_set_queue(&system->self, which);
        break;
    case 1:
        read_others(guest, tape);
        break;
    default: {
        uint64_t bytes = uf_system_scratch_bytes(system);
        uint64_t *scratch = calloc(1, bytes == 0 ? 1 : bytes);
        if (scratch == NULL) {
            fuzz_broken("no memory for recovery's scratch");
        }
        judged(guest, "uf_system_recover",
               uf_system_recover(system, tape_below(tape, 9), scratch, &recovery), 0,
               OR(MISSING) | OR(BUSY) | OR(INVALID));
        free(scratch);
    }
    }
}

void call_reads(struct guest *guest, struct tape *tape)
{
    switch (tape_below(tape, 4)) {
    case 0:
        read_queues(guest, tape);
        break;
    case 1:
        read_table(guest, tape);
        break;
    case 2:
        read_agents(guest, tape);
        break;
    default:
        read_others(guest, tape);
    }
}
