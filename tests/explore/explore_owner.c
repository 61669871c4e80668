/* explore_owner.c -- process slots: one holder at a time, one mender a death, and nobody called dead who
 * lives.
 */
#include <stdatomic.h>
#include <string.h>

#include "explore.h"
#include "uf_owner.h"

#define SLOTS 2

static struct uf_owner *owner;
static struct uf_self self[EXPLORE_THREADS];
static uint64_t *holding; /* plain words, one a slot: two holders or menders at a time are a race */
static uint64_t *ready;   /* a plain word */
static uint32_t joined[EXPLORE_THREADS];
static uint32_t mended[EXPLORE_THREADS];
static uint32_t mended_ever;
static uint32_t slots;
static struct uf_region_head *region_head; /* of a region that is only a head */
static uint32_t published_ever;

static void setup(uint32_t count)
{
    slots = count;
    owner = explore_alloc(uf_owners_bytes(SLOTS));
    holding = explore_alloc(SLOTS * sizeof *holding);
    ready = explore_alloc(sizeof *ready);
    explore_name(ready, "ready");
    explore_name(owner, "owner");
    explore_name(holding, "holding");
    memset(self, 0, sizeof self);
    memset(joined, 0, sizeof joined);
    memset(mended, 0, sizeof mended);
    for (uint32_t t = 0; t < EXPLORE_THREADS; t++) {
        self[t] = (struct uf_self){.owner = owner,
                                   .count = count,
                                   .slot = UINT32_MAX,
                                   .offset = 4096,
                                   .fd = explore_fd(t)};
    }
    explore_keep(self, sizeof self);
    explore_keep(joined, sizeof joined);
    explore_keep(mended, sizeof mended);
    mended_ever = 0;
}
static void setup_1(void)
{
    setup(1);
}
static void setup_2(void)
{
    setup(2);
}

static void setup_region(void)
{
    setup(1);
    region_head = explore_alloc(sizeof *region_head);
    explore_name(region_head, "region");
    published_ever = 0;
}

static struct uf_self *mine(void)
{
    return &self[explore_self()];
}

static bool join(void)
{
    struct uf_owner_info info;
    uint32_t me = explore_self();
    if (uf_owner_join(mine(), 1, me + 1, 0) != UF_OK) {
        return false;
    }
    joined[me]++;
    CHECK(mine()->slot < slots);
    CHECK_EQ(holding[mine()->slot], 0);
    holding[mine()->slot] = me + 1;
    CHECK_EQ(uf_owner_read(mine(), mine()->slot, &info), UF_OK);
    CHECK_EQ(info.phase, UF_PHASE_LIVE);
    CHECK_EQ(info.pid, me + 1);
    return true;
}

static void join_stay(void)
{
    join();
}
static void join_leave(void)
{
    if (join()) {
        holding[mine()->slot] = 0;
        uf_owner_leave(mine());
    }
}
/* A slot that reads as LIVE and as not alive belongs to a process that is dead: nobody is, here. */
static void look(void)
{
    struct uf_owner_info before;
    struct uf_owner_info after;
    CHECK_EQ(uf_owner_read(mine(), 0, &before), UF_OK);
    bool alive = uf_owner_alive(mine(), 0);
    CHECK_EQ(uf_owner_read(mine(), 0, &after), UF_OK);
    CHECK(before.phase != UF_PHASE_LIVE || alive || after.phase != UF_PHASE_DEAD);
    if (before.phase == UF_PHASE_LIVE) {
        CHECK(before.pid >= 1 && before.pid <= EXPLORE_THREADS);
    }
    int status = uf_owner_begin_recovery(mine(), 0);
    CHECK(status == UF_MISSING || status == UF_OK);
    if (status == UF_OK) {
        uf_owner_end_recovery(mine(), 0, true);
    }
}
/* What was made ready before the queue was told is there for whoever reads of the queue. */
static void tell_queue(void)
{
    if (join()) {
        ready[0] = 7;
        uf_owner_set_queue(mine(), 3);
        uf_owner_beat(mine(), 1);
    }
}
static void read_queue(void)
{
    struct uf_owner_info info;
    CHECK_EQ(uf_owner_read(mine(), 0, &info), UF_OK);
    if (info.queue != 0) {
        CHECK_EQ(info.queue, 3);
        CHECK_EQ(ready[0], 7);
    }
}
/* Mend what slot 0 left, if it is ours to mend. */
static void mend(void)
{
    int status = uf_owner_begin_recovery(mine(), 0);
    if (status == UF_OK) {
        CHECK(holding[0] == explore_dead() + 1 || holding[0] == 0);
        holding[0] = 0;
        mended[explore_self()]++;
        uf_owner_end_recovery(mine(), 0, true);
    } else {
        CHECK(status == UF_MISSING || status == UF_BUSY);
    }
}

