/* memory.c -- what a load may return: C11's orders over a history of stores; see explore.h. */
#include "inside.h"

#include <string.h>

struct store {
    uint64_t value;
    struct view view; /* what an acquire load of it learns */
};

struct location {
    uint32_t offset; /* in the arena */
    uint32_t size;   /* 0: not memory but a clock, of the plain accesses to a word */
    uint32_t count;  /* stores, the initial one too */
    uint32_t last_seq_cst;
    uint32_t store[STORES]; /* in `pool` */
};

#define POOL 8192

/* Every plain word of the arena that was touched: a clock of its writes, and one of its reads for
 * each thread. */
struct plain {
    uint32_t offset;
    uint16_t writes;
    uint16_t reads[EXPLORE_THREADS];
};

static struct store pool[POOL];
static uint32_t pool_used;
static struct location location[LOCATIONS];
static uint32_t locations;
static uint16_t atomic_at[EXPLORE_ARENA]; /* location + 1 */
static struct plain plain[LOCATIONS];
static uint32_t plains;
static uint16_t plain_at[EXPLORE_ARENA / 8]; /* plain + 1 */
static uint16_t active[LOCATIONS];           /* locations with more than their initial store */
static uint32_t actives;
static uint8_t base[LOCATIONS]; /* of memory_hash: the oldest store that anybody may read */

static uint64_t read_raw(uint32_t offset, uint32_t size)
{
    uint64_t value = 0;
    memcpy(&value, arena + offset, size);
    return value;
}

void memory_forget(void)
{
    memset(atomic_at, 0, sizeof atomic_at);
    memset(plain_at, 0, sizeof plain_at);
    locations = plains = 0;
}

static uint32_t id_of(const struct location *loc)
{
    return (uint32_t)(loc - location);
}

static void begin_location(struct location *loc)
{
    loc->count = 1;
    loc->last_seq_cst = 0;
    loc->store[0] = id_of(loc); /* its view stays empty for ever */
    pool[loc->store[0]].value = loc->size == 0 ? 0 : read_raw(loc->offset, loc->size);
}

void memory_restart(void)
{
    pool_used = LOCATIONS; /* the first ones are the initial stores */
    actives = 0;
    for (uint32_t l = 0; l < locations; l++) {
        begin_location(&location[l]);
    }
}

static uint16_t new_location(uint32_t offset, uint32_t size)
{
    if (locations == LOCATIONS) {
        explore_fail(__FILE__, __LINE__, "a check touches no more than LOCATIONS words",
                     LOCATIONS + 1, LOCATIONS);
    }
    location[locations].offset = offset;
    location[locations].size = size;
    begin_location(&location[locations]);
    return (uint16_t)locations++;
}

static struct location *location_of(const volatile void *at, uint32_t size)
{
    uint32_t offset = (uint32_t)((const volatile uint8_t *)at - arena);
    if (atomic_at[offset] == 0) {
        /* First touched in any execution, so nobody has written it in this one. */
        atomic_at[offset] = (uint16_t)(new_location(offset, size) + 1);
    }
    struct location *loc = &location[atomic_at[offset] - 1];
    if (loc->size != size) {
        explore_fail(__FILE__, __LINE__, "an atomic word is accessed in one size", size, loc->size);
    }
    return loc;
}

void view_join(struct view *into, const struct view *from)
{
    for (uint32_t i = 0; i < LOCATIONS; i++) {
        into->at[i] = into->at[i] > from->at[i] ? into->at[i] : from->at[i];
    }
}

static bool acquires(int order)
{
    return order == __ATOMIC_ACQUIRE || order == __ATOMIC_CONSUME || order == __ATOMIC_ACQ_REL ||
           order == __ATOMIC_SEQ_CST;
}

