/* scene_table.c -- the table as a map: get, set, insert, compare-and-set, delete, and a count raised by them.
 *
 * All keys stand in one bucket, two of them with the same fingerprint. An entry is its value and its
 * stamp; an answer that tells a stamp must tell the right one, and a value is of one write or the
 * history has no order. Walks and counts of entries are left out: their header calls them old.
 * What the header promises less than a plain map, in buckets that may fill up:
 *
 *   STORE_FULL  may be said of a bucket that has room while another set is on its way: its slot is
 *               reserved before it is visible, and the last extension is given before it is there.
 */
#include "check.h"
#include "linear.h"
#include "uf_table_in.h"

enum { READ, SET, INSERT, COMPARE, DELETE, RAISE };
enum { BEGIN, FOUND, MISSED, WRITTEN, NEW, SWAPPED, RAISED, DELETED, OTHER, REFUSED, END };

#define KEYS 3u
#define WORDS 6u
#define TORN UINT64_MAX
/* state: word[2 * key] the stamp, 0 for no entry; word[2 * key + 1] the value; of word[8] a byte each:
 * entries, slots, and the processes that set, a bit each. */
#define ENTRIES 64u
#define SLOTS 65u
#define SETTING 66u

static bool table_step(union state *state, const struct point *point)
{
    uint64_t *stamp = &state->word[2 * (point->c & 3)];
    uint64_t *value = stamp + 1;
    bool there = *stamp != 0;
    uint8_t me = (uint8_t)(1u << point->process);
    switch (point->what) {
    case BEGIN:
        state->byte[SETTING] |= me;
        return true;
    case END:
        state->byte[SETTING] &= (uint8_t)~me;
        return true;
    case FOUND: /* a: the stamp, b: the value */
        return there && *stamp == point->a && *value == point->b;
    case MISSED:
        return !there;
    case RAISED: /* a: the new stamp, b: the new count */
        if (point->b != (there ? *value + 1 : 1)) {
            return false;
        }
        break;
    case WRITTEN:
        break;
    case NEW:
        if (there) {
            return false;
        }
        break;
    case SWAPPED: /* c: the key, and above it the old stamp */
        if (!there || *stamp != point->c >> 2) {
            return false;
        }
        break;
    case DELETED: /* a: the old stamp, or 0 */
        if (!there || (point->a != 0 && *stamp != point->a)) {
            return false;
        }
        *stamp = *value = 0;
        state->byte[ENTRIES]--;
        return true;
    case OTHER: /* a: the stamp that was wanted; b: the one that was told, or 0 */
        return there && *stamp != point->a && (point->b == 0 || *stamp == point->b);
    case REFUSED:
        return !there && (state->byte[ENTRIES] == state->byte[SLOTS] ||
                          (state->byte[SETTING] & (uint8_t)~me) != 0);
    default:
        return false;
    }
    *stamp = point->a;
    *value = point->b;
    state->byte[ENTRIES] += !there;
    return state->byte[ENTRIES] <= state->byte[SLOTS];
}

/* --- keys and values -------------------------------------------------------------------------- */

struct name {
    struct uf_key key;
    uint64_t buffer[UF_KEY_BYTES_MAX / 8 + 1];
};

static void name_of(struct name *name, const struct uf_table *table, uint64_t number)
{
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    CHECK_EQ(uf_key_make(&name->key, table->seed, name->buffer, "s", 1, text, strlen(text)), UF_OK);
}

static struct name names[KEYS]; /* made by the parent before it forks, and again in each child */

static void names_make(const struct uf_table *table)
{
    static bool made;
    uint64_t number = 100;
    if (made) {
        return;
    }
    name_of(&names[0], table, number++);
    do {
        name_of(&names[1], table, number++);
    } while ((names[1].key.hash & 0xffff) != (names[0].key.hash & 0xffff));
    name_of(&names[2], table, number);
    made = true;
}

/* A value of two to six words shows in each of them what it is. */
static uint64_t write_value(uint64_t *words, uint64_t number)
{
    uint64_t count = 2 + number % (WORDS - 1);
    words[0] = number;
    for (uint64_t i = 1; i < count; i++) {
        words[i] = (number + i) * 0x9e3779b97f4a7c15ull;
    }
    return count * 8;
}

static uint64_t read_value(const uint64_t *words, uint64_t bytes)
{
    uint64_t wanted[WORDS];
    return bytes == write_value(wanted, words[0]) && memcmp(wanted, words, bytes) == 0 ? words[0]
                                                                                       : TORN;
}

static bool keeps; /* this process: every other one does */

/* What this process read of a key last, good while nobody writes it. */
static struct kept {
    struct uf_found found;
    uint64_t stamp;
    uint64_t value;
    bool is;
} kept[KEYS];

