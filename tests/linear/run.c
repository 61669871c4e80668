/* run.c -- the processes, kept from one history to the next, and the judge.
 *
 * The parent makes a region and forks; each child attaches to it as any process would, by its own
 * descriptor, mapping and slot. For each history the parent brings the structure into a known state
 * while all stand at a barrier, they make their calls, and the parent judges what they recorded.
 */
#include "linear.h"

#include "arena.h"

#include <sys/mman.h>
#include <sys/prctl.h>

#define PATIENCE_S 30u

struct tape {
    alignas(UF_PAIR) uint32_t calls;
    struct call call[CALLS_MAX];
};

/* Between parent and children; the region has the core's own. */
struct shared {
    alignas(UF_PAIR) _Atomic uint64_t clock;
    alignas(UF_PAIR) _Atomic uint64_t round; /* the parent: begun */
    _Atomic bool over;                       /* the parent */
    alignas(UF_PAIR) _Atomic uint64_t ready; /* children, counted over all rounds */
    _Atomic uint64_t finished;               /* children, counted over all rounds */
    uint64_t seed;                           /* the parent, before `round`: of this history */
    uint64_t given[16];
    struct tape tape[PROCESSES_MAX];
};

static struct shared *shared;
static struct tape *mine; /* in a child */
static uint32_t self;

struct call *call_new(uint32_t op)
{
    CHECK(mine->calls < CALLS_MAX);
    struct call *call = &mine->call[mine->calls++];
    memset(call, 0, sizeof *call);
    call->process = self;
    call->op = op;
    return call;
}

static uint64_t seed_of(uint64_t seed, uint64_t number)
{
    uint64_t state = (seed ^ (number + 1) * 0x9e3779b97f4a7c15ull) | 1;
    for (uint32_t i = 0; i < 4; i++) {
        next_random(&state);
    }
    return next_random(&state);
}

void call_invoke(struct call *call)
{
    static const uint32_t marks[] = {1, 2, 3};
    static const uint32_t accesses[] = {2, 4, 8, 16};
    uint64_t seed = shared->seed;
    call->invoked = atomic_fetch_add(&shared->clock, 1);
    pauses_begin(seed_of(seed, 64 + self * CALLS_MAX + mine->calls), marks[seed % 3],
                 accesses[seed / 3 % 4], &shared->clock);
}

void call_answer(struct call *call, int status)
{
    pauses_end();
    call->answered = atomic_fetch_add(&shared->clock, 1);
    call->status = status;
}

uint64_t *given(void)
{
    return shared->given;
}

void pool_reset(struct uf_pool *pool, uint64_t version)
{
    for (uint32_t c = 0; c < pool->classes; c++) {
        struct uf_class *class = &pool->class[c];
        CHECK(class->count < 32); /* then nobody keeps free blocks in a cache of its own */
        for (uint32_t i = 0; i < class->count; i++) {
            struct uf_message *block = uf_pool_block(pool, uf_handle(c, i));
            block->owner = uf_word(version + i % 3, UF_BLOCK_FREE, 0, 0);
        }
        uf_bits_fill(class->bits, class->count);
    }
}

uint64_t ring_start(uint32_t capacity, uint64_t *random)
{
    uint64_t wrap = (uint64_t)capacity << UF_RING_VERSION_BITS;
    uint64_t any = next_random(random);
    return any % 4 == 0 ? 0 : wrap - 1 - (any >> 8) % (3 * capacity);
}

/* --- a child ---------------------------------------------------------------------------------- */

static void stand(const _Atomic uint64_t *count, uint64_t until)
{
    while (atomic_load(count) < until) {
        sched_yield();
    }
}

static void child(const struct scene *scene, const struct arena *names, uint32_t process)
{
    struct uf_system system;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGCHLD, SIG_DFL);
    self = process;
    mine = &shared->tape[process];
    CHECK_EQ(uf_system_attach(&system, names->path, UF_ROLE_WORKER, false, 6, (uint64_t)getpid()),
             UF_OK);
    for (uint64_t round = 1;; round++) {
        stand(&shared->round, round);
        if (atomic_load(&shared->over)) {
            break;
        }
        uint64_t random = seed_of(shared->seed, process);
        mine->calls = 0;
        scene->begin(scene, &system, process);
        atomic_fetch_add(&shared->ready, 1);
        stand(&shared->ready, round * scene->processes);
        for (uint32_t i = 0; i < scene->calls; i++) {
            scene->work(scene, &system, &random);
        }
        atomic_fetch_add(&shared->finished, 1);
    }
    uf_system_close(&system);
    _exit(0);
}

/* --- the parent ------------------------------------------------------------------------------- */

static volatile sig_atomic_t child_ended;

static void on_child(int signal_number)
{
    (void)signal_number;
    child_ended = 1;
}

static void no_answer(int signal_number)
{
    static const char text[] = "linear: a call does not come back\n";
    (void)signal_number;
    ssize_t put = write(2, text, sizeof text - 1);
    (void)put;
    _exit(3); /* and with the parent go the children */
}

static void print_words(const uint64_t *words, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        printf("%s%#llx", i > 0 ? ", " : "", (unsigned long long)words[i]);
    }
}

