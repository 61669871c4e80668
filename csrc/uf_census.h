/* uf_census.h -- agent records made, claimed and moved, and counted: how many of which type, and where.
 *
 * WHAT       The calls of uf_agents.h that change what there is, with the counts of uf_counts.h kept
 *            beside them: alive agents of a type and in all, warm ones, those being built, and the
 *            records of a worker. Reading a count is one load, however many records there are.
 * PICTURE    admit: places of the type, then of all -> claim or new: STARTING -> settle -> ...
 *            ... -> end: the record's move out of a life, and its place is free
 *            spawn: the first three for one agent, when a warm one is there
 * OWNERSHIP  A record that is alive has a place, from settle to end. Who admits claims, settles or
 *            withdraws. An agent that was refused by settle has none: it is dropped, and does not end.
 * THREADS    Any; one thread at a time for each `struct uf_agents`.
 * PROGRESS   Those of uf_agents.h, and lock-free. admit: one pass over the records where a limit is
 *            reached and a process died since the last one; mend: likewise.
 * DEATH      uf_counts.h: C1, C2. Between a move to STOPPED and its announcement (C8): recovery says so.
 * ORDER      C9 stops release -> C10 stops acquire   the record is STOPPED, ARRIVING
 * ERRORS     Those of uf_agents.h. admit: FULL: no place of the type is free; NO_AGENT_SLOT: none in all.
 *            settle: FULL, as there. spawn: EMPTY: a place and no warm agent; BUSY: begin anew. mend: BUSY: a count changed while the records were counted.
 * PROOF      P1: `explore_census`, and `test_census`, a death at each step;
 *            `steps_finds_place_lost_where_all_are_taken`, `steps_finds_stopped_and_not_said`. P2: holds
 *            no message. P5: holds no value. P8: `fuzz_census`, `fuzz_finds_number_of_workers_believed`, as uf_counts.h.
 * SOURCE     Ours.
 */
#ifndef UF_CENSUS_H
#define UF_CENSUS_H

#include "uf_agents.h"

/* Places that were taken, until they are settled or withdrawn. */
struct uf_places {
    uint32_t type;
    uint32_t count;
    uint32_t type_era;
    uint32_t all_era;
};

/* An agent in this state has a place. */
static inline bool uf_agent_is_alive(uint32_t state)
{
    return (state >= UF_AGENT_STARTING && state <= UF_AGENT_DRAINING) || state == UF_AGENT_MOVING ||
           state == UF_AGENT_ARRIVING;
}

/* Up to `wanted` places: places->count of them. */
UF_API int uf_census_admit(struct uf_agents *agents, uint32_t type, uint32_t wanted,
                           struct uf_places *places);
/* `used` of the places have their records; the others are free again. */
UF_API int uf_census_settle(struct uf_agents *agents, const struct uf_places *places,
                            uint32_t used);
/* A warm agent of the type has a place and is STARTING. EMPTY: there is none, and `places` are to be
 * settled. BUSY: it lost its place and is dropped; there may be another. */
UF_API int uf_census_spawn(struct uf_agents *agents, uint32_t type, uint32_t priority,
                           uint64_t parent, uint64_t now_ns, struct uf_places *places, uint64_t *id,
                           uint32_t *worker);
/* As uf_agent_new, uf_agent_claim, uf_agent_move. */
UF_API int uf_census_new(struct uf_agents *agents, uint32_t type, uint32_t worker,
                         uint32_t priority, uint32_t state, uint32_t limit, uint64_t parent,
                         uint64_t now_ns, uint64_t *id);
UF_API int uf_census_claim(struct uf_agents *agents, uint32_t type, uint32_t priority,
                           uint64_t parent, uint64_t now_ns, uint64_t *id, uint32_t *worker);
UF_API int uf_census_move(struct uf_agents *agents, uint64_t id, uint32_t from, uint32_t to);
/* Settle refused an agent: STARTING -> STOPPED. Its spawner begins anew, for there may be a place. */
UF_API void uf_census_drop(struct uf_agents *agents, uint64_t id);
/* As move, from alive to what is not; the agent's place is free again. */
UF_API int uf_census_end(struct uf_agents *agents, uint64_t id, uint32_t from, uint32_t to);
/* A warm agent of the type is STOPPED, and was nobody's. EMPTY: there is none. */
UF_API int uf_census_dismiss(struct uf_agents *agents, uint32_t type);
/* As uf_agent_leave: the record is the other worker's from here on. */
UF_API int uf_census_leave(struct uf_agents *agents, uint64_t id, uint32_t worker, uint32_t to);
/* Count the records anew, if a process died since that was last done. */
UF_API int uf_census_mend(struct uf_agents *agents);
/* Raised by every move to STOPPED or ARRIVING: who hosts agents and sees it changed looks for such. */
UF_API uint64_t uf_census_stops(const struct uf_agents *agents);
/* A type's counts, or those of all types together: type == types_max. NULL: there is no such type. */
UF_API struct uf_type_counts *uf_census_of(const struct uf_agents *agents, uint32_t type);
struct uf_census {
    uint64_t claimed;
    uint64_t cold;
    uint32_t alive;
    uint32_t warm;
    uint32_t building;
    uint32_t most;
    uint32_t target;
};
/* What they are just now. INVALID: there is no such type. */
UF_API int uf_census_read(const struct uf_agents *agents, uint32_t type, struct uf_census *census);
/* Places in all; 0: any number. Holds for those who admit from now on. */
UF_API int uf_census_limit(struct uf_agents *agents, uint32_t type, uint32_t most);
/* The manager's: warm agents that it wants. */
UF_API int uf_census_aim(struct uf_agents *agents, uint32_t type, uint32_t target);
UF_API uint32_t uf_census_load(const struct uf_agents *agents, uint32_t worker);

#endif
