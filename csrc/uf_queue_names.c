#include "uf_queue.h"

#include <string.h>

/* Which queue has which name. Whoever opens one takes a free record (OPENING), writes the name, shows
 * it (NAMED), and looks at all the others. Of several that are NAMED alike the lowest stays, and
 * anybody who meets them settles it, so none waits for an opener that died. A record becomes OPEN only
 * after a look at all the others that began when it was NAMED and found no rival left; two rivals that
 * both became OPEN would each have been NAMED after the other's look at it. */

static uint64_t pack(uint64_t opens, uint32_t receiver, uint32_t phase)
{
    return (opens << 32) | ((uint64_t)receiver << 8) | phase;
}

static uint32_t phase_of(uint64_t state)
{
    return (uint32_t)(state & 0xff);
}

/* The same opening in another phase. */
static uint64_t in_phase(uint64_t state, uint32_t phase)
{
    return (state & ~0xffull) | phase;
}

/* The name as the record has it: whole words, zeroes behind it. False: too long, or none. */
static bool name_words(const char *name, uint64_t *words)
{
    size_t length = strnlen(name, UF_NAME_BYTES);
    memset(words, 0, UF_NAME_BYTES);
    memcpy(words, name, length);
    return length > 0 && length < UF_NAME_BYTES;
}

static _Atomic uint64_t *name_of(struct uf_queue_record *record)
{
    return (_Atomic uint64_t *)(void *)record->name;
}

static bool has_name(struct uf_queue_record *record, const uint64_t *words, uint64_t state)
{
    uint64_t difference = 0;
    for (uint32_t i = 0; i < UF_NAME_BYTES / 8; i++) {
        /* Acquire: the state is read again after the words. */
        difference |= atomic_load_explicit(&name_of(record)[i], memory_order_acquire) ^ words[i];
    }
    /* Relaxed: the loads above come before it. Another state, and the name may be two names' parts:
     * the queue was closed and its record opened anew. (Or a NAMED one became OPEN, and whoever asked
     * asks again.) */
    return difference == 0 && atomic_load_explicit(&record->state, memory_order_relaxed) == state;
}

static int find(struct uf_queues *queues, const uint64_t *words, uint32_t *index)
{
    for (uint32_t i = 0; i < queues->count; i++) {
        struct uf_queue_record *record = &queues->record[i];
        /* Q9 <- Q8. Acquire: the name is written. */
        uint64_t state = atomic_load_explicit(&record->state, memory_order_acquire);
        if (phase_of(state) == UF_QUEUE_OPEN && has_name(record, words, state)) {
            *index = i;
            return UF_OK;
        }
    }
    return UF_MISSING;
}

int uf_queue_find(struct uf_queues *queues, const char *name, uint32_t *index)
{
    uint64_t words[UF_NAME_BYTES / 8];
    return name_words(name, words) ? find(queues, words, index) : UF_INVALID;
}

/* Move a record to another phase of the same opening. seq_cst: among the shows and looks of all. False:
 * somebody moved it first. */
static bool move(struct uf_queue_record *record, uint64_t state, uint32_t phase)
{
    UF_STEP(Q13);
    return atomic_compare_exchange_strong_explicit(&record->state, &state, in_phase(state, phase),
                                                   memory_order_seq_cst, memory_order_relaxed);
}

/* A free record, NAMED. */
static int show(struct uf_queues *queues, const uint64_t *words, uint32_t *index, uint64_t *shown)
{
    for (uint32_t i = 0; i < queues->count; i++) {
        struct uf_queue_record *record = &queues->record[i];
        uint64_t state =
            atomic_load_explicit(&record->state, memory_order_relaxed); /* CAS judges */
        uint64_t opening = pack((state >> 32) + 1, queues->me, UF_QUEUE_OPENING);
        /* Acquire: the last user's closing is behind us. Failure relaxed: try the next record. */
        if (phase_of(state) != UF_QUEUE_FREE ||
            !atomic_compare_exchange_strong_explicit(&record->state, &state, opening,
                                                     memory_order_acquire, memory_order_relaxed)) {
            continue;
        }
        UF_STEP(Q0);
        for (uint32_t word = 0; word < UF_NAME_BYTES / 8; word++) {
            /* Release: who reads one of these words also reads that the state has changed. */
            atomic_store_explicit(&name_of(record)[word], words[word], memory_order_release);
        }
        uf_bell_disarm(&record->bell);
        /* Q8 -> Q9. seq_cst: the name is written, and shown before we look at the others' records. A
         * store, since OPENING is its opener's alone. */
        *shown = in_phase(opening, UF_QUEUE_NAMED);
        atomic_store_explicit(&record->state, *shown, memory_order_seq_cst);
        *index = i;
        return UF_OK;
    }
    return UF_NO_SLOT;
}

/* Look at all records but `index`, which is NAMED. OK: it has no rival. EXISTS: `*other` is open by this
 * name. BUSY: `*other` stands before it, NAMED. Rivals behind it are sent away. */
