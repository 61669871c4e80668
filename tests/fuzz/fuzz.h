/* fuzz.h -- what every fuzz target stands on: a tape of bytes, a live region that they damage, every
 * public call on it, and a judge of the answers.
 *
 * A target is a file fuzz_*.c with libFuzzer's entry point and its seeds. Linked with libFuzzer (clang)
 * it is explored by coverage; linked with driver.c (any compiler) it plays its seeds and random
 * mutations of them. What is looked for: a fault, a sanitizer's report, a call that does not come back,
 * an answer that the call's header does not list. Whether an answer is right is not asked: the words it
 * is made of are rubbish.
 *
 * Nothing outside the region goes unnoticed: guard.c maps it between two stretches of address space that
 * nobody may touch, and poisons what lies between the end of an area and the next page.
 */
#ifndef UF_TESTS_FUZZ_H
#define UF_TESTS_FUZZ_H

#include "uf_census.h"
#include "uf_deliver.h"
#include "uf_system.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- what a target gives ---------------------------------------------------------------------- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Called once for each seed. */
typedef void fuzz_give(const uint8_t *data, size_t size, void *to);
void fuzz_seeds(fuzz_give *give, void *to);

/* Inputs played, and how many of them got past the first check: a file that was attached to, a call on
 * damaged words that answered with something other than an error. */
extern uint64_t fuzz_played;
extern uint64_t fuzz_past;

/* A finding that is no fault: say it and abort. */
_Noreturn void fuzz_found(const char *what, long long value);
/* The bench itself does not stand: no finding. */
_Noreturn void fuzz_broken(const char *what);

/* --- the tape --------------------------------------------------------------------------------- */

/* The input, read from its beginning; behind its end everything is 0. */
struct tape {
    const uint8_t *at;
    size_t left;
};

static inline uint64_t tape_bytes(struct tape *tape, uint32_t count)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i < count && tape->left > 0; i++, tape->left--) {
        value |= (uint64_t)*tape->at++ << 8 * i;
    }
    return value;
}
static inline uint8_t tape_byte(struct tape *tape)
{
    return (uint8_t)tape_bytes(tape, 1);
}
/* Below `count`, which is not 0. */
static inline uint32_t tape_below(struct tape *tape, uint32_t count)
{
    return (uint32_t)tape_bytes(tape, count > 256 ? 2 : 1) % count;
}

/* --- an attachment and its calls -------------------------------------------------------------- */

#define GUEST_HOLDS 64u

struct guest {
    struct uf_system system;
    struct uf_receiver receiver;
    uint32_t held[GUEST_HOLDS]; /* messages taken and kept */
    uint32_t holds;
    struct uf_places places; /* of agents, taken and not settled */
    bool past;
    bool no_metrics; /* their area is poisoned, for whatever else gets there */
};

/* One call each, chosen and given its arguments by the tape; the answer is judged. */
void call_queues(struct guest *guest, struct tape *tape);
void call_pool(struct guest *guest, struct tape *tape);
void call_table(struct guest *guest, struct tape *tape);
void call_agents(struct guest *guest, struct tape *tape);
void call_census(struct guest *guest, struct tape *tape);
void call_deliver(struct guest *guest, struct tape *tape);
void call_others(struct guest *guest, struct tape *tape); /* recovery, owners, metrics */
/* Only what a read-only attachment may. */
void call_reads(struct guest *guest, struct tape *tape);

/* --- a live region, damaged as it is worked on ------------------------------------------------- */

/* Where an input may write, and what it may call. */
struct scene {
    void (*damage)(struct guest *guest, struct tape *tape);
    void (*call)(struct guest *guest, struct tape *tape);
};

/* Play the tape on a region that is whole at its beginning: damage, damage at a mark in the middle of a
 * coming call (as another process would do it), calls. */
void stage_play(const struct scene *scene, const uint8_t *data, size_t size);

void damage_owners(struct guest *guest, struct tape *tape);
void damage_messages(struct guest *guest, struct tape *tape);
void damage_values(struct guest *guest, struct tape *tape);
void damage_agents(struct guest *guest, struct tape *tape);
void damage_counts(struct guest *guest, struct tape *tape);

/* Commands of a tape, for seeds: the first byte of each. */
enum stage_command { STAGE_DAMAGE = 0, STAGE_DAMAGE_LATER = 3, STAGE_CALL = 4, STAGE_COMMANDS = 8 };

/* Make a region with something in everything, one process dead in it, and a name in a directory of its
 * own; stage_remove takes both away again. */
void stage_make(struct guest *guest);
void stage_remove(void);
extern const char *const stage_path;

/* --- guards ----------------------------------------------------------------------------------- */

/* Poison, or allow again, what lies behind each area up to its page's end. */
void guard_tails(const struct uf_region *region, bool poison);
/* Poison the head, the directory and the metrics, which no other structure's calls have to do with. */
void guard_strangers(const struct uf_region *region);

#endif
