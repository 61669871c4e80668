/* linear_main.c -- many short histories of every structure, each judged.
 *
 *   linear                     21,000 histories over all scenes; for every run of the tests
 *   linear --histories 1000000 as many over all scenes together
 *   linear --seed N            other calls and pauses; the seed is printed
 *   linear --only WORDS        scenes whose name has these words in it
 *   linear --again N           the calls and pauses of history N of the scene, every time: what the
 *                              machine's own scheduler adds cannot be repeated, and so it is tried often
 *   linear --must-find         succeed only if a history was not linearizable: for seeded faults
 *
 * A line a scene: histories; calls; the share of histories in which calls of different processes
 * overlap (each is invoked before the other is answered), and of calls that overlap one of another
 * process; configurations that the search entered, and the longest search. Below it, the answers.
 * Status 0: histories were judged, each linearizable, and at least 95 % overlapping; 1: one was not
 * linearizable, or too few overlapped; 2: wrong words; 3: a call did not come back, or its process died.
 */
#include "linear.h"

#include "check.h"

#define DEFAULT_HISTORIES 21000u
#define OVERLAP_PERCENT 95u

static const struct scene *const scenes[] = {
    &ring_scenes[0],  &ring_scenes[1],  &ring_scenes[2], &queue_scenes[0],  &table_scenes[0],
    &table_scenes[1], &table_scenes[2], &pool_scenes[0], &agents_scenes[0], &agents_scenes[1],
};
#define SCENES (sizeof scenes / sizeof *scenes)

static double percent(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : 100.0 * (double)part / (double)whole;
}

static void say(const char *name, const struct tally *tally)
{
    printf("%-30s %9llu %10llu %9.2f %% %7.2f %% %12llu %8llu\n", name,
           (unsigned long long)tally->histories, (unsigned long long)tally->calls,
           percent(tally->overlapping, tally->histories),
           percent(tally->calls_overlapping, tally->calls),
           (unsigned long long)tally->configurations, (unsigned long long)tally->longest);
}

static void say_answers(const struct tally *tally)
{
    printf("    answers:");
    for (int status = 0; status < 32; status++) {
        if (tally->answers[status] > 0) {
            printf(" %s %llu", uf_status_name(-status), (unsigned long long)tally->answers[status]);
        }
    }
    printf("\n");
    fflush(stdout);
}

static void add(struct tally *sum, const struct tally *tally)
{
    sum->histories += tally->histories;
    sum->calls += tally->calls;
    sum->overlapping += tally->overlapping;
    sum->calls_overlapping += tally->calls_overlapping;
    sum->configurations += tally->configurations;
    sum->longest = tally->longest > sum->longest ? tally->longest : sum->longest;
}

static bool asked_for(const struct scene *scene, const struct plan *plan)
{
    return plan->only == NULL || strstr(scene->name, plan->only) != NULL;
}

/* What was explored is enough to mean something. */
static bool is_enough(const char *name, const struct tally *tally)
{
    bool enough = tally->histories > 0 && tally->calls > 0 &&
                  tally->configurations > tally->histories &&
                  tally->overlapping * 100 >= tally->histories * OVERLAP_PERCENT;
    if (!enough) {
        fprintf(stderr, "linear: %s: too little was explored, or too few histories overlap\n",
                name);
    }
    return enough;
}

static int usage(void)
{
    fprintf(stderr, "linear [--histories N] [--seed N] [--only WORDS] [--again N] [--must-find]\n");
    return 2;
}

static bool read_words(int count, char **words, struct plan *plan, bool *must_find)
{
    for (int i = 1; i < count; i++) {
        const char *value = i + 1 < count ? words[i + 1] : NULL;
        if (strcmp(words[i], "--must-find") == 0) {
            *must_find = true;
            continue;
        }
        if (value == NULL) {
            return false;
        }
        if (strcmp(words[i], "--histories") == 0) {
            plan->histories = strtoull(value, NULL, 0);
        } else if (strcmp(words[i], "--seed") == 0) {
            plan->seed = strtoull(value, NULL, 0);
        } else if (strcmp(words[i], "--only") == 0) {
            plan->only = value;
        } else if (strcmp(words[i], "--again") == 0) {
            plan->again = strtoll(value, NULL, 0);
        } else {
            return false;
        }
        i++;
    }
    return true;
}

int main(int count, char **words)
{
    struct plan plan = {
        .seed = (uint64_t)getpid() * 2654435761u, .histories = DEFAULT_HISTORIES, .again = -1};
    struct tally sum = {0};
    bool must_find = false;
    bool sound = true;
    bool enough = true;
    uint64_t chosen = 0;
    if (!read_words(count, words, &plan, &must_find)) {
        return usage();
    }
    for (size_t i = 0; i < SCENES; i++) {
        chosen += asked_for(scenes[i], &plan);
    }
    if (chosen == 0) {
        return usage();
    }
    plan.histories = (plan.histories + chosen - 1) / chosen;
    printf("seed %llu\n%-30s %9s %10s %11s %9s %12s %8s\n", (unsigned long long)plan.seed, "scene",
           "histories", "calls", "overlap", "of calls", "configs", "longest");
    for (size_t i = 0; i < SCENES && (sound || !must_find); i++) {
        struct tally tally = {0};
        if (!asked_for(scenes[i], &plan)) {
            continue;
        }
        sound &= scene_run(scenes[i], &plan, &tally);
        say(scenes[i]->name, &tally);
        say_answers(&tally);
        add(&sum, &tally);
        enough &= must_find || !sound || is_enough(scenes[i]->name, &tally);
    }
    say("all", &sum);
    if (must_find) {
        printf(sound ? "nothing was found\n" : "found, as it must be\n");
        return sound ? 1 : 0;
    }
    return sound && enough && is_enough("all", &sum) ? 0 : 1;
}
