/* test_share.c -- one payload for many receivers: whole for each of them, freed with the last reference
 * and not before, whoever dies at whichever mark; and no reference, however damaged, leads outside.
 */
#include "arena.h"
#include "deaths.h"

#include "uf_share.h"

#define PAYLOAD_BYTES 400u
#define NOTE_BYTES 5u

static struct arena arena;
static struct seat parent;
static uint64_t seed;

static const struct arena_sizes sizes = {
    .owners = 6, .queues = 3, .capacity = 4, .classes = 2, .class = {{128, 40}, {512, 12}}};

/* What the children write into the note. */
enum { NOTE_ACCEPTED = 1, NOTE_GIVING = 2, NOTE_GIVEN = 3 };

static void payload_put(const struct uf_pool *pool, uint32_t handle, uint64_t number)
{
    struct uf_message *block = uf_pool_block(pool, handle);
    block->payload_bytes = PAYLOAD_BYTES;
    block->flags = 0;
    for (uint32_t i = 0; i < PAYLOAD_BYTES / 8; i++) {
        uint64_t word = number * 0x9e3779b97f4a7c15ull + i;
        memcpy((uint8_t *)block + UF_BLOCK_HEAD + 8 * i, &word, 8);
    }
}

/* The number of a reference's payload, which is whole. */
static uint64_t payload_number(const struct uf_pool *pool, uint32_t reference)
{
    struct uf_shared shared;
    uint64_t first;
    CHECK_EQ(uf_share_look(pool, reference, &shared), UF_OK);
    CHECK_EQ(shared.payload_bytes, PAYLOAD_BYTES);
    CHECK_EQ(shared.note_bytes, NOTE_BYTES);
    CHECK(memcmp(shared.note, "note", NOTE_BYTES) == 0);
    memcpy(&first, shared.payload, 8);
    for (uint32_t i = 0; i < PAYLOAD_BYTES / 8; i++) {
        uint64_t word;
        memcpy(&word, shared.payload + 8 * i, 8);
        CHECK_EQ(word, first + i);
    }
    return first * 0xf1de83e19937733dull; /* the multiplier's inverse */
}

static uint32_t reference_take(struct uf_pool *pool)
{
    uint32_t handle;
    CHECK_EQ(uf_pool_take(pool, sizeof(struct uf_reference) + NOTE_BYTES, &handle), UF_OK);
    struct uf_message *message = uf_pool_block(pool, handle);
    message->payload_bytes = sizeof(struct uf_reference) + NOTE_BYTES;
    message->flags = 0;
    message->attempt = 0;
    memcpy((uint8_t *)message + UF_BLOCK_HEAD + sizeof(struct uf_reference), "note", NOTE_BYTES);
    return handle;
}

static uint32_t share_among(struct uf_pool *pool, uint64_t number, uint32_t *references,
                            uint32_t count)
{
    uint32_t handle;
    CHECK_EQ(uf_pool_take(pool, PAYLOAD_BYTES, &handle), UF_OK);
    payload_put(pool, handle, number);
    for (uint32_t r = 0; r < count; r++) {
        references[r] = reference_take(pool);
    }
    CHECK_EQ(uf_share(pool, handle, references, count), UF_OK);
    return handle;
}

static uint64_t word_of(const struct uf_pool *pool, uint32_t handle)
{
    return ((struct uf_message *)uf_pool_block(pool, handle))->owner;
}

static void check_all_blocks_free(struct seat *seat)
{
    uf_pool_flush(&seat->pool);
    CHECK_EQ(blocks_free(&seat->pool), blocks_all(&seat->pool));
    CHECK_EQ(blocks_findable(&seat->pool), blocks_all(&seat->pool));
}

/* --- one process ------------------------------------------------------------------------------- */

