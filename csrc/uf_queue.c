#include "uf_queue.h"

#include <string.h>

struct uf_queues_head {
    uint32_t count;
    uint32_t capacity;
};

static uint64_t records_offset(void)
{
    return UF_PAIR;
}

static uint64_t rings_offset(uint32_t count)
{
    return records_offset() + (uint64_t)count * sizeof(struct uf_queue_record);
}

uint64_t uf_queues_bytes(uint32_t count, uint32_t capacity)
{
    return rings_offset(count) + (uint64_t)count * UF_LANES * uf_ring_bytes(capacity);
}

int uf_queues_init(void *area, uint64_t bytes, uint32_t count, uint32_t capacity)
{
    struct uf_queues_head *head = area;
    if (count == 0 || count > UF_QUEUES_MAX || !uf_is_pow2(capacity) || capacity > 1u << 24 ||
        bytes < uf_queues_bytes(count, capacity)) {
        return UF_INVALID;
    }
    head->count = count;
    head->capacity = capacity;
    return UF_OK; /* zeroed records are FREE, zeroed rings empty */
}

int uf_queues_open(struct uf_queues *queues, void *area, uint64_t bytes, struct uf_pool *pool,
                   uint32_t me)
{
    struct uf_queues_head head;
    if (area == NULL || bytes < sizeof head) {
        return UF_CORRUPT;
    }
    memcpy(&head, area, sizeof head);
    if (head.count == 0 || head.count > UF_QUEUES_MAX || !uf_is_pow2(head.capacity) ||
        head.capacity > 1u << 24 || uf_queues_bytes(head.count, head.capacity) > bytes) {
        return UF_CORRUPT;
    }
    queues->record = (struct uf_queue_record *)(void *)((uint8_t *)area + records_offset());
    queues->rings = (uint8_t *)area + rings_offset(head.count);
    queues->pool = pool;
    queues->count = head.count;
    queues->capacity = head.capacity;
    queues->me = me;
    queues->limit = 0;
    queues->shift = uf_log2(head.capacity);
    queues->sent_to = 0;
    queues->filled = 0;
    queues->ring_bytes = uf_ring_bytes(head.capacity);
    return UF_OK;
}

static struct uf_ring_head *lane_of(const struct uf_queues *queues, uint32_t index, uint32_t lane)
{
    uint64_t at = ((uint64_t)index * UF_LANES + lane) * queues->ring_bytes;
    return (struct uf_ring_head *)(void *)(queues->rings + at);
}

/* A lane for who entered its queue: `opening`, or 0 without asking. */
static inline struct uf_ring gated_ring(const struct uf_queues *queues, uint32_t index,
                                        uint64_t opening, uint32_t lane)
{
    struct uf_ring ring;
    ring.shared = lane_of(queues, index, lane);
    ring.capacity = queues->capacity;
    ring.shift = queues->shift;
    ring.limit = queues->limit;
    ring.gate = opening != 0 ? &queues->record[index].state : NULL;
    ring.opening = opening;
    return ring;
}

static struct uf_ring ring_of(const struct uf_queues *queues, uint32_t index, uint32_t lane)
{
    return gated_ring(queues, index, 0, lane);
}

/* Whether who entered has lost it. Relaxed: the ring looks before each CAS; this is for who was told that
 * there is no room or nothing to take. */
static bool is_lost(const struct uf_queues *queues, uint32_t index, uint64_t opening)
{
    return opening != 0 &&
           atomic_load_explicit(&queues->record[index].state, memory_order_relaxed) != opening;
}

int uf_queue_send(struct uf_queues *queues, uint32_t index, uint32_t lane, const uint32_t *handles,
                  uint32_t count, uint32_t *bell)
{
    return uf_queue_send_to(queues, index, 0, lane, handles, count, bell);
}

int uf_queue_send_to(struct uf_queues *queues, uint32_t index, uint64_t opening, uint32_t lane,
                     const uint32_t *handles, uint32_t count, uint32_t *bell)
{
    if (index >= queues->count || lane >= UF_LANES) {
        return UF_INVALID;
    }
    struct uf_ring ring = gated_ring(queues, index, opening, lane);
    if (queues->sent_to != index * UF_LANES + lane) {
        queues->sent_to = index * UF_LANES + lane;
        queues->filled = 0;
    }
    int sent = uf_ring_push_from(&ring, &queues->filled, handles, count); /* Q1 */
    *bell = uf_bell_look(&queues->record[index].bell);
    return UF_UNLIKELY(sent <= 0) && is_lost(queues, index, opening) ? UF_DELETED : sent;
}