static int get_and_keep(const struct uf_table *table, uint32_t key, struct kept *one)
{
    uint64_t words[WORDS + 2] = {0};
    struct uf_entry entry;
    if (one->is && uf_table_again(table, &one->found)) {
        return UF_OK;
    }
    one->is = false;
    if (uf_table_lacks(table, names[key].key.hash)) {
        return UF_MISSING;
    }
    for (uint32_t tries = 0; tries < UF_TABLE_TRIES; tries++) {
        int status = uf_table_glance(table, &names[key].key, &one->found, &entry);
        if (status != UF_OK) {
            return status;
        }
        if (entry.value_bytes <= sizeof words &&
            uf_table_fetch(table, &one->found, &names[key].key, words, entry.value_bytes)) {
            one->stamp = entry.stamp;
            one->value = read_value(words, entry.value_bytes);
            one->is = true;
            return UF_OK;
        }
    }
    return UF_BUSY;
}

static int get(const struct uf_table *table, uint32_t key, uint64_t *stamp, uint64_t *value)
{
    uint64_t words[WORDS + 2] = {0};
    struct uf_entry entry;
    int status;
    if (keeps) {
        status = get_and_keep(table, key, &kept[key]);
        if (status == UF_OK) {
            *stamp = kept[key].stamp;
            *value = kept[key].value;
        }
        return status;
    }
    status = uf_table_get(table, &names[key].key, 0, words, sizeof words, &entry);
    if (status == UF_OK) {
        *stamp = entry.stamp;
        *value = read_value(words, entry.value_bytes);
    }
    return status;
}

static int set(struct uf_table *table, const struct uf_key *key, uint32_t mode, uint64_t number,
               uint64_t *stamp)
{
    uint64_t words[WORDS];
    struct uf_entry entry = {.stamp = *stamp};
    int status = uf_table_set(table, key, words, write_value(words, number), 0, mode, &entry);
    *stamp = entry.stamp;
    return status;
}

/* --- calls ------------------------------------------------------------------------------------ */

static uint64_t known[KEYS]; /* the stamp that this process saw last */
static uint64_t last;        /* value that it wrote last */

static void begin(const struct scene *scene, struct uf_system *system, uint32_t process)
{
    (void)scene;
    names_make(&system->table);
    for (uint32_t k = 0; k < KEYS; k++) {
        known[k] = given()[k];
    }
    last = 1000 * (process + 1);
    keeps = process % 2 == 0;
    memset(kept, 0, sizeof kept);
}

static int raise_value(struct uf_table *table, uint32_t key, uint64_t *stamp, uint64_t *value)
{
    for (uint32_t tries = 0; tries < 100; tries++) {
        int status = get(table, key, stamp, value);
        if (status == UF_OK) {
            status = set(table, &names[key].key, UF_SET_STAMP, ++*value, stamp);
        } else if (status == UF_MISSING) {
            *value = 1;
            *stamp = 0;
            status = set(table, &names[key].key, UF_SET_NEW, 1, stamp);
        }
        if (status != UF_EXISTS && status != UF_MISSING) {
            return status;
        }
    }
    return UF_BUSY;
}

/* in: key, stamp that is wanted; out: stamp, value. */
static void work(const struct scene *scene, struct uf_system *system, uint64_t *random)
{
    static const uint32_t churn[] = {READ, READ, READ, INSERT, INSERT, DELETE};
    static const uint32_t ops[] = {READ,   READ,    READ,    SET,    SET,    INSERT,
                                   INSERT, COMPARE, COMPARE, DELETE, DELETE, RAISE};
    uint64_t any = next_random(random);
    bool churns = given()[KEYS] != 0; /* entries come and go, of the two keys that look alike */
    uint32_t key = (any >> 8) % (churns ? 2 : KEYS);
    struct uf_table *table = &system->table;
    struct call *call = call_new(churns ? churn[any % 6] : ops[any % 12]);
    int status = UF_OK;
    (void)scene;
    call->in[0] = key;
    call->in[1] =
        call->op == COMPARE || (call->op == DELETE && (any >> 16) % 2 == 0) ? known[key] : 0;
    call->out[0] = call->in[1];
    call->out[1] = call->op == READ || call->op == RAISE || call->op == DELETE ? 0 : ++last;
    call_invoke(call);
    switch (call->op) {
    case READ:
        status = get(table, key, &call->out[0], &call->out[1]);
        break;
    case SET:
    case INSERT:
    case COMPARE:
        status = set(table, &names[key].key, call->op - SET, last, &call->out[0]);
        break;
    case DELETE:
        status = uf_table_delete(table, &names[key].key, 0, call->in[1]);
        break;
    default:
        status = raise_value(table, key, &call->out[0], &call->out[1]);
    }
    call_answer(call, status);
    if (call->op != DELETE && (status == UF_OK || status == UF_EXISTS)) {
        known[key] = call->out[0];
    }
}

/* What it says of the map, or NEVER. */
static uint32_t meaning(const struct call *call)
{
    static const uint32_t done[] = {FOUND, WRITTEN, NEW, SWAPPED, DELETED, RAISED};
    bool compares = call->op == COMPARE || (call->op == DELETE && call->in[1] != 0);
    bool inserts = call->op == SET || call->op == INSERT || call->op == RAISE;
    switch (call->status) {
    case UF_OK:
        return done[call->op];
    case UF_MISSING:
        return inserts ? NEVER : MISSED;
    case UF_EXISTS:
        return compares || call->op == INSERT ? OTHER : NEVER;
    case UF_STORE_FULL:
        return inserts ? REFUSED : NEVER;
    default:
        return NEVER;
    }
}