static void one_each(void)
{
    CHECK_EQ(joined[0] + joined[1], 2);
    CHECK(self[0].slot != self[1].slot);
}
static void at_least_one(void)
{
    CHECK(joined[0] + joined[1] >= 1);
}
/* At most one mended it. Nobody: they looked before word of the death had come to them; now it can be. */
static void finish_mended(void)
{
    uint32_t dead = explore_dead();
    uint32_t menders = 0;
    for (uint32_t t = 0; t < EXPLORE_THREADS; t++) {
        menders += mended[t];
    }
    mended_ever += menders;
    CHECK(menders <= 1);
    if (dead != EXPLORE_THREADS && joined[dead] != 0 && holding[0] == dead + 1) {
        CHECK_EQ(menders, 0);
        CHECK_EQ(uf_owner_begin_recovery(&self[3], 0), UF_OK);
        uf_owner_end_recovery(&self[3], 0, true);
        CHECK_EQ(uf_owner_join(&self[3], 1, 1, 0), UF_OK);
    }
}
/* Whoever finds a region ready finds everything in it written. (There is no file: it gets no name.) */
static void write_publish(void)
{
    struct uf_region region = {.base = (uint8_t *)region_head, .fd = -1};
    *ready = 1;
    CHECK(uf_region_publish(&region, "/nowhere/a", "/nowhere/b") != UF_OK);
}
static void look_inside(void)
{
    if (atomic_load_explicit(&region_head->ready, memory_order_acquire) == 1) {
        CHECK_EQ(*ready, 1);
        published_ever++;
    }
}
static void some_published(void)
{
    CHECK(published_ever > 0);
}
static void some_mended(void)
{
    CHECK(mended_ever > 0);
}

static const struct explore_check checks[] = {
    {.name = "owner-two-join",
     .setup = setup_2,
     .body = {join_stay, join_stay},
     .finish = one_each,
     .minimum = 200},
    {.name = "owner-one-slot",
     .setup = setup_1,
     .body = {join_leave, join_leave},
     .finish = at_least_one,
     .minimum = 57},
    {.name = "owner-nobody-died", .setup = setup_1, .body = {join_leave, look}, .minimum = 1200},
    {.name = "owner-queue-told", .setup = setup_1, .body = {tell_queue, read_queue}, .minimum = 10},
    {.name = "region-published",
     .setup = setup_region,
     .body = {write_publish, look_inside},
     .after = some_published,
     .minimum = 3},
    {.name = "owner-two-menders",
     .setup = setup_1,
     .body = {join_stay, mend, mend},
     .finish = finish_mended,
     .after = some_mended,
     .mortal = 1,
     .mourners = 6,
     .minimum = 760},
    {.name = "owner-mended-and-joined",
     .setup = setup_1,
     .body = {join_leave, mend, join_leave},
     .finish = finish_mended,
     .after = some_mended,
     .mortal = 1,
     .mourners = 6,
     .minimum = 1700},
};

int main(int argc, char **argv)
{
    return explore_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
