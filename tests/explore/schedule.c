/* schedule.c -- depth first over every choice: who takes the next step, who dies, what a load returns. */
#include "inside.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "report.h"
#include "uf_step.h"

#define STACK_BYTES 131072u
#define CHOICES 20000u
#define STATES_MAX (1ull << 26)

struct thread thread[EXPLORE_THREADS];
uint32_t threads;
struct thread *running;
const struct explore_check *check;
struct explore_bounds bounds;
uint32_t stale_used;
uint8_t arena[EXPLORE_ARENA] __attribute__((aligned(4096)));
bool tracing;
void (*uf_step_hook)(const char *id); /* the core's marks; a check may wait at them */

enum end { WHOLE = 1, SEEN_BEFORE, FAILED };

static struct {
    uint8_t taken;
    uint8_t of;
} choice[CHOICES];
static uint32_t choices; /* made in this execution, or to be made again */
static uint32_t at_choice;
static uint32_t kept; /* choices that the last execution left to this one */
static jmp_buf main_context;
static uint32_t dead; /* thread, or EXPLORE_THREADS */
static uint32_t preemptions_used;
static bool alone;          /* nobody else could have taken the last step */
static uint32_t remembered; /* choices made when a state was last looked up */
static uint64_t steps_sum;

static uint8_t stack[EXPLORE_THREADS][STACK_BYTES] __attribute__((aligned(64)));
static uint8_t first_arena[EXPLORE_ARENA];
static uint32_t arena_used;
static struct {
    void *data;
    void *first;
    size_t bytes;
} keep[16];
static uint32_t keeps;

/* --- the states that were seen: an open table of their hashes ------------------------------------ */

static uint64_t (*seen)[2];
static uint64_t seen_room;
static uint64_t seen_count;

static bool insert(uint64_t (*table)[2], uint64_t room, const uint64_t hash[2])
{
    for (uint64_t i = hash[0] & (room - 1);; i = (i + 1) & (room - 1)) {
        if (table[i][0] == hash[0] && table[i][1] == hash[1]) {
            return false;
        }
        if (table[i][0] == 0 && table[i][1] == 0) {
            table[i][0] = hash[0];
            table[i][1] = hash[1];
            return true;
        }
    }
}

static bool is_new(const uint64_t hash[2])
{
    if (seen_count * 2 >= seen_room) {
        uint64_t room = seen_room == 0 ? 1u << 16 : seen_room * 4;
        uint64_t (*table)[2] = room > STATES_MAX ? NULL : calloc(room, sizeof *table);
        if (table == NULL) {
            explore_fail(__FILE__, __LINE__, "the states fit into memory: lower a bound",
                         (long long)seen_count, (long long)STATES_MAX);
        }
        for (uint64_t i = 0; i < seen_room; i++) {
            if (seen[i][0] != 0 || seen[i][1] != 0) {
                insert(table, room, seen[i]);
            }
        }
        free(seen);
        seen = table;
        seen_room = room;
    }
    bool new = insert(seen, seen_room, hash);
    seen_count += new;
    return new;
}

static void feed_bytes(uint64_t hash[2], const uint8_t *data, size_t bytes)
{
    uint64_t word = 0;
    for (; bytes >= 8; data += 8, bytes -= 8) {
        memcpy(&word, data, 8);
        feed(hash, word);
    }
    word = 0;
    memcpy(&word, data, bytes);
    feed(hash, word);
}

static void hash_state(uint64_t hash[2])
{
    hash[0] = hash[1] = 1;
    memory_hash(hash);
    for (uint32_t t = 0; t < threads; t++) {
        feed(hash, thread[t].history[0]);
        feed(hash, thread[t].history[1] ^ (uint64_t)thread[t].status << 60);
    }
    for (uint32_t i = 0; i < keeps; i++) {
        feed_bytes(hash, keep[i].data, keep[i].bytes);
    }
    kernel_hash(hash);
    feed(hash, dead);
    if (bounds.stale != 0) {
        feed(hash, stale_used);
    }
    if (bounds.preemptions != 0) {
        feed(hash,
             preemptions_used << 8 | (running == NULL ? 0 : (uint32_t)(running - thread) + 1));
    }
}

/* --- choices ------------------------------------------------------------------------------------ */

uint32_t choose(uint32_t of)
{
    if (of == 1) {
        return 0;
    }
    if (at_choice == choices) {
        if (choices == CHOICES) {
            explore_fail(__FILE__, __LINE__, "an execution makes no more than CHOICES choices",
                         CHOICES + 1, CHOICES);
        }
        choice[choices].taken = 0;
        choice[choices++].of = (uint8_t)of;
    } else if (choice[at_choice].of != of) {
        explore_fail(__FILE__, __LINE__, "executions repeat: is all private data kept?", of,
                     choice[at_choice].of);
    }
    return choice[at_choice++].taken;
}

