/* uf_hist.h -- counters and latency histograms that all processes add to and anybody reads.
 *
 * WHAT       A shard is UF_COUNTERS counters and UF_HISTS histograms; a process adds to the shard of
 *            its slot, a reader sums all shards.
 * PICTURE    histogram: [ sum | max | bucket 0 .. 4479 ]; log-linear: values below 128 exact, then
 *            every power of two in 128 equal buckets
 *                  bucket = value                                   value < 128
 *                  bucket = (e - 6) * 128 + (value >> (e - 7)) - 128     e = floor(log2(value))
 * OWNERSHIP  Everybody adds; nobody resets. A window is the difference of two readings.
 * THREADS    Any; two processes whose slots share a shard only contend.
 * PROGRESS   Wait-free: three or four relaxed additions. Readers take no lock and see counts that
 *            other processes add to meanwhile.
 * DEATH      A process killed in the middle of a record has added the sample to its bucket or not; a
 *            sample count is always the sum of the buckets, so it and the quantiles agree.
 * ORDER      None: counts, from which nothing else is inferred.
 * ERRORS     INVALID: no such counter or histogram.
 * PROOF      P1: a death in the middle of a record, `steps`. P2: holds no message. P5: counts only,
 *            `test_hist`. P8: `test_hist` (an index that is none).
 * SOURCE     Log-linear buckets: G. Tene, HdrHistogram. A value is reported as its bucket's upper
 *            edge: never too small, too large by less than 1/128 (0.8 %).
 */
#ifndef UF_HIST_H
#define UF_HIST_H

#include "uf_owner.h"

#define UF_HIST_SUB 128u
#define UF_HIST_TOP 41u /* values of 2^41 ns (37 minutes) and more share the last bucket */
#define UF_HIST_BUCKETS ((UF_HIST_TOP - 7u) * UF_HIST_SUB + UF_HIST_SUB)
#define UF_HISTS 12u
#define UF_COUNTERS 64u

/* Every process of the shard writes all of it, by relaxed additions. */
struct uf_hist {
    _Atomic uint64_t sum;
    _Atomic uint64_t max;
    _Atomic uint64_t bucket[UF_HIST_BUCKETS];
};

/* As uf_hist: whoever the shard serves writes it. */
struct uf_shard {
    alignas(UF_PAIR) _Atomic uint64_t counter[UF_COUNTERS];
    struct uf_hist hist[UF_HISTS];
};

/* Private. */
struct uf_metrics {
    struct uf_shard *shard; /* all of them */
    struct uf_shard *mine;
    uint32_t shards;
};

static inline uint64_t uf_metrics_bytes(uint32_t shards)
{
    return (uint64_t)shards * sizeof(struct uf_shard);
}

UF_API int uf_metrics_open(struct uf_metrics *metrics, void *area, uint64_t bytes, uint32_t slot);
UF_API uint32_t uf_hist_bucket(uint64_t value);
/* The largest value that falls into the bucket. */
UF_API uint64_t uf_hist_upper(uint32_t bucket);
UF_API int uf_hist_record(struct uf_metrics *metrics, uint32_t hist, uint64_t value);
UF_API int uf_counter_add(struct uf_metrics *metrics, uint32_t counter, uint64_t n);
/* Sums over all shards. counts: UF_HIST_BUCKETS words; *max over all time. */
UF_API int uf_hist_read(const struct uf_metrics *metrics, uint32_t hist, uint64_t *counts,
                        uint64_t *sum, uint64_t *max);
UF_API int uf_counter_read(const struct uf_metrics *metrics, uint32_t counter, uint64_t *value);

#endif
