/* uf_agents.h -- one cache line for every agent: what it is, where it lives, whether an id still holds.
 *
 * WHAT       Records of agents, the table of their types, and for each type a ring of hints at warm
 *            agents that wait to be claimed.
 * PICTURE    word: [ generation 30 | type 8 | worker 10 | claimer 10 | state 4 | priority 2 ]
 *            id:   [ 0 10 | generation 30 | slot 24 ]            worker: index of its inbox queue
 *
 *            FREE --new--> BUILDING --built--> WARM --claim: one CAS--> STARTING --> ACTIVE
 *            FREE --new--> STARTING (cold)            ACTIVE -> DRAINING -> STOPPED | FAILED -> FREE
 *            ACTIVE --leave--> MOVING: `worker` is whose inbox messages go to, `claimer` the inbox of who
 *            has the agent still -> ARRIVING: nobody has it, `worker` is to build it -> ACTIVE
 *            Every move that is allowed: uf_agent_may. Others are refused, whoever asks.
 *            FREE raises the generation: an old id is recognised, its messages are not misdelivered.
 * OWNERSHIP  Every move is one CAS on the word. BUILDING and STARTING carry the claimer's name; the
 *            worker that hosts the agent writes its counters, alone. Only who has an agent makes it
 *            MOVING and ARRIVING, only who is to have it makes it ACTIVE then.
 * THREADS    Any.
 * PROGRESS   claim: lock-free, a hint that lies is thrown away. new: one pass over a bitmap. Others:
 *            wait-free.
 * DEATH      A claimer in BUILDING: the record is FREE again. In STARTING: STOPPED, and the worker that
 *            has its object lets it go. Between WARM and its hint (A3), between a hint and its use (A2),
 *            or A7: recovery says that hints are missing, and the next claim that finds none gives
 *            them again. A namer of a type (A5): its row is lost, others take the next.
 *            A hosting worker: its records stay; its successor on the same inbox rebuilds them: of
 *            those in MOVING the successor of who is left, of those in ARRIVING that of who is to have
 *            them, so that at every step of a change of workers exactly one does (A8, A9).
 * ORDER      A1 word CAS release -> A2 word acquire   priority, limit and times are written
 *            A5 row state release -> A6 acquire       the type's name is written
 *            A8 word CAS seq_cst, A10 word seq_cst    with X1 and X4 of uf_deliver.h: a sender that
 *            was not seen on its way sees where the agent goes
 *            A9 word CAS release -> A2 acquire        what it kept is saved before another has it
 * ERRORS     STALE: another generation. NO_AGENT_SLOT. EMPTY: no warm agent, or, beside another
 *            claim, none that it has a hint at. BUSY: the agent is in
 *            another state than the move begins with; or, from type, another process names one at every
 *            attempt. INVALID: slot, type or state out of range, or a
 *            move that is none. CORRUPT: a record's type is none, or as
 *            uf_ring.h.
 * PROOF      P1: `test_agents`, `explore_agents`, `steps_finds_hint_never_given_again`. P2: one
 *            host an agent at each step of its move, `explore_deliver`; one claimer an agent, one id a life: `linear_finds_agent_claimed_without_comparing`,
 *            `linear_finds_one_id_for_two_lives`. P5: holds no value. P8: `fuzz_agents`,
 *            `fuzz_finds_hint_at_an_agent_believed`.
 * SOURCE     Generations in ids: the slot-and-generation handles of entity stores; Orleans' virtual
 *            actors for records that outlive their host.
 */
#ifndef UF_AGENTS_H
#define UF_AGENTS_H

#include "uf_counts.h"
#include "uf_ring.h"

#define UF_TYPES_MAX 255u
#define UF_TYPE_NAME_BYTES 56u
#define UF_TYPE_TRIES 64u
#define UF_AGENT_SLOT_BITS 24u
#define UF_AGENTS_MAX 4000000u /* a hint is a ring's handle, of 26 bits */

enum uf_agent_state {
    UF_AGENT_FREE = 0,
    UF_AGENT_BUILDING = 1,
    UF_AGENT_WARM = 2,
    UF_AGENT_STARTING = 3,
    UF_AGENT_ACTIVE = 4,
    UF_AGENT_DRAINING = 5,
    UF_AGENT_STOPPED = 6,
    UF_AGENT_FAILED = 7,
    UF_AGENT_MOVING = 8,
    UF_AGENT_ARRIVING = 9,
};
#define UF_AGENT_STATES 10u

