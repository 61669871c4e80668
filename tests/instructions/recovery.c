/* recovery.c -- the deaths of those who mend the dead.
 *
 * A casualty is a scene and an instruction: the region as its death there left it. Recovery of it is
 * killed at its own instructions and done again by another; done by two at once; done beside a process
 * that attaches, and beside one that stands in the middle of an operation. Two processes that died in
 * the middle of two operations are mended by two recoverers at once.
 */
#include "steps.h"

#include <stdlib.h>

enum { VICTIM = 0, OTHER = 1, MENDER = 2, COMER = 3 };
enum { PREPARED = 0, DEAD = 1 };

static void zero_scratch(void)
{
    memset(world.scratch, 0, uf_system_scratch_bytes(&world.system));
}

static void recover_slot(uint32_t slot)
{
    struct uf_recovery done;
    world.note->status = uf_system_recover(&world.system, slot, world.scratch, &done);
}

static void recover_first(void)
{
    recover_slot(1);
}

static void recover_second(void)
{
    recover_slot(2);
}

static void attach(void)
{
    world.note->status = uf_system_attach(&world.system, scene_path, UF_ROLE_WORKER, false, 0, 7);
    world.note->index = world.system.self.slot;
}

static const struct scene mend_first = {
    .name = "recovery", .ready = zero_scratch, .act = recover_first};
static const struct scene mend_second = {
    .name = "recovery", .ready = zero_scratch, .act = recover_second};
static const struct scene come = {.name = "attach", .act = attach, .flags = SCENE_ALONE};

static const struct scene *scene_of(const char *name)
{
    const struct scene *const lists[] = {pool_scenes,  queue_scenes, share_scenes, table_scenes,
                                         clock_scenes, agent_scenes, census_scenes};
    const uint32_t counts[] = {pool_scenes_count,  queue_scenes_count, share_scenes_count,
                               table_scenes_count, clock_scenes_count, agent_scenes_count,
                               census_scenes_count};
    for (uint32_t l = 0; l < COUNT_OF(lists); l++) {
        for (uint32_t i = 0; i < counts[l]; i++) {
            if (strcmp(lists[l][i].name, name) == 0) {
                return &lists[l][i];
            }
        }
    }
    fatal(name);
}

/* One or two scenes whose processes died, and their tracks. */
struct casualty {
    const struct scene *scene[2];
    struct track track[2];
    struct note note[2];
    uint32_t count;
};

/* Two in the same scene: it is prepared and looked at once. */
static bool is_same_again(const struct casualty *casualty, uint32_t i)
{
    return i == 1 && casualty->scene[1] == casualty->scene[0];
}

static void expect(const struct casualty *casualty)
{
    for (uint32_t i = 0; i < casualty->count; i++) {
        if (casualty->scene[i]->expect != NULL) {
            casualty->scene[i]->expect(&casualty->note[i]);
        }
    }
}

static void check(const struct casualty *casualty, bool downwards)
{
    survivor_recovers(downwards);
    for (uint32_t i = 0; i < casualty->count; i++) {
        if (casualty->scene[i]->after != NULL && !is_same_again(casualty, i)) {
            casualty->scene[i]->after(&casualty->note[i]);
        }
    }
    survivor_checks(casualty->scene[0]->flags);
    watch();
}

static void casualty_make(struct casualty *casualty, const char *first, const char *second)
{
    memset(casualty, 0, sizeof *casualty);
    casualty->scene[0] = scene_of(first);
    casualty->count = 1;
    if (second != NULL) {
        casualty->scene[1] = scene_of(second);
        casualty->count = 2;
    }
    world_reset();
    for (uint32_t i = 0; i < casualty->count; i++) {
        if (casualty->scene[i]->prepare != NULL && !is_same_again(casualty, i)) {
            casualty->scene[i]->prepare();
        }
    }
    world_keep(PREPARED);
    for (uint32_t i = 0; i < casualty->count; i++) {
        world_back(PREPARED);
        track_make(&casualty->track[i], casualty->scene[i], VICTIM);
    }
}

