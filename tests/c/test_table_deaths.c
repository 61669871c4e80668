/* test_table_deaths.c -- writers, deleters, helpers and recoverers of the table killed at every mark:
 * what was done stays done, what was being done is done or not, and every block is accounted for.
 */
#include "deaths.h"
#include "entries.h"

static struct shelf shelf;
static struct clerk parent;
static struct death_tally first;  /* of those who worked    */
static struct death_tally second; /* of those who mended it */

enum { NOTE_DONE = 1 };

/* What the dying do, in order. Numbers: what is written; 0 deletes. */
struct step {
    uint64_t key;
    uint64_t number;
};

static const struct step inserts[] = {{10, 100}, {11, 110}, {12, 120}, {13, 130}};
static const struct step updates[] = {{0, 200}, {1, 201}, {0, 202}, {5, 205}};
static const struct step deletes[] = {{0, 0}, {4, 0}, {5, 0}};
static const struct step everything[] = {{7, 70}, {1, 0}, {7, 71}, {1, 300}, {7, 0}, {2, 301}};

struct story {
    const char *what;
    const struct step *step;
    uint32_t steps;
    uint32_t entries;   /* there before, numbered 1000 + key */
    bool others_delete; /* somebody died between T4 and T5   */
    const char *marks;
};

#define STEPS(list) list, sizeof(list) / sizeof *(list)

static const struct story stories[] = {
    {"deaths of those who insert", STEPS(inserts), 6, false, "V1 T1 T7 T8 T2"},
    {"deaths of those who replace", STEPS(updates), 6, false, "V1 T3a T3 T9 T10"},
    {"deaths of those who delete", STEPS(deletes), 6, false, "T4 T5 T6a T6 T9 T10"},
    {"deaths in a full pool", STEPS(everything), 3, false, "T1 T2 T3 T4 T5 T6"},
    {"deaths of those who finish another's delete", STEPS(inserts), 7, true, "T5 T6a T6 T9 T10"},
};

static void working(void *argument)
{
    const struct story *story = argument;
    struct clerk clerk;
    clerk_come(&clerk, &shelf);
    for (uint32_t i = 0; i < story->steps; i++) {
        struct uf_entry entry = {0};
        const struct step *step = &story->step[i];
        int status = step->number == 0
                         ? entry_delete(&clerk, step->key, 0)
                         : entry_set(&clerk, step->key, 4, step->number, UF_SET_ANY, &entry);
        CHECK_EQ(status, UF_OK);
        death_note->words[NOTE_DONE] = i + 1;
    }
    clerk_go(&clerk);
}

static void mending(void *unused)
{
    struct clerk clerk;
    (void)unused;
    clerk_come(&clerk, &shelf);
    clerk_mend(&clerk);
    clerk_go(&clerk);
}

static void deleting_the_last(void *argument)
{
    const struct story *story = argument;
    struct clerk clerk;
    clerk_come(&clerk, &shelf);
    entry_delete(&clerk, story->entries - 1, 0);
    clerk_go(&clerk);
}

/* What a key should hold after the first `done` steps; 0: nothing. */
static uint64_t expected(const struct story *story, uint64_t key, uint64_t done)
{
    uint64_t entries = story->entries - story->others_delete;
    uint64_t number = key < entries ? 1000 + key : 0;
    for (uint64_t i = 0; i < done; i++) {
        if (story->step[i].key == key) {
            number = story->step[i].number;
        }
    }
    return number;
}

static uint64_t held(uint64_t key)
{
    struct uf_entry entry;
    uint64_t number;
    int status = entry_get(&parent, key, &number, &entry);
    CHECK(status == UF_OK || status == UF_MISSING);
    return status == UF_OK ? number : 0;
}

static void check_and_clear(const struct story *story, uint64_t done)
{
    for (uint64_t key = 0; key < 16; key++) {
        uint64_t now = held(key);
        uint64_t before = expected(story, key, done);
        uint64_t after = done < story->steps ? expected(story, key, done + 1) : before;
        CHECK(now == before || now == after);
    }
    uint64_t entries = shelf_account(&parent);
    for (uint64_t key = 0; key < 16; key++) {
        if (held(key) != 0) {
            CHECK_EQ(entry_delete(&parent, key, 0), UF_OK);
            entries--;
        }
    }
    CHECK_EQ(entries, 0);
    CHECK_EQ(shelf_account(&parent), 0);
}

static void prepare(const struct story *story)
{
    for (uint64_t key = 0; key < story->entries; key++) {
        struct uf_entry entry = {0};
        CHECK_EQ(entry_set(&parent, key, 4, 1000 + key, UF_SET_ANY, &entry), UF_OK);
    }
    uf_pool_flush(&parent.pool);
    if (story->others_delete) {
        for (uint32_t at = 1; strcmp(death_note->label, "T4") != 0; at++) {
            CHECK(death_at(at, deleting_the_last, (void *)(uintptr_t)story));
            if (strcmp(death_note->label, "T4") != 0) {
                clerk_mend(&parent);
            }
        }
    }
}

/* A death at mark `at`, then one of its recoverer at mark `again`. False: nobody died. */
static bool one_death(const struct story *story, uint32_t at, uint32_t again)
{
    shelf_open(&shelf, 6, 1, 1, 0, story->entries + story->steps);
    clerk_come(&parent, &shelf);
    memset(death_note, 0, sizeof *death_note);
    prepare(story);
    bool died = death_at(at, working, (void *)(uintptr_t)story);
    uint64_t done = death_note->words[NOTE_DONE];
    if (died) {
        tally_death(&first);
    }
    if (again > 0 && death_at(again, mending, NULL)) {
        tally_death(&second);
    }
    clerk_mend(&parent);
    check_and_clear(story, done);
    clerk_go(&parent);
    shelf_close(&shelf);
    return died;
}

static void deaths_of(const struct story *story)
{
    memset(&first, 0, sizeof first);
    uint64_t before = second.deaths;
    for (uint32_t at = 1; one_death(story, at, 0); at++) {
        if (at % (SLOWER / 2 + 1) != 0) {
            continue;
        }
        for (uint32_t again = 1 + at % SLOWER; again < 60; again += SLOWER) {
            uint64_t so_far = second.deaths;
            CHECK(one_death(story, at, again));
            if (second.deaths == so_far) {
                break; /* its recoverer came through */
            }
        }
    }
    check_labels(&first, story->marks);
    explored(story->what, first.deaths);
    explored("  and then of their recoverers", second.deaths - before);
}

int main(void)
{
    watchdog(100);
    deaths_open();
    for (size_t i = 0; i < sizeof stories / sizeof *stories; i++) {
        deaths_of(&stories[i]);
    }
    check_labels_if_all(&second, "O3 P5 T5 T6 T9 T10 T11");
    return 0;
}