static void the_last_holder_frees(void)
{
    struct uf_pool *pool = &parent.pool;
    uint64_t cases = 0;
    for (uint32_t count = 1; count <= UF_HOLDERS; count++) {
        for (uint32_t round = 0; round < 8; round++, cases++) {
            uint32_t references[UF_HOLDERS];
            uint32_t handle = share_among(pool, cases, references, count);
            uint64_t before = word_of(pool, handle);
            CHECK_EQ(uf_word_state(before), UF_BLOCK_SHARED);
            CHECK_EQ(uf_pool_give(pool, handle), UF_INVALID); /* nobody's alone */
            for (uint32_t left = count; left > 0; left--) {
                uint32_t at = (uint32_t)(next_random(&seed) % left);
                uint32_t reference = references[at];
                references[at] = references[left - 1];
                CHECK_EQ(uf_word_state(word_of(pool, handle)), UF_BLOCK_SHARED);
                CHECK_EQ(payload_number(pool, reference), cases);
                if (round % 2 == 0) {
                    CHECK_EQ(uf_message_handled(pool, reference), UF_OK);
                    CHECK_EQ(payload_number(pool, reference), cases); /* a view may last */
                }
                CHECK_EQ(uf_message_give(pool, reference), UF_OK);
                /* It is an ordinary block again, whose payload recovery will not read. */
                CHECK(uf_word_place(word_of(pool, reference)) != UF_PLACE_REFERENCE);
                CHECK_EQ(((struct uf_message *)uf_pool_block(pool, reference))->flags, 0);
            }
            CHECK_EQ(uf_word_state(word_of(pool, handle)), UF_BLOCK_FREE);
            CHECK_EQ(uf_word_version(word_of(pool, handle)), uf_word_version(before) + 1);
        }
    }
    check_all_blocks_free(&parent);
    explored("payloads freed by their last holder", cases);
}

static void misuse_is_refused(void)
{
    struct uf_pool *pool = &parent.pool;
    uint32_t references[UF_HOLDERS + 1];
    uint32_t handle;
    uint32_t other;
    struct uf_shared shared;
    CHECK_EQ(uf_pool_take(pool, PAYLOAD_BYTES, &handle), UF_OK);
    payload_put(pool, handle, 1);
    for (uint32_t r = 0; r <= UF_HOLDERS; r++) {
        references[r] = reference_take(pool);
    }
    CHECK_EQ(uf_share(pool, handle, references, 0), UF_INVALID);
    CHECK_EQ(uf_share(pool, handle, references, UF_HOLDERS + 1), UF_INVALID);
    CHECK_EQ(uf_share(pool, UF_HANDLE_NONE, references, 1), UF_INVALID);
    CHECK_EQ(uf_share(pool, handle, &handle, 1), UF_INVALID);
    other = references[0];
    CHECK_EQ(uf_pool_give(pool, other), UF_OK);
    uf_pool_flush(pool);
    CHECK_EQ(uf_share(pool, handle, references, 1), UF_INVALID); /* given back: not ours */
    CHECK_EQ(uf_share(pool, handle, references + 1, 2), UF_OK);
    CHECK_EQ(uf_share(pool, handle, references + 3, 1), UF_INVALID); /* shared once */
    CHECK_EQ(uf_share_look(pool, other, &shared), UF_CORRUPT);
    CHECK_EQ(uf_share_look(pool, UF_HANDLE_NONE, &shared), UF_INVALID);
    CHECK_EQ(uf_share_give(pool, other), UF_INVALID);
    CHECK_EQ(uf_message_give(pool, UF_HANDLE_NONE), UF_INVALID);
    CHECK_EQ(uf_message_handled(pool, UF_HANDLE_NONE), UF_INVALID);
    for (uint32_t r = 1; r <= UF_HOLDERS; r++) {
        CHECK_EQ(uf_message_give(pool, references[r]), UF_OK);
    }
    check_all_blocks_free(&parent);
    explored("misuses refused", 9);
}

/* Bits of a reference are flipped: it leads to its payload, or nowhere; and it is given back all the same.
 * What another publication shares meanwhile is not touched. */