/* A claimed message's lines come from its sender's core: fetched for several at a time, none waits for
 * another's. */
static void fetch(const struct uf_queues *queues, uint32_t handle)
{
    const uint8_t *block = uf_pool_block(queues->pool, handle);
    if (block != NULL) {
        uf_prefetch(block);
        __builtin_prefetch(block + UF_BLOCK_HEAD);
    }
}

/* Write our name on a claimed message, then clear its slot. False: the handle names no block. */
static bool sign(struct uf_queues *queues, struct uf_ring *ring, uint32_t queue, uint32_t lane,
                 const struct uf_claim *claim)
{
    struct uf_message *message = uf_pool_block(queues->pool, claim->handle);
    if (UF_UNLIKELY(message == NULL)) {
        /* Nobody of ours wrote it. Count it and go on. */
        atomic_fetch_add_explicit(&queues->record[queue].lost, 1, memory_order_relaxed);
        uf_ring_clear(ring, claim->position);
        return false;
    }
    message->position = claim->position;
    message->lane = (uint8_t)lane;
    uint64_t word = atomic_load_explicit(&message->owner, memory_order_relaxed); /* claimed */
    UF_STEP(Q2);
    /* Q3. Release: recovery that reads TAKEN reads the position. A store: between claim and
     * clear only we and our recoverer write it. */
    atomic_store_explicit(&message->owner, uf_word_as(word, UF_BLOCK_TAKEN, queues->me, queue + 1),
                          memory_order_release);
    UF_STEP(Q3);
    uf_ring_clear(ring, claim->position);
    UF_STEP(Q4);
    return true;
}

/* Sign and clear what was claimed of a lane up to `from`, and see what is cleared now. The number of messages
 * that it was. */
static uint32_t take_claimed(struct uf_queues *queues, struct uf_receiver *receiver, uint32_t lane,
                             struct uf_ring *ring, const struct uf_claim *claim, uint32_t claims,
                             uint64_t from, uint32_t *handles)
{
    uint64_t known = receiver->cleared[lane];
    uint32_t taken = 0;
    for (uint32_t i = 0; i < claims; i++) {
        if (UF_LIKELY(sign(queues, ring, receiver->queue, lane, &claim[i]))) {
            handles[taken++] = claim[i].handle;
        }
    }
    /* All that stood there were ours: the usual case, of one receiver. */
    bool all_ours = claim[0].position == known && from - known == claims;
    if (!all_ours || !uf_ring_is_same_line(ring, known, from)) {
        from = uf_ring_advance_from(ring, all_ours ? from : known, from);
    }
    receiver->cleared[lane] = from;
    return taken;
}

/* Take up to `max` messages of a lane. The number, or why there is none. */
static int take_some(struct uf_queues *queues, struct uf_receiver *receiver, uint32_t lane,
                     struct uf_ring *ring, uint32_t *handles, uint32_t max)
{
    struct uf_claim claim[UF_CLAIMS];
    for (uint32_t tries = 0; tries < 8; tries++) {
        uint64_t from = receiver->cleared[lane];
        int got =
            uf_ring_claim_many(ring, queues->me, &from, claim, max < UF_CLAIMS ? max : UF_CLAIMS);
        if (got <= 0) { /* Q2 */
            return got;
        }
        for (int i = 0; i < got; i++) {
            fetch(queues, claim[i].handle);
        }
        uint32_t taken =
            take_claimed(queues, receiver, lane, ring, claim, (uint32_t)got, from, handles);
        if (UF_LIKELY(taken > 0)) {
            return (int)taken;
        }
    }
    return UF_BUSY;
}

/* The lane to serve next, and how many messages of it: `lane`, until a lower one has waited so long that,
 * with all the others that wait as long served before it, its share would be missed. */
static uint32_t next_lane(const struct uf_receiver *receiver, uint32_t lane, uint32_t *run)
{
    uint32_t most = 0;
    uint32_t longest = lane;
    for (uint32_t low = lane + 1; low < UF_LANES; low++) {
        if (receiver->debt[low] > most) {
            most = receiver->debt[low];
            longest = low;
        }
    }
    bool overdue = most > UF_LANE_SHARE - UF_LANES;
    *run = overdue ? 1 : UF_LANE_SHARE - UF_LANES + 1 - most;
    return overdue ? longest : lane;
}