static int look_at_rivals(struct uf_queues *queues, const uint64_t *words, uint32_t index,
                          uint32_t *other)
{
    for (uint32_t i = 0; i < queues->count; i++) {
        struct uf_queue_record *record = &queues->record[i];
        for (uint32_t tries = 0;; tries++) {
            if (tries == UF_QUEUE_TRIES) {
                *other = index;
                return UF_BUSY; /* it changes faster than we can read it */
            }
            /* Q9. seq_cst: after our show; see the top. */
            uint64_t state = atomic_load_explicit(&record->state, memory_order_seq_cst);
            uint32_t phase = phase_of(state);
            bool stands = phase == UF_QUEUE_NAMED || phase == UF_QUEUE_OPEN;
            if (i == index || !stands) {
                break;
            }
            if (!has_name(record, words, state)) {
                if (atomic_load_explicit(&record->state, memory_order_seq_cst) == state) {
                    break; /* another name */
                }
                continue; /* it changed as we read: a success of somebody else */
            }
            *other = i;
            if (phase == UF_QUEUE_OPEN) {
                return UF_EXISTS;
            }
            if (i < index) {
                return UF_BUSY;
            }
            move(record, state, UF_QUEUE_FREE); /* failed: judged anew */
        }
    }
    return UF_OK;
}

/* Settle who has the name, beginning with the record that we showed. */
static int settle(struct uf_queues *queues, const uint64_t *words, uint32_t chosen, uint32_t *index)
{
    for (uint32_t steps = 0; steps < queues->count + 64; steps++) {
        struct uf_queue_record *record = &queues->record[chosen];
        uint32_t other;
        uint64_t state = atomic_load_explicit(&record->state, memory_order_seq_cst); /* Q9 */
        if (phase_of(state) != UF_QUEUE_NAMED || !has_name(record, words, state)) {
            return UF_BUSY; /* settled by somebody else: look what there is now */
        }
        int status = look_at_rivals(queues, words, chosen, &other);
        if (status == UF_BUSY) {
            chosen = other; /* it goes before ours */
            continue;
        }
        if (!move(record, state, status == UF_OK ? UF_QUEUE_OPEN : UF_QUEUE_FREE)) {
            return UF_BUSY;
        }
        UF_STEP(Q8);
        *index = status == UF_OK ? chosen : other;
        return UF_OK;
    }
    return UF_BUSY;
}

static int try_open(struct uf_queues *queues, const uint64_t *words, uint32_t *index)
{
    uint32_t mine;
    uint64_t shown;
    if (find(queues, words, index) == UF_OK) {
        return UF_OK;
    }
    int status = show(queues, words, &mine, &shown);
    if (status == UF_OK) {
        status = settle(queues, words, mine, index);
        move(&queues->record[mine], shown, UF_QUEUE_FREE); /* unless it is settled, either way */
    }
    return status;
}

int uf_queue_open(struct uf_queues *queues, const char *name, uint32_t *index)
{
    uint64_t words[UF_NAME_BYTES / 8];
    int status = UF_BUSY;
    if (!name_words(name, words)) {
        return UF_INVALID;
    }
    for (uint32_t tries = 0; tries < UF_QUEUE_TRIES && status == UF_BUSY; tries++) {
        status = try_open(queues, words, index);
    }
    return status;
}

int uf_queue_enter(struct uf_queues *queues, const char *name, uint32_t index, uint64_t *opening)
{
    uint64_t words[UF_NAME_BYTES / 8];
    if (index >= queues->count || !name_words(name, words)) {
        return UF_INVALID;
    }
    struct uf_queue_record *record = &queues->record[index];
    uint64_t state = atomic_load_explicit(&record->state, memory_order_acquire); /* Q9 */
    if (phase_of(state) != UF_QUEUE_OPEN || !has_name(record, words, state)) {
        return UF_MISSING;
    }
    *opening = state;
    return UF_OK;
}

int uf_queue_close(struct uf_queues *queues, uint32_t index)
{
    if (index >= queues->count) {
        return UF_INVALID;
    }
    struct uf_queue_record *record = &queues->record[index];
    uint64_t state = atomic_load_explicit(&record->state, memory_order_relaxed);
    /* Release: what we did with the queue is over when its record is free. Failure: another closer
     * was first. */
    if ((state & 0xff) != UF_QUEUE_OPEN ||
        !atomic_compare_exchange_strong_explicit(&record->state, &state,
                                                 pack(state >> 32, 0, UF_QUEUE_FREE),
                                                 memory_order_release, memory_order_relaxed)) {
        return UF_MISSING;
    }
    return UF_OK;
}

const char *uf_queue_name(const struct uf_queues *queues, uint32_t index)
{
    if (index >= queues->count) {
        return NULL;
    }
    const struct uf_queue_record *record = &queues->record[index];
    uint64_t state = atomic_load_explicit(&record->state, memory_order_acquire); /* Q9 */
    bool stands = phase_of(state) == UF_QUEUE_OPEN || phase_of(state) == UF_QUEUE_CLOSING;
    return stands && record->name[UF_NAME_BYTES - 1] == '\0' ? record->name : NULL;
}
