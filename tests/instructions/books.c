/* books.c -- what a survivor counts after a recovery.
 *
 * The scene says what may be; everything else must be as if the dead one had never been there: each
 * block free or named exactly once, each slot, record, row and bit in order, and all of it usable.
 */
#include "steps.h"

#include "uf_table_in.h"

/* --- messages -------------------------------------------------------------------------------------- */

void deliver(uint32_t handle, uint32_t *last)
{
    const struct uf_message *message = uf_pool_block(&world.system.messages, handle);
    struct uf_shared payload = {.payload = (const uint8_t *)message + UF_BLOCK_HEAD,
                                .payload_bytes = message->payload_bytes};
    if ((message->flags & UF_MESSAGE_REFERENCE) != 0 &&
        uf_share_look(&world.system.messages, handle, &payload) != UF_OK) {
        found("a reference leads nowhere");
    }
    const uint64_t *words = (const uint64_t *)(const void *)payload.payload;
    uint64_t number = words[0];
    if (number >= NUMBERS) {
        found("a message that nobody wrote");
    } else {
        for (uint32_t i = 0; i < payload.payload_bytes / 8; i++) {
            if (words[i] != number + i * 0x9e3779b97f4a7c15ull * (number + 1)) {
                found("message %llu is torn", (unsigned long long)number);
                break;
            }
        }
        world.got[number]++;
        bool again = (message->flags & UF_MESSAGE_REDELIVERED) != 0;
        world.told[number] |= again;
        if (again != (message->attempt > 0) || message->attempt > 1 + world.recoveries) {
            found("message %llu says redelivered %d, attempt %u", (unsigned long long)number, again,
                  message->attempt);
        }
        if (last != NULL && !again && number < SPARE) {
            uint32_t *of_lane = &last[message->lane % UF_LANES];
            if (number < *of_lane && !world.disordered) {
                found("message %llu came after message %u", (unsigned long long)number, *of_lane);
            }
            *of_lane = (uint32_t)number;
        }
    }
    if (uf_message_give(&world.system.messages, handle) != UF_OK) {
        found("a message that was taken can't be given back");
    }
}

static void drain_queue(uint32_t queue)
{
    uint32_t handles[4];
    struct uf_receiver receiver = {.queue = queue};
    uint32_t last[UF_LANES] = {0};
    int got;
    uint32_t rounds = 0;
    while ((got = uf_queue_adopt(&world.system.queues, queue, handles, 4)) > 0 && rounds++ < 100) {
        for (int i = 0; i < got; i++) {
            deliver(handles[i], NULL);
        }
    }
    for (rounds = 0; rounds < 100; rounds++) {
        got = uf_queue_take(&world.system.queues, &receiver, handles, 1);
        if (got <= 0) {
            break;
        }
        deliver(handles[0], last);
    }
    if (got != UF_EMPTY) {
        found("queue %u ends with status %d", queue, got);
    }
    for (uint32_t lane = 0; lane < UF_LANES; lane++) {
        if (uf_queue_length(&world.system.queues, queue, lane) != 0) {
            found("an empty lane has a length");
        }
    }
}

static void drain(void)
{
    drain_queue(INBOX);
    drain_queue(SECOND);
    for (uint32_t n = 0; n < NUMBERS; n++) {
        if (world.got[n] < world.least[n]) {
            found("message %u is lost", n);
        } else if (world.got[n] > world.most[n]) {
            found("message %u came %u times, at most %u", n, world.got[n], world.most[n]);
        } else if (world.got[n] > 0 && world.must_tell[n] && !world.told[n]) {
            found("message %u does not say that it is delivered again", n);
        }
    }
}

/* How many ring slots name each block; a claimed slot names a claimer that is alive, so: us. */
static void count_in_rings(const struct uf_system *system, uint32_t *count, uint32_t alive)
{
    for (uint32_t q = 0; q < system->queues.count; q++) {
        for (uint32_t lane = 0; lane < UF_LANES; lane++) {
            struct uf_ring ring = lane_ring(q, lane);
            for (uint32_t i = 0; i < ring.capacity; i++) {
                uint64_t word = ring.shared->slot[i];
                uint32_t handle = uf_slot_handle(word);
                uint32_t claimer = uf_slot_claimer(word);
                if (claimer != UF_NOBODY && (alive >> (claimer - 1) & 1) == 0) {
                    found("a slot of queue %u is claimed by the dead", q);
                }
                if (handle != UF_HANDLE_NONE) {
                    if (uf_pool_block(&system->messages, handle) == NULL) {
                        found("a slot of queue %u names no block", q);
                    } else {
                        count[uf_handle_class(handle) * 64 + uf_handle_index(handle)]++;
                    }
                }
            }
        }
    }
}