static void points(const struct scene *scene, struct history *history, uint32_t index)
{
    const struct call *call = &history->call[index];
    bool sets = call->op == SET || call->op == INSERT || call->op == RAISE;
    bool marked = sets && scene->variant != 0; /* only in buckets that fill up does it matter */
    uint64_t after = 0;
    uint32_t what = meaning(call);
    uint64_t a = call->out[0];
    uint64_t b = call->out[1];
    if (marked) {
        after = point_add(history, index, BEGIN, 0, 0, 0);
        history->point[history->points - 1].eager = true;
    }
    if (what == OTHER) {
        b = call->op == DELETE ? 0 : call->out[0]; /* a delete does not tell the stamp it met */
        a = call->in[1];
    } else if (what == DELETED) {
        a = call->in[1];
    }
    after |= point_add(history, index, what, a, b, after);
    history->point[history->points - 1].c = call->in[0] | (what == SWAPPED ? call->in[1] << 2 : 0);
    if (marked) {
        point_add(history, index, END, 0, 0, after);
    }
}

/* --- the beginning ---------------------------------------------------------------------------- */

static void empty(struct uf_table *table, uint64_t version)
{
    for (uint32_t b = 0; b < table->buckets; b++) {
        table->bucket[b].head = version << 35;
        for (uint32_t i = 0; i < UF_BUCKET_SLOTS; i++) {
            table->bucket[b].slot[i] = 0;
        }
    }
    for (uint32_t e = 0; e < table->extensions; e++) {
        table->extension_owner[e] = 0;
        for (uint32_t i = 0; i < UF_EXTENSION_SLOTS; i++) {
            table->extension[e].slot[i] = 0;
        }
    }
}

/* variant: entries of other keys that stand in the bucket throughout. */
static void prepare(const struct scene *scene, struct uf_system *system, uint64_t *random,
                    union state *start)
{
    /* Blocks near the wrap of the version in a slot's word, and of that in their own. */
    static const uint64_t versions[] = {0, (1ull << UF_WORD_VERSION_BITS) - 2, (1ull << 36) - 2};
    uint64_t any = next_random(random);
    struct uf_table *table = &system->table;
    names_make(table);
    given()[KEYS] = (any >> 40) % 2;
    pool_reset(&system->values, versions[any % 3]);
    empty(table, (any >> 8) % 2 == 0 ? 0 : (1ull << 29) - 1 - (any >> 16) % 16);
    for (uint32_t i = 0; i < scene->variant; i++) {
        struct name name;
        uint64_t stamp = 0;
        name_of(&name, table, i);
        CHECK_EQ(set(table, &name.key, UF_SET_NEW, 500 + i, &stamp), UF_OK);
    }
    start->byte[ENTRIES] = (uint8_t)scene->variant;
    start->byte[SLOTS] = (uint8_t)(UF_BUCKET_SLOTS + UF_EXTENSION_SLOTS * table->extensions);
    for (uint32_t k = 0; k < KEYS; k++) {
        uint64_t stamp = 0;
        given()[k] = 1; /* no entry's */
        bool room = start->byte[ENTRIES] + 1u < start->byte[SLOTS];
        if ((any >> (24 + k)) % 2 == 0 && room) {
            CHECK_EQ(set(table, &names[k].key, UF_SET_NEW, 600 + k, &stamp), UF_OK);
            given()[k] = start->word[2 * k] = stamp;
            start->word[2 * k + 1] = 600 + k;
            start->byte[ENTRIES]++;
        }
    }
}

#define SIZES(more)                                                                                \
    {                                                                                              \
        .owners = 8,                                                                               \
        .buckets = 1,                                                                              \
        .extensions = (more),                                                                      \
        .queues = 1,                                                                               \
        .queue_capacity = 1,                                                                       \
        .agents = 1,                                                                               \
        .types = 1,                                                                                \
        .warm = 1,                                                                                 \
        .shards = 1,                                                                               \
        .message_classes = 1,                                                                      \
        .value_classes = 1,                                                                        \
        .message = {{128, 1}},                                                                     \
        .value = {{128, 31}},                                                                      \
    }
static const struct uf_sizes plain = SIZES(1);
static const struct uf_sizes no_more = SIZES(0);

#define TABLE(text, of, number, fillers)                                                           \
    {                                                                                              \
        .name = (text),                                                                            \
        .ops = "get set insert compare-and-set delete raise",                                      \
        .sizes = (of),                                                                             \
        .processes = (number),                                                                     \
        .calls = 4,                                                                                \
        .variant = (fillers),                                                                      \
        .prepare = prepare,                                                                        \
        .begin = begin,                                                                            \
        .work = work,                                                                              \
        .points = points,                                                                          \
        .step = table_step,                                                                        \
    }
const struct scene table_scenes[3] = {
    TABLE("table", &plain, 4, 0),
    TABLE("table, bucket nearly full", &no_more, 4, 6),
    TABLE("table, bucket to be extended", &plain, 3, 6),
};
