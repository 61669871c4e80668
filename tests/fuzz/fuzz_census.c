/* fuzz_census.c -- counts of agents that are damaged, and the records they count: places taken and given
 * back, agents made, claimed, moved and ended, counts mended, limits set, and recovery. */
#include "fuzz.h"
#include "programs.h"

static void damage(struct guest *guest, struct tape *tape)
{
    switch (tape_below(tape, 8)) {
    case 0:
        damage_owners(guest, tape);
        break;
    case 2:
    case 3:
        damage_agents(guest, tape);
        break;
    default:
        damage_counts(guest, tape);
    }
}

static void call(struct guest *guest, struct tape *tape)
{
    switch (tape_below(tape, 8)) {
    case 0:
        call_agents(guest, tape);
        break;
    case 1:
        call_others(guest, tape);
        break;
    default:
        call_census(guest, tape);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct scene scene = {damage, call};
    stage_play(&scene, data, size);
    return 0;
}

/* And a record with a changed field, ended or counted anew; and a number of workers that is none. */
void fuzz_seeds(fuzz_give *give, void *to)
{
    programs_give(give, to);
    for (uint8_t slot = 0; slot < 12; slot++) {
        for (uint8_t field = 0; field < 6; field++) {
            const uint8_t ended[] = {STAGE_DAMAGE, 2, 0, 4,    slot, 1, field,        0xf0, 0, /* */
                                     STAGE_CALL,   2, 8, slot, 0,    0, UF_AGENT_FREE};
            const uint8_t mended[] = {STAGE_DAMAGE, 2, 0, 4, slot, 1, field, 0xf0, 0, /* */
                                      STAGE_CALL,   2, 6, 0};
            give(ended, sizeof ended, to);
            give(mended, sizeof mended, to);
        }
    }
    for (uint8_t form = 0; form < 5; form++) {
        const uint8_t workers[] = {STAGE_DAMAGE, 1, 0, 3, form,       12, 0, 0, /* */
                                   STAGE_CALL,   2, 6, 0, STAGE_CALL, 2,  2, 0, 0, 1, 0};
        give(workers, sizeof workers, to);
    }
}
