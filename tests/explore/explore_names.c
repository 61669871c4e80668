/* explore_names.c -- opening queues by name: one name has one queue, whoever opens it at the same time, and
 * none waits for an opener that died.
 */
#include "seats.h"

#include <stdatomic.h>

#define UNKNOWN UINT32_MAX

static uint32_t got[SEATS];
static bool busy[SEATS];
static uint64_t seen[SEATS];
static uint32_t records;
static uint64_t *using; /* a plain word: two users of a record at a time are a race */
static uint32_t reused_ever;

static void setup(uint32_t count)
{
    records = count;
    memset(seen, 0, sizeof seen);
    memset(busy, 0, sizeof busy);
    for (uint32_t s = 0; s < SEATS; s++) {
        got[s] = UNKNOWN;
    }
    seats_pool(1, 0);
    seats_queues(count, 1);
    using = explore_alloc(sizeof *using);
    explore_name(using, "using");
    reused_ever = 0;
    explore_keep(got, sizeof got);
    explore_keep(busy, sizeof busy);
    explore_keep(seen, sizeof seen);
}
static void setup_1(void)
{
    setup(1);
}
static void setup_2(void)
{
    setup(2);
}
static void setup_3(void)
{
    setup(3);
}

static void open_as(uint32_t who, const char *name)
{
    uint32_t index;
    int status = uf_queue_open(&seat[who].queues, name, &index);
    if (status == UF_OK) {
        got[who] = index;
    } else {
        /* No record, for the others hold one each until theirs is settled. */
        CHECK_EQ(status, UF_NO_SLOT);
        busy[who] = true;
    }
}
static void open_inbox(void)
{
    open_as(explore_self(), "inbox");
}
static void open_other(void)
{
    open_as(explore_self(), "other");
}
/* What is found stays: nobody closes here. */
static void find_inbox(void)
{
    uint32_t index;
    if (uf_queue_find(&my_seat()->queues, "inbox", &index) == UF_OK) {
        got[explore_self()] = index;
    }
}
/* A record with parts of two names, as it goes from the one to the other, is neither's, nor a third's. */
#define FIRST_NAME "aaaaaaaabbbbbbbb"
#define SECOND_NAME "ccccccccdddddddd"
#define MIXED_NAME "ccccccccbbbbbbbb"
static void setup_named(void)
{
    setup(1);
    open_as(OUTSIDER, FIRST_NAME);
}
static void rename_it(void)
{
    CHECK_EQ(uf_queue_close(&my_seat()->queues, 0), UF_OK);
    explore_settled(2, 0, 0);
    open_as(explore_self(), SECOND_NAME);
}
static void find_mixed(void)
{
    uint32_t index;
    CHECK_EQ(uf_queue_find(&my_seat()->queues, MIXED_NAME, &index), UF_MISSING);
}
static void find_second(void)
{
    uint32_t index;
    int status = uf_queue_find(&my_seat()->queues, SECOND_NAME, &index);
    CHECK(status == UF_MISSING || (status == UF_OK && index == 0));
}
static void finish_renamed(void)
{
    uint32_t index;
    CHECK_EQ(uf_queue_find(&seat[OUTSIDER].queues, SECOND_NAME, &index), UF_OK);
}
/* What is done with a record is over when another has it. */
static void use_and_close(void)
{
    *using = 1;
    CHECK_EQ(uf_queue_close(&my_seat()->queues, 0), UF_OK);
}
static void open_and_use(void)
{
    open_as(explore_self(), SECOND_NAME);
    if (got[explore_self()] != UNKNOWN) {
        reused_ever++;
        *using = 2;
    }
}
static void reused(void)
{
    CHECK(reused_ever > 0);
}
/* Who finds a name can read it. */
static void read_name(void)
{
    const char *name = uf_queue_name(&my_seat()->queues, 0);
    /* Its first word, by an atomic load: a plain one is always the newest. */
    const _Atomic uint64_t *word = (const _Atomic uint64_t *)(const void *)name;
    CHECK(name == NULL || atomic_load_explicit(word, memory_order_relaxed) != 0);
}
static void mend(void)
{
    struct uf_queue_recovery done;
    explore_inherit();
    uf_queue_recover(&my_seat()->queues, explore_dead() + 1, &seen[explore_self()], &done);
}
static void use_and_mend(void)
{
    explore_inherit();
    uint64_t state = atomic_load_explicit(&my_seat()->queues.record[0].state, memory_order_relaxed);
    if ((state & 0xff) != UF_QUEUE_OPEN && (state >> 8 & 0x3ff) == explore_dead() + 1) {
        *using = 1; /* the dead one's record, and so its mender's */
    }
    mend();
}
static void mend_open(void)
{
    mend();
    explore_settled(1, 0, 0);
    open_inbox();
}