static void casualty_free(struct casualty *casualty)
{
    for (uint32_t i = 0; i < casualty->count; i++) {
        track_free(&casualty->track[i]);
    }
}

static uint32_t count_changes(const struct track *track)
{
    uint32_t changes = 0;
    for (uint32_t k = 0; k < track->count; k++) {
        changes += track->changed[k];
    }
    return changes;
}

/* The n-th point where others see something new: only there is there something new to mend. */
static uint32_t change_at(const struct track *track, uint32_t n)
{
    uint32_t k = 0;
    while (k + 1 < track->count && (!track->changed[k] || n-- > 0)) {
        k++;
    }
    return k;
}

/* Kill the first after `at` of its instructions; remember the region. */
static void casualty_die(struct casualty *casualty, uint32_t at, struct tally *tally)
{
    world_back(PREPARED);
    struct child child = child_start(casualty->scene[0], VICTIM);
    child_walk(child, &casualty->track[0], at);
    child_kill(child);
    tally->kills++;
    casualty->note[0] = notes[VICTIM];
    world_keep(DEAD);
}

static void place(const char *how, const struct casualty *casualty, const struct track *track,
                  uint32_t k)
{
    found_where(casualty->scene[0]->name, how, k, track->count, track_address(track, k));
}

/* The recoverer dies at its instruction k; another does it again. */
static void killed_recovery(struct plan *plan, const struct casualty *casualty,
                            const struct track *track, struct tally *tally, uint32_t most)
{
    tally->instructions += track->count;
    for (int64_t k = -1; (k = plan_next(plan, track, most, k)) >= 0;) {
        world_back(DEAD);
        place("its recovery killed", casualty, track, (uint32_t)k);
        expect(casualty);
        world.recoveries++;
        struct child mender = child_start(&mend_first, MENDER);
        child_walk(mender, track, (uint32_t)k);
        child_kill(mender);
        tally->kills++;
        if (notes[MENDER].ended && notes[MENDER].status != UF_OK) {
            found("recovery answered %d", notes[MENDER].status);
        }
        check(casualty, (k & 1) != 0);
    }
}

enum beside { ANOTHER, ATTACH, WORK, BESIDES };

static const char *const beside_name[BESIDES] = {
    "two recoveries of it", "its recovery beside an attach", "its recovery beside work"};

/* What goes on while the mender stands. True: the other recovery did it. */
static bool meet(enum beside beside, bool was_done, struct child *other)
{
    *other = child_start(beside == ATTACH ? &come : &mend_first, COMER);
    child_run(*other);
    int status = notes[COMER].status;
    if (beside == ATTACH) {
        if (status != UF_OK) {
            found("attach answered %d", status);
        }
        return false;
    }
    if (status != UF_BUSY && status != UF_MISSING && (status != UF_OK || was_done)) {
        found("the other recovery answered %d", status);
    }
    return status == UF_OK;
}

/* One recoverer stands at its instruction k while another tries, a process attaches, or the survivor
 * works. */
static void recovery_meets(struct plan *plan, const struct casualty *casualty,
                           const struct track *track, struct tally *tally, enum beside beside)
{
    for (int64_t k = -1; (k = plan_next(plan, track, plan->recovery / 3 + 1, k)) >= 0;) {
        struct child other;
        bool other_did = false;
        world_back(DEAD);
        place(beside_name[beside], casualty, track, (uint32_t)k);
        expect(casualty);
        struct child mender = child_start(&mend_first, MENDER);
        child_walk(mender, track, (uint32_t)k);
        if (beside == WORK) {
            survivor_works(casualty->scene[0]->flags);
        } else {
            other_did = meet(beside, notes[MENDER].ended != 0, &other);
        }
        child_run(mender);
        int status = notes[MENDER].status;
        if (status != UF_OK && !(other_did && status == UF_MISSING)) {
            found("recovery answered %d", status);
        }
        if (beside == ATTACH) { /* the mender has slot 2, for slot 1 was the dead one's */
            check_slots(1u | 1u << 2 | 1u << notes[COMER].index);
        }
        child_kill(mender);
        if (beside != WORK) {
            child_kill(other);
        }
        tally->meetings++;
        check(casualty, (k & 1) != 0);
    }
}

