/* damage.c -- one word of a live region becomes another one: any word, or a word of the same form with
 * one field changed, so that what is told by the other fields is still believed. */
#include "fuzz.h"

#include "uf_agents_in.h"
#include "uf_table_in.h"

struct form {
    uint8_t fields;
    uint8_t shift[6]; /* where each begins, from the lowest; the last ends at 64 */
};

static const struct form no_form = {1, {0}};
static const struct form state_form = {4, {0, 8, 24, 32}};         /* a process slot        */
static const struct form owner_form = {4, {0, 14, 24, 28}};        /* a block's owner word  */
static const struct form slot_form = {4, {0, 22, 26, 36}};         /* a ring's slot         */
static const struct form head_form = {3, {0, 15, 35}};             /* a bucket's head       */
static const struct form entry_form = {5, {0, 22, 26, 47, 48}};    /* a bucket's slot       */
static const struct form record_form = {6, {0, 2, 6, 16, 26, 34}}; /* an agent's word       */
static const struct form lengths_form = {3, {0, 32, 48}};          /* in a block's head      */
static const struct form count_form = {3, {0, 24, 40}};            /* a count of agents      */
static const struct form naming_form = {4, {0, 8, 18, 32}};        /* a queue's, a type's   */

static void put(_Atomic uint64_t *word, const struct form *form, struct tape *tape)
{
    uint64_t was = atomic_load_explicit(word, memory_order_relaxed);
    uint64_t now = was;
    uint8_t how = tape_byte(tape);
    switch (how % 5) {
    case 0:
        now = was ^ 1ull << tape_byte(tape) % 64;
        break;
    case 1: {
        uint32_t field = tape_below(tape, form->fields);
        uint32_t low = form->shift[field];
        uint32_t end = field + 1u < form->fields ? form->shift[field + 1] : 64;
        uint64_t mask = (end == 64 ? ~0ull : (1ull << end) - 1) & ~((1ull << low) - 1);
        now = (was & ~mask) | (tape_bytes(tape, 2) << low & mask);
        break;
    }
    case 2:
        now = was + (uint64_t)(int64_t)(int8_t)tape_byte(tape);
        break;
    case 3:
        now = tape_byte(tape);
        break;
    default:
        now = tape_bytes(tape, 8);
    }
    atomic_store_explicit(word, now, memory_order_relaxed);
}

static _Atomic uint64_t *word_at(void *base, uint32_t index)
{
    return (_Atomic uint64_t *)base + index;
}

void damage_owners(struct guest *guest, struct tape *tape)
{
    struct uf_self *self = &guest->system.self;
    struct uf_owner *owner = &self->owner[tape_below(tape, self->count)];
    uint32_t word = tape_below(tape, 8); /* state, intent and the rest; then the state again */
    if (word == 5) {
        put(&owner->crossing, &no_form, tape);
        return;
    }
    put(word_at(owner, word < 5 ? word : 0), word < 5 && word > 0 ? &no_form : &state_form, tape);
}

static void damage_ring(struct uf_ring_head *ring, uint32_t capacity, struct tape *tape)
{
    uint32_t where = tape_below(tape, capacity + 2);
    if (where < capacity) {
        put(&ring->slot[where], &slot_form, tape);
    } else {
        put(where == capacity ? &ring->head : &ring->tail, &no_form, tape);
    }
}

static void damage_block(struct uf_pool *pool, struct tape *tape, uint32_t words)
{
    uint32_t c = tape_below(tape, pool->classes);
    struct uf_class *class = &pool->class[c];
    uint32_t index = tape_below(tape, class->count);
    uint32_t word = tape_below(tape, words + 8);
    void *block = class->blocks + (uint64_t)index * class->block_bytes;
    word = word < words    ? word
           : word % 2 == 0 ? 0
                           : 2; /* the owner word and the lengths oftenest */
    const struct form *form = word == 0 ? &owner_form : word == 2 ? &lengths_form : &no_form;
    put(word_at(block, word), form, tape);
}

