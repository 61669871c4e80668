/* steps.h -- kill a process at each of its instructions, and look at what the others find.
 *
 * A scene is one operation of the core: what stands in the region before it, the operation, and what
 * may be found after a death in it. The stepper (stepper.c) runs the operation in a child under
 * PTRACE_SINGLESTEP and kills it with SIGKILL after k instructions; the survivor is the parent. The
 * world (world.c) is the region, put back before each death, and the books that are held against it.
 *
 * A system call is one instruction here: what the kernel does in it is not divided.
 */
#ifndef UF_STEPS_H
#define UF_STEPS_H

#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#include "uf.h"

#define NUMBERS 64u /* messages have numbers below this */
#define KEYS 20u    /* 0 to 17 in bucket 0, the others in bucket 1 */
#define AGENTS 6u
#define SEATS 4u
#define SPARE 60u /* the number that the survivor sends, and from here on nobody else does */
#define INBOX 0u
#define SECOND 1u

/* What a child tells its parent: memory that both map. */
struct note {
    volatile uint32_t ended; /* the operation has answered, with `status` */
    volatile int32_t status;
    volatile uint64_t id;
    volatile uint32_t handle;
    volatile uint32_t index;
};

struct world {
    struct uf_system system;
    struct uf_receiver receiver;
    struct note *note; /* ours, in a child */
    uint64_t *scratch;
    uint32_t held[128]; /* blocks in hand */
    uint32_t holds;
    uint32_t armed;
    int pipe;
    /* The survivor's books: what may be, as the scene says after a death. */
    uint8_t least[NUMBERS]; /* deliveries of a message */
    uint8_t most[NUMBERS];
    uint8_t got[NUMBERS];
    bool told[NUMBERS];         /* that it is a redelivery... */
    bool must_tell[NUMBERS];    /* ...and must be          */
    uint32_t key_may[KEYS];     /* bit 0: absent; bit v: has value v */
    uint32_t agent_may[AGENTS]; /* bit s: is in state s */
    uint32_t limit;             /* so many live at most; 0: nobody is counted */
    int refusal;                /* what a spawn answers then */
    uint64_t stops;             /* what hosts had been told of before the operation */
    bool disordered;            /* the survivor took something before recovery */
    bool standing;              /* a child stands in the middle of the operation, alive    */
    uint32_t recoveries;        /* that may have counted one delivery more */
};

struct scene {
    const char *name;
    void (*prepare)(void);                   /* survivor, once                           */
    void (*ready)(void);                     /* child, before the first instruction      */
    void (*act)(void);                       /* child: the operation                     */
    void (*expect)(const struct note *note); /* survivor, after the death: fill the books */
    void (*after)(const struct note *note);  /* survivor, after recovery                 */
    uint32_t flags;
};
#define SCENE_ALONE 1u     /* the child attaches in the operation, or not at all  */
#define SCENE_ELSEWHERE 2u /* another region: nothing of the world is looked at  */
#define SCENE_LEAVES 4u    /* the child gives its slot back                   */
#define SCENE_FULL 8u      /* no room for the survivor's own doings: it only looks */

extern struct world world;
extern const struct uf_sizes world_sizes;
extern struct note *notes; /* SEATS of them */
extern uint64_t findings;
extern bool one_is_enough; /* the first finding ends the program, with status 0 */
extern const char *scene_dir;
extern const char *scene_path;

#define COUNT_OF(array) ((uint32_t)(sizeof(array) / sizeof(array)[0]))

/* --- world.c, survivor.c, books.c --------------------------------------------------------------------------- */

void fatal(const char *what) __attribute__((noreturn));
/* Say what was wrong, and where the dead one stood. */
void found(const char *format, ...) __attribute__((format(printf, 1, 2)));
void found_where(const char *scene, const char *how, uint64_t at, uint64_t of, uint64_t address);

void world_open(void);
void world_close(void);
void world_remove(void);         /* its files */
void world_reset(void);          /* a region as new                   */
void world_keep(uint32_t image); /* remember it as it is; 0, 1 or 2   */
void world_back(uint32_t image); /* and put it back                   */
bool world_changed(void);        /* since the last call               */
void world_join(uint32_t role);  /* in a child                        */

