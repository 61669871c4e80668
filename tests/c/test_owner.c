/* test_owner.c -- the kernel says who is alive; a dead process's slot is mended before it is given on. */
#include "arena.h"
#include "deaths.h"

static struct arena arena;
static const struct arena_sizes small = {
    .owners = 4, .queues = 1, .capacity = 1, .classes = 1, .class = {{128, 1}}};

/* A child that has a slot and waits to be killed; it says its slot through the note. */
static pid_t resident(const struct arena *where)
{
    memset(death_note, 0, sizeof *death_note);
    _Atomic uint64_t *told = (_Atomic uint64_t *)(void *)&death_note->words[0];
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct seat seat;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        seat_take(&seat, where);
        atomic_store(told, seat.self.slot + 1);
        for (;;) {
            pause();
        }
    }
    while (atomic_load(told) == 0) {
        sched_yield();
    }
    return child;
}

static void kill_and_wait(pid_t child)
{
    CHECK_EQ(kill(child, SIGKILL), 0);
    CHECK_EQ(child_end(child), 128 + SIGKILL);
}

static void slots_are_given_once(void)
{
    struct seat seat[4];
    struct seat late;
    struct uf_owner_info info;
    struct uf_region region;
    struct uf_self self;
    uint64_t cases = 0;
    arena_open(&arena, &small);
    for (uint32_t i = 0; i < 4; i++, cases++) {
        seat_take(&seat[i], &arena);
        CHECK_EQ(seat[i].self.slot, i);
    }
    CHECK_EQ(uf_region_attach(&region, arena.path, true), UF_OK);
    CHECK_EQ(uf_owner_open(&self, &region), UF_OK);
    CHECK_EQ(uf_owner_join(&self, 1, 1, 0), UF_NO_SLOT);
    for (uint32_t i = 0; i < 4; i++, cases++) {
        CHECK(uf_owner_alive(&self, i));
        CHECK_EQ(uf_owner_begin_recovery(&self, i), UF_MISSING); /* alive */
        CHECK_EQ(uf_owner_read(&self, i, &info), UF_OK);
        CHECK_EQ(info.phase, UF_PHASE_LIVE);
        CHECK_EQ(info.incarnation, 1);
        CHECK_EQ(info.pid, getpid());
    }
    uf_owner_set_queue(&seat[2].self, 77);
    uf_owner_beat(&seat[2].self, 123456);
    CHECK_EQ(uf_owner_read(&self, 2, &info), UF_OK);
    CHECK_EQ(info.queue, 77);
    CHECK_EQ(info.heartbeat_ns, 123456);
    CHECK_EQ(info.role, 1);
    CHECK_EQ(uf_owner_read(&self, 4, &info), UF_INVALID);
    CHECK(!uf_owner_alive(&self, 4));
    CHECK_EQ(uf_owner_begin_recovery(&self, 4), UF_INVALID);

    seat_leave(&seat[2]);
    CHECK(!uf_owner_alive(&self, 2));
    CHECK_EQ(uf_owner_begin_recovery(&self, 2), UF_MISSING); /* free */
    seat_take(&late, &arena);
    CHECK_EQ(late.self.slot, 2);
    CHECK_EQ(uf_owner_read(&self, 2, &info), UF_OK);
    CHECK_EQ(info.incarnation, 2);
    CHECK_EQ(info.queue, 0);
    CHECK_EQ(info.heartbeat_ns, 0);
    uf_region_close(&region);

    /* A reader without a slot, who may not write, sees the living too. */
    CHECK_EQ(uf_region_attach(&region, arena.path, false), UF_OK);
    CHECK_EQ(uf_owner_open(&self, &region), UF_OK);
    seat_leave(&late);
    for (uint32_t i = 0; i < 4; i++, cases++) {
        CHECK_EQ(uf_owner_alive(&self, i), i != 2);
    }
    uf_region_close(&region);
    seat_leave(&seat[0]);
    seat_leave(&seat[1]);
    seat_leave(&seat[3]);
    arena_close(&arena);
    explored("slots given, read and given back", cases);
}