/* A process stands at its instruction k of attaching while the dead one is mended. */
static void attach_beside(struct plan *plan, const struct casualty *casualty, struct tally *tally)
{
    struct track track;
    world_back(DEAD);
    track_make(&track, &come, COMER);
    tally->instructions += track.count;
    for (int64_t k = -1; (k = plan_next(plan, &track, plan->recovery / 3 + 1, k)) >= 0;) {
        world_back(DEAD);
        place("an attach beside its recovery", casualty, &track, (uint32_t)k);
        expect(casualty);
        struct child comer = child_start(&come, COMER);
        child_walk(comer, &track, (uint32_t)k);
        survivor_recovers(false);
        child_run(comer);
        if (notes[COMER].status != UF_OK) {
            found("attach answered %d", notes[COMER].status);
        } else {
            check_slots(1u | 1u << notes[COMER].index);
        }
        child_kill(comer);
        tally->meetings++;
        check(casualty, (k & 1) != 0);
    }
    track_free(&track);
}

/* Two died in the middle of two operations; two recoverers mend one each, one of them standing at its
 * instruction k meanwhile. */
static void two_dead(struct plan *plan, struct casualty *casualty, struct tally *tally,
                     uint32_t rounds)
{
    for (uint32_t round = 0; round < rounds; round++) {
        uint32_t at[2];
        world_back(PREPARED);
        struct child dying[2];
        for (uint32_t i = 0; i < 2; i++) {
            at[i] = (uint32_t)any(plan, casualty->track[i].count + 1);
            place("two deaths", casualty, &casualty->track[0], at[0]);
            dying[i] = child_start(casualty->scene[i], i == 0 ? VICTIM : OTHER);
            child_walk(dying[i], NULL, at[i]);
        }
        for (uint32_t i = 0; i < 2; i++) {
            child_kill(dying[i]);
            casualty->note[i] = notes[dying[i].seat];
        }
        expect(casualty);
        struct child mender[2];
        mender[0] = child_start(round % 2 == 0 ? &mend_first : &mend_second, MENDER);
        child_walk(mender[0], NULL, (uint32_t)any(plan, 6000));
        mender[1] = child_start(round % 2 == 0 ? &mend_second : &mend_first, COMER);
        child_run(mender[1]);
        child_run(mender[0]);
        for (uint32_t i = 0; i < 2; i++) {
            if (notes[mender[i].seat].status != UF_OK) {
                found("recovery answered %d", notes[mender[i].seat].status);
            }
            child_kill(mender[i]);
        }
        tally->kills += 2;
        tally->meetings++;
        check(casualty, round % 3 == 0);
    }
}

/* One died; another stands in the middle of its operation, alive, while the dead one is mended. */
static void one_alive(struct plan *plan, struct casualty *casualty, struct tally *tally,
                      uint32_t rounds)
{
    for (uint32_t round = 0; round < rounds; round++) {
        struct child child[2];
        uint32_t dies = round % 2;
        world_back(PREPARED);
        for (uint32_t i = 0; i < 2; i++) {
            uint32_t at = (uint32_t)any(plan, casualty->track[i].count + 1);
            place("a recovery beside the living", casualty, &casualty->track[i], at);
            child[i] = child_start(casualty->scene[i], i == 0 ? VICTIM : OTHER);
            child_walk(child[i], NULL, at);
        }
        child_kill(child[dies]);
        survivor_recovers(false);
        child_run(child[1 - dies]);
        check_slots(1u | 1u << (2 - dies));
        child_kill(child[1 - dies]);
        for (uint32_t i = 0; i < 2; i++) {
            casualty->note[i] = notes[child[i].seat];
        }
        tally->kills++;
        tally->meetings++;
        expect(casualty);
        check(casualty, false);
    }
}

