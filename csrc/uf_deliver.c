#include "uf_deliver.h"

int uf_deliver(const struct uf_self *self, const struct uf_agents *agents, struct uf_queues *queues,
               const uint64_t *ids, uint32_t lane, const uint32_t *handles, uint32_t count,
               uint32_t *worker, uint32_t *together, uint32_t *bell)
{
    uint32_t most = count < UF_DELIVER_MAX ? count : UF_DELIVER_MAX;
    uint32_t run = 0;
    *worker = 0;
    *together = 0;
    if (UF_UNLIKELY(most == 0)) {
        return UF_INVALID;
    }
    if (UF_UNLIKELY(self->slot >= self->count)) {
        return UF_READ_ONLY;
    }
    _Atomic uint64_t *crossing = &self->owner[self->slot].crossing;
    uint64_t on_way = atomic_load_explicit(crossing, memory_order_relaxed) | 1; /* ours alone */
    /* X1. seq_cst: stored before the record is loaded (A10). Weaker, who moves the agent could read
     * that nobody is on the way, while we read that it is where it was. */
    atomic_store_explicit(crossing, on_way, memory_order_seq_cst);
    UF_STEP(X1);
    while (run < most) {
        uint32_t there;
        if (uf_agent_route(agents, ids[run], &there) == UF_STALE || (run > 0 && there != *worker)) {
            break; /* a full mailbox was judged before the block was filled */
        }
        *worker = there;
        run++;
    }
    UF_STEP(X2);
    int sent = run == 0 ? UF_STALE : uf_queue_send(queues, *worker, lane, handles, run, bell);
    UF_STEP(X3);
    /* X3 -> X4, X5. Release: whoever sees that we are over it sees the slots filled. */
    atomic_store_explicit(crossing, on_way + 1, memory_order_release);
    *together = run;
    return sent;
}

void uf_departure_begin(const struct uf_self *self, struct uf_departure *departure)
{
    departure->crossed = false;
    for (uint32_t slot = 0; slot < self->count; slot++) {
        /* X4. seq_cst: loaded after A8 was stored; see X1. And X3 -> X4 where it is even. */
        uint64_t now = atomic_load_explicit(&self->owner[slot].crossing, memory_order_seq_cst);
        departure->seen[slot] = (now & 1) != 0 ? now : 0;
    }
}

/* How many that were on their way are still; the others are struck off. */
static uint32_t still_on_way(const struct uf_self *self, uint64_t *seen)
{
    uint32_t on_way = 0;
    for (uint32_t slot = 0; slot < self->count; slot++) {
        if (seen[slot] == 0) {
            continue;
        }
        /* Asked before the crossing is read: what the dead one did last is then seen. */
        bool alive = uf_owner_alive(self, slot);
        /* X5 <- X3. Acquire: its push is seen. */
        uint64_t now = atomic_load_explicit(&self->owner[slot].crossing, memory_order_acquire);
        if (now != seen[slot] || !alive) {
            seen[slot] = 0;
        } else {
            on_way++;
        }
    }
    return on_way;
}

int uf_departure_look(const struct uf_self *self, struct uf_queues *queues, uint32_t index,
                      struct uf_departure *departure, bool patient, uint32_t *on_way)
{
    *on_way = 0;
    if (!departure->crossed) {
        *on_way = still_on_way(self, departure->seen);
        if (*on_way != 0 && patient) {
            return UF_BUSY;
        }
        UF_STEP(X6);
        /* Only now: what came in last stands before these. */
        int status = uf_queue_ends(queues, index, departure->ends);
        if (status != UF_OK) {
            return status;
        }
        departure->crossed = true;
    }
    return uf_queue_is_past(queues, index, departure->ends) ? UF_OK : UF_BUSY;
}