int uf_queue_take(struct uf_queues *queues, struct uf_receiver *receiver, uint32_t *handles,
                  uint32_t max)
{
    uint32_t taken = 0;
    int status = UF_EMPTY;
    if (receiver->queue >= queues->count) {
        return UF_INVALID;
    }
    if (UF_UNLIKELY(receiver->of != receiver->queue + 1)) {
        *receiver = (struct uf_receiver){
            .queue = receiver->queue, .opening = receiver->opening, .of = receiver->queue + 1};
    }
    struct uf_ring ring = gated_ring(queues, receiver->queue, receiver->opening, 0);
    for (uint32_t lane = 0; lane < UF_LANES && taken < max;) {
        ring.shared = lane_of(queues, receiver->queue, lane);
        if (lane != receiver->lane && uf_ring_is_bare(&ring, receiver->cleared[lane])) {
            receiver->debt[lane++] = 0;
            continue;
        }
        uint32_t run;
        uint32_t serve = next_lane(receiver, lane, &run);
        if (serve != lane) {
            ring.shared = lane_of(queues, receiver->queue, serve);
        }
        status = take_some(queues, receiver, serve, &ring, &handles[taken],
                           run < max - taken ? run : max - taken);
        receiver->debt[serve] = 0; /* served, or has nothing to be served with */
        if (status > 0) {
            taken += (uint32_t)status;
            receiver->lane = serve;
            for (uint32_t low = lane + 1; low < UF_LANES; low++) {
                /* Those above `lane` were just found empty. */
                receiver->debt[low] += low == serve ? 0 : (uint32_t)status;
            }
            continue;
        }
        if (serve != lane) {
            continue;
        }
        if (status != UF_EMPTY && status != UF_BUSY) {
            break;
        }
        lane++;
    }
    if (taken > 0) {
        return (int)taken;
    }
    return is_lost(queues, receiver->queue, receiver->opening) ? UF_DELETED : status;
}

static bool is_older(const struct uf_pool *pool, uint32_t a, uint32_t b)
{
    const struct uf_message *first = uf_pool_block(pool, a);
    const struct uf_message *second = uf_pool_block(pool, b);
    if (first->lane != second->lane) {
        return first->lane < second->lane;
    }
    return first->position < second->position;
}

/* Max-heap by age: the youngest of the kept ones on top. */
static void sift_down(const struct uf_pool *pool, uint32_t *heap, uint32_t size, uint32_t at)
{
    for (uint32_t child; (child = 2 * at + 1) < size; at = child) {
        if (child + 1 < size && is_older(pool, heap[child], heap[child + 1])) {
            child++;
        }
        if (!is_older(pool, heap[at], heap[child])) {
            return;
        }
        uint32_t swap = heap[at];
        heap[at] = heap[child];
        heap[child] = swap;
    }
}

static void keep_oldest(const struct uf_pool *pool, uint32_t *heap, uint32_t *size, uint32_t max,
                        uint32_t handle)
{
    if (*size < max) {
        heap[(*size)++] = handle;
        if (*size == max) {
            for (uint32_t at = max / 2 + 1; at-- > 0;) {
                sift_down(pool, heap, max, at);
            }
        }
    } else if (is_older(pool, handle, heap[0])) {
        heap[0] = handle;
        sift_down(pool, heap, max, 0);
    }
}

static void sort_by_age(const struct uf_pool *pool, uint32_t *heap, uint32_t size)
{
    for (uint32_t at = size / 2 + 1; at-- > 0;) {
        sift_down(pool, heap, size, at);
    }
    for (uint32_t last = size; last-- > 1;) {
        uint32_t swap = heap[0];
        heap[0] = heap[last];
        heap[last] = swap;
        sift_down(pool, heap, last, 0);
    }
}

int uf_queue_adopt(struct uf_queues *queues, uint32_t index, uint32_t *handles, uint32_t max)
{
    const struct uf_receiver receiver = {.queue = index};
    return uf_queue_adopt_as(queues, &receiver, handles, max);
}

