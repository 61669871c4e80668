/* calls.c -- every public call on an attachment, with arguments off the tape. What a header lists under
 * ERRORS is an answer; anything else, and anything that an answer does not keep, is a finding. Buffers
 * have the very size that the call was told. */
#include "calls.h"

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

/* Two looks at what changed, from one tape's place on; the second forgets one place before. */
static void look(struct guest *guest, struct tape *tape, uint64_t *words, uint32_t room)
{
    const struct uf_table *table = &guest->system.table;
    uint64_t end = (uint64_t)table->buckets * 16;
    uint64_t *marks = must(uf_table_marks_bytes(table));
    uint8_t *out = must(room);
    memset(marks, 0, uf_table_marks_bytes(table));
    for (uint32_t round = 0; round < 2; round++) {
        struct uf_entry entry;
        uint64_t cursor = tape_byte(tape);
        uint64_t steps = 0;
        int status = UF_OK;
        while (status != UF_EMPTY && steps++ <= end) {
            status = judged(guest, "uf_table_changed",
                            uf_table_changed(table, marks, &cursor, end, words, out, room, &entry),
                            0, OR(EMPTY) | OR(TOO_BIG));
            cursor += status == UF_TOO_BIG; /* nothing was noted: pass over it */
            if (status == UF_OK && entry.handle != UF_HANDLE_NONE && entry.value_bytes > room) {
                fuzz_found("uf_table_changed", (long long)entry.value_bytes);
            }
        }
        if (status != UF_EMPTY) {
            fuzz_found("uf_table_changed", (long long)steps);
        }
        uf_table_forget(table, marks, tape_byte(tape));
    }
    free(out);
    free(marks);
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
    look(guest, tape, words, room);
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
        judged(guest, "uf_table_delete", uf_table_delete(table, &key.key, 1, tape_bytes(tape, 1)),
               0, OR(MISSING) | OR(EXISTS) | OR(BUSY) | OR(CORRUPT));
        break;
    default:
        read_table(guest, tape);
    }
}

uint64_t id_of(struct guest *guest, struct tape *tape, uint32_t *state)
{
    struct uf_agent_info info;
    uint32_t slot = tape_below(tape, 26);
    *state = tape_below(tape, UF_AGENT_STATES);
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
        judged(guest, "uf_agent_move",
               uf_agent_move(agents, id, from, tape_below(tape, UF_AGENT_STATES)), 0,
               OR(STALE) | OR(BUSY) | OR(INVALID) | OR(CORRUPT));
        break;
    case 6:
        uf_agent_handled(agents, tape_byte(tape), tape_byte(tape) % 2 == 0, 1);
        uf_agent_set_depth(agents, tape_byte(tape), tape_byte(tape));
        uf_agent_restarted(agents, tape_byte(tape));
        (void)uf_agent_relapsed(agents, tape_byte(tape), tape_byte(tape), tape_byte(tape));
        uf_agent_settled(agents, tape_byte(tape));
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
    switch (tape_below(tape, 5)) {
    case 0:
        read_queues(guest, tape);
        break;
    case 4:
        read_census(guest, tape);
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
