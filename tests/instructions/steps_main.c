/* steps_main.c -- kill every operation of the core at its instructions, and say what came of it.
 *
 *   steps                    some 5,000 deaths, spread over all operations; for every run of the tests
 *   steps --full             one at each instruction of each operation, and of recovery from twelve deaths
 *   steps --seed N           begin the strides elsewhere; the seed is printed
 *   steps --only WORDS       operations whose name has these words in it
 *   steps --must-find        succeed only if something was found: for builds with a seeded fault
 *
 * Each line: the operation, its instructions, the deaths, the meetings (it stood at an instruction,
 * alive, while others worked, attached or recovered), the findings. Status 0: something was
 * explored and nothing found; 1: something was found; 2: the instrument itself failed; 3: a call did
 * not come back.
 */
#include "steps.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define WATCH_SECONDS 30u

static void watch_bit(int signal_number)
{
    static const char text[] = "steps: a survivor's call does not come back\n";
    (void)signal_number;
    ssize_t put = write(2, text, sizeof text - 1);
    (void)put;
    world_remove();
    _exit(3);
}

void watch(void)
{
    alarm(WATCH_SECONDS);
}

/* xorshift64*, Vigna 2016. */
uint64_t any(struct plan *plan, uint64_t below)
{
    plan->seed ^= plan->seed >> 12;
    plan->seed ^= plan->seed << 25;
    plan->seed ^= plan->seed >> 27;
    return plan->seed * 0x2545f4914f6cdd1dull % below;
}

int64_t plan_next(struct plan *plan, const struct track *track, uint32_t most, int64_t k)
{
    uint32_t one_in = most == 0 ? 1 : track->count / most + 1;
    for (k++; k < track->count; k++) {
        if (track->changed[k] || any(plan, one_in) == 0) {
            return k;
        }
    }
    return k == track->count ? k : -1; /* the operation has answered */
}

void tally_say(const char *name, const struct tally *tally)
{
    printf("%-72s %7llu %7llu %8llu %5llu\n", name, (unsigned long long)tally->instructions,
           (unsigned long long)tally->kills, (unsigned long long)tally->meetings,
           (unsigned long long)tally->findings);
    fflush(stdout);
    if (tally->kills == 0 || tally->instructions == 0) {
        fatal("something was explored");
    }
}

void tally_add(struct tally *sum, const struct tally *tally)
{
    sum->instructions += tally->instructions;
    sum->kills += tally->kills;
    sum->meetings += tally->meetings;
    sum->findings += tally->findings;
}

enum way { AT_ONCE, AFTER_WORK, STOPPED, WAYS };

static const char *const how[WAYS] = {"killed", "killed, survivors working",
                                      "stopped, then killed"};

/* One death of the scene's process, after k instructions. */
static void one_death(const struct scene *scene, const struct track *track, uint32_t k,
                      enum way way)
{
    struct note note;
    world_back(0);
    found_where(scene->name, how[way], k, track->count, track_address(track, k));
    struct child child = child_start(scene, 0);
    child_walk(child, track, k);
    if (way == STOPPED) {
        /* The living may stand still as long as they like: nobody waits, nobody mends them. */
        memset(&note, 0, sizeof note);
        if (scene->expect != NULL) {
            scene->expect(&note);
        }
        world.standing = true;
        survivor_works(scene->flags);
        survivor_recovers(false);
        world.standing = false;
        if ((scene->flags & (SCENE_ALONE | SCENE_LEAVES)) == 0 &&
            !uf_owner_alive(&world.system.self, 1) && k < track->count) {
            found("a process that stands still is called dead");
        }
        child_run(child);
    }
    child_kill(child);
    note = notes[0];
    if (scene->expect != NULL) {
        scene->expect(&note);
    }
    if (way == AFTER_WORK) {
        survivor_works(scene->flags);
    }
    survivor_recovers(false);
    if (scene->after != NULL) {
        scene->after(&note);
    }
    survivor_checks(scene->flags);
    watch();
}

static void sweep(struct plan *plan, const struct scene *scene, struct tally *sum)
{
    struct track track;
    struct tally tally = {0};
    if (plan->only != NULL && strstr(scene->name, plan->only) == NULL) {
        return;
    }
    uint64_t before = findings;
    world_reset();
    if (scene->prepare != NULL) {
        scene->prepare();
    }
    world_keep(0);
    track_make(&track, scene, 0);
    tally.instructions = track.count;
    for (uint32_t way = 0; way < WAYS; way++) {
        if (way != AT_ONCE && (scene->flags & SCENE_ELSEWHERE) != 0) {
            break;
        }
        uint64_t *counted = way == STOPPED ? &tally.meetings : &tally.kills;
        uint32_t most = way == AT_ONCE && plan->full ? 0 : plan->sweep;
        if (way == STOPPED) {
            most = plan->sweep / 4;
        }
        for (int64_t k = -1; (k = plan_next(plan, &track, most, k)) >= 0;) {
            one_death(scene, &track, (uint32_t)k, way);
            (*counted)++;
        }
    }
    track_free(&track);
    tally.findings = findings - before;
    tally_say(scene->name, &tally);
    tally_add(sum, &tally);
}

static void sweep_list(struct plan *plan, const struct scene *scenes, uint32_t count,
                       struct tally *sum)
{
    for (uint32_t i = 0; i < count; i++) {
        sweep(plan, &scenes[i], sum);
    }
}

int main(int count, char **words)
{
    struct plan plan = {.sweep = 28, .recovery = 40};
    struct tally sum = {0};
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    plan.seed = (uint64_t)now.tv_nsec * 2654435761u + (uint64_t)getpid();
    for (int i = 1; i < count; i++) {
        if (strcmp(words[i], "--full") == 0) {
            plan.full = true;
            plan.sweep = 400;
            plan.recovery = 400;
        } else if (strcmp(words[i], "--must-find") == 0) {
            one_is_enough = true;
        } else if (strcmp(words[i], "--seed") == 0 && i + 1 < count) {
            plan.seed = strtoull(words[++i], NULL, 0);
        } else if (strcmp(words[i], "--only") == 0 && i + 1 < count) {
            plan.only = words[++i];
        } else {
            fprintf(stderr, "usage: %s [--full] [--seed N] [--only WORDS] [--must-find]\n",
                    words[0]);
            return 2;
        }
    }
    plan.seed |= 1;
    printf("seed %llu (--seed)\n%-72s %7s %7s %8s %5s\n", (unsigned long long)plan.seed,
           "operation", "instr.", "deaths", "meetings", "found");
    signal(SIGALRM, watch_bit);
    watch();
    world_open();
    sweep_list(&plan, region_scenes, region_scenes_count, &sum);
    sweep_list(&plan, pool_scenes, pool_scenes_count, &sum);
    sweep_list(&plan, queue_scenes, queue_scenes_count, &sum);
    sweep_list(&plan, delete_scenes, delete_scenes_count, &sum);
    sweep_list(&plan, share_scenes, share_scenes_count, &sum);
    sweep_list(&plan, table_scenes, table_scenes_count, &sum);
    sweep_list(&plan, clock_scenes, clock_scenes_count, &sum);
    sweep_list(&plan, agent_scenes, agent_scenes_count, &sum);
    sweep_list(&plan, census_scenes, census_scenes_count, &sum);
    recovery_sweep(&plan, &sum);
    world_reset();
    world_close();
    tally_say("in all", &sum);
    if (one_is_enough) {
        printf("nothing was found, and something should have been\n");
        return 1;
    }
    return findings > 0 ? 1 : 0;
}
