/* calls_census.c -- the public calls on agents that are counted, and on the way to their inboxes: see
 * calls.c. */
#include "calls.h"

#define IDS 8u

void read_census(struct guest *guest, struct tape *tape)
{
    const struct uf_agents *agents = &guest->system.agents;
    struct uf_census census;
    uint32_t type = tape_byte(tape);
    int status =
        judged(guest, "uf_census_read", uf_census_read(agents, type, &census), 0, OR(INVALID));
    if ((status == UF_OK) != (uf_census_of(agents, type) != NULL)) {
        fuzz_found("uf_census_of and uf_census_read disagree on a type", type);
    }
    if (status == UF_OK && (census.alive > UF_COUNT_MOST || census.warm > UF_COUNT_MOST ||
                            census.building > UF_COUNT_MOST)) {
        fuzz_found("uf_census_read answered with more than a count holds", type);
    }
    uf_census_load(agents, (uint32_t)tape_bytes(tape, 4));
    guest->past |= uf_census_stops(agents) != 0;
}

static void admit(struct guest *guest, struct tape *tape)
{
    uint32_t wanted = tape_below(tape, 30);
    int status =
        judged(guest, "uf_census_admit",
               uf_census_admit(&guest->system.agents, tape_below(tape, 5), wanted, &guest->places),
               0, OR(FULL) | OR(NO_AGENT_SLOT) | OR(BUSY) | OR(INVALID));
    if (status == UF_OK && (guest->places.count == 0 || guest->places.count > wanted)) {
        fuzz_found("uf_census_admit answered with other places than were wanted",
                   guest->places.count);
    }
    guest->places.count = status == UF_OK ? guest->places.count : 0;
}

static void change_one(struct guest *guest, struct tape *tape)
{
    struct uf_agents *agents = &guest->system.agents;
    uint32_t from;
    uint64_t id = id_of(guest, tape, &from);
    switch (tape_below(tape, 5)) {
    case 0:
        judged(guest, "uf_census_end",
               uf_census_end(agents, id, from, tape_below(tape, UF_AGENT_STATES)), 0,
               OR(STALE) | OR(BUSY) | OR(INVALID) | OR(CORRUPT));
        break;
    case 1:
        judged(guest, "uf_census_leave",
               uf_census_leave(agents, id, tape_below(tape, 3),
                               (uint32_t)tape_bytes(tape, 2) % (UF_WORKERS_MAX + 8)),
               0, OR(STALE) | OR(BUSY) | OR(INVALID));
        break;
    case 2:
        uf_census_drop(agents, id);
        break;
    default:
        judged(guest, "uf_census_move",
               uf_census_move(agents, id, from, tape_below(tape, UF_AGENT_STATES)), 0,
               OR(STALE) | OR(BUSY) | OR(INVALID) | OR(CORRUPT));
    }
}

/* Two walks: one may find that a count has changed, by a damage at a mark, and the next counts anew. */
static void mend(struct guest *guest, struct tape *tape)
{
    struct uf_agents *agents = &guest->system.agents;
    if (tape_byte(tape) % 2 == 0) {
        uf_counts_doubt(agents->counts);
    }
    for (uint32_t i = 0; i < 2; i++) {
        judged(guest, "uf_census_mend", uf_census_mend(agents), 0, OR(BUSY));
    }
}

