/* stepper.c -- one child, one instruction at a time.
 *
 * To kill at instruction k of a long operation without k single steps, a breakpoint is set at an
 * instruction on the way that was hit few times before: the recorded run says which is cheapest. The
 * run is the same each time, for the child begins from the same memory; where it stops is compared
 * with the record all the same.
 */
#include "steps.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define HIT_COST 5u /* a breakpoint passed costs as much as so many steps */
#define STEPS_MAX 400000u

static int wait_stop(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, __WALL) < 0) {
        if (errno != EINTR) {
            fatal("waitpid");
        }
    }
    return status;
}

static bool stopped_by_trap(int status)
{
    return WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP;
}

static uint64_t address_of(pid_t pid)
{
    struct user_regs_struct regs;
    if (ptrace(PTRACE_GETREGS, pid, 0, &regs) != 0) {
        fatal("PTRACE_GETREGS");
    }
    return regs.rip;
}

static void lost(int status)
{
    fprintf(stderr, "the child ended by itself, wait status %#x\n", (unsigned)status);
    fatal("a child that only stops where it is told to");
}

struct child child_start(const struct scene *scene, uint32_t seat)
{
    struct child child = {.seat = seat};
    memset(&notes[seat], 0, sizeof notes[seat]);
    fflush(stdout);
    child.pid = fork();
    if (child.pid < 0) {
        fatal("fork");
    }
    if (child.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        world.note = &notes[seat];
        if ((scene->flags & SCENE_ALONE) == 0) {
            world_join(UF_ROLE_WORKER);
        }
        if (scene->ready != NULL) {
            scene->ready();
        }
        if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0) {
            fatal("ptrace is not allowed here: run it where a process may trace its child");
        }
        __asm__ volatile("int3" ::: "memory");
        scene->act();
        world.note->ended = 1;
        __asm__ volatile("int3" ::: "memory");
        _exit(0);
    }
    int status = wait_stop(child.pid);
    if (!stopped_by_trap(status)) {
        lost(status);
    }
    return child;
}

static bool step(struct child child)
{
    if (ptrace(PTRACE_SINGLESTEP, child.pid, 0, 0) != 0) {
        fatal("PTRACE_SINGLESTEP");
    }
    int status = wait_stop(child.pid);
    if (!stopped_by_trap(status)) {
        lost(status);
    }
    return notes[child.seat].ended == 0;
}

/* Go on until the instruction at `address` comes up for the hits-th time. */
static void run_to(struct child child, uint64_t address, uint32_t hits)
{
    errno = 0;
    long text = ptrace(PTRACE_PEEKTEXT, child.pid, address, 0);
    if (errno != 0) {
        fatal("PTRACE_PEEKTEXT");
    }
    long trap = (long)(((unsigned long)text & ~0xfful) | 0xcc);
    uint32_t seen = 0;
    if (address_of(child.pid) == address && ++seen < hits) {
        step(child);
    }
    while (seen < hits) {
        struct user_regs_struct regs;
        if (ptrace(PTRACE_POKETEXT, child.pid, address, trap) != 0 ||
            ptrace(PTRACE_CONT, child.pid, 0, 0) != 0) {
            fatal("PTRACE_CONT");
        }
        int status = wait_stop(child.pid);
        if (!stopped_by_trap(status) || ptrace(PTRACE_GETREGS, child.pid, 0, &regs) != 0) {
            lost(status);
        }
        if (regs.rip != address + 1) {
            fprintf(stderr, "at %#llx, not at %#llx\n", (unsigned long long)regs.rip,
                    (unsigned long long)address);
            fatal("two runs of one operation took the same way");
        }
        regs.rip = address;
        if (ptrace(PTRACE_SETREGS, child.pid, 0, &regs) != 0 ||
            ptrace(PTRACE_POKETEXT, child.pid, address, text) != 0) {
            fatal("PTRACE_SETREGS");
        }
        if (++seen < hits) {
            step(child);
        }
    }
}