static void damage_bits(_Atomic uint64_t *bits, uint32_t count, struct tape *tape)
{
    put(&bits[tape_below(tape, (uint32_t)(uf_bits_bytes(count) / 8))], &no_form, tape);
}

void damage_messages(struct guest *guest, struct tape *tape)
{
    struct uf_queues *queues = &guest->system.queues;
    uint64_t ring_bytes = uf_ring_bytes(queues->capacity);
    uint32_t word;
    switch (tape_below(tape, 6)) {
    case 0:
    case 1:
        word = tape_below(tape, queues->count * UF_LANES);
        damage_ring((struct uf_ring_head *)(void *)(queues->rings + word * ring_bytes),
                    queues->capacity, tape);
        break;
    case 2:
        word = tape_below(tape, 10); /* state, bell and hint, lost, eight of the name's */
        put(word_at(&queues->record[tape_below(tape, queues->count)], word),
            word == 0 ? &naming_form : &no_form, tape);
        break;
    case 3:
        word = tape_below(tape, guest->system.messages.classes);
        damage_bits(guest->system.messages.class[word].bits,
                    guest->system.messages.class[word].count, tape);
        break;
    default:
        damage_block(&guest->system.messages, tape, 8);
    }
}

void damage_values(struct guest *guest, struct tape *tape)
{
    struct uf_table *table = &guest->system.table;
    uint32_t word;
    switch (tape_below(tape, 8)) {
    case 0:
    case 1:
        word = tape_below(tape, 8);
        put(word_at(&table->bucket[tape_below(tape, table->buckets)], word),
            word == 0 ? &head_form : &entry_form, tape);
        break;
    case 2:
        word = tape_below(tape, UF_EXTENSION_SLOTS);
        put(&table->extension[tape_below(tape, table->extensions)].slot[word], &entry_form, tape);
        break;
    case 3:
        put(&table->extension_owner[tape_below(tape, table->extensions)], &no_form, tape);
        break;
    case 4:
        word = tape_below(tape, guest->system.values.classes);
        damage_bits(guest->system.values.class[word].bits, guest->system.values.class[word].count,
                    tape);
        break;
    case 5:
        put(&guest->system.self.owner[tape_below(tape, guest->system.self.count)].intent, &no_form,
            tape);
        break;
    default:
        damage_block(&guest->system.values, tape, 12); /* the head, then what is the key's */
    }
}

void damage_agents(struct guest *guest, struct tape *tape)
{
    struct uf_agents *agents = &guest->system.agents;
    uint32_t word = tape_below(tape, 8);
    switch (tape_below(tape, 5)) {
    case 0:
        put(word_at(type_row(agents, tape_below(tape, agents->types_max)), word),
            word == 0 ? &naming_form : &no_form, tape);
        break;
    case 1:
        damage_ring(warm_ring(agents, tape_below(tape, agents->types_max)).shared, agents->warm_max,
                    tape);
        break;
    case 2:
        damage_bits(agents->free_bits, agents->count, tape);
        break;
    case 3:
        put(word_at(&agents->record[tape_below(tape, agents->count)], word),
            word == 0 ? &record_form : &no_form, tape);
        break;
    default:
        put(&agents->record[tape_below(tape, agents->count)].word, &record_form, tape);
    }
}

void damage_counts(struct guest *guest, struct tape *tape)
{
    const struct uf_agents *agents = &guest->system.agents;
    struct uf_counts *counts = agents->counts;
    uint32_t word;
    switch (tape_below(tape, 4)) {
    case 0: /* doubts, mended, stops, and how many workers there were */
        put(word_at(counts, tape_below(tape, 4)), &no_form, tape);
        break;
    case 1: /* of the first workers oftenest */
        word = tape_byte(tape);
        put(&counts->load[word < 128 ? word % 4 : tape_below(tape, UF_WORKERS_MAX)], &count_form,
            tape);
        break;
    default:
        word = tape_below(tape, 6); /* three counts, limit and target, two that only grow */
        put(word_at(&counts->type[tape_below(tape, agents->types_max + 1)], word),
            word < 3 ? &count_form : &no_form, tape);
    }
}
