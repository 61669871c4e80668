#include "uf_agents.h"
#include "uf_agents_in.h"

#include <string.h>

struct uf_agents_head {
    uint32_t count;
    uint32_t types;
    uint32_t warm;
    uint32_t reserved;
};

static uint64_t bits_offset(uint32_t count)
{
    return UF_PAIR + uf_round_up((uint64_t)count * sizeof(struct uf_agent), UF_PAIR);
}

static uint64_t types_offset(uint32_t count)
{
    return bits_offset(count) + uf_round_up(uf_bits_bytes(count), UF_PAIR);
}

static uint64_t rings_offset(uint32_t count, uint32_t types)
{
    return types_offset(count) + uf_round_up((uint64_t)types * sizeof(struct uf_type), UF_PAIR);
}

static uint64_t counts_offset(uint32_t count, uint32_t types, uint32_t warm)
{
    return rings_offset(count, types) + types * uf_ring_bytes(warm);
}

uint64_t uf_agents_bytes(uint32_t count, uint32_t types, uint32_t warm)
{
    return counts_offset(count, types, warm) + uf_counts_bytes(types);
}

static bool is_sound(uint32_t count, uint32_t types, uint32_t warm)
{
    return count > 0 && count <= UF_AGENTS_MAX && types > 0 && types <= UF_TYPES_MAX &&
           uf_is_pow2(warm) && warm <= 1u << 24;
}

static void place(struct uf_agents *agents, uint8_t *area, uint32_t count, uint32_t types,
                  uint32_t warm)
{
    agents->record = (struct uf_agent *)(void *)(area + UF_PAIR);
    agents->free_bits = (_Atomic uint64_t *)(void *)(area + bits_offset(count));
    agents->types = area + types_offset(count);
    agents->rings = area + rings_offset(count, types);
    agents->counts = (struct uf_counts *)(void *)(area + counts_offset(count, types, warm));
    agents->count = count;
    agents->types_max = types;
    agents->warm_max = warm;
}

int uf_agents_init(void *area, uint64_t bytes, uint32_t count, uint32_t types, uint32_t warm)
{
    struct uf_agents agents;
    struct uf_agents_head *head = area;
    if (!is_sound(count, types, warm) || bytes < uf_agents_bytes(count, types, warm)) {
        return UF_INVALID;
    }
    head->count = count;
    head->types = types;
    head->warm = warm;
    place(&agents, area, count, types, warm);
    uf_bits_fill(agents.free_bits, count); /* zeroed words say FREE */
    /* The first id would be 0, which is no agent's. Relaxed: not yet published. */
    atomic_store_explicit(&agents.record[0].word, word_of(1, 0, 0, UF_NOBODY, UF_AGENT_FREE, 0),
                          memory_order_relaxed);
    return UF_OK;
}

int uf_agents_open(struct uf_agents *agents, void *area, uint64_t bytes, uint32_t me)
{
    struct uf_agents_head head;
    if (area == NULL || bytes < sizeof head) {
        return UF_CORRUPT;
    }
    memcpy(&head, area, sizeof head);
    if (!is_sound(head.count, head.types, head.warm) ||
        uf_agents_bytes(head.count, head.types, head.warm) > bytes) {
        return UF_CORRUPT;
    }
    place(agents, area, head.count, head.types, head.warm);
    agents->me = me;
    uint32_t words = (uint32_t)(uf_bits_bytes(head.count) / 8);
    agents->cursor = (me * 37u) % words;
    return UF_OK;
}

int uf_agent_new(struct uf_agents *agents, uint32_t type, uint32_t worker, uint32_t priority,
                 uint32_t state, uint32_t limit, uint64_t parent, uint64_t now_ns, uint64_t *id)
{
    if (type >= agents->types_max || worker > 0x3ff || priority > 3 ||
        (state != UF_AGENT_BUILDING && state != UF_AGENT_STARTING)) {
        return UF_INVALID;
    }
    for (uint32_t tries = 0; tries < agents->count + 64; tries++) {
        uint32_t slot;
        if (uf_bits_find(agents->free_bits, agents->count, &agents->cursor, &slot) != UF_OK) {
            return UF_NO_AGENT_SLOT;
        }
        struct uf_agent *record = &agents->record[slot];
        uint64_t word = atomic_load_explicit(&record->word, memory_order_relaxed); /* CAS judges */
        uint64_t claimed = word_of(generation_of(word), type, worker, agents->me, state, priority);
        /* A2. Acquire: the last user of the record is done. Failure relaxed: another slot. */
        bool won = state_of(word) == UF_AGENT_FREE &&
                   atomic_compare_exchange_strong_explicit(
                       &record->word, &word, claimed, memory_order_acquire, memory_order_relaxed);
        UF_STEP(A1);
        uf_bits_clear(agents->free_bits, slot);
        if (won) {
            /* Relaxed, all: ours, and told to others by a later release (A1). */
            atomic_store_explicit(&record->depth, 0, memory_order_relaxed);
            atomic_store_explicit(&record->limit, limit, memory_order_relaxed);
            atomic_store_explicit(&record->handled, 0, memory_order_relaxed);
            atomic_store_explicit(&record->failed, 0, memory_order_relaxed);
            atomic_store_explicit(&record->restarts, 0, memory_order_relaxed);
            atomic_store_explicit(&record->touched_ns, 0, memory_order_relaxed);
            atomic_store_explicit(&record->spawned_ns, now_ns, memory_order_relaxed);
            atomic_store_explicit(&record->parent, parent, memory_order_relaxed);
            atomic_store_explicit(&record->burst, 0, memory_order_relaxed);
            *id = uf_agent_id(generation_of(word), slot);
            return UF_OK;
        }
        if (state_of(atomic_load_explicit(&record->word, memory_order_relaxed)) == UF_AGENT_FREE) {
            uf_bits_set(agents->free_bits, slot); /* freed meanwhile: see uf_bits_clear */
        }
    }
    return UF_NO_AGENT_SLOT;
}