/* Each holder of a shared payload has its reference: a message that somebody will have, once. */
static void check_holders(const struct uf_pool *pool, uint32_t handle, uint64_t word)
{
    uint32_t named[UF_HOLDERS] = {0};
    for (uint32_t c = 0; c < pool->classes; c++) {
        for (uint32_t i = 0; i < pool->class[c].count; i++) {
            const struct uf_message *message = uf_pool_block(pool, uf_handle(c, i));
            struct uf_reference reference;
            uint32_t state = uf_word_state(message->owner);
            memcpy(&reference, (const uint8_t *)message + UF_BLOCK_HEAD, sizeof reference);
            bool lives = state == UF_BLOCK_RING || state == UF_BLOCK_ORPHAN ||
                         state == UF_BLOCK_OWNED || state == UF_BLOCK_TAKEN;
            if (lives && (message->flags & UF_MESSAGE_REFERENCE) != 0 &&
                reference.handle == handle && reference.version == uf_word_version(word) &&
                reference.bit < UF_HOLDERS) {
                named[reference.bit]++;
            }
        }
    }
    for (uint32_t b = 0; b < UF_HOLDERS; b++) {
        if (named[b] != (word >> b & 1)) {
            found("holder %u of block %#x has %u references", b, handle, named[b]);
        }
    }
}

static void check_messages(uint32_t alive)
{
    struct uf_system *system = &world.system;
    uint32_t in_rings[2 * 64] = {0};
    count_in_rings(system, in_rings, alive);
    for (uint32_t c = 0; c < system->messages.classes; c++) {
        for (uint32_t i = 0; i < system->messages.class[c].count; i++) {
            struct uf_message *message = uf_pool_block(&system->messages, uf_handle(c, i));
            uint64_t word = message->owner;
            uint32_t state = uf_word_state(word);
            uint32_t owner = uf_word_owner(word);
            uint32_t rings = in_rings[c * 64 + i];
            bool bit = (system->messages.class[c].bits[i / 64] >> (i % 64) & 1) != 0;
            if (state == UF_BLOCK_SHARED) {
                check_holders(&system->messages, uf_handle(c, i), word);
                continue; /* no owner's name is in the word */
            }
            if (owner != UF_NOBODY && (alive >> (owner - 1) & 1) == 0) {
                found("message block %u.%u is still the dead one's, state %u", c, i, state);
            }
            if (rings > 1 || (rings == 1 && state != UF_BLOCK_RING && state != UF_BLOCK_OWNED)) {
                found("message block %u.%u stands in %u slots, state %u", c, i, rings, state);
            }
            if (state == UF_BLOCK_RING && rings == 0) {
                found("message block %u.%u says it is in a ring, and is in none", c, i);
            }
            if (state == UF_BLOCK_FREE && !bit) {
                found("free message block %u.%u can't be found", c, i);
            }
            if (state == UF_BLOCK_ORPHAN &&
                !uf_queue_has_orphans(&system->queues, uf_word_place(word) - 1)) {
                found("orphan %u.%u waits in a queue that does not know", c, i);
            }
            if (state == UF_BLOCK_TABLE || state > UF_BLOCK_SHARED) {
                found("message block %u.%u has state %u", c, i, state);
            }
        }
    }
}

/* Every block of the pool can be taken, and given back. `used`: those that hold entries. */
static void use_all_blocks(struct uf_pool *pool, uint32_t used)
{
    static uint32_t taken[2][64];
    uint32_t sum = 0;
    uint32_t all = 0;
    for (uint32_t c = 2; c-- > 0;) {
        uint32_t n = 0;
        uint32_t room = pool->class[c].block_bytes - UF_BLOCK_HEAD;
        while (n < pool->class[c].count && uf_pool_take(pool, room, &taken[c][n]) == UF_OK) {
            if (uf_handle_class(taken[c][n]) != c) {
                uf_pool_give(pool, taken[c][n]);
                break;
            }
            n++;
        }
        sum += n;
        all += pool->class[c].count;
        for (uint32_t i = 0; i < n; i++) {
            if (uf_pool_give(pool, taken[c][i]) != UF_OK) {
                found("a block that was taken can't be given back");
            }
        }
        uf_pool_flush(pool);
    }
    if (sum + used != all) {
        found("%u blocks can be taken and %u are in use, of %u", sum, used, all);
    }
}

/* --- entries --------------------------------------------------------------------------------------- */

