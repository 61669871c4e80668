/* test_pool.c -- a block has one owner, and a dead owner's blocks come back. */
#include "arena.h"
#include "deaths.h"

static uint64_t seed;

static struct uf_pool *open_private(const struct uf_class_spec *specs, uint32_t classes,
                                    uint32_t threads)
{
    uint64_t bytes = uf_pool_bytes(specs, classes);
    void *area = aligned_alloc(UF_PAGE, uf_round_up(bytes, UF_PAGE));
    struct uf_pool *pool = calloc(threads, sizeof *pool);
    CHECK(area != NULL && pool != NULL);
    memset(area, 0, bytes);
    CHECK_EQ(uf_pool_init(area, bytes, specs, classes), UF_OK);
    for (uint32_t t = 0; t < threads; t++) {
        CHECK_EQ(uf_pool_open(&pool[t], area, bytes, t + 1), UF_OK);
    }
    return pool;
}

static void close_private(struct uf_pool *pool)
{
    /* The area begins a fixed way before its first bitmap. */
    free((void *)((uintptr_t)pool[0].class[0].bits / UF_PAGE * UF_PAGE));
    free(pool);
}

static uint32_t take_all(struct uf_pool *pool, uint32_t payload, uint32_t *handles)
{
    uint32_t got = 0;
    int status;
    while ((status = uf_pool_take(pool, payload, &handles[got])) == UF_OK) {
        CHECK(uf_pool_room(pool, handles[got]) >= payload);
        got++;
    }
    CHECK_EQ(status, UF_NO_BLOCK);
    return got;
}

static void exact_counts(void)
{
    uint64_t cases = 0;
    static uint32_t handles[8192];
    static const uint32_t counts[] = {1, 2, 31, 32, 63, 64, 65, 127, 128, 2048, 2500};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++, cases++) {
        const struct uf_class_spec spec[] = {{128, counts[i]}};
        struct uf_pool *pool = open_private(spec, 1, 2);
        for (uint32_t round = 0; round < 3; round++) {
            CHECK_EQ(take_all(&pool[0], 64, handles), counts[i]);
            CHECK_EQ(blocks_free(pool), 0);
            CHECK_EQ(blocks_findable(pool), 0);
            CHECK_EQ(uf_pool_give_many(&pool[1], handles, counts[i]), 0); /* not its own */
            uint32_t many = round * counts[i] / 2; /* none, half of them, all */
            CHECK_EQ(uf_pool_give_many(&pool[0], handles, many), many);
            for (uint32_t h = many; h < counts[i]; h++) {
                CHECK_EQ(uf_pool_give(&pool[1], handles[h]), UF_INVALID);
                CHECK_EQ(uf_pool_give(&pool[0], handles[h]), UF_OK);
            }
            /* What the cache keeps is not free, and is little. */
            CHECK_EQ(blocks_free(pool) + pool[0].class[0].cached, counts[i]);
            CHECK(pool[0].class[0].cached <= counts[i] / 32);
            CHECK(pool[0].class[0].cached <= UF_CACHE);
            uf_pool_flush(&pool[0]);
            CHECK_EQ(blocks_free(pool), counts[i]);
            CHECK_EQ(blocks_findable(pool), counts[i]);
        }
        close_private(pool);
    }
    explored("pools emptied and filled to the block", cases);
}

