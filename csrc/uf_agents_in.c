#include "uf_agents_in.h"

#include <string.h>

/* Types, restarts and mending: what the calls of every day do not need. */

/* Rows are named in order and never freed, so two namers of one name meet at the first free row: one
 * wins it, and the other waits to see its name (a bounded time: the namer may be dead). */
static int try_type(struct uf_agents *agents, const char *name, size_t length, bool make,
                    uint32_t *type)
{
    for (uint32_t t = 0; t < agents->types_max; t++) {
        struct uf_type *row = type_row(agents, t);
        /* A6 <- A5. Acquire: the name of a named row is written. */
        uint64_t state = atomic_load_explicit(&row->state, memory_order_acquire);
        if (phase_of(state) == TYPE_NAMED && strncmp(row->name, name, UF_TYPE_NAME_BYTES) == 0) {
            *type = t;
            return UF_OK;
        }
        if (phase_of(state) == TYPE_NAMING) {
            return make ? UF_BUSY : UF_MISSING;
        }
        if (phase_of(state) != TYPE_FREE) {
            continue;
        }
        if (!make) {
            return UF_MISSING;
        }
        /* Acquire on success: nothing travels, but the name's stores stay behind it. Failure relaxed:
         * the row is looked at again. */
        if (!atomic_compare_exchange_strong_explicit(&row->state, &state,
                                                     (uint64_t)agents->me << 8 | TYPE_NAMING,
                                                     memory_order_acquire, memory_order_relaxed)) {
            return UF_BUSY;
        }
        UF_STEP(A5);
        memcpy(row->name, name, length);
        atomic_store_explicit(&row->state, TYPE_NAMED,
                              memory_order_release); /* A5: it is written */
        *type = t;
        return UF_OK;
    }
    return make ? UF_NO_SLOT : UF_MISSING;
}

int uf_agents_type(struct uf_agents *agents, const char *name, bool make, uint32_t *type)
{
    size_t length = strnlen(name, UF_TYPE_NAME_BYTES);
    if (length == 0 || length == UF_TYPE_NAME_BYTES) {
        return UF_INVALID;
    }
    int status = UF_BUSY;
    for (uint32_t tries = 0; tries < UF_TYPE_TRIES && status == UF_BUSY; tries++) {
        for (uint32_t pause = 0; pause < tries; pause++) {
            uf_pause();
        }
        status = try_type(agents, name, length, make, type);
    }
    return status;
}

const char *uf_agents_type_name(const struct uf_agents *agents, uint32_t type)
{
    if (type >= agents->types_max) {
        return NULL;
    }
    const struct uf_type *row = type_row(agents, type);
    /* A6 <- A5. Acquire: the name is written. */
    uint64_t state = atomic_load_explicit(&row->state, memory_order_acquire);
    if (phase_of(state) != TYPE_NAMED || row->name[UF_TYPE_NAME_BYTES - 1] != '\0') {
        return NULL;
    }
    return row->name;
}

void uf_agent_glance(const struct uf_agents *agents, uint32_t slot, uint32_t *state, uint32_t *type,
                     uint32_t *worker)
{
    /* Relaxed: a count is made of it; the fields behind the word are not read. */
    uint64_t word = atomic_load_explicit(&agents->record[slot].word, memory_order_relaxed);
    *state = state_of(word);
    *type = type_of(word);
    *worker = worker_of(word);
}

#define BURST_COUNT_BITS 24u
#define BURST_COUNT ((1u << BURST_COUNT_BITS) - 1)
#define BURST_MS ((1ull << 40) - 1)

uint32_t uf_agent_relapsed(struct uf_agents *agents, uint32_t slot, uint64_t now_ns,
                           uint64_t period_ns)
{
    if (slot >= agents->count) {
        return 0;
    }
    struct uf_agent *record = &agents->record[slot];
    /* Relaxed, both: the hosting worker alone reads and writes it. */
    uint64_t burst = atomic_load_explicit(&record->burst, memory_order_relaxed);
    uint64_t now_ms = (now_ns / 1000000) & BURST_MS;
    uint64_t count = burst & BURST_COUNT;
    uint64_t since = burst >> BURST_COUNT_BITS;
    bool over = count == 0 || ((now_ms - since) & BURST_MS) > period_ns / 1000000;
    count = over ? 1 : count + (count < BURST_COUNT);
    since = over ? now_ms : since;
    atomic_store_explicit(&record->burst, since << BURST_COUNT_BITS | count, memory_order_relaxed);
    return (uint32_t)count;
}

void uf_agent_settled(struct uf_agents *agents, uint32_t slot)
{
    if (slot < agents->count) {
        struct uf_agent *record = &agents->record[slot];
        /* Relaxed, both: as in relapsed. */
        uint64_t burst = atomic_load_explicit(&record->burst, memory_order_relaxed);
        if ((burst & BURST_COUNT) != 0) {
            atomic_store_explicit(&record->burst, burst - 1, memory_order_relaxed);
        }
    }
}

void uf_agents_recover(struct uf_agents *agents, uint32_t dead, struct uf_agents_recovery *done)
{
    *done = (struct uf_agents_recovery){0};
    for (uint32_t type = 0; type < agents->types_max; type++) {
        struct uf_ring ring = warm_ring(agents, type);
        for (uint32_t i = 0; i < ring.capacity; i++) {
            uint64_t word = atomic_load_explicit(&ring.shared->slot[i], memory_order_acquire);
            if (uf_slot_claimer(word) == dead) {
                /* Its claim of a hint: undone. Release, as a push; a store, under its lock. */
                atomic_store_explicit(&ring.shared->slot[i],
                                      uf_slot(uf_slot_version(word), 0, uf_slot_handle(word)),
                                      memory_order_release);
            }
        }
        struct uf_type *row = type_row(agents, type);
        /* Relaxed: its writer is dead, and we hold its lock. */
        uint64_t state = atomic_load_explicit(&row->state, memory_order_relaxed);
        if (phase_of(state) == TYPE_NAMING && (state >> 8 & 0x3ff) == dead) {
            atomic_store_explicit(&row->state, TYPE_LOST, memory_order_release);
        }
        /* A2, A3: a hint may have been lost with it. Release: as in give_hint. */
        atomic_fetch_or_explicit(&row->state, TYPE_UNHINTED, memory_order_release);
    }
    for (uint32_t slot = 0; slot < agents->count; slot++) {
        uint64_t word = atomic_load_explicit(&agents->record[slot].word, memory_order_acquire);
        uint64_t id = uf_agent_id(generation_of(word), slot);
        uint32_t state = state_of(word);
        if (claimer_of(word) == dead && state == UF_AGENT_BUILDING) {
            done->freed += uf_agent_move(agents, id, UF_AGENT_BUILDING, UF_AGENT_FREE) == UF_OK;
        } else if (claimer_of(word) == dead && state == UF_AGENT_STARTING) {
            done->stopped +=
                uf_agent_move(agents, id, UF_AGENT_STARTING, UF_AGENT_STOPPED) == UF_OK;
        } else if (state == UF_AGENT_WARM) {
            done->hinted++;
        } else if (state == UF_AGENT_FREE) {
            uint64_t bits =
                atomic_load_explicit(&agents->free_bits[slot / 64], memory_order_relaxed);
            if ((bits >> (slot % 64) & 1) == 0) {
                uf_bits_set(agents->free_bits, slot);
            }
        }
    }
    /* What it had changed and not counted, or counted and not made. Release: as in move (C9), and for who
     * counts anew (C4). */
    atomic_fetch_add_explicit(&agents->counts->stops, 1, memory_order_release);
    uf_counts_doubt(agents->counts);
}