/* False: there is no room for it, and the type's row says so. */
static bool give_hint(struct uf_agents *agents, uint32_t type, uint32_t slot)
{
    struct uf_ring ring = warm_ring(agents, type);
    uint32_t handle = slot + 1;
    if (uf_ring_push(&ring, &handle, 1) == 1) {
        return true;
    }
    /* Full, with hints that lie perhaps. Release: whoever finds the bit finds the agent warm. */
    atomic_fetch_or_explicit(&type_row(agents, type)->state, TYPE_UNHINTED, memory_order_release);
    return false;
}

/* Give hints again at warm agents that have none: the ring was too full for them, or who was to give
 * or to use them died. Called when the ring is empty. False: there is no hint to claim; the ring may be
 * full of claims that another process has not cleared yet, or will not, and is not waited for. */
static bool find_unhinted(struct uf_agents *agents, uint32_t type)
{
    struct uf_type *row = type_row(agents, type);
    /* Acquire: with give_hint's release. Reset before the scan, so that one lost during it counts;
     * relaxed the first look, a hint. */
    if ((atomic_load_explicit(&row->state, memory_order_relaxed) & TYPE_UNHINTED) == 0 ||
        (atomic_fetch_and_explicit(&row->state, ~TYPE_UNHINTED, memory_order_acq_rel) &
         TYPE_UNHINTED) == 0) {
        return false;
    }
    UF_STEP(A7);
    bool found = false;
    for (uint32_t slot = 0; slot < agents->count; slot++) {
        uint64_t word = atomic_load_explicit(&agents->record[slot].word, memory_order_relaxed);
        if (state_of(word) == UF_AGENT_WARM && type_of(word) == type) {
            if (!give_hint(agents, type, slot)) {
                struct uf_ring ring = warm_ring(agents, type);
                return found || !uf_ring_is_empty(&ring); /* others may have filled it with hints */
            }
            found = true;
        }
    }
    return found;
}

/* WARM -> `to`, of the first hint that does not lie. `priority`: the agent's new one, or KEPT. */
#define KEPT 4u
static int claim_as(struct uf_agents *agents, uint32_t type, uint32_t to, uint32_t priority,
                    uint64_t *id, uint32_t *worker)
{
    uint32_t claimer = to == UF_AGENT_STARTING ? agents->me : UF_NOBODY;
    struct uf_ring ring = warm_ring(agents, type);
    uint64_t from = 0;
    for (uint32_t tries = 0; tries < ring.capacity + 64; tries++) {
        struct uf_claim hint;
        int status = uf_ring_claim(&ring, agents->me, &from, &hint);
        if (status == UF_EMPTY && find_unhinted(agents, type)) {
            from = 0;
            continue;
        }
        if (status != UF_OK) {
            return status;
        }
        uf_ring_clear(&ring, hint.position);
        uf_ring_advance(&ring, hint.position + 1);
        UF_STEP(A2);
        uint32_t slot = hint.handle - 1;
        if (slot >= agents->count) {
            continue;
        }
        struct uf_agent *record = &agents->record[slot];
        uint64_t word = atomic_load_explicit(&record->word, memory_order_relaxed); /* CAS judges */
        uint64_t claimed = word_of(generation_of(word), type, worker_of(word), claimer, to,
                                   priority == KEPT ? priority_of(word) : priority);
        /* A2 <- A1. Acquire: the record of a warm agent is complete. Failure relaxed: the hint
         * lied, take the next. */
        if (state_of(word) == UF_AGENT_WARM && type_of(word) == type &&
            atomic_compare_exchange_strong_explicit(&record->word, &word, claimed,
                                                    memory_order_acquire, memory_order_relaxed)) {
            *id = uf_agent_id(generation_of(word), slot);
            *worker = worker_of(word);
            return UF_OK;
        }
    }
    return UF_EMPTY;
}