static void classes_and_sizes(void)
{
    static uint32_t handles[64];
    const struct uf_class_spec spec[] = {{128, 3}, {256, 4}, {512, 0}, {1024, 5}, {4096, 6}};
    struct uf_pool *pool = open_private(spec, 5, 1);
    uint64_t cases = 0;
    uint32_t handle;
    CHECK_EQ(uf_pool_take(pool, 4096 - 64 + 1, &handle), UF_TOO_BIG);
    CHECK_EQ(uf_pool_take(pool, UINT32_MAX, &handle), UF_TOO_BIG);
    static const struct {
        uint32_t payload, class;
    } fits[] = {{0, 0}, {1, 0}, {64, 0}, {65, 1}, {192, 1}, {193, 3}, {961, 4}, {4032, 4}};
    for (size_t i = 0; i < sizeof fits / sizeof *fits; i++, cases++) {
        CHECK_EQ(uf_pool_take(pool, fits[i].payload, &handle), UF_OK);
        CHECK_EQ(uf_handle_class(handle), fits[i].class);
        CHECK_EQ(uf_pool_give(pool, handle), UF_OK);
    }
    uf_pool_flush(pool);
    /* A small payload borrows from the next two classes that have blocks, not from the largest. */
    CHECK_EQ(take_all(pool, 10, handles), 3 + 4 + 5);
    CHECK_EQ(take_all(pool, 1000, handles + 12), 6);
    CHECK_EQ(uf_pool_take(pool, 0, &handle), UF_NO_BLOCK);
    for (uint32_t i = 0; i < 18; i++, cases++) {
        CHECK_EQ(uf_pool_give(pool, handles[i]), UF_OK);
        CHECK_EQ(uf_pool_give(pool, handles[i]), pool->class[0].cached ? UF_OK : UF_INVALID);
    }
    CHECK_EQ(blocks_free(pool), 18);
    close_private(pool);
    explored("payload sizes and their classes", cases);
}

static void what_is_not_ours_is_refused(void)
{
    const struct uf_class_spec spec[] = {{128, 100}, {256, 100}};
    struct uf_pool *pool = open_private(spec, 2, 2);
    uint64_t cases = 0;
    uint32_t handle;
    CHECK_EQ(uf_pool_take(&pool[0], 1, &handle), UF_OK);
    const uint32_t wild[] = {UF_HANDLE_NONE,    UINT32_MAX,        uf_handle(0, 100),
                             uf_handle(2, 0),   uf_handle(15, 5),  1u << UF_INDEX_BITS,
                             uf_handle(1, 100), uf_handle(11, 99), (2u << UF_INDEX_BITS) - 1};
    for (size_t i = 0; i < sizeof wild / sizeof *wild; i++, cases++) {
        CHECK(uf_pool_block(&pool[0], wild[i]) == NULL);
        CHECK_EQ(uf_pool_give(&pool[0], wild[i]), UF_INVALID);
    }
    CHECK_EQ(uf_pool_give(&pool[1], handle), UF_INVALID);
    uf_pool_flush(&pool[0]);
    CHECK_EQ(uf_pool_give(&pool[0], handle), UF_OK);
    uf_pool_flush(&pool[0]);
    CHECK_EQ(uf_pool_give(&pool[0], handle), UF_INVALID); /* given twice: it is free */
    CHECK_EQ(blocks_free(pool), 200);
    explored("handles refused", cases + 3);

    /* Bits that lie: all set over taken blocks, then all clear over free ones. */
    static uint32_t handles[256];
    CHECK_EQ(take_all(&pool[0], 1, handles), 200);
    for (uint32_t c = 0; c < 2; c++) {
        for (uint32_t word = 0; word < 2; word++) {
            for (uint32_t bit = 0; bit < 64; bit++) {
                uf_bits_set(pool->class[c].bits, word * 64 + bit);
            }
        }
    }
    CHECK_EQ(uf_pool_take(&pool[1], 1, &handle), UF_NO_BLOCK);
    for (uint32_t i = 0; i < 200; i++) {
        CHECK_EQ(uf_pool_give(&pool[0], handles[i]), UF_OK);
    }
    uf_pool_flush(&pool[0]);
    CHECK_EQ(take_all(&pool[1], 1, handles), 200);
    for (uint32_t i = 0; i < 200; i++) {
        CHECK_EQ(uf_pool_give(&pool[1], handles[i]), UF_OK);
    }
    uf_pool_flush(&pool[1]);
    for (uint32_t c = 0; c < 2; c++) {
        for (uint32_t i = 0; i < 100; i++) {
            uf_bits_clear(pool->class[c].bits, i);
        }
    }
    CHECK_EQ(uf_pool_take(&pool[1], 1, &handle), UF_NO_BLOCK);
    CHECK_EQ(uf_pool_repair(&pool[0]), 200);
    CHECK_EQ(uf_pool_repair(&pool[0]), 0);
    CHECK_EQ(take_all(&pool[1], 1, handles), 200);
    close_private(pool);
    explored("blocks behind bits that lied", 400);
}

