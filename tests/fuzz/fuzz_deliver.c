/* fuzz_deliver.c -- the way to agents that move: records, crossings, rings and inboxes that are damaged;
 * messages delivered, agents given away, departures begun and looked at, and recovery. */
#include "fuzz.h"
#include "programs.h"

static void damage(struct guest *guest, struct tape *tape)
{
    switch (tape_below(tape, 8)) {
    case 0:
    case 2:
        damage_owners(guest, tape);
        break;
    case 1:
    case 3:
        damage_messages(guest, tape);
        break;
    default:
        damage_agents(guest, tape);
    }
}

static void call(struct guest *guest, struct tape *tape)
{
    switch (tape_below(tape, 8)) {
    case 0:
        call_queues(guest, tape);
        break;
    case 1:
        call_others(guest, tape);
        break;
    case 3:
        call_census(guest, tape);
        break;
    default:
        call_deliver(guest, tape);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct scene scene = {damage, call};
    stage_play(&scene, data, size);
    return 0;
}

/* And a record with a changed field, then delivered to; an inbox with a changed end, then departed from. */
void fuzz_seeds(fuzz_give *give, void *to)
{
    programs_give(give, to);
    for (uint8_t slot = 0; slot < 12; slot++) {
        for (uint8_t field = 0; field < 6; field++) {
            const uint8_t program[] = {STAGE_DAMAGE, 4, 0, 4, slot, 1, field, 0xf0, 0, /* */
                                       STAGE_CALL,   2, 1, 0, slot, 0, 1,     40,   0, 8, 0};
            give(program, sizeof program, to);
        }
    }
    for (uint8_t ring = 0; ring < 8; ring++) {
        for (uint8_t where = 0; where < 6; where++) {
            for (uint8_t form = 0; form < 5; form++) {
                const uint8_t program[] = {STAGE_DAMAGE,
                                           1,
                                           0,
                                           ring,
                                           where,
                                           form,
                                           63,
                                           63, /* */
                                           63,
                                           63,
                                           63,
                                           63,
                                           63,
                                           63, /* */
                                           STAGE_CALL,
                                           2,
                                           0,
                                           (uint8_t)(ring / 4),
                                           2,
                                           0,
                                           0,
                                           0};
                give(program, sizeof program, to);
            }
        }
    }
}
