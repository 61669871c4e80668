/* test_hist.c -- a reported value is never too small and at most 1 % too large; no sample is lost. */
#include "check.h"

#include "uf_hist.h"

static uint64_t seed;

static void buckets_are_in_order(void)
{
    uint64_t edges = 0;
    CHECK_EQ(uf_hist_bucket(0), 0);
    for (uint32_t bucket = 0; bucket + 1 < UF_HIST_BUCKETS; bucket++, edges++) {
        uint64_t upper = uf_hist_upper(bucket);
        CHECK(upper < uf_hist_upper(bucket + 1));
        CHECK_EQ(uf_hist_bucket(upper), bucket);         /* the largest of its bucket, */
        CHECK_EQ(uf_hist_bucket(upper + 1), bucket + 1); /* and the next begins behind it */
    }
    CHECK_EQ(uf_hist_upper(UF_HIST_BUCKETS - 1), (1ull << UF_HIST_TOP) - 1);
    const uint64_t huge[] = {1ull << UF_HIST_TOP, 1ull << 50, UINT64_MAX};
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++, edges++) {
        CHECK_EQ(uf_hist_bucket(huge[i]), UF_HIST_BUCKETS - 1);
    }
    explored("edges between buckets", edges);
}

static void errors_are_small(void)
{
    uint64_t random = seed;
    uint64_t values = 0;
    for (; values < 2000000 / SLOWER; values++) {
        uint64_t value = next_random(&random) >> (64 - UF_HIST_TOP + next_random(&random) % 41);
        uint64_t shown = uf_hist_upper(uf_hist_bucket(value));
        CHECK(shown >= value);
        CHECK((shown - value) * 100 <= value);
    }
    explored("random values shown with at most 1 % of error", values);
}

struct shared {
    struct uf_shard *area;
    _Atomic uint32_t numbers;
    uint64_t each;
};

static void *record(void *argument)
{
    struct shared *shared = argument;
    struct uf_metrics metrics;
    uint32_t number = atomic_fetch_add(&shared->numbers, 1);
    CHECK_EQ(uf_metrics_open(&metrics, shared->area, uf_metrics_bytes(3), number), UF_OK);
    for (uint64_t i = 1; i <= shared->each; i++) {
        CHECK_EQ(uf_hist_record(&metrics, 2, i * (number + 1)), UF_OK);
        CHECK_EQ(uf_counter_add(&metrics, 5, number + 1), UF_OK);
    }
    return NULL;
}

static void nothing_is_lost(void)
{
    struct shared shared = {.each = 40000 / SLOWER};
    struct uf_metrics metrics;
    struct team team = {0};
    static uint64_t counts[UF_HIST_BUCKETS];
    static uint64_t wanted[UF_HIST_BUCKETS];
    uint64_t sum;
    uint64_t max;
    uint64_t value;
    shared.area = aligned_alloc(UF_PAIR, uf_metrics_bytes(3));
    CHECK(shared.area != NULL);
    memset(shared.area, 0, uf_metrics_bytes(3));
    for (int i = 0; i < 5; i++) { /* more processes than shards */
        team_add(&team, record, &shared);
    }
    team_join(&team);
    CHECK_EQ(uf_metrics_open(&metrics, shared.area, uf_metrics_bytes(3), 0), UF_OK);
    CHECK_EQ(uf_hist_read(&metrics, 2, counts, &sum, &max), UF_OK);
    for (uint64_t number = 1; number <= 5; number++) {
        for (uint64_t i = 1; i <= shared.each; i++) {
            wanted[uf_hist_bucket(i * number)]++;
        }
    }
    CHECK_EQ(memcmp(counts, wanted, sizeof counts), 0);
    CHECK_EQ(sum, shared.each * (shared.each + 1) / 2 * 15);
    CHECK_EQ(max, shared.each * 5);
    CHECK_EQ(uf_counter_read(&metrics, 5, &value), UF_OK);
    CHECK_EQ(value, shared.each * 15);
    CHECK_EQ(uf_counter_read(&metrics, 6, &value), UF_OK);
    CHECK_EQ(value, 0);
    CHECK_EQ(uf_hist_record(&metrics, UF_HISTS, 1), UF_INVALID);
    CHECK_EQ(uf_hist_read(&metrics, UF_HISTS, counts, &sum, &max), UF_INVALID);
    CHECK_EQ(uf_counter_add(&metrics, UF_COUNTERS, 1), UF_INVALID);
    CHECK_EQ(uf_counter_read(&metrics, UF_COUNTERS, &value), UF_INVALID);
    CHECK_EQ(uf_metrics_open(&metrics, NULL, 0, 0), UF_CORRUPT);
    CHECK_EQ(uf_metrics_open(&metrics, shared.area, sizeof(struct uf_shard) - 1, 0), UF_CORRUPT);
    free(shared.area);
    explored("samples recorded by five threads in three shards", shared.each * 5);
}

int main(void)
{
    watchdog(60);
    seed = test_seed();
    buckets_are_in_order();
    errors_are_small();
    nothing_is_lost();
    return 0;
}
