#include "uf_hist.h"

int uf_metrics_open(struct uf_metrics *metrics, void *area, uint64_t bytes, uint32_t slot)
{
    if (area == NULL || bytes < sizeof(struct uf_shard)) {
        return UF_CORRUPT;
    }
    metrics->shard = area;
    metrics->shards = (uint32_t)(bytes / sizeof(struct uf_shard));
    metrics->mine = &metrics->shard[slot % metrics->shards];
    return UF_OK;
}

uint32_t uf_hist_bucket(uint64_t value)
{
    if (value < UF_HIST_SUB) {
        return (uint32_t)value;
    }
    uint32_t exponent = uf_log2(value);
    if (exponent >= UF_HIST_TOP) {
        return UF_HIST_BUCKETS - 1;
    }
    return (exponent - 6) * UF_HIST_SUB + (uint32_t)(value >> (exponent - 7)) - UF_HIST_SUB;
}

uint64_t uf_hist_upper(uint32_t bucket)
{
    if (bucket < UF_HIST_SUB) {
        return bucket;
    }
    uint32_t exponent = bucket / UF_HIST_SUB + 6;
    uint64_t step = 1ull << (exponent - 7);
    return (1ull << exponent) + (bucket % UF_HIST_SUB + 1) * step - 1;
}

int uf_hist_record(struct uf_metrics *metrics, uint32_t hist, uint64_t value)
{
    if (hist >= UF_HISTS) {
        return UF_INVALID;
    }
    struct uf_hist *h = &metrics->mine->hist[hist];
    /* Relaxed, all: counts from which nothing else is inferred. */
    atomic_fetch_add_explicit(&h->bucket[uf_hist_bucket(value)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum, value, memory_order_relaxed);
    uint64_t max = atomic_load_explicit(&h->max, memory_order_relaxed);
    for (uint32_t tries = 0; value > max && tries < 64; tries++) {
        /* On failure max is the fresh value: stop when it is the larger. */
        if (atomic_compare_exchange_weak_explicit(&h->max, &max, value, memory_order_relaxed,
                                                  memory_order_relaxed)) {
            break;
        }
    }
    return UF_OK;
}

int uf_counter_add(struct uf_metrics *metrics, uint32_t counter, uint64_t n)
{
    if (counter >= UF_COUNTERS) {
        return UF_INVALID;
    }
    atomic_fetch_add_explicit(&metrics->mine->counter[counter], n, memory_order_relaxed);
    return UF_OK;
}

int uf_hist_read(const struct uf_metrics *metrics, uint32_t hist, uint64_t *counts, uint64_t *sum,
                 uint64_t *max)
{
    if (hist >= UF_HISTS) {
        return UF_INVALID;
    }
    *sum = *max = 0;
    for (uint32_t b = 0; b < UF_HIST_BUCKETS; b++) {
        counts[b] = 0;
    }
    for (uint32_t s = 0; s < metrics->shards; s++) {
        struct uf_hist *h = &metrics->shard[s].hist[hist];
        uint64_t top = atomic_load_explicit(&h->max, memory_order_relaxed); /* counts, all */
        *max = top > *max ? top : *max;
        *sum += atomic_load_explicit(&h->sum, memory_order_relaxed);
        for (uint32_t b = 0; b < UF_HIST_BUCKETS; b++) {
            counts[b] += atomic_load_explicit(&h->bucket[b], memory_order_relaxed);
        }
    }
    return UF_OK;
}

int uf_counter_read(const struct uf_metrics *metrics, uint32_t counter, uint64_t *value)
{
    if (counter >= UF_COUNTERS) {
        return UF_INVALID;
    }
    *value = 0;
    for (uint32_t s = 0; s < metrics->shards; s++) {
        *value += atomic_load_explicit(&metrics->shard[s].counter[counter], memory_order_relaxed);
    }
    return UF_OK;
}
