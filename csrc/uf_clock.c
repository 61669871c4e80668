#include "uf_clock.h"

#define AT_ONCE 16u /* blocks that one move of the hand is for */

/* Take the entry away that lies in this block, if it may go. */
static bool judge(struct uf_table *table, struct uf_declared *declared, uint32_t handle,
                  uint64_t now_ns, struct uf_clocked *done)
{
    uint64_t space[UF_DECLARED_NAME_BYTES / 8];
    struct uf_entry entry;
    if (uf_table_entry_in(table, handle, space, sizeof space, &entry) != UF_OK) {
        return false;
    }
    bool over = entry.expires_ns != 0 && now_ns >= entry.expires_ns;
    struct uf_declaration *record = entry.space_bytes <= sizeof space && uf_declared_any(declared)
                                        ? uf_declared_find(declared, space, entry.space_bytes)
                                        : NULL;
    if (!over) {
        struct uf_value *value = uf_pool_block(table->pool, handle);
        /* Relaxed, all: what is declared is one word, and so is a hint. */
        if (record == NULL || (atomic_load_explicit(&record->settings, memory_order_relaxed) &
                               UF_DECLARED_CACHE) == 0) {
            return false;
        }
        if (atomic_load_explicit(&value->use, memory_order_relaxed) == UF_USE_SEEN) {
            atomic_store_explicit(&value->use, UF_USE_IDLE, memory_order_relaxed);
            return false;
        }
    }
    if (uf_table_remove(table, entry.stamp) != UF_OK) {
        return false;
    }
    done->expired += over;
    done->evicted += !over;
    uf_declared_count(declared, record, !over, over);
    return true;
}

int uf_clock_sweep(struct uf_table *table, struct uf_declared *declared, uint32_t class,
                   uint64_t now_ns, uint32_t steps, uint32_t want, struct uf_clocked *done)
{
    const struct uf_pool *pool = table->pool;
    uint32_t taken = 0;
    if (class >= pool->classes || pool->class[class].count == 0) {
        return UF_INVALID;
    }
    while (steps > 0 && taken < want) {
        uint32_t mine = steps < AT_ONCE ? steps : AT_ONCE;
        /* C1. Relaxed: a hint at where to look; any number will do. */
        uint64_t hand =
            atomic_fetch_add_explicit(&declared->head->hand[class], mine, memory_order_relaxed);
        UF_STEP(C1);
        for (uint32_t i = 0; i < mine && taken < want; i++) {
            uint32_t index = (uint32_t)((hand + i) % pool->class[class].count);
            taken += judge(table, declared, uf_handle(class, index), now_ns, done);
            done->steps++;
        }
        steps -= mine;
    }
    return UF_OK;
}

void uf_clock_bucket(struct uf_table *table, struct uf_declared *declared, uint64_t hash,
                     uint64_t now_ns, struct uf_clocked *done)
{
    /* Twice: the first time may only clear what was seen. */
    for (uint32_t i = 0; i < 2 * UF_TABLE_SLOTS; i++) {
        uint32_t handle = uf_table_neighbour(table, hash, i % UF_TABLE_SLOTS);
        done->steps++;
        if (handle != UF_HANDLE_NONE && judge(table, declared, handle, now_ns, done)) {
            return;
        }
    }
}
