/* explore_declared.c -- what is declared of namespaces: a name is whole once its settings are there, a
 * namespace has one record whoever declares it at the same time, and a declarer's death leaves nothing to
 * mend.
 */
#include <stdatomic.h>
#include <string.h>

#include "explore.h"
#include "uf_declared.h"

/* Three words, no two alike: a part of the name shows. */
#define NAME "aaaaaaaabbbbbbbbcccccccc"
#define NAME_BYTES 24u
/* With it the name's record is among the first two, and none after these is ever looked at: the arena has
 * room for them alone. */
#define SEED 93ull
#define RECORDS 4u

#define CACHE (UF_DECLARED_TOLD | UF_DECLARED_CACHE)
#define TTL (UF_DECLARED_TOLD | 7ull << UF_DECLARED_TTL_SHIFT)

static struct uf_declared declared;
static uint32_t read_ever;

static void setup(void)
{
    void *area =
        explore_alloc(sizeof(struct uf_declared_head) + RECORDS * sizeof(struct uf_declaration));
    CHECK_EQ(uf_declared_open(&declared, area, uf_declared_bytes(), SEED), UF_OK);
    explore_name(declared.head, "head");
    explore_name(declared.record, "record");
    read_ever = 0;
}

static void declare(uint64_t settings)
{
    CHECK_EQ(uf_declare(&declared, NAME, NAME_BYTES, settings), UF_OK);
}
static void declare_cache(void)
{
    declare(CACHE);
}
static void declare_ttl(void)
{
    declare(TTL);
}
static void declare_both(void)
{
    declare(CACHE);
    explore_settled(1, 0, 0);
    declare(TTL);
}
/* A record in which a declarer died: who declares the name goes on with it. */
static void declare_after(void)
{
    explore_inherit();
    declare_cache();
}

static uint32_t records(void)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < RECORDS; i++) {
        char name[UF_DECLARED_NAME_BYTES];
        uint64_t settings = 0;
        uint32_t bytes = 0;
        if (uf_declared_at(&declared, i, &settings, name, &bytes) == UF_OK) {
            CHECK_EQ(bytes, NAME_BYTES);
            CHECK(memcmp(name, NAME, NAME_BYTES) == 0);
            CHECK(settings == CACHE || settings == TTL);
            found++;
        }
    }
    return found;
}

static void read_whole(void)
{
    uint32_t found = records();
    CHECK(found <= 1);
    read_ever += found;
}

static void read_settings(void)
{
    uint64_t settings = uf_declared_settings(&declared, NAME, NAME_BYTES);
    CHECK(settings == 0 || settings == CACHE || settings == TTL);
    read_ever += settings != 0;
}

static void finish(void)
{
    CHECK_EQ(records(), 1);
    CHECK(uf_declared_any(&declared));
}

static void finish_ttl(void)
{
    finish();
    CHECK_EQ(uf_declared_settings(&declared, NAME, NAME_BYTES), TTL);
}

static void some_read(void)
{
    CHECK(read_ever > 0);
}

static const struct explore_check checks[] = {
    {.name = "declared-one-record",
     .setup = setup,
     .body = {declare_cache, declare_ttl},
     .finish = finish,
     .usual = {2, 2},
     .minimum = 100},
    {.name = "declared-name-is-whole",
     .setup = setup,
     .body = {declare_cache, read_whole},
     .finish = finish,
     .after = some_read,
     .usual = {0, 0},
     .minimum = 20},
    {.name = "declared-last-holds",
     .setup = setup,
     .body = {declare_both, read_settings},
     .finish = finish_ttl,
     .after = some_read,
     .usual = {2, 2},
     .deep = {3, 3},
     .minimum = 100},
    {.name = "declared-declarer-dies",
     .setup = setup,
     .body = {declare_ttl, read_whole, declare_after},
     .finish = finish,
     .after = some_read,
     .mortal = 1,
     .mourners = 4,
     .usual = {1, 2},
     .deep = {2, 3},
     .minimum = 100},
};

int main(int argc, char **argv)
{
    return explore_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
