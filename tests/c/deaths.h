/* deaths.h -- run a piece of work in a child again and again, killed at its first mark, at its second,
 * and so on, until it comes to its end alive; and count at which marks it died.
 *
 * The caller's `work` runs in the child, `mend` in the parent after each death. Which mark it was is
 * told through memory that both map.
 */
#ifndef UF_TESTS_DEATHS_H
#define UF_TESTS_DEATHS_H

#include "check.h"

#include <sys/mman.h>
#include <sys/prctl.h>

#define DEATH_LABELS 64

struct death_note {
    uint32_t at;        /* die at this mark, counted from 1; 0: never */
    uint32_t passed;    /* marks that were passed                     */
    char label[16];     /* the mark of the death                      */
    uint64_t words[16]; /* what the work tells its parent          */
};

struct death_tally {
    char label[DEATH_LABELS][16];
    uint32_t died[DEATH_LABELS];
    uint32_t labels;
    uint64_t deaths;
};

static struct death_note *death_note; /* one to a program, shared with its children */

static inline void deaths_open(void)
{
    death_note =
        mmap(NULL, sizeof *death_note, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(death_note != MAP_FAILED);
}

static inline void die_at_mark(const char *id)
{
    if (++death_note->passed == death_note->at) {
        strncpy(death_note->label, id, sizeof death_note->label - 1);
        raise(SIGKILL);
    }
}

/* Fork, and die at mark `at` of work(argument). True: it died there; false: it ended before. */
static inline bool death_at(uint32_t at, void (*work)(void *), void *argument)
{
    memset(death_note, 0, sizeof *death_note);
    death_note->at = at;
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        uf_step_hook = die_at_mark;
        work(argument);
        _exit(0);
    }
    int end = child_end(child);
    if (end == 128 + SIGKILL) {
        CHECK(death_note->label[0] != '\0');
        return true;
    }
    CHECK_EQ(end, 0);
    return false;
}

static inline void tally_death(struct death_tally *tally)
{
    uint32_t i = 0;
    while (i < tally->labels && strcmp(tally->label[i], death_note->label) != 0) {
        i++;
    }
    if (i == tally->labels) {
        CHECK(i < DEATH_LABELS);
        memcpy(tally->label[tally->labels++], death_note->label, sizeof tally->label[i]);
    }
    tally->died[i]++;
    tally->deaths++;
}

/* Every label of `wanted`, separated by spaces, was died at. */
static inline void check_labels(const struct death_tally *tally, const char *wanted)
{
    char copy[256];
    char *rest = copy;
    CHECK(strlen(wanted) < sizeof copy);
    strcpy(copy, wanted);
    for (char *label; (label = strsep(&rest, " ")) != NULL;) {
        bool died = false;
        for (uint32_t i = 0; i < tally->labels; i++) {
            died |= strcmp(tally->label[i], label) == 0;
        }
        if (!died) {
            fprintf(stderr, "nobody died at %s\n", label);
            check_failed(__FILE__, __LINE__, "every mark of the operation was died at");
        }
    }
}

/* The same where recoverers die too: with a sanitizer only some of those pairs are tried. */
static inline void check_labels_if_all(const struct death_tally *tally, const char *wanted)
{
    if (SLOWER == 1) {
        check_labels(tally, wanted);
    }
}

#endif