/* More threads than slots join and leave: a slot has one owner at a time. */
static _Atomic int inside[4];
static _Atomic uint64_t joined;

static void *come_and_go(void *rounds)
{
    struct uf_region region;
    struct uf_self self;
    CHECK_EQ(uf_region_attach(&region, arena.path, true), UF_OK);
    CHECK_EQ(uf_owner_open(&self, &region), UF_OK);
    for (uintptr_t i = 0; i < (uintptr_t)rounds; i++) {
        int status = uf_owner_join(&self, 1, 1, 0);
        if (status == UF_NO_SLOT) {
            continue;
        }
        CHECK_EQ(status, UF_OK);
        uint32_t slot = self.slot;
        CHECK_EQ(atomic_fetch_add(&inside[slot], 1), 0);
        sched_yield();
        CHECK_EQ(atomic_fetch_sub(&inside[slot], 1), 1);
        uf_owner_leave(&self);
        atomic_fetch_add(&joined, 1);
    }
    uf_region_close(&region);
    return NULL;
}

static void slots_under_contention(void)
{
    struct team team = {0};
    arena_open(&arena, &small);
    uf_step_hook = yield_at_marks;
    for (int i = 0; i < 8; i++) {
        team_add(&team, come_and_go, (void *)(uintptr_t)(8000 / SLOWER));
    }
    team_join(&team);
    uf_step_hook = NULL;
    arena_close(&arena);
    explored("joins by eight threads onto four slots", atomic_load(&joined));
}

static void dead_are_found_and_mended(void)
{
    struct seat first;
    struct seat second;
    struct seat late;
    struct uf_owner_info info;
    struct uf_queue_recovery done;
    uint64_t cases = 0;
    arena_open(&arena, &small);
    seat_take(&first, &arena);
    seat_take(&second, &arena);
    for (int round = 0; round < 20; round++, cases++) {
        pid_t child = resident(&arena);
        uint32_t slot = (uint32_t)death_note->words[0] - 1;
        CHECK(uf_owner_alive(&first.self, slot));
        CHECK_EQ(uf_owner_begin_recovery(&first.self, slot), UF_MISSING);
        kill_and_wait(child);
        CHECK(!uf_owner_alive(&first.self, slot));

        seat_take(&late, &arena); /* the dead one's slot is not given away */
        CHECK(late.self.slot != slot);
        struct uf_region region;
        struct uf_self self;
        CHECK_EQ(uf_region_attach(&region, arena.path, true), UF_OK);
        CHECK_EQ(uf_owner_open(&self, &region), UF_OK);
        CHECK_EQ(uf_owner_join(&self, 1, 1, 0), UF_NO_SLOT);

        CHECK_EQ(uf_owner_begin_recovery(&first.self, slot), UF_OK);
        CHECK_EQ(uf_owner_begin_recovery(&second.self, slot), UF_BUSY);
        CHECK(!uf_owner_alive(&second.self, slot)); /* its recoverer lives, it does not */
        CHECK_EQ(uf_owner_join(&self, 1, 1, 0), UF_NO_SLOT);
        uf_owner_end_recovery(&first.self, slot, false); /* gave up */
        CHECK_EQ(uf_owner_join(&self, 1, 1, 0), UF_NO_SLOT);
        CHECK_EQ(uf_owner_read(&second.self, slot, &info), UF_OK);
        CHECK_EQ(info.phase, UF_PHASE_DEAD);
        CHECK(seat_mend(&second, slot, &done));
        CHECK(!seat_mend(&first, slot, &done));
        CHECK_EQ(uf_owner_join(&self, 1, 1, 0), UF_OK);
        CHECK_EQ(self.slot, slot);
        CHECK_EQ(uf_owner_read(&second.self, slot, &info), UF_OK);
        CHECK_EQ(info.incarnation, 2 * round + 2);
        uf_owner_leave(&self);
        uf_region_close(&region);
        seat_leave(&late);
    }
    CHECK_EQ(uf_owner_begin_recovery(&first.self, first.self.slot), UF_INVALID);
    seat_leave(&second);
    seat_leave(&first);
    arena_close(&arena);
    explored("killed owners found and mended", cases);
}

