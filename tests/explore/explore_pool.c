/* explore_pool.c -- the pool: a block has one owner at a time, and a free one can be found. */
#include "seats.h"

#define BLOCKS_MAX 3

static uint64_t *used; /* a plain word a block: two owners at a time are a race */
static uint32_t got[EXPLORE_THREADS];
static uint32_t refused[EXPLORE_THREADS];
static uint32_t refused_ever;

static void setup(uint32_t blocks, uint32_t cache)
{
    memset(got, 0, sizeof got);
    memset(refused, 0, sizeof refused);
    seats_pool(blocks, cache);
    used = explore_alloc(BLOCKS_MAX * sizeof *used);
    explore_name(used, "used");
    explore_keep(got, sizeof got);
    explore_keep(refused, sizeof refused);
    refused_ever = 0;
}
static void setup_1(void)
{
    setup(1, 0);
}
static void setup_2(void)
{
    setup(2, 0);
}
static void setup_3(void)
{
    setup(3, 0);
}
static void setup_2_cached(void)
{
    setup(2, 2);
}

static bool take(uint32_t *handle)
{
    int status = uf_pool_take(&my_seat()->pool, 8, handle);
    if (status != UF_OK) {
        CHECK_EQ(status, UF_NO_BLOCK);
        refused[explore_self()]++;
        return false;
    }
    got[explore_self()]++;
    CHECK_EQ(used[uf_handle_index(*handle)], 0);
    used[uf_handle_index(*handle)] = explore_self() + 1;
    explore_settled(1, *handle, 0);
    return true;
}

static void give(uint32_t handle)
{
    CHECK_EQ(used[uf_handle_index(handle)], explore_self() + 1);
    used[uf_handle_index(handle)] = 0;
    CHECK_EQ(uf_pool_give(&my_seat()->pool, handle), UF_OK);
}

static void take_give(void)
{
    uint32_t handle;
    if (take(&handle)) {
        give(handle);
    }
}
static void take_give_twice(void)
{
    take_give();
    explore_settled(2, 0, 0);
    take_give();
}
static void take_give_flush(void)
{
    take_give();
    uf_pool_flush(&my_seat()->pool);
}
static void take_two_give_two(void)
{
    uint32_t handle[2] = {0, 0};
    bool first = take(&handle[0]);
    explore_settled(3, first, handle[0]);
    bool second = take(&handle[1]);
    explore_settled(4, (uint64_t)first << 1 | second, (uint64_t)handle[0] << 32 | handle[1]);
    if (first) {
        give(handle[0]);
    }
    if (second) {
        give(handle[1]);
    }
}

static void take_two_give_many(void)
{
    uint32_t handle[3] = {0, 0, UF_HANDLE_NONE}; /* what names no block is left alone */
    uint32_t count = take(&handle[0]);
    explore_settled(5, count, handle[0]);
    count += take(&handle[count]);
    explore_settled(6, count, (uint64_t)handle[0] << 32 | handle[1]);
    for (uint32_t i = 0; i < count; i++) {
        CHECK_EQ(used[uf_handle_index(handle[i])], explore_self() + 1);
        used[uf_handle_index(handle[i])] = 0;
    }
    CHECK_EQ(uf_pool_give_many(&my_seat()->pool, handle, 3), count);
    uf_pool_flush(&my_seat()->pool);
}
static void repair(void)
{
    uf_pool_repair(&my_seat()->pool);
}

/* A block given back twice, and one that is another's, are refused. */
static void take_give_misused(void)
{
    uint32_t handle;
    if (take(&handle)) {
        give(handle);
        CHECK_EQ(uf_pool_give(&my_seat()->pool, handle), UF_INVALID);
    }
}

static void finish(void)
{
    blocks_are_back(0);
    for (uint32_t t = 0; t < EXPLORE_THREADS; t++) {
        refused_ever += refused[t];
    }
}

static void enough_for_all(void)
{
    blocks_are_back(0);
    for (uint32_t t = 0; t < EXPLORE_THREADS; t++) {
        CHECK_EQ(refused[t], 0);
    }
}

static void some_refused(void)
{
    CHECK(refused_ever > 0);
}

/* The dead thread's blocks by their names, and the bits that it owed. */
static void mend(void)
{
    struct uf_pool *pool = &my_seat()->pool;
    explore_inherit();
    for (uint32_t i = 0; i < pool->class[0].count; i++) {
        struct uf_message *block = uf_pool_block(pool, uf_handle(0, i));
        uint64_t word = atomic_load_explicit(&block->owner, memory_order_acquire);
        if (uf_word_owner(word) == explore_dead() + 1 && uf_word_state(word) == UF_BLOCK_OWNED) {
            used[i] = 0;
            CHECK(uf_pool_reclaim(pool, uf_handle(0, i), word));
        }
    }
    uf_pool_repair(pool);
}

#define POOL(title, least, ...) {.name = title, .minimum = least, __VA_ARGS__}

static const struct explore_check checks[] = {
    POOL("pool-1-block", 950, .setup = setup_1, .body = {take_give_twice, take_give_twice},
         .finish = finish, .after = some_refused),
    POOL("pool-1-block-3-takers", 2500, .setup = setup_1, .body = {take_give, take_give, take_give},
         .finish = finish, .after = some_refused),
    POOL("pool-2-blocks", 2800, .setup = setup_2, .body = {take_two_give_two, take_give_twice},
         .finish = finish, .after = some_refused),
    POOL("pool-enough", 300, .setup = setup_2, .body = {take_give, take_give},
         .finish = enough_for_all),
    POOL("pool-enough-for-3", 9400, .setup = setup_3, .body = {take_give, take_give, take_give},
         .finish = enough_for_all, .usual = {1, 2}, .deep = {0, 3}),
    POOL("pool-cached", 510, .setup = setup_2_cached, .body = {take_give_flush, take_two_give_two},
         .finish = finish),
    POOL("pool-give-many", 2300, .setup = setup_2, .body = {take_two_give_many, take_give_twice},
         .finish = finish, .after = some_refused),
    POOL("pool-give-many-cached", 1100, .setup = setup_2_cached,
         .body = {take_two_give_many, take_two_give_many}, .finish = finish),
    POOL("pool-repair-beside", 11000, .setup = setup_1,
         .body = {take_give_twice, take_give, repair}, .finish = finish),
    POOL("pool-misused", 120, .setup = setup_1, .body = {take_give_misused, take_give},
         .finish = finish),
    POOL("pool-death", 78000, .setup = setup_2, .body = {take_give_twice, take_give, mend},
         .finish = finish, .mortal = 1, .mourners = 4, .usual = {0, 2}, .deep = {0, 3}),
    POOL("pool-death-many", 49000, .setup = setup_2, .body = {take_two_give_many, take_give, mend},
         .finish = finish, .mortal = 1, .mourners = 4, .usual = {0, 2}, .deep = {0, 3}),
};

int main(int argc, char **argv)
{
    return explore_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