void call_census(struct guest *guest, struct tape *tape)
{
    struct uf_agents *agents = &guest->system.agents;
    uint64_t id;
    uint32_t got;
    uint32_t type;
    switch (tape_below(tape, 12)) {
    case 0:
        admit(guest, tape);
        break;
    case 1: /* of two more places than there are, too */
        got = tape_below(tape, guest->places.count + 2);
        judged(guest, "uf_census_settle", uf_census_settle(agents, &guest->places, got), 0,
               OR(FULL) | OR(INVALID));
        guest->places.count = 0;
        break;
    case 2:
        type = tape_below(tape, 5);
        got = tape_below(tape, 4) * 2 + 1; /* BUILDING and STARTING, and two that are refused */
        judged(guest, "uf_census_new",
               uf_census_new(agents, type, (uint32_t)tape_bytes(tape, 2) % (UF_WORKERS_MAX + 8), 1,
                             got, 9, 0, 1, &id),
               0, OR(NO_AGENT_SLOT) | OR(INVALID));
        break;
    case 3:
        judged(guest, "uf_census_claim",
               uf_census_claim(agents, tape_below(tape, 4), tape_below(tape, 5), 0, 1, &id, &got),
               0, OR(EMPTY) | OR(BUSY) | OR(CORRUPT) | OR(INVALID));
        break;
    case 4:
        judged(guest, "uf_census_dismiss", uf_census_dismiss(agents, tape_below(tape, 4)), 0,
               OR(EMPTY) | OR(BUSY) | OR(CORRUPT) | OR(INVALID));
        break;
    case 5:
        type = tape_below(tape, 5);
        judged(guest, "uf_census_limit",
               uf_census_limit(agents, type, (uint32_t)tape_bytes(tape, 4)), 0, OR(INVALID));
        judged(guest, "uf_census_aim", uf_census_aim(agents, type, tape_byte(tape)), 0,
               OR(INVALID));
        break;
    case 6:
    case 7:
        mend(guest, tape);
        break;
    case 8:
    case 9:
    case 10:
        change_one(guest, tape);
        break;
    default:
        read_census(guest, tape);
    }
}

static void deliver(struct guest *guest, struct tape *tape)
{
    struct uf_system *system = &guest->system;
    uint32_t handles[IDS];
    uint64_t ids[IDS];
    uint32_t worker;
    uint32_t together;
    uint32_t bell;
    uint32_t state;
    uint32_t wanted = 1 + tape_below(tape, IDS);
    for (uint32_t i = 0; i < wanted; i++) {
        ids[i] = id_of(guest, tape, &state);
    }
    uint32_t lane = tape_below(tape, 5);
    uint32_t count = make_messages(guest, tape, handles, wanted);
    int sent = judged(guest, "uf_deliver",
                      uf_deliver(&system->self, &system->agents, &system->queues, ids, lane,
                                 handles, count, &worker, &together, &bell),
                      (int)count,
                      OR(STALE) | OR(READ_ONLY) | OR(FULL) | OR(BUSY) | OR(CORRUPT) | OR(INVALID));
    if (together > count ||
        (sent > 0 && ((uint32_t)sent > together || worker >= system->queues.count))) {
        fuzz_found("uf_deliver answered with more than it was given", together);
    }
    if (sent > 0 && uf_bell_mode_of(bell) != UF_BELL_AWAKE) {
        uf_bell_wake(uf_queue_bell(&system->queues, worker), bell, -1);
    }
    for (uint32_t i = sent > 0 ? (uint32_t)sent : 0; i < count; i++) {
        give_message(guest, handles[i]);
    }
}

static void depart(struct guest *guest, struct tape *tape)
{
    struct uf_system *system = &guest->system;
    struct uf_departure departure = {.seen = must(system->self.count * sizeof(uint64_t))};
    uint32_t index = tape_below(tape, 5);
    uf_departure_begin(&system->self, &departure);
    for (uint32_t looks = 1 + tape_below(tape, 3); looks > 0; looks--) {
        uint32_t on_way = 0;
        judged(guest, "uf_departure_look",
               uf_departure_look(&system->self, &system->queues, index, &departure,
                                 tape_byte(tape) % 2 == 0, &on_way),
               0, OR(BUSY) | OR(INVALID));
        if (on_way > system->self.count) {
            fuzz_found("more are on their way than there are", on_way);
        }
    }
    free(departure.seen);
}

void call_deliver(struct guest *guest, struct tape *tape)
{
    if (tape_below(tape, 3) == 0) {
        depart(guest, tape);
    } else {
        deliver(guest, tape);
    }
}
