/* uf_agents_in.h -- what the agents' sources share: the record's word, the types' rows and rings.
 * The contract is uf_agents.h. */
#ifndef UF_AGENTS_IN_H
#define UF_AGENTS_IN_H

#include "uf_agents.h"

/* A type's row. state: [ unhinted 1 | 0 .. | namer 10 | phase 8 ]. Rows are never given back. */
struct uf_type {
    _Atomic uint64_t state; /* its namer, recovery; A5, A6; the unhinted bit: anybody */
    char name[UF_TYPE_NAME_BYTES];
};
#define TYPE_FREE 0u
#define TYPE_NAMING 1u
#define TYPE_NAMED 2u
#define TYPE_LOST 3u               /* its namer died: a row of 64 bytes is lost, nothing else */
#define TYPE_UNHINTED (1ull << 32) /* there may be warm agents that no hint names */
_Static_assert(sizeof(struct uf_type) == UF_LINE, "a type is one line");

/* The word's fields. */
#define GENERATION_BITS 30u
static inline uint64_t word_of(uint64_t generation, uint32_t type, uint32_t worker,
                               uint32_t claimer, uint32_t state, uint32_t priority)
{
    return generation << 34 | (uint64_t)type << 26 | (uint64_t)worker << 16 |
           (uint64_t)claimer << 6 | state << 2 | priority;
}
static inline uint64_t generation_of(uint64_t word)
{
    return word >> 34;
}
/* The id of a record's next life. Never 0, so that no id is: 0 is no agent. */
static inline uint64_t next_generation(uint64_t word)
{
    uint64_t next = (generation_of(word) + 1) & ((1ull << GENERATION_BITS) - 1);
    return next + (next == 0);
}
static inline uint32_t type_of(uint64_t word)
{
    return (uint32_t)(word >> 26) & 0xff;
}
static inline uint32_t worker_of(uint64_t word)
{
    return (uint32_t)(word >> 16) & 0x3ff;
}
static inline uint32_t claimer_of(uint64_t word)
{
    return (uint32_t)(word >> 6) & 0x3ff;
}
static inline uint32_t state_of(uint64_t word)
{
    return (uint32_t)(word >> 2) & 0xf;
}
static inline uint32_t priority_of(uint64_t word)
{
    return (uint32_t)word & 3;
}

static inline struct uf_type *type_row(const struct uf_agents *agents, uint32_t type)
{
    return (struct uf_type *)(void *)agents->types + type;
}

static inline struct uf_ring warm_ring(const struct uf_agents *agents, uint32_t type)
{
    return (struct uf_ring){
        .shared =
            (struct uf_ring_head *)(void *)(agents->rings + type * uf_ring_bytes(agents->warm_max)),
        .capacity = agents->warm_max,
        .shift = uf_log2(agents->warm_max),
    }; /* no limit, no gate */
}

static inline uint32_t phase_of(uint64_t state)
{
    return (uint32_t)(state & 0xff);
}

#endif