void read_keys(void)
{
    for (uint32_t k = 0; k < KEYS; k++) {
        uint32_t value = 0;
        int status = entry_read(k, &value);
        if (status == UF_MISSING) {
            value = 0;
        } else if (status != UF_OK) {
            found("key %u answers %d", k, status);
            continue;
        }
        if ((world.key_may[k] >> value & 1) == 0) {
            found("key %u has value %u, may have %#x", k, value, world.key_may[k]);
        } else if (!world.standing) {
            world.key_may[k] = 1u << value; /* it is seen, so it stays */
        }
    }
}

static uint32_t walk_table(void)
{
    uint64_t cursor = 0;
    uint64_t words[UF_KEY_BYTES_MAX / 8 + 1];
    struct uf_entry entry;
    uint32_t entries = 0;
    while (entries <= KEYS &&
           uf_table_next(&world.system.table, &cursor, 0, words, &entry) == UF_OK) {
        entries++;
    }
    return entries;
}

static void check_table(void)
{
    struct uf_system *system = &world.system;
    const struct uf_table *table = &system->table;
    uint32_t in_table[2 * 64] = {0};
    uint32_t entries = 0;
    for (uint32_t b = 0; b < table->buckets; b++) {
        uint64_t head = table->bucket[b].head;
        uint32_t extension = uf_head_extension(head);
        if (extension != 0 && table->extension_owner[extension - 1] != (uint64_t)b + 1) {
            found("extension %u of bucket %u has owner word %#llx", extension - 1, b,
                  (unsigned long long)table->extension_owner[extension - 1]);
        }
        for (uint32_t i = 0; i < UF_TABLE_SLOTS; i++) {
            _Atomic uint64_t *slot = uf_table_slot(table, b, head, i);
            uint64_t word = slot == NULL ? 0 : *slot;
            bool valid = (uf_head_valid(head) >> i & 1) != 0;
            if (valid != (word != 0) || uf_word_is_deleted(word)) {
                found("slot %u of bucket %u has word %#llx, valid %d", i, b,
                      (unsigned long long)word, valid);
                continue;
            }
            if (word != 0) {
                uint32_t handle = (uint32_t)word & ((1u << UF_HANDLE_BITS) - 1);
                const struct uf_value *value = uf_pool_block(&system->values, handle);
                if (value == NULL || uf_table_word(word >> 48, value->owner, handle) != word) {
                    found("slot %u of bucket %u names a block that is another's", i, b);
                    continue;
                }
                in_table[uf_handle_class(handle) * 64 + uf_handle_index(handle)]++;
                entries++;
            }
        }
    }
    for (uint32_t e = 0; e < table->extensions; e++) {
        uint64_t owner = table->extension_owner[e];
        if (owner != 0 &&
            (owner > table->buckets || uf_head_extension(table->bucket[owner - 1].head) != e + 1)) {
            found("extension %u has owner word %#llx, whose bucket does not use it", e,
                  (unsigned long long)owner);
        }
    }
    uf_pool_flush(&system->values);
    for (uint32_t c = 0; c < system->values.classes; c++) {
        for (uint32_t i = 0; i < system->values.class[c].count; i++) {
            const struct uf_value *value = uf_pool_block(&system->values, uf_handle(c, i));
            uint32_t state = uf_word_state(value->owner);
            bool bit = (system->values.class[c].bits[i / 64] >> (i % 64) & 1) != 0;
            uint32_t named = in_table[c * 64 + i];
            if (named > 1 || (state == UF_BLOCK_TABLE) != (named == 1) ||
                (state != UF_BLOCK_TABLE && state != UF_BLOCK_FREE)) {
                found("value block %u.%u has state %u and stands in %u slots", c, i, state, named);
            }
            if (value->holders != 0 || value->more_holders != 0) {
                found("value block %u.%u names who keeps it, and nobody does", c, i);
            }
            if (state == UF_BLOCK_FREE && !bit) {
                found("free value block %u.%u can't be found", c, i);
            }
        }
    }
    uint32_t walked = walk_table();
    if (walked != entries || uf_table_count(table) != entries) {
        found("%u entries, %u by walking, %llu by count", entries, walked,
              (unsigned long long)uf_table_count(table));
    }
    use_all_blocks(&system->values, entries);
}

/* --- agents, queues, slots -------------------------------------------------------------------------- */

static void check_states(void)
{
    for (uint32_t slot = 0; slot < AGENTS; slot++) {
        struct uf_agent_info info;
        uf_agent_at(&world.system.agents, slot, &info);
        if ((world.agent_may[slot] >> info.state & 1) == 0) {
            found("agent %u is in state %u, may be in %#x", slot, info.state,
                  world.agent_may[slot]);
        }
    }
}

