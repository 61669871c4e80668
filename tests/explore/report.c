#include "report.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "inside.h"

#define LINES 600
#define NAMES 64

static struct {
    const void *from;
    uint32_t thread;
    char text[120];
} line[LINES];
static uint32_t lines;
static struct {
    const uint8_t *at;
    const char *name;
} name[NAMES];
static uint32_t names;
static char failure[512];

void explore_name(const void *at, const char *given)
{
    if (names < NAMES) {
        name[names].at = at;
        name[names++].name = given;
    }
}

/* The nearest name at or before the address. */
static void name_of(const volatile void *at, char *text, size_t room)
{
    const uint8_t *here = (const uint8_t *)(uintptr_t)at;
    uint32_t best = NAMES;
    for (uint32_t i = 0; i < names; i++) {
        if (name[i].at <= here && (best == NAMES || name[i].at >= name[best].at)) {
            best = i;
        }
    }
    if (at == NULL) {
        text[0] = '\0';
    } else if (best != NAMES) {
        snprintf(text, room, "%s+%td", name[best].name, here - name[best].at);
    } else {
        snprintf(text, room, "arena+%td", here - arena);
    }
}

void trace(const void *from, const volatile void *at, const char *what, uint64_t value,
           const char *more, uint64_t number)
{
    char where[48];
    if (!tracing) {
        return;
    }
    uint32_t i = lines < LINES ? lines++ : LINES - 1;
    name_of(at, where, sizeof where);
    line[i].from = from;
    line[i].thread = running == NULL ? 0 : (uint32_t)(running - thread);
    snprintf(line[i].text, sizeof line[i].text, "%-18s %-8s %#18llx %s %llu", where, what,
             (unsigned long long)value, more, (unsigned long long)number);
}

static void print_steps(void)
{
    char command[LINES * 20 + 200];
    int length = snprintf(command, sizeof command, "addr2line -s -e /proc/%d/exe", (int)getpid());
    for (uint32_t i = 0; i < lines; i++) {
        length += snprintf(command + length, sizeof command - (size_t)length, " %#llx",
                           (unsigned long long)(uintptr_t)line[i].from -
                               (line[i].from != NULL)); /* the call, not what follows it */
    }
    FILE *places = lines > 0 ? popen(command, "r") : NULL;
    for (uint32_t i = 0; i < lines; i++) {
        char place[128] = "";
        if (places != NULL && fgets(place, sizeof place, places) != NULL) {
            place[strcspn(place, " \n")] = '\0';
        }
        fprintf(stderr, "  thread %u  %-22s %s\n", line[i].thread, place, line[i].text);
    }
    if (places != NULL) {
        pclose(places);
    }
    lines = 0;
}

void report_keep_failure(const char *file, int at, const char *what, long long got,
                         long long wanted)
{
    snprintf(failure, sizeof failure, "%s: %s:%d: failed: %s (got %lld, wanted %lld)",
             check == NULL ? "explore" : check->name, file, at, what, got, wanted);
}

void report_failure(void)
{
    print_steps();
    fprintf(stderr, "%s\n", failure);
}

void report_check(const char *check_name, uint64_t whole, uint64_t pruned, uint64_t states,
                  uint64_t steps, double seconds)
{
    char stale[16] = "all";
    char preemptions[16] = "all";
    if (bounds.stale != 0) {
        snprintf(stale, sizeof stale, "%u", bounds.stale);
    }
    if (bounds.preemptions != 0) {
        snprintf(preemptions, sizeof preemptions, "%u", bounds.preemptions);
    }
    printf("%-32s explored %llu, pruned %llu, states %llu, steps %llu, %.1f s, %.0f executions/s "
           "(stale reads: %s, preemptions: %s)\n",
           check_name, (unsigned long long)whole, (unsigned long long)pruned,
           (unsigned long long)states, (unsigned long long)steps, seconds,
           (double)(whole + pruned) / (seconds > 0.001 ? seconds : 0.001), stale, preemptions);
    fflush(stdout);
}