/* Whether an agent in one state may be moved to another. WARM from STARTING: a claim given back, whose
 * agent was never told of it. FREE from anywhere: the record is given back. new alone leaves FREE, leave
 * alone leads to MOVING. */
static inline bool uf_agent_may(uint32_t from, uint32_t to)
{
#define TO(state) (1u << UF_AGENT_##state)
    static const uint16_t moves[UF_AGENT_STATES] = {
        [UF_AGENT_FREE] = TO(BUILDING) | TO(STARTING),
        [UF_AGENT_BUILDING] = TO(WARM) | TO(FAILED) | TO(FREE),
        [UF_AGENT_WARM] = TO(STARTING) | TO(STOPPED) | TO(FREE),
        [UF_AGENT_STARTING] = TO(WARM) | TO(ACTIVE) | TO(STOPPED) | TO(FAILED) | TO(FREE),
        [UF_AGENT_ACTIVE] = TO(DRAINING) | TO(STOPPED) | TO(FAILED) | TO(FREE),
        [UF_AGENT_DRAINING] = TO(STOPPED) | TO(FAILED) | TO(FREE),
        [UF_AGENT_STOPPED] = TO(FREE),
        [UF_AGENT_FAILED] = TO(FREE),
        [UF_AGENT_MOVING] = TO(ARRIVING) | TO(STOPPED) | TO(FAILED) | TO(FREE),
        [UF_AGENT_ARRIVING] = TO(ACTIVE) | TO(STOPPED) | TO(FAILED) | TO(FREE),
    };
#undef TO
    return from < UF_AGENT_STATES && to < UF_AGENT_STATES && (moves[from] >> to & 1) != 0;
}

struct uf_agent {
    alignas(UF_LINE) _Atomic uint64_t word; /* A1, A2                                            */
    _Atomic uint32_t depth;      /* its worker: messages waiting in its mailbox                  */
    _Atomic uint32_t limit;      /* its creator: the mailbox is full at this depth               */
    _Atomic uint64_t handled;    /* its worker                                                   */
    _Atomic uint32_t failed;     /* its worker: messages whose handler raised                    */
    _Atomic uint32_t restarts;   /* its worker                                                   */
    _Atomic uint64_t touched_ns; /* its worker: CLOCK_MONOTONIC of the last message              */
    _Atomic uint64_t spawned_ns; /* its claimer: CLOCK_MONOTONIC                                 */
    _Atomic uint64_t parent;     /* its claimer: the agent that spawned it, or 0                 */
    _Atomic uint64_t burst; /* its worker: [ CLOCK_MONOTONIC ms 40 | restarts since then 24 ] */
};
_Static_assert(sizeof(struct uf_agent) == UF_LINE, "a record is one line");

struct uf_agent_info {
    uint64_t id;
    uint64_t handled;
    uint64_t touched_ns;
    uint64_t spawned_ns;
    uint64_t parent;
    uint32_t state;
    uint32_t type;
    uint32_t worker;
    uint32_t priority;
    uint32_t depth;
    uint32_t limit;
    uint32_t failed;
    uint32_t restarts;
    uint32_t left; /* the inbox of who has it (MOVING) or had it (ARRIVING); else as worker */
};

/* Private. */
struct uf_agents {
    struct uf_agent *record;
    _Atomic uint64_t *free_bits;
    uint8_t *types; /* names, then rings */
    uint8_t *rings;
    struct uf_counts *counts; /* uf_census.h's; recovery only says that they may be wrong */
    uint32_t count;
    uint32_t types_max;
    uint32_t warm_max; /* capacity of a type's ring of hints */
    uint32_t cursor;
    uint32_t me;
};

static inline uint64_t uf_agent_id(uint64_t generation, uint32_t slot)
{
    return (generation << UF_AGENT_SLOT_BITS) | slot;
}
static inline uint32_t uf_agent_slot(uint64_t id)
{
    return (uint32_t)id & ((1u << UF_AGENT_SLOT_BITS) - 1);
}