static void damaged_references_lead_nowhere(void)
{
    struct uf_pool *pool = &parent.pool;
    const uint64_t rounds = 20000 / SLOWER;
    uint64_t refused = 0;
    for (uint64_t round = 0; round < rounds; round++) {
        uint32_t references[2];
        uint32_t others[3];
        struct uf_shared shared = {0};
        uint32_t handle = share_among(pool, round, references, 2);
        uint32_t kept = share_among(pool, round + 1, others, 3);
        struct uf_message *message = uf_pool_block(pool, references[0]);
        uint8_t *bytes = (uint8_t *)message + UF_BLOCK_HEAD;
        uint32_t flips = 1 + (uint32_t)(next_random(&seed) % 4);
        for (uint32_t f = 0; f < flips; f++) {
            uint32_t bit = (uint32_t)(next_random(&seed) % 160);
            if (bit < 128) {
                bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            } else {
                message->payload_bytes ^= 1u << (bit - 128);
            }
        }
        int status = uf_share_look(pool, references[0], &shared);
        if (status == UF_OK) {
            const uint8_t *block = uf_pool_block(pool, handle);
            const uint8_t *second = uf_pool_block(pool, kept);
            CHECK(shared.payload == block + UF_BLOCK_HEAD ||
                  shared.payload == second + UF_BLOCK_HEAD);
            CHECK_EQ(shared.payload_bytes, PAYLOAD_BYTES);
            CHECK(shared.note_bytes + sizeof(struct uf_reference) <=
                  uf_pool_room(pool, references[0]));
        } else {
            CHECK_EQ(status, UF_CORRUPT);
            refused++;
        }
        CHECK_EQ(uf_message_give(pool, references[0]), UF_OK);
        /* A lost reference leaves its bit: what damage costs is a block, not a wild write. */
        if (uf_word_state(word_of(pool, handle)) == UF_BLOCK_SHARED) {
            uf_message_give(pool, references[1]);
        }
        for (uint32_t r = 0; r < 3; r++) {
            CHECK_EQ(uf_message_give(pool, others[r]), UF_OK);
        }
        uint64_t word = word_of(pool, handle);
        if (uf_word_state(word) == UF_BLOCK_SHARED) {
            CHECK(uf_pool_reclaim(pool, handle, word));
        }
        CHECK_EQ(uf_word_state(word_of(pool, kept)), UF_BLOCK_FREE);
    }
    check_all_blocks_free(&parent);
    explored("damaged references refused", refused);
}

/* --- threads ----------------------------------------------------------------------------------- */

#define RECEIVERS 3u

static uint64_t publications;
static _Atomic uint64_t received;

static void *publishing_thread(void *unused)
{
    struct seat seat;
    (void)unused;
    seat_take(&seat, &arena);
    for (uint64_t p = 0; p < publications;) {
        uint32_t references[RECEIVERS];
        uint32_t handle;
        uint32_t bell;
        if (uf_pool_take(&seat.pool, PAYLOAD_BYTES, &handle) != UF_OK) {
            sched_yield();
            continue;
        }
        payload_put(&seat.pool, handle, p);
        for (uint32_t r = 0; r < RECEIVERS; r++) {
            references[r] = reference_take(&seat.pool);
        }
        CHECK_EQ(uf_share(&seat.pool, handle, references, RECEIVERS), UF_OK);
        for (uint32_t r = 0; r < RECEIVERS; r++) {
            while (uf_queue_send(&seat.queues, r, 0, &references[r], 1, &bell) != 1) {
                sched_yield();
            }
        }
        p++;
    }
    seat_leave(&seat);
    return NULL;
}

static void *receiving_thread(void *number)
{
    struct seat seat;
    struct uf_receiver receiver = {.queue = (uint32_t)(uintptr_t)number};
    seat_take(&seat, &arena);
    for (uint64_t next = 0; next < publications;) {
        uint32_t handle;
        if (uf_queue_take(&seat.queues, &receiver, &handle, 1) != 1) {
            sched_yield();
            continue;
        }
        CHECK_EQ(payload_number(&seat.pool, handle), next);
        CHECK_EQ(uf_message_give(&seat.pool, handle), UF_OK);
        atomic_fetch_add(&received, 1);
        next++;
    }
    seat_leave(&seat);
    return NULL;
}