/* Each name has one record, which is what everybody who asked for it was told; no other record is taken. */
static void judge(uint32_t others)
{
    uint32_t inbox;
    uint32_t open = 0;
    uint32_t found = uf_queue_find(&seat[OUTSIDER].queues, "inbox", &inbox) == UF_OK;
    for (uint32_t r = 0; r < records; r++) {
        uint64_t phase = seat[OUTSIDER].queues.record[r].state & 0xff;
        open += phase == UF_QUEUE_OPEN;
        CHECK(phase == UF_QUEUE_OPEN || phase == UF_QUEUE_FREE);
    }
    CHECK_EQ(open, found + others);
    for (uint32_t t = 0; t < EXPLORE_THREADS; t++) {
        if (got[t] != UNKNOWN && !(others != 0 && t == 1)) {
            CHECK(found);
            CHECK_EQ(got[t], inbox);
        }
    }
}
static void finish(void)
{
    CHECK_EQ(busy[0] + busy[1] + busy[2], 0);
    judge(0);
}
static void finish_2_names(void)
{
    judge(1);
    CHECK(got[0] != got[1]);
}
static void finish_reused(void)
{
    CHECK_EQ(uf_queue_length(&seat[OUTSIDER].queues, 0, 0), 0);
    CHECK(got[1] == UNKNOWN || got[1] == 0);
}
static void finish_death(void)
{
    judge(0);
    open_as(OUTSIDER, "third"); /* a record is left for another */
    CHECK(got[OUTSIDER] != UNKNOWN);
}

static const struct explore_check checks[] = {
    {.name = "names-two-openers",
     .setup = setup_2,
     .body = {open_inbox, open_inbox},
     .finish = finish,
     .minimum = 40000,
     .usual = {2, 3},
     .deep = {3, 4}},
    {.name = "names-two-names",
     .setup = setup_2,
     .body = {open_inbox, open_other},
     .finish = finish_2_names,
     .minimum = 22000,
     .usual = {2, 3},
     .deep = {3, 4}},
    {.name = "names-three-openers",
     .setup = setup_3,
     .body = {open_inbox, open_inbox, open_inbox},
     .finish = finish,
     .minimum = 1500,
     .usual = {1, 1},
     .deep = {1, 2}},
    {.name = "names-open-find",
     .setup = setup_2,
     .body = {open_inbox, open_inbox, find_inbox},
     .finish = finish,
     .minimum = 900,
     .usual = {1, 1},
     .deep = {1, 2}},
    {.name = "names-renamed",
     .setup = setup_named,
     .body = {rename_it, find_mixed, find_second},
     .finish = finish_renamed,
     .minimum = 2300,
     .usual = {2, 1},
     .deep = {0, 2}},
    {.name = "names-closed-and-reused",
     .setup = setup_named,
     .body = {use_and_close, open_and_use},
     .finish = finish_reused,
     .after = reused,
     .minimum = 45},
    {.name = "names-open-read",
     .setup = setup_1,
     .body = {open_inbox, read_name},
     .finish = finish,
     .minimum = 100},
    {.name = "names-mended-and-reused",
     .setup = setup_1,
     .body = {open_inbox, open_and_use, use_and_mend},
     .finish = finish_reused,
     .after = reused,
     .mortal = 1,
     .mourners = 4,
     .minimum = 28000,
     .usual = {1, 2},
     .deep = {2, 2}},
    {.name = "names-opener-dies",
     .setup = setup_2,
     .body = {open_inbox, mend_open},
     .finish = finish_death,
     .mortal = 1,
     .mourners = 2,
     .minimum = 10},
    {.name = "names-opener-dies-beside",
     .setup = setup_3,
     .body = {open_inbox, open_inbox, mend},
     .finish = finish_death,
     .mortal = 1,
     .mourners = 4,
     .minimum = 14000,
     .usual = {1, 1},
     .deep = {1, 2}},
};

int main(int argc, char **argv)
{
    return explore_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