bool child_walk(struct child child, const struct track *track, uint32_t k)
{
    uint32_t left = k;
    if (track != NULL && k < track->count && track->from[k] != UINT32_MAX) {
        uint32_t from = track->from[k];
        run_to(child, track->at[from], track->hits[from]);
        left = k - from;
    }
    for (; left > 0; left--) {
        if (!step(child)) {
            return false;
        }
    }
    if (track != NULL && k < track->count && address_of(child.pid) != track->at[k]) {
        fatal("two runs of one operation took the same way");
    }
    return notes[child.seat].ended == 0;
}

void child_run(struct child child)
{
    if (notes[child.seat].ended == 0) {
        if (ptrace(PTRACE_CONT, child.pid, 0, 0) != 0) {
            fatal("PTRACE_CONT");
        }
        int status = wait_stop(child.pid);
        if (!stopped_by_trap(status)) {
            lost(status);
        }
    }
}

void child_kill(struct child child)
{
    int status;
    if (kill(child.pid, SIGKILL) != 0) {
        fatal("kill");
    }
    do {
        status = wait_stop(child.pid);
    } while (!WIFSIGNALED(status) && !WIFEXITED(status));
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
        lost(status);
    }
}

static bool calls_kernel(pid_t pid, uint64_t address)
{
    errno = 0;
    long text = ptrace(PTRACE_PEEKTEXT, pid, address, 0);
    if (errno != 0) {
        fatal("PTRACE_PEEKTEXT");
    }
    return (text & 0xffff) == 0x050f; /* syscall */
}

static void track_add(struct track *track, uint64_t address, bool changed)
{
    if (track->count == track->room) {
        track->room = track->room == 0 ? 1024 : track->room * 2;
        track->at = realloc(track->at, track->room * sizeof *track->at);
        track->changed = realloc(track->changed, track->room * sizeof *track->changed);
        if (track->at == NULL || track->changed == NULL) {
            fatal("realloc");
        }
    }
    track->changed[track->count] = changed;
    track->at[track->count++] = address;
}

/* How often each instruction's address came up by then; open addressing, as there are thousands. */
static void count_hits(struct track *track)
{
    uint32_t room = 1;
    while (room < 2 * track->count + 2) {
        room *= 2;
    }
    struct {
        uint64_t address;
        uint32_t hits;
    } *seen = calloc(room, sizeof *seen);
    if (seen == NULL) {
        fatal("calloc");
    }
    for (uint32_t k = 0; k < track->count; k++) {
        uint32_t i = (uint32_t)(track->at[k] * 0x9e3779b97f4a7c15ull >> 32) & (room - 1);
        while (seen[i].address != 0 && seen[i].address != track->at[k]) {
            i = (i + 1) & (room - 1);
        }
        seen[i].address = track->at[k];
        track->hits[k] = ++seen[i].hits;
    }
    free(seen);
}

void track_make(struct track *track, const struct scene *scene, uint32_t seat)
{
    memset(track, 0, sizeof *track);
    struct child child = child_start(scene, seat);
    bool called = true; /* the beginning is a point of its own */
    world_changed();
    do {
        if (track->count == STEPS_MAX) {
            fatal("an operation ends");
        }
        uint64_t address = address_of(child.pid);
        bool changed = world_changed();
        track_add(track, address, changed || called);
        called = calls_kernel(child.pid, address);
    } while (step(child));
    child_kill(child);
    track->from = calloc(track->count, sizeof *track->from);
    track->hits = calloc(track->count, sizeof *track->hits);
    if (track->from == NULL || track->hits == NULL) {
        fatal("calloc");
    }
    count_hits(track);
    uint32_t from = UINT32_MAX; /* the beginning: no breakpoint, as many steps */
    uint32_t cost = 0;
    for (uint32_t k = 0; k < track->count; k++) {
        if (HIT_COST * track->hits[k] < cost) {
            from = k;
            cost = HIT_COST * track->hits[k];
        }
        track->from[k] = from;
        cost++;
    }
}

void track_free(struct track *track)
{
    free(track->at);
    free(track->from);
    free(track->hits);
    free(track->changed);
    memset(track, 0, sizeof *track);
}

uint64_t track_address(const struct track *track, uint32_t k)
{
    return k < track->count ? track->at[k] : 0;
}