static bool releases(int order)
{
    return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

static const char *order_name(int order)
{
    static const char *const name[] = {"relaxed", "consume", "acquire",
                                       "release", "acq_rel", "seq_cst"};
    return name[order & 7];
}

/* The oldest store that the running thread may read. */
static uint32_t oldest(const struct location *loc, int order)
{
    uint32_t id = id_of(loc);
    uint32_t low = running->view.at[id];
    if (order == __ATOMIC_SEQ_CST && loc->last_seq_cst > low) {
        low = loc->last_seq_cst;
    }
    if (low == running->last_read[id] && running->rereads[id] >= EXPLORE_REREADS &&
        low + 1 < loc->count) {
        low++; /* stores become visible in the end */
    }
    return low;
}

static bool may_be_stale(void)
{
    return bounds.stale == 0 || stale_used < bounds.stale;
}

static void read_store(struct location *loc, uint32_t index, int order)
{
    uint32_t id = id_of(loc);
    if (running->last_read[id] == index) {
        running->rereads[id] += running->rereads[id] < EXPLORE_REREADS;
    } else {
        running->last_read[id] = (uint8_t)index;
        running->rereads[id] = 1;
    }
    running->view.at[id] = (uint8_t)index;
    if (acquires(order)) {
        view_join(&running->view, &pool[loc->store[index]].view);
    }
    stale_used += index + 1 < loc->count;
}

/* Append a store; `follows`: it is a read-modify-write's, which goes on with the release that it read
 * from. */
static void write_store(struct location *loc, uint64_t value, int order, bool follows)
{
    uint32_t id = id_of(loc);
    if (loc->count == STORES || pool_used == POOL) {
        explore_fail(__FILE__, __LINE__, "an execution stores no more than STORES times to a word",
                     loc->count, STORES);
    }
    struct store *last = &pool[loc->store[loc->count - 1]];
    struct store *store = &pool[pool_used];
    loc->store[loc->count] = pool_used++;
    store->value = value;
    running->view.at[id] = (uint8_t)loc->count;
    if (releases(order)) {
        store->view = running->view;
        if (follows) {
            view_join(&store->view, &last->view);
        }
    } else if (follows) {
        store->view = last->view;
        store->view.at[id] = (uint8_t)loc->count;
    } else {
        memset(&store->view, 0, sizeof store->view);
        store->view.at[id] = (uint8_t)loc->count;
    }
    if (order == __ATOMIC_SEQ_CST) {
        loc->last_seq_cst = loc->count;
    }
    if (loc->count++ == 1) {
        active[actives++] = (uint16_t)id;
    }
    if (loc->size != 0) {
        memcpy(arena + loc->offset, &value, loc->size);
    }
}

uint64_t memory_load(const volatile void *at, uint32_t size, int order, const void *from)
{
    step();
    struct location *loc = location_of(at, size);
    uint32_t newest = loc->count - 1;
    uint32_t low = may_be_stale() ? oldest(loc, order) : newest;
    uint32_t index = newest - choose(newest - low + 1);
    read_store(loc, index, order);
    uint64_t value = pool[loc->store[index]].value;
    learn(value);
    trace(from, at, order_name(order), value, "loads, newer stores:", newest - index);
    return value;
}

void memory_store(volatile void *at, uint32_t size, uint64_t value, int order, const void *from)
{
    step();
    struct location *loc = location_of(at, size);
    write_store(loc, value, order, false);
    trace(from, at, order_name(order), value, "stores, number", loc->count - 1);
}

/* What a change may answer; the rest of its answer is nonsense, for nobody asks for it. Of fetch_or and
 * fetch_and that is the bits that they set or clear: a thread that does not learn the others is in fewer
 * states. */
static uint64_t asked_bits(enum change how, uint64_t operand)
{
    return how == OR ? operand : how == AND ? ~operand : ~0ull;
}

static uint64_t changed(enum change how, uint64_t old, uint64_t operand)
{
    switch (how) {
    case ADD:
        return old + operand;
    case SUB:
        return old - operand;
    case OR:
        return old | operand;
    case AND:
        return old & operand;
    case XOR:
        return old ^ operand;
    default:
        return operand;
    }
}

uint64_t memory_change(volatile void *at, uint32_t size, enum change how, uint64_t operand,
                       int order, const void *from)
{
    step();
    struct location *loc = location_of(at, size);
    uint64_t mask = size == 8 ? ~0ull : (1ull << size * 8) - 1;
    uint64_t old = pool[loc->store[loc->count - 1]].value;
    read_store(loc, loc->count - 1, order);
    uint64_t value = changed(how, old, operand) & mask;
    write_store(loc, value, order, true);
    trace(from, at, order_name(order), value, "changes, was", old);
    uint64_t asked = asked_bits(how, operand);
    learn(old & asked & mask);
    return ((old & asked) | (~old & ~asked)) & mask;
}

bool memory_compare(volatile void *at, uint32_t size, uint64_t *expected, uint64_t desired,
                    int order, int failure, const void *from)
{
    step();
    struct location *loc = location_of(at, size);
    uint32_t newest = loc->count - 1;
    uint32_t low = may_be_stale() ? oldest(loc, failure) : newest;
    uint32_t may[STORES];
    uint32_t count = 0;
    may[count++] = newest;
    for (uint32_t i = newest; i-- > low;) {
        if (pool[loc->store[i]].value != *expected) {
            may[count++] = i; /* fails as a load, and a load may be late */
        }
    }
    uint32_t index = may[choose(count)];
    uint64_t old = pool[loc->store[index]].value;
    bool equal = old == *expected;
    learn(equal ? ~old : old);
    read_store(loc, index, equal ? order : failure);
    if (equal) {
        write_store(loc, desired, order, true);
        trace(from, at, order_name(order), desired, "compares and swaps, was", old);
    } else {
        trace(from, at, order_name(failure), old, "compares in vain, wanted", *expected);
        *expected = old;
    }
    return equal;
}

static struct plain *plain_of(uint32_t word)
{
    if (plain_at[word] == 0) {
        struct plain *new = &plain[plains];
        new->offset = word * 8;
        new->writes = new_location(word * 8, 0);
        for (uint32_t t = 0; t < threads; t++) {
            new->reads[t] = new_location(word * 8, 0);
        }
        plain_at[word] = (uint16_t)++plains;
    }
    return &plain[plain_at[word] - 1];
}

static bool has_seen(uint16_t clock)
{
    return running->view.at[clock] + 1u == location[clock].count;
}

static void tick(uint16_t clock)
{
    struct location *loc = &location[clock];
    if (loc->count == UINT8_MAX) {
        explore_fail(__FILE__, __LINE__, "an execution accesses a plain word fewer than 255 times",
                     loc->count, UINT8_MAX - 1);
    }
    if (loc->count == 1) {
        active[actives++] = clock;
    }
    running->view.at[clock] = (uint8_t)loc->count++;
}

void memory_plain(const volatile void *at, uint32_t size, bool write, const void *from)
{
    uint32_t offset = (uint32_t)((const volatile uint8_t *)at - arena);
    if (write && check->mortal != 0) {
        step(); /* a death may leave plain words half written */
    }
    for (uint32_t word = offset / 8; word <= (offset + size - 1) / 8; word++) {
        struct plain *p = plain_of(word);
        uint32_t self = (uint32_t)(running - thread);
        bool ordered = has_seen(p->writes);
        for (uint32_t t = 0; write && t < threads; t++) {
            ordered = ordered && (t == self || has_seen(p->reads[t]));
        }
        if (!ordered) {
            trace(from, at, "plain", 0, write ? "writes" : "reads", size);
            explore_fail(__FILE__, __LINE__, "plain accesses are ordered: this one races", offset,
                         -1);
        }
        tick(write ? p->writes : p->reads[self]);
        learn(write ? 1 : read_raw(word * 8, 8));
    }
    trace(from, at, "plain", write ? 0 : read_raw(offset, size > 8 ? 8 : size),
          write ? "writes, bytes" : "reads, bytes", size);
}

/* Of a view only what can make a difference: how far it is above what everybody has seen. Sums, for
 * locations become active in another order in another execution. */
void view_hash(uint64_t hash[2], const struct view *view)
{
    uint64_t sum[2] = {0, 0};
    for (uint32_t i = 0; i < actives; i++) {
        uint32_t id = active[i];
        if (view->at[id] > base[id]) {
            uint64_t word = ((uint64_t)id << 8 | (uint8_t)(view->at[id] - base[id]));
            word *= 0x9e3779b97f4a7c15ull;
            word ^= word >> 29;
            sum[0] += word * 0xbf58476d1ce4e5b9ull;
            sum[1] += (word ^ word << 13) * 0x94d049bb133111ebull;
        }
    }
    feed(hash, sum[0]);
    hash[1] ^= sum[1] * 0xff51afd7ed558ccdull;
}

/* How often a thread has read the stores that it may not read for ever. */
static uint64_t patience(const struct thread *of)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < actives; i++) {
        uint32_t id = active[i];
        if (location[id].size != 0 && of->view.at[id] + 1u < location[id].count &&
            of->last_read[id] == of->view.at[id]) {
            uint64_t word = ((uint64_t)id << 8 | of->rereads[id]) * 0x9e3779b97f4a7c15ull;
            sum += (word ^ word >> 29) * 0xbf58476d1ce4e5b9ull;
        }
    }
    return sum;
}

