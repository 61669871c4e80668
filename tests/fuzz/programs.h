/* programs.h -- seeds for a stage: short programs, each a damage of some kind and form, at once or at a
 * mark, with calls before it and after it. */
#ifndef UF_TESTS_FUZZ_PROGRAMS_H
#define UF_TESTS_FUZZ_PROGRAMS_H

#include "fuzz.h"

static inline size_t programs_put(uint8_t *program, size_t at, const uint8_t *bytes, size_t size)
{
    memcpy(program + at, bytes, size);
    return at + size;
}

/* As damage.c and calls.c read them: kind, class, index, word, form, field, value. */
static inline void programs_give(fuzz_give *give, void *to)
{
    for (uint32_t i = 0; i < 8 * 4 * 10; i++) {
        const uint8_t kind = (uint8_t)(i % 8);
        const uint8_t word = (uint8_t)(i / 8 % 4);
        const uint8_t form = (uint8_t)(i / 32 < 5 ? i / 32 : 1);
        const uint8_t field = (uint8_t)(i / 32 < 5 ? 0 : i / 32 - 4);
        const uint8_t damage[] = {STAGE_DAMAGE, 1,    kind,  0,    (uint8_t)(9 + kind),
                                  word,         form, field, 0xf0, 0x3f};
        const uint8_t later[] = {
            STAGE_DAMAGE_LATER, word, 1, kind, word, 0, form, 0, 255, 255, 0, 0, 0, 0};
        const uint8_t before[] = {STAGE_CALL, 2, (uint8_t)(i % 12), kind, 1, 2, 3};
        const uint8_t after[] = {
            STAGE_CALL, 2,  7,  1,          0, STAGE_CALL, 2, (uint8_t)(i % 12),
            0,          64, 0,  STAGE_CALL, 1, 2,          1, STAGE_CALL,
            2,          4,  64, 0,          0};
        uint8_t program[64];
        size_t size = 0;
        if (i % 3 == 1) {
            size = programs_put(program, size, before, sizeof before);
        }
        if (i % 3 == 2) {
            size = programs_put(program, size, later, sizeof later);
        }
        size = programs_put(program, size, damage, sizeof damage);
        size = programs_put(program, size, after, sizeof after);
        give(program, size, to);
    }
}

#endif
