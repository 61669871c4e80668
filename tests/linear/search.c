/* search.c -- the checker: depth first over the points that may come next, with a memory.
 *
 * linear.h cites the sources. A configuration is the set of points taken and the model's state: from
 * there the same can follow, however it was reached, so it is entered once.
 */
#include "linear.h"

#include "check.h"

#define MEMORY (1u << 18)

struct memory {
    uint64_t search; /* which search wrote the entry: nothing is wiped between two */
    uint64_t done;
    union state state;
};

static struct memory memory[MEMORY];

struct frame {
    const struct history *history;
    step_of_model step;
    struct verdict verdict;
    uint64_t all;
    uint64_t number;
    uint64_t remembered;
    bool remember;
};

uint64_t point_add(struct history *history, uint32_t call, uint32_t what, uint64_t a, uint64_t b,
                   uint64_t after)
{
    CHECK(history->points < POINTS_MAX);
    struct point *point = &history->point[history->points];
    *point = (struct point){
        .after = after,
        .call = call,
        .process = history->call[call].process,
        .what = what,
        .a = a,
        .b = b,
    };
    return 1ull << history->points++;
}

void points_order(struct history *history)
{
    for (uint32_t i = 0; i < history->points; i++) {
        const struct call *later = &history->call[history->point[i].call];
        for (uint32_t j = 0; j < history->points; j++) {
            const struct call *earlier = &history->call[history->point[j].call];
            if (earlier->answered < later->invoked) {
                history->point[i].after |= 1ull << j;
            }
        }
    }
}

/* True: this configuration was entered before. */
static bool known(struct frame *frame, uint64_t done, const union state *state)
{
    uint64_t hash = done * 0x9e3779b97f4a7c15ull;
    for (uint32_t i = 0; i < STATE_WORDS; i++) {
        hash = (hash ^ state->word[i]) * 0xd6e8feb86659fd93ull;
        hash ^= hash >> 32;
    }
    for (uint64_t at = hash % MEMORY;; at = (at + 1) % MEMORY) {
        struct memory *entry = &memory[at];
        if (entry->search != frame->number) {
            CHECK(++frame->remembered < MEMORY / 2); /* or the history is not a short one */
            entry->search = frame->number;
            entry->done = done;
            entry->state = *state;
            return false;
        }
        if (entry->done == done && memcmp(&entry->state, state, sizeof *state) == 0) {
            return true;
        }
    }
}

static bool go_on(struct frame *frame, uint64_t done, const union state *state)
{
    const struct history *history = frame->history;
    if (frame->remember && known(frame, done, state)) {
        return false;
    }
    frame->verdict.configurations++;
    if (__builtin_popcountll(done) > __builtin_popcountll(frame->verdict.furthest)) {
        frame->verdict.furthest = done;
    }
    if (done == frame->all) {
        return true;
    }
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < history->points; i++) {
            const struct point *point = &history->point[i];
            if ((done >> i & 1) != 0 || (point->after & ~done) != 0 ||
                point->eager != (pass == 0)) {
                continue;
            }
            union state next = *state;
            if (frame->step(&next, point) && go_on(frame, done | 1ull << i, &next)) {
                return true;
            }
            if (point->eager) {
                return false; /* it was as good as any other */
            }
        }
    }
    return false;
}

struct verdict search(const struct history *history, step_of_model step, bool remember)
{
    static uint64_t searches;
    struct frame frame = {
        .history = history,
        .step = step,
        .all = history->points == 64 ? UINT64_MAX : (1ull << history->points) - 1,
        .number = ++searches,
        .remember = remember,
    };
    frame.verdict.linear = go_on(&frame, 0, &history->start);
    return frame.verdict;
}

uint32_t overlapping(const struct history *history)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < history->calls; i++) {
        const struct call *one = &history->call[i];
        bool meets = false;
        for (uint32_t j = 0; j < history->calls; j++) {
            const struct call *other = &history->call[j];
            meets |= one->process != other->process && one->invoked < other->answered &&
                     other->invoked < one->answered;
        }
        count += meets;
    }
    return count;
}