void memory_hash(uint64_t hash[2])
{
    for (uint32_t i = 0; i < actives; i++) {
        uint32_t id = active[i];
        uint8_t low = (uint8_t)(location[id].count - 1);
        for (uint32_t t = 0; t < threads; t++) {
            if (thread[t].status != DONE && thread[t].status != DEAD &&
                thread[t].view.at[id] < low) {
                low = thread[t].view.at[id];
            }
        }
        base[id] = low;
    }
    uint64_t sum[2] = {0, 0};
    for (uint32_t i = 0; i < actives; i++) {
        struct location *loc = &location[active[i]];
        uint32_t low = base[active[i]];
        uint64_t one[2] = {active[i], loc->count - low};
        if (loc->size != 0) {
            feed(one, loc->last_seq_cst > low ? loc->last_seq_cst - low : 0);
            for (uint32_t s = low; s < loc->count; s++) {
                feed(one, pool[loc->store[s]].value);
                view_hash(one, &pool[loc->store[s]].view);
            }
        }
        sum[0] += one[0] * (2ull * active[i] + 1);
        sum[1] += one[1];
    }
    for (uint32_t i = 0; i < plains; i++) {
        uint64_t one[2] = {plain[i].offset, 1};
        feed(one, read_raw(plain[i].offset, 8));
        sum[0] += one[0];
        sum[1] += one[1];
    }
    feed(hash, sum[0]);
    feed(hash, sum[1]);
    for (uint32_t t = 0; t < threads; t++) {
        if (thread[t].status != DONE && thread[t].status != DEAD) {
            view_hash(hash, &thread[t].view);
            feed(hash, patience(&thread[t]));
        }
    }
}