/* What an attaching process is shown may be anything. */
static void hostile_heads(void)
{
    const struct uf_class_spec spec[] = {{128, 10}, {256, 10}};
    struct uf_pool pool;
    uint64_t bytes = uf_pool_bytes(spec, 2);
    uint64_t cases = 0;
    uint64_t refused = 0;
    uint8_t *area = aligned_alloc(UF_PAGE, uf_round_up(bytes, UF_PAGE));
    CHECK(area != NULL);
    for (uint32_t bit = 0; bit < 8 * (8 + 2 * 8); bit++, cases++) {
        memset(area, 0, bytes);
        CHECK_EQ(uf_pool_init(area, bytes, spec, 2), UF_OK);
        area[bit / 8] ^= (uint8_t)(1u << bit % 8);
        int status = uf_pool_open(&pool, area, bytes, 1);
        CHECK(status == UF_OK || status == UF_CORRUPT);
        refused += status == UF_CORRUPT;
        if (status == UF_OK) { /* whatever it says now, it stays inside the area */
            uint32_t handle;
            for (int i = 0; i < 40 && uf_pool_take(&pool, 0, &handle) == UF_OK; i++) {
                uint8_t *block = uf_pool_block(&pool, handle);
                CHECK(block >= area &&
                      block + UF_BLOCK_HEAD + uf_pool_room(&pool, handle) <= area + bytes);
            }
        }
    }
    CHECK_EQ(uf_pool_open(&pool, area, sizeof(uint32_t), 1), UF_CORRUPT);
    CHECK_EQ(uf_pool_open(&pool, NULL, 0, 1), UF_CORRUPT);
    CHECK_EQ(uf_pool_init(area, bytes - UF_PAIR, spec, 2), UF_INVALID);
    const struct uf_class_spec wrong[][2] = {
        {{256, 1}, {128, 1}}, {{128, 1}, {128, 1}}, {{64, 1}, {128, 1}}, {{100, 1}, {128, 1}}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++, cases++) {
        CHECK_EQ(uf_pool_init(area, bytes, wrong[i], 2), UF_INVALID);
    }
    free(area);
    explored("damaged heads opened", cases);
    explored("  of them refused", refused);
}

/* --- threads ---------------------------------------------------------------------------------- */

struct hammer {
    struct uf_pool *pool;
    pthread_barrier_t start;
    _Atomic uint32_t numbers;
    _Atomic uint64_t taken;
    _Atomic uint64_t refused;
    uint32_t keep; /* at most so many at once */
};

static void *hammering(void *argument)
{
    struct hammer *hammer = argument;
    uint32_t number = atomic_fetch_add(&hammer->numbers, 1);
    struct uf_pool *pool = &hammer->pool[number];
    uint64_t random = seed + number;
    uint32_t held[8];
    uint64_t stamp[8];
    uint32_t count = 0;
    pthread_barrier_wait(&hammer->start);
    for (uint32_t i = 0; i < 40000 / SLOWER; i++) {
        if (count < hammer->keep && next_random(&random) % 2 == 0) {
            int status = uf_pool_take(pool, 8, &held[count]);
            if (status != UF_OK) {
                CHECK_EQ(status, UF_NO_BLOCK);
                atomic_fetch_add_explicit(&hammer->refused, 1, memory_order_relaxed);
                sched_yield();
                continue;
            }
            /* Plain: W1 and W2 alone make it safe. */
            stamp[count] = next_random(&random);
            memcpy((uint8_t *)uf_pool_block(pool, held[count]) + UF_BLOCK_HEAD, &stamp[count], 8);
            count++;
            atomic_fetch_add_explicit(&hammer->taken, 1, memory_order_relaxed);
        } else if (count > 1 && next_random(&random) % 4 == 0) {
            CHECK_EQ(uf_pool_give_many(pool, &held[count - 2], 2), 2);
            count -= 2;
        } else if (count > 0) {
            uint32_t which = (uint32_t)(next_random(&random) % count);
            uint64_t now;
            memcpy(&now, (uint8_t *)uf_pool_block(pool, held[which]) + UF_BLOCK_HEAD, 8);
            CHECK_EQ(now, stamp[which]); /* nobody else wrote it */
            CHECK_EQ(uf_pool_give(pool, held[which]), UF_OK);
            held[which] = held[--count];
            stamp[which] = stamp[count];
        }
    }
    CHECK_EQ(uf_pool_give_many(pool, held, count), count);
    uf_pool_flush(pool);
    return NULL;
}