static void print_history(const struct scene *scene, const struct history *history,
                          const struct verdict *verdict)
{
    uint64_t shown = 0;
    uint64_t base = UINT64_MAX;
    for (uint32_t i = 0; i < history->calls; i++) {
        base = history->call[i].invoked < base ? history->call[i].invoked : base;
    }
    printf(
        "    process  interval      call (arguments) -> answer (results); + taken by the longest "
        "beginning of an order\n");
    for (uint32_t n = 0; n < history->calls; n++) {
        uint32_t next = 0;
        for (uint32_t i = 0; i < history->calls; i++) {
            bool earlier =
                (shown >> next & 1) != 0 || history->call[i].invoked < history->call[next].invoked;
            next = (shown >> i & 1) == 0 && earlier ? i : next;
        }
        shown |= 1ull << next;
        const struct call *call = &history->call[next];
        uint32_t points = 0;
        uint32_t taken = 0;
        for (uint32_t i = 0; i < history->points; i++) {
            bool its = history->point[i].call == next;
            points += its;
            taken += its && (verdict->furthest >> i & 1) != 0;
        }
        const char *op = scene->ops;
        for (uint32_t i = 0; i < call->op; i++) {
            op = strchr(op, ' ') + 1;
        }
        printf("  %c %u  [%3llu, %3llu]  %.*s (",
               taken == points ? '+'
               : taken > 0     ? '/'
                               : '-',
               call->process, (unsigned long long)(call->invoked - base),
               (unsigned long long)(call->answered - base), (int)strcspn(op, " "), op);
        print_words(call->in, 3);
        printf(") -> %s %d (", uf_status_name(call->status < 0 ? call->status : 0), call->status);
        print_words(call->out, 4);
        printf(")\n");
    }
    fflush(stdout);
}

static void gather(const struct scene *scene, struct history *history)
{
    history->calls = history->points = 0;
    for (uint32_t p = 0; p < scene->processes; p++) {
        const struct tape *tape = &shared->tape[p];
        for (uint32_t i = 0; i < tape->calls; i++) {
            history->call[history->calls++] = tape->call[i];
        }
    }
    for (uint32_t i = 0; i < history->calls; i++) {
        scene->points(scene, history, i);
    }
    points_order(history);
}

static void count(const struct history *history, const struct verdict *verdict, struct tally *tally)
{
    uint32_t overlap = overlapping(history);
    tally->histories++;
    tally->calls += history->calls;
    tally->calls_overlapping += overlap;
    tally->overlapping += overlap > 0;
    tally->configurations += verdict->configurations;
    if (verdict->configurations > tally->longest) {
        tally->longest = verdict->configurations;
    }
    for (uint32_t i = 0; i < history->calls; i++) {
        int32_t status = history->call[i].status;
        tally->answers[status < 0 && status > -32 ? -status : 0]++;
    }
}

static bool one_history(const struct scene *scene, struct uf_system *system,
                        const struct plan *plan, uint64_t number, struct tally *tally)
{
    static struct history history;
    uint64_t again = plan->again >= 0 ? (uint64_t)plan->again : number;
    uint64_t seed = seed_of(plan->seed ^ strlen(scene->name) << 32 ^ scene->variant << 24, again);
    uint64_t random = seed;
    alarm(PATIENCE_S);
    memset(&history.start, 0, sizeof history.start);
    shared->seed = seed;
    scene->prepare(scene, system, &random, &history.start);
    atomic_store(&shared->round, number + 1);
    uint64_t finished = (number + 1) * scene->processes;
    while (atomic_load(&shared->finished) < finished && !child_ended) {
        sched_yield();
    }
    if (atomic_load(&shared->finished) < finished) {
        fprintf(stderr, "linear: a process of the scene \"%s\" died\n", scene->name);
        _exit(3);
    }
    gather(scene, &history);
    struct verdict verdict = search(&history, scene->step, true);
    count(&history, &verdict, tally);
    if (!verdict.linear) {
        printf(
            "NOT LINEARIZABLE: scene \"%s\", history %llu; its calls again and again: --only \"%s\""
            " --seed %llu --again %llu\n",
            scene->name, (unsigned long long)number, scene->name, (unsigned long long)plan->seed,
            (unsigned long long)again);
        print_history(scene, &history, &verdict);
    }
    return verdict.linear;
}

bool scene_run(const struct scene *scene, const struct plan *plan, struct tally *tally)
{
    struct arena names;
    struct uf_system system;
    pid_t pid[PROCESSES_MAX];
    uint64_t free_bytes;
    bool sound = true;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    memset(&names, 0, sizeof names);
    arena_names(&names);
    CHECK_EQ(uf_system_create(&system, scene->sizes, names.temp_path, names.path, 42, 5, 1, "", 0,
                              &free_bytes),
             UF_OK);
    signal(SIGALRM, no_answer);
    child_ended = 0;
    signal(SIGCHLD, on_child);
    fflush(stdout);
    for (uint32_t p = 0; p < scene->processes; p++) {
        pid[p] = fork();
        CHECK(pid[p] >= 0);
        if (pid[p] == 0) {
            child(scene, &names, p);
        }
    }
    uint64_t done = 0;
    while (sound && done < plan->histories) {
        sound = one_history(scene, &system, plan, done++, tally);
    }
    signal(SIGCHLD, SIG_DFL);
    atomic_store(&shared->over, true);
    atomic_store(&shared->round, done + 1);
    for (uint32_t p = 0; p < scene->processes; p++) {
        int end = child_end(pid[p]);
        CHECK_EQ(sound ? end : 0, 0);
    }
    alarm(0);
    uf_system_close(&system);
    unlink(names.path);
    CHECK_EQ(rmdir(names.directory), 0);
    CHECK_EQ(munmap(shared, sizeof *shared), 0);
    return sound;
}