int uf_agent_claim(struct uf_agents *agents, uint32_t type, uint32_t priority, uint64_t parent,
                   uint64_t now_ns, uint64_t *id, uint32_t *worker)
{
    if (type >= agents->types_max || priority > 3) {
        return UF_INVALID;
    }
    int status = claim_as(agents, type, UF_AGENT_STARTING, priority, id, worker);
    if (status == UF_OK) {
        UF_STEP(A4);
        struct uf_agent *record = &agents->record[uf_agent_slot(*id)];
        atomic_store_explicit(&record->spawned_ns, now_ns, memory_order_relaxed); /* ours */
        atomic_store_explicit(&record->parent, parent, memory_order_relaxed);
    }
    return status;
}

int uf_agent_retire(struct uf_agents *agents, uint32_t type, uint64_t *id, uint32_t *worker)
{
    if (type >= agents->types_max) {
        return UF_INVALID;
    }
    return claim_as(agents, type, UF_AGENT_STOPPED, KEPT, id, worker);
}

int uf_agent_move(struct uf_agents *agents, uint64_t id, uint32_t from, uint32_t to)
{
    uint32_t slot = uf_agent_slot(id);
    if (slot >= agents->count || from >= UF_AGENT_STATES || to >= UF_AGENT_STATES) {
        return UF_INVALID;
    }
    struct uf_agent *record = &agents->record[slot];
    uint64_t word = atomic_load_explicit(&record->word, memory_order_relaxed); /* CAS judges */
    for (uint32_t tries = 0; tries < 64; tries++) {
        if (generation_of(word) != id >> UF_AGENT_SLOT_BITS || state_of(word) == UF_AGENT_FREE) {
            return UF_STALE;
        }
        if (state_of(word) != from) {
            return UF_BUSY;
        }
        if (!uf_agent_may(from, to)) {
            return UF_INVALID;
        }
        if (to == UF_AGENT_WARM && type_of(word) >= agents->types_max) {
            return UF_CORRUPT; /* its hint would go to a ring that is none */
        }
        uint32_t claimer = to == UF_AGENT_BUILDING || to == UF_AGENT_STARTING ? agents->me
                           : to == UF_AGENT_ARRIVING ? claimer_of(word) /* whom it left */
                                                     : UF_NOBODY;
        uint64_t moved = to == UF_AGENT_FREE
                             ? word_of(next_generation(word), 0, 0, UF_NOBODY, UF_AGENT_FREE, 0)
                             : word_of(generation_of(word), type_of(word), worker_of(word), claimer,
                                       to, priority_of(word));
        /* A1, A9 -> A2. Release: the record is written, or we are done with it. Failure relaxed: the
         * fresh word is judged anew. */
        if (atomic_compare_exchange_strong_explicit(&record->word, &word, moved,
                                                    memory_order_release, memory_order_relaxed)) {
            UF_STEP(A3);
            if (to == UF_AGENT_WARM) {
                give_hint(agents, type_of(word), slot);
            } else if (to == UF_AGENT_FREE) {
                uf_bits_set(agents->free_bits, slot);
            }
            return UF_OK;
        }
    }
    return UF_BUSY;
}

int uf_agent_leave(struct uf_agents *agents, uint64_t id, uint32_t worker, uint32_t to)
{
    uint32_t slot = uf_agent_slot(id);
    if (slot >= agents->count || worker > 0x3ff || to > 0x3ff || worker == to) {
        return UF_INVALID;
    }
    struct uf_agent *record = &agents->record[slot];
    uint64_t word = atomic_load_explicit(&record->word, memory_order_relaxed); /* CAS judges */
    for (uint32_t tries = 0; tries < 64; tries++) {
        if (generation_of(word) != id >> UF_AGENT_SLOT_BITS || state_of(word) == UF_AGENT_FREE) {
            return UF_STALE;
        }
        if (state_of(word) != UF_AGENT_ACTIVE || worker_of(word) != worker) {
            return UF_BUSY;
        }
        uint64_t left = word_of(generation_of(word), type_of(word), to, worker, UF_AGENT_MOVING,
                                priority_of(word));
        /* A8. seq_cst: stored before the crossings are looked at, X4 of uf_deliver.h; a release, and
         * a sender on its way could be overlooked. Failure relaxed: judged anew. */
        if (atomic_compare_exchange_strong_explicit(&record->word, &word, left,
                                                    memory_order_seq_cst, memory_order_relaxed)) {
            UF_STEP(A8);
            return UF_OK;
        }
    }
    return UF_BUSY;
}

