/* test_hostile.c -- words that no process of ours writes, one test for each that once led astray. */
#include "arena.h"

#include "uf_agents_in.h"

/* A warm agent's hint goes to its type's ring: by a type that is none, it went behind the last one. */
static void a_type_that_is_none(void)
{
    enum { COUNT = 8, TYPES = 2, WARM = 4, BEHIND = 4096 };
    struct uf_agents agents;
    uint64_t bytes = uf_agents_bytes(COUNT, TYPES, WARM);
    uint8_t *area = aligned_alloc(UF_PAGE, uf_round_up(bytes, UF_PAGE) + BEHIND);
    uint64_t id;
    uint32_t type;
    uint64_t cases = 0;
    CHECK(area != NULL);
    for (uint32_t wild = TYPES; wild < 256; wild++, cases++) {
        memset(area, 0, uf_round_up(bytes, UF_PAGE) + BEHIND);
        CHECK_EQ(uf_agents_init(area, bytes, COUNT, TYPES, WARM), UF_OK);
        CHECK_EQ(uf_agents_open(&agents, area, bytes, 1), UF_OK);
        CHECK_EQ(uf_agents_type(&agents, "coder", true, &type), UF_OK);
        CHECK_EQ(uf_agent_new(&agents, type, 0, 1, UF_AGENT_BUILDING, 9, 0, 1, &id), UF_OK);
        _Atomic uint64_t *word = &agents.record[uf_agent_slot(id)].word;
        uint64_t sound = *word;
        *word = (sound & ~(0xffull << 26)) | (uint64_t)wild << 26;
        uint64_t damaged = *word;
        CHECK_EQ(uf_agent_move(&agents, id, UF_AGENT_BUILDING, UF_AGENT_WARM), UF_CORRUPT);
        CHECK_EQ(*word, damaged);
        for (uint64_t at = bytes; at < uf_round_up(bytes, UF_PAGE) + BEHIND; at++) {
            CHECK_EQ(area[at], 0);
        }
        *word = sound;
        CHECK_EQ(uf_agent_move(&agents, id, UF_AGENT_BUILDING, UF_AGENT_WARM), UF_OK);
    }
    free(area);
    explored("records whose type is none, refused", cases);
}

int main(void)
{
    watchdog(60);
    a_type_that_is_none();
    return 0;
}
