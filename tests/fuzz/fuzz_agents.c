/* fuzz_agents.c -- agents whose words are damaged: records, names of types, hints, bits; then made,
 * claimed, moved, looked at, routed to and recovered. */
#include "fuzz.h"
#include "programs.h"

static void damage(struct guest *guest, struct tape *tape)
{
    if (tape_below(tape, 8) == 0) {
        damage_owners(guest, tape);
    } else {
        damage_agents(guest, tape);
    }
}

static void call(struct guest *guest, struct tape *tape)
{
    switch (tape_below(tape, 8)) {
    case 0:
        call_pool(guest, tape);
        break;
    case 1:
        call_others(guest, tape);
        break;
    default:
        call_agents(guest, tape);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct scene scene = {damage, call};
    stage_play(&scene, data, size);
    return 0;
}

/* And a record with a changed field, moved from the state it is in to another: the stage's warm and
 * active agents, and the one that a dead process was building. */
void fuzz_seeds(fuzz_give *give, void *to)
{
    programs_give(give, to);
    for (uint8_t slot = 0; slot < 8; slot++) {
        for (uint8_t field = 0; field < 6; field++) {
            for (uint8_t state = 0; state < UF_AGENT_STATES; state++) {
                const uint8_t program[] = {STAGE_DAMAGE, 1, 0, 4,    slot, 1,    field, 0xf0, 0,
                                           STAGE_CALL,   2, 4, slot, 0,    state};
                give(program, sizeof program, to);
            }
        }
    }
}