void message_make(uint32_t number, uint32_t bytes, uint16_t flags); /* into world.held */
void message_put(uint32_t queue, uint32_t lane, uint32_t number);   /* sent, and in the books */
void message_may(uint32_t number, uint32_t least, uint32_t most);
int entry_write(uint32_t key, uint32_t value, uint32_t mode, uint64_t *stamp);
int entry_read(uint32_t key, uint32_t *value);
void entry_put(uint32_t key, uint32_t value);
const struct uf_key *entry_key(uint32_t key);
uint32_t entry_bytes(uint32_t value);
void entry_fill(uint64_t *words, uint32_t value);
struct uf_ring lane_ring(uint32_t queue, uint32_t lane);
/* As a spawner does it, once: a warm one, or else a cold one. */
int agent_spawn(uint64_t *id);
/* The counts as they should be: of the records as they are. */
struct uf_census agents_by_hand(void);
bool counts_are(const struct uf_census *wanted);

/* The survivor's own work beside the dead: every call must come back, with an allowed answer. */
void survivor_works(uint32_t flags);
void survivor_recovers(bool downwards);
/* Everything is where it belongs, and can be used. `alive`: slots that other live processes have. */
void survivor_checks(uint32_t flags);
void check_slots(uint32_t alive);
/* Take note of a delivery, and give the block back. last: the last number of each lane, or NULL. */
void deliver(uint32_t handle, uint32_t *last);
/* Every key has a value that it may have. */
void read_keys(void);

/* --- stepper.c ----------------------------------------------------------------------------------- */

/* The instructions of one run, and the way to each of them. */
struct track {
    uint64_t *at;   /* address of instruction k                                          */
    uint32_t *from; /* k is reached by steps from here...                                */
    uint32_t *hits; /* ...where a breakpoint has been hit so often                       */
    bool *changed;  /* the instruction before k changed the region, or called the kernel */
    uint32_t count;
    uint32_t room;
};

struct child {
    pid_t pid;
    uint32_t seat;
};

/* Start seat's child: it attaches (unless ALONE), gets ready, and stops before its operation. */
struct child child_start(const struct scene *scene, uint32_t seat);
/* Let it do k instructions. False: it came to the end before. */
bool child_walk(struct child child, const struct track *track, uint32_t k);
/* Let it go on to the end of the operation; it stops there. */
void child_run(struct child child);
void child_kill(struct child child);
/* Run the operation once, instruction by instruction. */
void track_make(struct track *track, const struct scene *scene, uint32_t seat);
void track_free(struct track *track);
uint64_t track_address(const struct track *track, uint32_t k);

/* --- the scenes ------------------------------------------------------------------------------------ */

extern const struct scene pool_scenes[];
extern const uint32_t pool_scenes_count;
extern const struct scene queue_scenes[];
extern const uint32_t queue_scenes_count;
extern const struct scene delete_scenes[];
extern const uint32_t delete_scenes_count;
extern const struct scene share_scenes[];
extern const uint32_t share_scenes_count;
extern const struct scene table_scenes[];
extern const uint32_t table_scenes_count;
extern const struct scene clock_scenes[];
extern const uint32_t clock_scenes_count;
extern const struct scene agent_scenes[];
extern const uint32_t agent_scenes_count;
extern const struct scene census_scenes[];
extern const uint32_t census_scenes_count;
extern const struct scene region_scenes[];
extern const uint32_t region_scenes_count;

/* --- recovery.c, steps_main.c ---------------------------------------------------------------------- */

struct plan {
    uint64_t seed;
    uint32_t sweep;    /* besides those at changes, about so many deaths a scene and way */
    uint32_t recovery; /* and so many a casualty */
    bool full;
    const char *only;
};

uint64_t any(struct plan *plan, uint64_t below);
/* The next point to kill at after `k` (-1: the first), or -1. All of them, or when `most` is not 0: each
 * point where others can see something new, and about `most` of the rest. */
int64_t plan_next(struct plan *plan, const struct track *track, uint32_t most, int64_t k);
/* Set the watchdog anew: a call that does not come back ends the program. */
void watch(void);

struct tally {
    uint64_t instructions;
    uint64_t kills;    /* in the middle of the operation                                     */
    uint64_t meetings; /* it stood there, alive, while others worked, attached or recovered */
    uint64_t findings;
};
void tally_say(const char *name, const struct tally *tally);
void tally_add(struct tally *sum, const struct tally *tally);

void recovery_sweep(struct plan *plan, struct tally *sum);

#endif