static void one_owner_at_a_time(void)
{
    static const uint32_t counts[] = {1, 2, 4, 64, 200};
    uint64_t taken = 0;
    uint64_t refused = 0;
    uf_step_hook = yield_at_marks;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct team team = {0};
        const struct uf_class_spec spec[] = {{128, counts[i]}};
        struct hammer hammer = {.pool = open_private(spec, 1, 6),
                                .keep = counts[i] < 8 ? counts[i] : 8};
        pthread_barrier_init(&hammer.start, NULL, 6);
        for (int t = 0; t < 6; t++) {
            team_add(&team, hammering, &hammer);
        }
        team_join(&team);
        pthread_barrier_destroy(&hammer.start);
        CHECK_EQ(blocks_free(hammer.pool), counts[i]);
        CHECK_EQ(blocks_findable(hammer.pool), counts[i]); /* no give was lost to a stale clear */
        taken += hammer.taken;
        refused += hammer.refused;
        close_private(hammer.pool);
    }
    uf_step_hook = NULL;
    explored("blocks taken and given by six threads, one owner each", taken);
    explored("  times that all were taken", refused);
}

/* --- deaths ----------------------------------------------------------------------------------- */

static struct arena arena;

static void take_and_give(void *argument)
{
    struct seat seat;
    uint32_t handles[6];
    (void)argument;
    seat_take(&seat, &arena);
    for (int i = 0; i < 6; i++) {
        CHECK_EQ(uf_pool_take(&seat.pool, 8, &handles[i]), UF_OK);
    }
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(uf_pool_give(&seat.pool, handles[i]), UF_OK);
    }
    CHECK_EQ(uf_pool_give_many(&seat.pool, &handles[3], 3), 3);
    seat_leave(&seat);
}

static void mend_one(void *slot)
{
    struct seat seat;
    struct uf_queue_recovery done;
    seat_take(&seat, &arena);
    seat_mend(&seat, *(uint32_t *)slot, &done);
    seat_leave(&seat);
}

static void check_all_back(struct seat *seat)
{
    struct uf_queue_recovery done;
    for (uint32_t slot = 0; slot < seat->self.count; slot++) {
        if (slot != seat->self.slot) {
            seat_mend(seat, slot, &done);
        }
    }
    CHECK_EQ(blocks_free(&seat->pool), blocks_all(&seat->pool));
    CHECK_EQ(blocks_findable(&seat->pool), blocks_all(&seat->pool));
}

/* The owner dies at each mark; then its recoverer at each mark too. */
static void deaths(uint32_t count)
{
    struct death_tally tally = {0};
    struct death_tally second = {0};
    struct seat seat;
    char what[80];
    const struct arena_sizes sizes = {
        .owners = 4, .queues = 1, .capacity = 2, .classes = 1, .class = {{128, count}}};
    arena_open(&arena, &sizes);
    seat_take(&seat, &arena);
    for (uint32_t at = 1; death_at(at, take_and_give, NULL); at++) {
        tally_death(&tally);
        check_all_back(&seat);
        for (uint32_t again = 1; at % SLOWER == 0; again++) {
            CHECK(death_at(at, take_and_give, NULL));
            uint32_t slot = 1;
            bool died = death_at(again, mend_one, &slot);
            if (died) {
                tally_death(&second);
            }
            check_all_back(&seat);
            if (!died) {
                break;
            }
        }
    }
    check_labels(&tally, count < 32 ? "P1 P2 P3" : "P1 P2 P3 P4");
    check_labels_if_all(&second, "P5 O3");
    seat_leave(&seat);
    arena_close(&arena);
    snprintf(what, sizeof what, "deaths at a mark of take, give and flush, %u blocks", count);
    explored(what, tally.deaths);
    explored("  deaths of their recoverers", second.deaths);
}

int main(void)
{
    watchdog(100);
    seed = test_seed();
    deaths_open();
    exact_counts();
    classes_and_sizes();
    what_is_not_ours_is_refused();
    hostile_heads();
    deaths(6);   /* no cache */
    deaths(130); /* a cache of four */
    one_owner_at_a_time();
    return 0;
}