static void each_receives_whole_payloads(void)
{
    struct team team = {0};
    publications = 20000 / SLOWER;
    uf_step_hook = yield_at_marks;
    team_add(&team, publishing_thread, NULL);
    for (uintptr_t r = 0; r < RECEIVERS; r++) {
        team_add(&team, receiving_thread, (void *)r);
    }
    team_join(&team);
    uf_step_hook = NULL;
    CHECK_EQ(received, publications * RECEIVERS);
    check_all_blocks_free(&parent);
    explored("payloads read whole by three receivers", received);
}

/* --- deaths ------------------------------------------------------------------------------------ */

static struct death_tally first;
static struct death_tally second;

static void note(int word, uint64_t number)
{
    death_note->words[word] |= 1ull << number;
}

/* Three receivers and one that does not take it. */
static void publishing(void *unused)
{
    struct seat seat;
    uint32_t references[4];
    uint32_t bell;
    (void)unused;
    seat_take(&seat, &arena);
    share_among(&seat.pool, 7, references, 4);
    for (uint32_t r = 0; r < 3; r++) {
        CHECK_EQ(uf_queue_send(&seat.queues, r, 1, &references[r], 1, &bell), 1);
        note(NOTE_ACCEPTED, r);
    }
    CHECK_EQ(uf_queue_send(&seat.queues, 99, 1, &references[3], 1, &bell), UF_INVALID);
    CHECK_EQ(uf_message_give(&seat.pool, references[3]), UF_OK);
    seat_leave(&seat);
}

static void receiving(void *unused)
{
    struct seat seat;
    (void)unused;
    seat_take(&seat, &arena);
    for (uint32_t q = 0; q < 2; q++) {
        struct uf_receiver receiver = {.queue = q};
        uint32_t handle;
        CHECK_EQ(uf_queue_take(&seat.queues, &receiver, &handle, 1), 1);
        CHECK_EQ(payload_number(&seat.pool, handle), 7);
        note(NOTE_GIVING, q);
        if (q == 1) {
            CHECK_EQ(uf_message_handled(&seat.pool, handle), UF_OK);
            note(NOTE_GIVEN, q);
        }
        CHECK_EQ(uf_message_give(&seat.pool, handle), UF_OK);
        note(NOTE_GIVEN, q);
    }
    seat_leave(&seat);
}

/* Sent at most once: what its taker dies with is freed, and with the last of them the payload. */
static void receiving_once(void *unused)
{
    struct seat seat;
    struct uf_receiver receiver = {.queue = 0};
    uint32_t handle;
    (void)unused;
    seat_take(&seat, &arena);
    CHECK_EQ(uf_queue_take(&seat.queues, &receiver, &handle, 1), 1);
    note(NOTE_GIVING, 0);
    CHECK_EQ(uf_message_give(&seat.pool, handle), UF_OK);
    seat_leave(&seat);
}

static void mending(void *unused)
{
    struct seat seat;
    struct uf_queue_recovery done;
    (void)unused;
    seat_take(&seat, &arena);
    for (uint32_t slot = 0; slot < seat.self.count; slot++) {
        seat_mend(&seat, slot, &done);
    }
    seat_leave(&seat);
}

static void mend_all(void)
{
    struct uf_queue_recovery done;
    for (uint32_t slot = 0; slot < parent.self.count; slot++) {
        seat_mend(&parent, slot, &done);
    }
}