int uf_queue_adopt_as(struct uf_queues *queues, const struct uf_receiver *receiver,
                      uint32_t *handles, uint32_t max)
{
    struct uf_pool *pool = queues->pool;
    uint32_t index = receiver->queue;
    uint32_t found = 0;
    if (index >= queues->count || max == 0) {
        return UF_INVALID;
    }
    if (UF_UNLIKELY(is_lost(queues, index, receiver->opening))) {
        return UF_DELETED;
    }
    struct uf_queue_record *record = &queues->record[index];
    /* Q7 <- Q6. Acquire: the orphans that the hint announces are marked. Reset before the scan, so
     * that a recovery during it sets it again. */
    if (atomic_exchange_explicit(&record->orphans, 0, memory_order_acquire) == 0) {
        return UF_EMPTY;
    }
    for (uint32_t c = 0; c < pool->classes; c++) {
        for (uint32_t i = 0; i < pool->class[c].count; i++) {
            uint32_t handle = uf_handle(c, i);
            struct uf_message *message = uf_pool_block(pool, handle);
            uint64_t word = atomic_load_explicit(&message->owner, memory_order_acquire); /* Q3 */
            if (uf_word_state(word) == UF_BLOCK_ORPHAN && uf_word_place(word) == index + 1) {
                keep_oldest(pool, handles, &found, max, handle);
            }
        }
    }
    sort_by_age(pool, handles, found);
    uint32_t taken = 0;
    for (uint32_t i = 0; i < found; i++) {
        struct uf_message *message = uf_pool_block(pool, handles[i]);
        uint64_t word = atomic_load_explicit(&message->owner, memory_order_acquire); /* Q3 */
        if (UF_UNLIKELY(is_lost(queues, index, receiver->opening))) {
            found = max; /* whoever's orphans they are now: who adopts next looks at them */
            break;
        }
        UF_STEP(Q7);
        /* W2. Acquire: the dead receiver's writes are behind us. Failure: another adopter has it. */
        if (uf_word_state(word) == UF_BLOCK_ORPHAN &&
            atomic_compare_exchange_strong_explicit(
                &message->owner, &word, uf_word_as(word, UF_BLOCK_TAKEN, queues->me, index + 1),
                memory_order_acquire, memory_order_relaxed)) {
            handles[taken++] = handles[i];
        }
    }
    if (found == max) {
        atomic_store_explicit(&record->orphans, 1, memory_order_release); /* Q6: perhaps more */
    }
    return taken > 0 ? (int)taken : UF_EMPTY;
}

bool uf_queue_is_empty(struct uf_queues *queues, uint32_t index)
{
    for (uint32_t lane = 0; index < queues->count && lane < UF_LANES; lane++) {
        struct uf_ring ring = ring_of(queues, index, lane);
        if (!uf_ring_is_empty(&ring)) {
            return false;
        }
    }
    /* seq_cst: recovery stores the hint, then rings; as a sender. */
    return index >= queues->count ||
           atomic_load_explicit(&queues->record[index].orphans, memory_order_seq_cst) == 0;
}

int uf_queue_arm(struct uf_queues *queues, uint32_t index, uint32_t mode, uint32_t *armed)
{
    if (index >= queues->count) {
        return UF_INVALID;
    }
    struct uf_queue_record *record = &queues->record[index];
    *armed = uf_bell_arm(&record->bell, mode);
    if (!uf_queue_is_empty(queues, index)) {
        uf_bell_disarm(&record->bell);
        return UF_OK;
    }
    return UF_EMPTY;
}

uint32_t uf_queue_length(struct uf_queues *queues, uint32_t index, uint32_t lane)
{
    if (index >= queues->count || lane >= UF_LANES) {
        return 0;
    }
    struct uf_ring ring = ring_of(queues, index, lane);
    return uf_ring_length(&ring);
}

struct uf_ring uf_queue_lane(const struct uf_queues *queues, uint32_t index, uint32_t lane)
{
    return ring_of(queues, index, lane);
}

bool uf_queue_has_orphans(const struct uf_queues *queues, uint32_t index)
{
    /* Relaxed: a hint for the loop; adopt acquires. */
    return index < queues->count &&
           atomic_load_explicit(&queues->record[index].orphans, memory_order_relaxed) != 0;
}

_Atomic uint32_t *uf_queue_bell(struct uf_queues *queues, uint32_t index)
{
    return index < queues->count ? &queues->record[index].bell : NULL;
}

int uf_queue_ends(struct uf_queues *queues, uint32_t index, uint64_t ends[UF_LANES])
{
    if (index >= queues->count) {
        return UF_INVALID;
    }
    for (uint32_t lane = 0; lane < UF_LANES; lane++) {
        struct uf_ring ring = ring_of(queues, index, lane);
        ends[lane] = uf_ring_end(&ring);
    }
    return UF_OK;
}

bool uf_queue_is_past(struct uf_queues *queues, uint32_t index, const uint64_t ends[UF_LANES])
{
    if (index >= queues->count || uf_queue_has_orphans(queues, index)) {
        return false;
    }
    for (uint32_t lane = 0; lane < UF_LANES; lane++) {
        struct uf_ring ring = ring_of(queues, index, lane);
        if (uf_ring_advance_from(&ring, 0, ends[lane]) < ends[lane]) {
            return false;
        }
    }
    return true;
}