/* As many can be spawned as there are places; that is found out by spawning, which mends. */
static void check_places(void)
{
    uint64_t id;
    uint32_t alive = agents_by_hand().alive;
    uint32_t spawned = 0;
    int status;
    while ((status = agent_spawn(&id)) == UF_OK && spawned <= world.limit) {
        spawned++;
    }
    if (status != world.refusal || alive + spawned != world.limit) {
        found("beside %u agents of %u at most %u can be spawned; the next answers %d", alive,
              world.limit, spawned, status);
    }
}

static void check_counts(void)
{
    int status = uf_census_mend(&world.system.agents);
    struct uf_census wanted = agents_by_hand();
    if (status != UF_OK || !counts_are(&wanted)) {
        found("after a mend, which answered %d, a count is not %u, %u, %u, or a load is wrong",
              status, wanted.alive, wanted.warm, wanted.building);
    }
}

static void check_agents(void)
{
    struct uf_agents *agents = &world.system.agents;
    struct uf_agent_info info;
    uint32_t warm = agents_by_hand().warm;
    uint32_t claimed = 0;
    uint64_t id;
    uint32_t worker;
    while (claimed <= AGENTS && uf_agent_claim(agents, 0, 1, 0, 1, &id, &worker) == UF_OK) {
        claimed++;
    }
    if (claimed != warm) {
        found("%u agents are warm, %u can be claimed", warm, claimed);
    }
    for (uint32_t slot = 0; slot < AGENTS; slot++) {
        uf_agent_at(agents, slot, &info);
        if (info.state != UF_AGENT_FREE &&
            uf_agent_move(agents, info.id, info.state, UF_AGENT_FREE) != UF_OK) {
            found("agent %u can't be freed from state %u", slot, info.state);
        }
    }
    for (uint32_t n = 0; n < AGENTS; n++) {
        if (uf_agent_new(agents, 0, 1, 1, UF_AGENT_STARTING, 8, 0, 1, &id) != UF_OK) {
            found("of %u agent records %u can be used", AGENTS, n);
            break;
        }
    }
    uint32_t type;
    if (uf_agents_type(agents, "fresh", true, &type) != UF_OK) {
        found("a type can't be named");
    }
}

static void check_queues(uint32_t alive)
{
    struct uf_queues *queues = &world.system.queues;
    uint32_t index;
    for (uint32_t q = 0; q < queues->count; q++) {
        uint64_t state = queues->record[q].state;
        uint32_t opener = (uint32_t)(state >> 8) & 0x3ff;
        bool half = (state & 0xff) != UF_QUEUE_FREE && (state & 0xff) != UF_QUEUE_OPEN;
        if (half && (alive >> (opener - 1) & 1) == 0) {
            found("queue record %u is being opened by the dead", q);
        }
    }
    if (uf_queue_find(queues, "inbox", &index) != UF_OK || index != INBOX) {
        found("a queue can't be found");
    }
    if (uf_queue_open(queues, "spare", &index) != UF_OK || uf_queue_close(queues, index) != UF_OK) {
        found("a queue can't be opened and closed");
    }
}

void check_slots(uint32_t alive)
{
    for (uint32_t slot = 0; slot < world.system.self.count; slot++) {
        struct uf_owner_info info;
        uf_owner_read(&world.system.self, slot, &info);
        bool here = (alive >> slot & 1) != 0;
        if (info.phase != (here ? UF_PHASE_LIVE : UF_PHASE_FREE)) {
            found("process slot %u has phase %u", slot, info.phase);
        }
        if (uf_owner_alive(&world.system.self, slot) != here) {
            found("process slot %u is %s", slot, here ? "called dead" : "called alive");
        }
    }
}

/* --- all of it ---------------------------------------------------------------------------------- */

void survivor_checks(uint32_t flags)
{
    if ((flags & SCENE_ELSEWHERE) != 0) {
        return;
    }
    check_slots(1);
    check_messages(1);
    check_queues(1);
    read_keys();
    check_table();
    drain();
    for (; world.holds > 0; world.holds--) {
        uf_pool_give(&world.system.messages, world.held[world.holds - 1]);
    }
    uf_pool_flush(&world.system.messages);
    check_messages(0);
    use_all_blocks(&world.system.messages, 0);
    check_states();
    if (world.limit != 0) {
        check_places();
    }
    check_counts();
    check_agents();
    if (world.armed != 0 && uf_bell_mode_of(uf_bell_look(
                                uf_queue_bell(&world.system.queues, INBOX))) != UF_BELL_AWAKE) {
        found("a sleeper was not rung for");
    }
}