/* deaths: at so many of the operation's changes, spread over it; 0: at all of them. */
static void sweep_casualty(struct plan *plan, const char *name, uint32_t deaths, struct tally *sum)
{
    struct casualty casualty;
    struct track track;
    struct tally tally = {0};
    char title[96];
    snprintf(title, sizeof title, "recovery of: %s", name);
    if (plan->only != NULL && strstr(title, plan->only) == NULL) {
        return;
    }
    uint64_t before = findings;
    casualty_make(&casualty, name, NULL);
    uint32_t changes = count_changes(&casualty.track[0]);
    deaths = deaths == 0 || deaths > changes ? changes : deaths;
    for (uint32_t i = 0; i < deaths; i++) {
        uint32_t n = (uint32_t)((i * changes + any(plan, changes)) / deaths);
        casualty_die(&casualty, change_at(&casualty.track[0], n), &tally);
        track_make(&track, &mend_first, MENDER);
        killed_recovery(plan, &casualty, &track, &tally, plan->full && i == 0 ? 0 : plan->recovery);
        for (uint32_t beside = 0; beside < BESIDES; beside++) {
            recovery_meets(plan, &casualty, &track, &tally, beside);
        }
        attach_beside(plan, &casualty, &tally);
        track_free(&track);
    }
    casualty_free(&casualty);
    tally.findings = findings - before;
    tally_say(title, &tally);
    tally_add(sum, &tally);
}

static void sweep_pair(struct plan *plan, const char *first, const char *second, uint32_t rounds,
                       struct tally *sum)
{
    struct casualty casualty;
    struct tally tally = {0};
    char title[160];
    snprintf(title, sizeof title, "recovery of two: %s; %s", first, second);
    if (plan->only != NULL && strstr(title, plan->only) == NULL) {
        return;
    }
    uint64_t before = findings;
    casualty_make(&casualty, first, second);
    tally.instructions = casualty.track[0].count + casualty.track[1].count;
    two_dead(plan, &casualty, &tally, rounds);
    one_alive(plan, &casualty, &tally, rounds);
    casualty_free(&casualty);
    tally.findings = findings - before;
    tally_say(title, &tally);
    tally_add(sum, &tally);
}

void recovery_sweep(struct plan *plan, struct tally *sum)
{
    static const char *const casualties[] = {
        "pool give, cache full",
        "queue send, a batch",
        "queue take, a batch of three lanes",
        "queue send, what was taken",
        "queue adopt",
        "queue open, new",
        "share, publish to two",
        "share, give the last",
        "table set, replace",
        "table set, a first extension",
        "table delete",
        "agent claim",
        "agent new, to start",
        "agent type, new",
        "census spawn, cold",
    };
    static const char *const pairs[][2] = {
        {"queue take, a batch of three lanes", "queue send, a batch"},
        {"queue send, what was taken", "queue send"},
        {"table delete", "table set, insert"},
        {"table set, replace", "table set, replace by a smaller one"},
        {"table set, a first extension", "agent claim"},
        {"agent new, to start", "queue take"},
        {"queue take, a batch of three lanes", "queue take, a batch of three lanes"},
        {"queue adopt", "queue adopt"},
        {"share, give one of two", "share, publish to two"},
        {"share, give one of two", "queue send, a batch"},
        {"queue open, new", "queue open, new"},
        {"agent type, new", "agent type, new"},
        {"pool take, from the bitmap", "pool give, cache full"},
        {"table set, replace", "table set, replace"},
        {"table set, a first extension", "table set, a first extension"},
        {"table set, finishing a delete", "table set, finishing a delete"},
        {"table set, insert", "table set, finishing a delete"},
        {"table delete, in an extension", "table set, into an extension"},
        {"census spawn, warm", "census end, to FREE"},
        {"census spawn, cold", "census spawn, cold"},
    };
    for (uint32_t i = 0; i < COUNT_OF(casualties); i++) {
        sweep_casualty(plan, casualties[i], one_is_enough ? 0 : plan->full ? 4 : 1, sum);
    }
    for (uint32_t i = 0; i < COUNT_OF(pairs); i++) {
        sweep_pair(plan, pairs[i][0], pairs[i][1], plan->full ? 100 : 8, sum);
    }
}