void learn(uint64_t what)
{
    feed(running->history, what);
}

void explore_settled(uint64_t where, uint64_t a, uint64_t b)
{
    if (running == NULL) {
        return; /* setup and finish call what bodies call */
    }
    running->history[0] = where;
    running->history[1] = 0;
    feed(running->history, a);
    feed(running->history, b);
}

__attribute__((noreturn)) static void leave(enum end how)
{
    _longjmp(main_context, (int)how);
}

/* --- who goes on -------------------------------------------------------------------------------- */

static void enter(void)
{
    running->body();
    if (check->mortal != 0) {
        step(); /* a death after the last step, too */
    }
    running->status = DONE;
    step();
}

static void go_on(struct thread *next)
{
    running = next;
    if (next->started) {
        _longjmp(next->here, 1);
    }
    next->started = true;
    setcontext(&next->context);
}

static void die(struct thread *who)
{
    who->status = DEAD;
    dead = (uint32_t)(who - thread);
    kernel_death(who);
    for (uint32_t t = 0; t < threads; t++) {
        if (thread[t].status == MOURNING) {
            thread[t].status = READY;
        }
    }
    trace(NULL, NULL, "death", dead, "of thread", dead);
}

/* Nobody can go on. */
static bool let_slices_end(void)
{
    bool some = false;
    for (uint32_t t = 0; t < threads; t++) {
        if (thread[t].status != ASLEEP) {
            continue;
        }
        if (!check->slices) {
            explore_fail(__FILE__, __LINE__, "nobody sleeps for ever (thread)", t, -1);
        }
        thread[t].status = READY;
        thread[t].timed_out = some = true;
    }
    return some;
}

/* The thread that takes the next step. */
static struct thread *next_thread(struct thread *self)
{
    for (;;) {
        struct thread *may[2 * EXPLORE_THREADS];
        uint32_t count = 0;
        bool can_stay = self != NULL && self->status == READY;
        if (can_stay) {
            may[count++] = self;
        }
        bool bound = can_stay && bounds.preemptions != 0 && preemptions_used >= bounds.preemptions;
        for (uint32_t t = 0; t < threads && !bound; t++) {
            if (&thread[t] != self && thread[t].status == READY) {
                may[count++] = &thread[t];
            }
        }
        uint32_t living = count;
        for (uint32_t t = 0; t < threads && dead == EXPLORE_THREADS; t++) {
            if ((check->mortal >> t & 1) != 0 &&
                (thread[t].status == READY || thread[t].status == ASLEEP) && thread[t].started) {
                may[count++] = &thread[t];
            }
        }
        if (living == 0) {
            if (let_slices_end()) {
                continue;
            }
            leave(WHOLE);
        }
        bool now_alone = count == 1;
        if (at_choice >= kept && !tracing && !(now_alone && alone && at_choice == remembered)) {
            uint64_t hash[2];
            hash_state(hash);
            if (!is_new(hash)) {
                leave(SEEN_BEFORE);
            }
            remembered = at_choice;
        }
        alone = now_alone;
        uint32_t chosen = choose(count);
        if (chosen >= living) {
            die(may[chosen]);
            continue;
        }
        preemptions_used += can_stay && may[chosen] != self;
        return may[chosen];
    }
}

void step(void)
{
    struct thread *self = running;
    steps_sum++;
    learn(1); /* a step, whether or not it reads something */
    if (++self->steps > STEPS_MAX) {
        explore_fail(__FILE__, __LINE__, "every call ends, whatever the others do (thread)",
                     self - thread, -1);
    }
    struct thread *next = next_thread(self);
    if (next == self) {
        return;
    }
    if (self->status == DONE || self->status == DEAD || _setjmp(self->here) == 0) {
        go_on(next);
    }
}

uint32_t explore_self(void)
{
    return running == NULL ? EXPLORE_THREADS : (uint32_t)(running - thread);
}

uint32_t explore_dead(void)
{
    return dead;
}

void explore_inherit(void)
{
    view_join(&running->view, kernel_estate());
    learn(dead);
}

/* --- arena and private data --------------------------------------------------------------------- */

void *explore_alloc(size_t bytes)
{
    uint32_t at = (arena_used + 127) / 128 * 128;
    if (bytes > EXPLORE_ARENA - at) {
        explore_fail(__FILE__, __LINE__, "the arena is large enough", (long long)(at + bytes),
                     EXPLORE_ARENA);
    }
    arena_used = at + (uint32_t)bytes;
    return arena + at;
}