UF_API uint64_t uf_agents_bytes(uint32_t count, uint32_t types, uint32_t warm);
UF_API int uf_agents_init(void *area, uint64_t bytes, uint32_t count, uint32_t types,
                          uint32_t warm);
UF_API int uf_agents_open(struct uf_agents *agents, void *area, uint64_t bytes, uint32_t me);

/* The number of a type, given to its name on first use. NO_SLOT: all type numbers are taken. */
UF_API int uf_agents_type(struct uf_agents *agents, const char *name, bool make, uint32_t *type);
UF_API const char *uf_agents_type_name(const struct uf_agents *agents, uint32_t type);

/* A fresh record in state BUILDING or STARTING, claimed by us. */
UF_API int uf_agent_new(struct uf_agents *agents, uint32_t type, uint32_t worker, uint32_t priority,
                        uint32_t state, uint32_t limit, uint64_t parent, uint64_t now_ns,
                        uint64_t *id);
/* Claim a warm agent of the type: WARM -> STARTING, ours. EMPTY when there is none. */
UF_API int uf_agent_claim(struct uf_agents *agents, uint32_t type, uint32_t priority,
                          uint64_t parent, uint64_t now_ns, uint64_t *id, uint32_t *worker);
/* As claim, but the agent is to go: WARM -> STOPPED. */
UF_API int uf_agent_retire(struct uf_agents *agents, uint32_t type, uint64_t *id, uint32_t *worker);
/* One move by one CAS. The claimer's name goes with every move but those to BUILDING, STARTING.
 * To WARM: gives the hint too. To FREE: raises the generation. */
UF_API int uf_agent_move(struct uf_agents *agents, uint64_t id, uint32_t from, uint32_t to);
/* A worker that has an ACTIVE agent gives it to another, by one CAS: MOVING. From then on senders go there;
 * what they sent before is still to be handled here. BUSY: it is in another state, or another's. */
UF_API int uf_agent_leave(struct uf_agents *agents, uint64_t id, uint32_t worker, uint32_t to);
UF_API int uf_agent_look(const struct uf_agents *agents, uint64_t id, struct uf_agent_info *info);
/* The record of a slot, whatever its generation and state; info->id is its present id. */
UF_API int uf_agent_at(const struct uf_agents *agents, uint32_t slot, struct uf_agent_info *info);
/* The same by one load, and less of it. The slot is one of ours: less than agents->count. */
UF_API void uf_agent_glance(const struct uf_agents *agents, uint32_t slot, uint32_t *state,
                            uint32_t *type, uint32_t *worker);
/* For senders: worker and mailbox room by one load or two. OK, STALE, or FULL (mailbox). An agent in
 * STARTING or ACTIVE takes messages, as one that changes its worker does; to one in DRAINING, STOPPED or
 * FAILED, and so to its id, it is STALE. */
UF_API int uf_agent_route(const struct uf_agents *agents, uint64_t id, uint32_t *worker);
/* The hosting worker's counters. */
UF_API void uf_agent_handled(struct uf_agents *agents, uint32_t slot, bool failed, uint64_t now_ns);
UF_API void uf_agent_set_depth(struct uf_agents *agents, uint32_t slot, uint32_t depth);
UF_API void uf_agent_restarted(struct uf_agents *agents, uint32_t slot);
/* A restart begins: counted, and how many have begun within the period that the first of them opened. */
UF_API uint32_t uf_agent_relapsed(struct uf_agents *agents, uint32_t slot, uint64_t now_ns,
                                  uint64_t period_ns);
/* It ended well, and its reason was none of the agent's: not counted in the period. */
UF_API void uf_agent_settled(struct uf_agents *agents, uint32_t slot);
/* counts[type * UF_AGENT_STATES + state] += 1 for every record that is not FREE; types_max rows. */
UF_API void uf_agents_tally(const struct uf_agents *agents, uint32_t worker_or_all,
                            uint32_t *counts);
#define UF_EVERY_WORKER UINT32_MAX

struct uf_agents_recovery {
    uint32_t freed;
    uint32_t stopped;
    uint32_t hinted; /* warm agents, whose hints will be given again as they are missed */
};
UF_API void uf_agents_recover(struct uf_agents *agents, uint32_t dead,
                              struct uf_agents_recovery *done);

#endif
