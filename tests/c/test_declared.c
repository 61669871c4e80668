/* test_declared.c -- what is said of namespaces: one record for a name whoever says it at the same time, and
 * whoever dies over it; a full area and damaged ones are told, not believed.
 */
#include "deaths.h"

#include "uf_declared.h"

#define NAMES 40u
#define ROUNDS (200u / SLOWER)

static struct uf_declared declared;
static struct death_tally tally;

static uint32_t name_of(char *text, uint32_t number)
{
    return (uint32_t)snprintf(text, 64, "namespace %u%s", number,
                              number % 3 == 0 ? " and more" : "");
}

static void area_new(void)
{
    memset((void *)declared.head, 0, uf_declared_bytes());
}

static uint32_t told(bool check)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < UF_DECLARED; i++) {
        char text[UF_DECLARED_NAME_BYTES];
        uint64_t settings;
        uint32_t bytes;
        if (uf_declared_at(&declared, i, &settings, text, &bytes) != UF_OK) {
            continue;
        }
        CHECK(bytes <= sizeof text);
        CHECK(!check || uf_declared_settings(&declared, text, bytes) == settings);
        found++;
    }
    return found;
}

static void *declare_all(void *argument)
{
    for (uint32_t n = 0; n < NAMES; n++) {
        char text[64];
        uint32_t bytes = name_of(text, n);
        CHECK_EQ(uf_declare(&declared, text, bytes,
                            UF_DECLARED_TOLD | (uint64_t)n << UF_DECLARED_TTL_SHIFT),
                 UF_OK);
        CHECK_EQ(uf_declared_settings(&declared, text, bytes) >> UF_DECLARED_TTL_SHIFT, n);
    }
    return argument;
}

static void declared_at_once(void)
{
    uf_step_hook = yield_at_marks;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct team team = {0};
        area_new();
        for (int t = 0; t < 3; t++) {
            team_add(&team, declare_all, NULL);
        }
        team_join(&team);
        CHECK_EQ(told(true), NAMES);
    }
    uf_step_hook = NULL;
    explored("rounds of three who declare the same", ROUNDS);
}

static void declaring(void *unused)
{
    (void)unused;
    CHECK_EQ(uf_declare(&declared, "one", 3, UF_DECLARED_TOLD | UF_DECLARED_CACHE), UF_OK);
}

static void deaths(void)
{
    bool alive = false;
    for (uint32_t at = 1; !alive; at++) {
        area_new();
        alive = !death_at(at, declaring, NULL);
        if (!alive) {
            tally_death(&tally);
        }
        uint64_t settings = uf_declared_settings(&declared, "one", 3);
        CHECK(settings == 0 || settings == (UF_DECLARED_TOLD | UF_DECLARED_CACHE));
        declaring(NULL);
        CHECK_EQ(uf_declared_settings(&declared, "one", 3), UF_DECLARED_TOLD | UF_DECLARED_CACHE);
        CHECK_EQ(told(true), 1);
    }
    check_labels(&tally, "N1 N2 N3");
    explored("deaths of those who declare", tally.deaths);
}

static void full_and_hostile(void)
{
    uint64_t seed = 5;
    char text[UF_DECLARED_NAME_BYTES + 1];
    memset(text, 'x', sizeof text);
    area_new();
    CHECK_EQ(uf_declared_settings(&declared, "one", 3), 0);
    CHECK_EQ(uf_declare(&declared, text, sizeof text, UF_DECLARED_TOLD), UF_TOO_BIG);
    CHECK_EQ(uf_declare(&declared, text, sizeof text - 1, UF_DECLARED_TOLD), UF_OK);
    CHECK_EQ(uf_declare(&declared, "", 0, UF_DECLARED_TOLD), UF_OK);
    for (uint32_t n = 2; n < UF_DECLARED; n++) {
        CHECK_EQ(uf_declare(&declared, text, name_of(text, n), UF_DECLARED_TOLD), UF_OK);
    }
    CHECK_EQ(uf_declare(&declared, "one more", 8, UF_DECLARED_TOLD), UF_FULL);
    CHECK_EQ(uf_declared_settings(&declared, "one more", 8), 0);
    CHECK_EQ(told(true), UF_DECLARED);
    uint32_t cases = 0;
    for (uint32_t n = 0; n < 2000; n++) {
        uint64_t *words = (uint64_t *)(void *)declared.record;
        words[next_random(&seed) % (UF_DECLARED * sizeof *declared.record / 8)] =
            next_random(&seed);
        told(false);
        uint32_t bytes = name_of(text, n % UF_DECLARED);
        int status = uf_declare(&declared, text, bytes, UF_DECLARED_TOLD);
        CHECK(status == UF_OK || status == UF_FULL);
        cases++;
    }
    explored("records of anybody's making", cases);
    CHECK_EQ(uf_declared_open(&declared, declared.head, uf_declared_bytes() - 1, 3), UF_CORRUPT);
}

int main(void)
{
    watchdog(100);
    deaths_open();
    void *area =
        mmap(NULL, uf_declared_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(area != MAP_FAILED);
    CHECK_EQ(uf_declared_open(&declared, area, uf_declared_bytes(), 3), UF_OK);
    declared_at_once();
    deaths();
    full_and_hostile();
    return 0;
}