void explore_keep(void *data, size_t bytes)
{
    keep[keeps].data = data;
    keep[keeps].bytes = bytes;
    keep[keeps++].first = malloc(bytes);
}

static void save_world(void)
{
    memcpy(first_arena, arena, sizeof arena);
    for (uint32_t i = 0; i < keeps; i++) {
        memcpy(keep[i].first, keep[i].data, keep[i].bytes);
    }
}

static void restore_world(void)
{
    memcpy(arena, first_arena, (arena_used + 127) / 128 * 128);
    for (uint32_t i = 0; i < keeps; i++) {
        memcpy(keep[i].data, keep[i].first, keep[i].bytes);
    }
}

/* --- executions --------------------------------------------------------------------------------- */

static void begin_threads(void)
{
    for (uint32_t t = 0; t < threads; t++) {
        memset(&thread[t], 0, offsetof(struct thread, here));
        thread[t].history[0] = t + 1;
        thread[t].body = check->body[t];
        thread[t].status = (check->mourners >> t & 1) != 0 ? MOURNING : READY;
        getcontext(&thread[t].context);
        thread[t].context.uc_stack.ss_sp = stack[t];
        thread[t].context.uc_stack.ss_size = STACK_BYTES;
        thread[t].context.uc_link = NULL;
        makecontext(&thread[t].context, enter, 0);
    }
}

static enum end execute(void)
{
    restore_world();
    memory_restart();
    kernel_restart();
    begin_threads();
    at_choice = 0;
    stale_used = preemptions_used = 0;
    dead = EXPLORE_THREADS;
    alone = false;
    running = NULL;
    enum end how = (enum end)_setjmp(main_context);
    if (how == 0) {
        go_on(next_thread(NULL));
    }
    running = NULL;
    if (how == WHOLE && check->finish != NULL) {
        check->finish();
    }
    return how;
}

/* The next untried choice; false when there is none. */
static bool another(void)
{
    choices = at_choice;
    while (choices > 0 && choice[choices - 1].taken + 1 == choice[choices - 1].of) {
        choices--;
    }
    if (choices == 0) {
        return false;
    }
    choice[choices - 1].taken++;
    kept = choices;
    return true;
}

/* The same choices again, each step printed. It fails again, and then the program ends. */
static void show_failure(void)
{
    if (!tracing && at_choice > 0) {
        tracing = true;
        choices = kept = at_choice;
        execute();
        fprintf(stderr, "the failure did not come back when its choices were repeated:\n");
    }
    report_failure();
    _exit(1);
}

void explore_fail(const char *file, int line, const char *what, long long got, long long wanted)
{
    report_keep_failure(file, line, what, got, wanted);
    if (running != NULL && !tracing) {
        leave(FAILED); /* we stand on the stack of a thread that is to run again */
    }
    show_failure();
    abort();
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* `own`: with the check's own bounds, so that it must have explored what it should. */
void run_check(const struct explore_check *which, const struct explore_bounds *wanted, bool own)
{
    uint64_t whole = 0;
    uint64_t pruned = 0;
    check = which;
    bounds = *wanted;
    memset(arena, 0, sizeof arena);
    arena_used = keeps = choices = at_choice = kept = 0;
    threads = 0;
    while (threads < EXPLORE_THREADS && which->body[threads] != NULL) {
        threads++;
    }
    free(seen);
    seen = NULL;
    seen_room = seen_count = steps_sum = 0;
    memory_forget();
    kernel_restart();
    running = NULL;
    uf_step_hook = NULL;
    which->setup();
    save_world();
    double began = now_s();
    do {
        enum end how = execute();
        if (how == FAILED) {
            show_failure();
        }
        whole += how == WHOLE;
        pruned += how == SEEN_BEFORE;
    } while (another());
    report_check(which->name, whole, pruned, seen_count, steps_sum, now_s() - began);
    /* Without a bound on preemptions more states are the same, and fewer executions are enough. */
    bool usual = own && memcmp(wanted, &which->usual, sizeof *wanted) == 0;
    if (whole == 0 || (usual && whole + pruned < which->minimum)) {
        explore_fail(__FILE__, __LINE__, "the check explored as many executions as it should",
                     (long long)(whole + pruned), (long long)which->minimum);
    }
    if (own && which->after != NULL) {
        which->after();
    }
    for (uint32_t i = 0; i < keeps; i++) {
        free(keep[i].first);
    }
}