/* The kernel's lock belongs to the open file: a child that keeps it open keeps its parent "alive",
 * so it lets go of it, and may keep the mapping. */
static void a_fork_is_not_its_parent(void)
{
    struct seat seat;
    struct uf_queue_recovery done;
    uint64_t cases = 0;
    arena_open(&arena, &small);
    seat_take(&seat, &arena);
    for (int lets_go = 0; lets_go < 2; lets_go++, cases++) {
        memset(death_note, 0, sizeof *death_note);
        _Atomic uint64_t *slot = (_Atomic uint64_t *)(void *)&death_note->words[0];
        _Atomic uint64_t *grandchild = (_Atomic uint64_t *)(void *)&death_note->words[1];
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            struct seat own;
            seat_take(&own, &arena);
            if (fork() == 0) {
                if (lets_go != 0) {
                    uf_region_forked(&own.region);
                    uf_region_forked(&own.region);
                }
                CHECK(own.region.base[0] == 'U'); /* the mapping is still there */
                atomic_store(slot, own.self.slot + 1);
                atomic_store(grandchild, (uint64_t)getpid());
            }
            for (;;) {
                pause();
            }
        }
        while (atomic_load(grandchild) == 0) {
            sched_yield();
        }
        uint32_t dead = (uint32_t)atomic_load(slot) - 1;
        CHECK(uf_owner_alive(&seat.self, dead));
        kill_and_wait(child);
        CHECK_EQ(uf_owner_alive(&seat.self, dead), lets_go == 0);
        CHECK_EQ(seat_mend(&seat, dead, &done), lets_go != 0);
        CHECK_EQ(kill((pid_t)atomic_load(grandchild), SIGKILL), 0);
        while (uf_owner_alive(&seat.self, dead)) {
            sched_yield(); /* an orphan's end is init's to await */
        }
        CHECK_EQ(seat_mend(&seat, dead, &done), lets_go == 0);
    }
    seat_leave(&seat);
    arena_close(&arena);
    explored("parents killed while their children live", cases);
}

static void join_and_leave(void *unused)
{
    struct seat seat;
    (void)unused;
    seat_take(&seat, &arena);
    uf_owner_set_queue(&seat.self, 3);
    seat_leave(&seat);
}

static void mend_somebody(void *slot)
{
    struct seat seat;
    struct uf_queue_recovery done;
    seat_take(&seat, &arena);
    seat_mend(&seat, *(uint32_t *)slot, &done);
    seat_leave(&seat);
}

static void mend_all(struct seat *seat)
{
    struct uf_queue_recovery done;
    struct uf_owner_info info;
    for (uint32_t slot = 0; slot < seat->self.count; slot++) {
        if (slot != seat->self.slot) {
            seat_mend(seat, slot, &done);
            CHECK_EQ(uf_owner_read(&seat->self, slot, &info), UF_OK);
            CHECK_EQ(info.phase, UF_PHASE_FREE);
        }
    }
}

static void deaths_at_every_mark(void)
{
    struct death_tally tally = {0};
    struct seat seat;
    arena_open(&arena, &small);
    seat_take(&seat, &arena);
    for (uint32_t at = 1; death_at(at, join_and_leave, NULL); at++) {
        tally_death(&tally);
        mend_all(&seat);
    }
    uint32_t slot;
    for (uint32_t at = 1;; at++) {
        kill_and_wait(resident(&arena));
        slot = 1;
        bool died = death_at(at, mend_somebody, &slot);
        if (died) {
            tally_death(&tally);
        }
        mend_all(&seat);
        if (!died) {
            break;
        }
    }
    check_labels(&tally, "O1 O2 O3 O4");
    seat_leave(&seat);
    arena_close(&arena);
    explored("deaths at a mark of join, leave and recovery", tally.deaths);
}

int main(void)
{
    watchdog(60);
    deaths_open();
    slots_are_given_once();
    dead_are_found_and_mended();
    a_fork_is_not_its_parent();
    deaths_at_every_mark();
    slots_under_contention();
    return 0;
}