/* Which queues had the publication: each once, whole. */
static uint64_t drain(void)
{
    uint64_t had = 0;
    for (uint32_t q = 0; q < 3; q++) {
        struct uf_receiver receiver = {.queue = q};
        uint32_t handle;
        while (uf_queue_adopt(&parent.queues, q, &handle, 1) == 1 ||
               uf_queue_take(&parent.queues, &receiver, &handle, 1) == 1) {
            CHECK_EQ(payload_number(&parent.pool, handle), 7);
            CHECK((had >> q & 1) == 0);
            had |= 1ull << q;
            CHECK_EQ(uf_message_give(&parent.pool, handle), UF_OK);
        }
    }
    return had;
}

static void prepare_nothing(void)
{
}

static void publish_with(uint16_t flags)
{
    uint32_t references[3];
    uint32_t bell;
    share_among(&parent.pool, 7, references, 3);
    for (uint32_t r = 0; r < 3; r++) {
        ((struct uf_message *)uf_pool_block(&parent.pool, references[r]))->flags |= flags;
        CHECK_EQ(uf_queue_send(&parent.queues, r, 1, &references[r], 1, &bell), 1);
    }
}

static void prepare_published(void)
{
    publish_with(0);
}

static void prepare_published_once(void)
{
    publish_with(UF_MESSAGE_ONCE);
}

static void after_publishing(const uint64_t *told)
{
    uint64_t had = drain();
    CHECK_EQ(had & told[NOTE_ACCEPTED], told[NOTE_ACCEPTED]);
    CHECK((had & (had + 1)) == 0 && had <= (told[NOTE_ACCEPTED] << 1 | 1)); /* one untold at most */
}

static void after_receiving(const uint64_t *told)
{
    uint64_t had = drain();
    CHECK_EQ(had & told[NOTE_GIVEN], 0);
    CHECK_EQ((had | told[NOTE_GIVING]) & 7, 7);
}

static void after_receiving_once(const uint64_t *told)
{
    (void)told;
    CHECK_EQ(drain() & 6, 6);
}

struct story {
    const char *what;
    void (*prepare)(void);
    void (*work)(void *);
    void (*after)(const uint64_t *);
    const char *marks;
};

static const struct story stories[] = {
    {"deaths of publishers", prepare_nothing, publishing, after_publishing, "H1 H2 R1 H3 H5 H4"},
    {"deaths of receivers", prepare_published, receiving, after_receiving, "Q2 Q3 H3 H5 H4 P4"},
    {"deaths of receivers at most once", prepare_published_once, receiving_once,
     after_receiving_once, "Q3 H3 H5 H4"},
};

static bool one_death(const struct story *story, uint32_t at, uint32_t again)
{
    struct death_note told;
    story->prepare();
    bool died = death_at(at, story->work, NULL);
    told = *death_note;
    if (died) {
        tally_death(&first);
    }
    if (again > 0 && death_at(again, mending, NULL)) {
        tally_death(&second);
    }
    mend_all();
    story->after(told.words);
    check_all_blocks_free(&parent);
    return died;
}

static void deaths_of(const struct story *story)
{
    memset(&first, 0, sizeof first);
    uint64_t before = second.deaths;
    for (uint32_t at = 1; one_death(story, at, 0); at++) {
        for (uint32_t again = 1 + at % SLOWER; again < 60; again += SLOWER) {
            uint64_t so_far = second.deaths;
            CHECK(one_death(story, at, again));
            if (second.deaths == so_far) {
                break; /* its recoverer came through */
            }
        }
    }
    check_labels(&first, story->marks);
    explored(story->what, first.deaths);
    explored("  and then of their recoverers", second.deaths - before);
}

int main(void)
{
    watchdog(100);
    seed = test_seed();
    deaths_open();
    arena_open(&arena, &sizes);
    seat_take(&parent, &arena);
    the_last_holder_frees();
    misuse_is_refused();
    damaged_references_lead_nowhere();
    for (size_t i = 0; i < sizeof stories / sizeof *stories; i++) {
        deaths_of(&stories[i]);
    }
    check_labels_if_all(&second, "H8 H5 H9 P5");
    each_receives_whole_payloads();
    seat_leave(&parent);
    arena_close(&arena);
    return 0;
}