int uf_agent_at(const struct uf_agents *agents, uint32_t slot, struct uf_agent_info *info)
{
    if (slot >= agents->count) {
        return UF_INVALID;
    }
    const struct uf_agent *record = &agents->record[slot];
    /* A2 <- A1. Acquire: the fields are this generation's. */
    uint64_t word = atomic_load_explicit(&record->word, memory_order_acquire);
    info->id = uf_agent_id(generation_of(word), slot);
    info->state = state_of(word);
    info->type = type_of(word);
    info->worker = worker_of(word);
    bool moves = info->state == UF_AGENT_MOVING || info->state == UF_AGENT_ARRIVING;
    info->left = moves ? claimer_of(word) : info->worker;
    info->priority = priority_of(word);
    info->depth = atomic_load_explicit(&record->depth, memory_order_relaxed); /* counts, all */
    info->limit = atomic_load_explicit(&record->limit, memory_order_relaxed);
    info->handled = atomic_load_explicit(&record->handled, memory_order_relaxed);
    info->failed = atomic_load_explicit(&record->failed, memory_order_relaxed);
    info->restarts = atomic_load_explicit(&record->restarts, memory_order_relaxed);
    info->touched_ns = atomic_load_explicit(&record->touched_ns, memory_order_relaxed);
    info->spawned_ns = atomic_load_explicit(&record->spawned_ns, memory_order_relaxed);
    info->parent = atomic_load_explicit(&record->parent, memory_order_relaxed);
    return UF_OK;
}

int uf_agent_look(const struct uf_agents *agents, uint64_t id, struct uf_agent_info *info)
{
    int status = uf_agent_at(agents, uf_agent_slot(id), info);
    if (status != UF_OK) {
        return UF_STALE;
    }
    return info->id == id && info->state != UF_AGENT_FREE ? UF_OK : UF_STALE;
}

#define TAKING                                                                                     \
    (1u << UF_AGENT_STARTING | 1u << UF_AGENT_ACTIVE | 1u << UF_AGENT_MOVING |                     \
     1u << UF_AGENT_ARRIVING)

int uf_agent_route(const struct uf_agents *agents, uint64_t id, uint32_t *worker)
{
    uint32_t slot = uf_agent_slot(id);
    if (slot >= agents->count) {
        return UF_STALE;
    }
    const struct uf_agent *record = &agents->record[slot];
    /* A10. seq_cst: loaded after the crossing was said, X1 of uf_deliver.h; and A2 <- A1. */
    uint64_t word = atomic_load_explicit(&record->word, memory_order_seq_cst);
    if (generation_of(word) != id >> UF_AGENT_SLOT_BITS || (TAKING >> state_of(word) & 1) == 0) {
        return UF_STALE;
    }
    *worker = worker_of(word);
    uint32_t depth = atomic_load_explicit(&record->depth, memory_order_relaxed); /* counts */
    return depth < atomic_load_explicit(&record->limit, memory_order_relaxed) ? UF_OK : UF_FULL;
}

void uf_agent_handled(struct uf_agents *agents, uint32_t slot, bool failed, uint64_t now_ns)
{
    if (slot >= agents->count) {
        return;
    }
    struct uf_agent *record = &agents->record[slot];
    /* Relaxed loads and stores: the hosting worker alone writes these. */
    uint64_t handled = atomic_load_explicit(&record->handled, memory_order_relaxed);
    atomic_store_explicit(&record->handled, handled + 1, memory_order_relaxed);
    atomic_store_explicit(&record->touched_ns, now_ns, memory_order_relaxed);
    if (failed) {
        uint32_t failures = atomic_load_explicit(&record->failed, memory_order_relaxed);
        atomic_store_explicit(&record->failed, failures + 1, memory_order_relaxed);
    }
}

void uf_agent_set_depth(struct uf_agents *agents, uint32_t slot, uint32_t depth)
{
    if (slot < agents->count) {
        /* Relaxed: a count; a sender that reads an old one is refused late or early. */
        atomic_store_explicit(&agents->record[slot].depth, depth, memory_order_relaxed);
    }
}

void uf_agent_restarted(struct uf_agents *agents, uint32_t slot)
{
    if (slot < agents->count) {
        atomic_fetch_add_explicit(&agents->record[slot].restarts, 1, memory_order_relaxed);
    }
}

void uf_agents_tally(const struct uf_agents *agents, uint32_t worker, uint32_t *counts)
{
    for (uint32_t slot = 0; slot < agents->count; slot++) {
        uint64_t word = atomic_load_explicit(&agents->record[slot].word, memory_order_relaxed);
        uint32_t state = state_of(word);
        if (state != UF_AGENT_FREE && state < UF_AGENT_STATES &&
            type_of(word) < agents->types_max &&
            (worker == UF_EVERY_WORKER || worker_of(word) == worker)) {
            counts[type_of(word) * UF_AGENT_STATES + state]++;
        }
    }
}
