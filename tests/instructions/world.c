/* world.c -- one small region, put back before each death, and what the scenes put into it.
 *
 * The rings of the inbox begin just below the wrap of their slots' versions.
 */
#include "steps.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define IMAGES 4u
#define PRISTINE 3u
#define PAYLOAD(block) ((uint64_t *)(void *)((uint8_t *)(block) + UF_BLOCK_HEAD))

struct world world;
struct note *notes;
uint64_t findings;
bool one_is_enough;
const char *scene_dir;
const char *scene_path;

static pid_t opener;
static char directory[64];
static char path[96];
static char temp_path[96];
static struct {
    struct world world;
    uint8_t *bytes;
} images[IMAGES];
static struct {
    const char *scene;
    const char *how;
    uint64_t at;
    uint64_t of;
    uint64_t address;
    uint64_t said;
} where;
static struct {
    struct uf_key key;
    uint64_t buffer[UF_KEY_BYTES_MAX / 8 + 1];
} keys[KEYS];

const struct uf_sizes world_sizes = {
    .owners = 6,
    .buckets = 2,
    .extensions = 2,
    .queues = 4,
    .queue_capacity = 4,
    .agents = AGENTS,
    .types = 4, /* a dead namer's row is lost */
    .warm = 4,
    .shards = 1,
    .message_classes = 2,
    .value_classes = 2,
    .settings_bytes = 16,
    .message = {{128, 64}, {256, 8}}, /* of the first class two are cached, of the second none */
    .value = {{128, 64}, {320, 8}},
};

/* Everything a scene may have made; in a child nothing, for the region is its parent's. */
void world_remove(void)
{
    static const char *const names[] = {"region",    "region.tmp", "other",
                                        "other.tmp", "third.tmp",  "bell"};
    char name[128];
    if (directory[0] == '\0' || getpid() != opener) {
        return;
    }
    for (uint32_t i = 0; i < COUNT_OF(names); i++) {
        snprintf(name, sizeof name, "%s/%s", directory, names[i]);
        unlink(name);
    }
    rmdir(directory);
}

void fatal(const char *what)
{
    fprintf(stderr, "steps: failed: %s (errno %d, %s)\n", what, errno, strerror(errno));
    if (where.scene != NULL) {
        fprintf(stderr, "steps: in or after %s, %s, instruction %llu\n", where.scene, where.how,
                (unsigned long long)where.at);
    }
    world_remove();
    _exit(2);
}

void found_where(const char *scene, const char *how, uint64_t at, uint64_t of, uint64_t address)
{
    uint64_t said = where.scene == scene ? where.said : 0;
    where.scene = scene;
    where.how = how;
    where.at = at;
    where.of = of;
    where.address = address;
    where.said = said;
}

void found(const char *format, ...)
{
    va_list arguments;
    findings++;
    if (where.said++ >= 6) {
        return; /* one fault shows at many instructions: a few lines are enough to find it */
    }
    printf("  FOUND %s, %s, instruction %llu of %llu at %#llx: ", where.scene, where.how,
           (unsigned long long)where.at, (unsigned long long)where.of,
           (unsigned long long)where.address);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    fflush(stdout);
    if (one_is_enough) {
        world_remove();
        _exit(0); /* whom it traces dies with it */
    }
}

/* --- the region ---------------------------------------------------------------------------------- */

struct uf_ring lane_ring(uint32_t queue, uint32_t lane)
{
    struct uf_ring ring;
    uint8_t *area = world.system.queues.rings +
                    ((uint64_t)queue * UF_LANES + lane) * uf_ring_bytes(world_sizes.queue_capacity);
    if (uf_ring_open(&ring, area, world_sizes.queue_capacity) != UF_OK) {
        fatal("uf_ring_open");
    }
    return ring;
}

static void make_keys(void)
{
    uint32_t made[2] = {0, 0};
    for (uint32_t number = 0; made[0] < 18 || made[1] < KEYS - 18; number++) {
        char name[16];
        snprintf(name, sizeof name, "key%u", number);
        struct uf_key key;
        uint64_t buffer[UF_KEY_BYTES_MAX / 8 + 1];
        uint64_t seed = world.system.region.id;
        if (uf_key_make(&key, seed, buffer, "space", 5, name, strlen(name)) != UF_OK) {
            fatal("uf_key_make");
        }
        uint32_t bucket = (uint32_t)(((key.hash >> 32) * world_sizes.buckets) >> 32);
        if (made[bucket] >= (bucket == 0 ? 18 : KEYS - 18)) {
            continue;
        }
        uint32_t k = bucket * 18 + made[bucket]++;
        uf_key_make(&keys[k].key, seed, keys[k].buffer, "space", 5, name, strlen(name));
    }
}

void world_open(void)
{
    uint64_t free_bytes;
    uint32_t index;
    struct stat st;
    bool memory = stat("/dev/shm", &st) == 0 && access("/dev/shm", W_OK) == 0;
    snprintf(directory, sizeof directory, "%s/uf-steps-XXXXXX", memory ? "/dev/shm" : "/tmp");
    if (mkdtemp(directory) == NULL) {
        fatal("mkdtemp");
    }
    snprintf(path, sizeof path, "%s/region", directory);
    snprintf(temp_path, sizeof temp_path, "%s/region.tmp", directory);
    opener = getpid();
    scene_dir = directory;
    scene_path = path;
    notes = mmap(NULL, UF_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (notes == MAP_FAILED) {
        fatal("mmap");
    }
    if (uf_system_create(&world.system, &world_sizes, temp_path, path, 7, 0, (uint64_t)getpid(),
                         "hello", 5, &free_bytes) != UF_OK) {
        fatal("uf_system_create");
    }
    world.pipe = -1;
    for (uint32_t lane = 0; lane < UF_LANES; lane++) {
        struct uf_ring ring = lane_ring(INBOX, lane);
        uf_ring_init(&ring, (1ull << UF_RING_VERSION_BITS) * world_sizes.queue_capacity - 2);
    }
    if (uf_queue_open(&world.system.queues, "inbox", &index) != UF_OK || index != INBOX ||
        uf_queue_open(&world.system.queues, "second", &index) != UF_OK || index != SECOND ||
        uf_agents_type(&world.system.agents, "alpha", true, &index) != UF_OK || index != 0) {
        fatal("a queue and a type");
    }
    world.scratch = calloc(1, uf_system_scratch_bytes(&world.system) + 8);
    if (world.scratch == NULL) {
        fatal("calloc");
    }
    for (uint32_t i = 0; i < IMAGES; i++) {
        images[i].bytes = malloc(world.system.region.bytes);
        if (images[i].bytes == NULL) {
            fatal("malloc");
        }
    }
    make_keys();
    for (uint32_t k = 0; k < KEYS; k++) {
        world.key_may[k] = 1;
    }
    for (uint32_t a = 0; a < AGENTS; a++) {
        world.agent_may[a] = 1u << UF_AGENT_FREE;
    }
    world_keep(PRISTINE);
}

void world_close(void)
{
    uf_system_close(&world.system);
    world_remove();
    if (access(directory, F_OK) == 0) {
        fatal("nothing is left behind");
    }
}

void world_keep(uint32_t image)
{
    images[image].world = world;
    memcpy(images[image].bytes, world.system.region.base, world.system.region.bytes);
}

void world_back(uint32_t image)
{
    world = images[image].world;
    memcpy(world.system.region.base, images[image].bytes, world.system.region.bytes);
}

/* But for the metrics, which are large, and tell nobody what to do. */
bool world_changed(void)
{
    static uint8_t *seen;
    bool changed = false;
    const struct uf_region *region = &world.system.region;
    if (seen == NULL && (seen = calloc(1, region->bytes)) == NULL) {
        fatal("calloc");
    }
    for (uint32_t i = 0; i < region->areas; i++) {
        const struct uf_area *area = &region->area[i];
        if (area->kind != UF_AREA_METRICS &&
            memcmp(seen + area->offset, region->base + area->offset, area->bytes) != 0) {
            memcpy(seen + area->offset, region->base + area->offset, area->bytes);
            changed = true;
        }
    }
    return changed;
}

void world_reset(void)
{
    world_back(PRISTINE);
}

void world_join(uint32_t role)
{
    /* The parent's attachment stays open behind it, and goes with this process: the parent's locks
     * are the parent's as long as it lives. */
    if (uf_system_attach(&world.system, path, role, false, 0, (uint64_t)getpid()) != UF_OK) {
        fatal("uf_system_attach");
    }
    world.holds = 0;
    world.receiver = (struct uf_receiver){0};
}

/* --- messages -------------------------------------------------------------------------------------- */

void message_make(uint32_t number, uint32_t bytes, uint16_t flags)
{
    uint32_t handle;
    if (uf_pool_take(&world.system.messages, bytes, &handle) != UF_OK) {
        fatal("a block for a message");
    }
    struct uf_message *message = uf_pool_block(&world.system.messages, handle);
    message->payload_bytes = bytes;
    message->flags = flags;
    message->attempt = 0;
    for (uint32_t i = 0; i < bytes / 8; i++) {
        PAYLOAD(message)[i] = number + i * 0x9e3779b97f4a7c15ull * (number + 1);
    }
    world.held[world.holds++] = handle;
}

void message_may(uint32_t number, uint32_t least, uint32_t most)
{
    world.least[number] = (uint8_t)least;
    world.most[number] = (uint8_t)most;
}

void message_put(uint32_t queue, uint32_t lane, uint32_t number)
{
    uint32_t bell;
    message_make(number, 40, 0);
    uint32_t handle = world.held[--world.holds];
    if (uf_queue_send(&world.system.queues, queue, lane, &handle, 1, &bell) != 1) {
        fatal("uf_queue_send");
    }
    message_may(number, 1, 1);
}

/* --- agents ---------------------------------------------------------------------------------------- */

int agent_spawn(uint64_t *id)
{
    struct uf_agents *agents = &world.system.agents;
    struct uf_places places;
    uint32_t worker;
    int status = uf_census_admit(agents, 0, 1, &places);
    if (status != UF_OK) {
        return status;
    }
    if (uf_census_claim(agents, 0, 1, 0, 1, id, &worker) != UF_OK) {
        status = uf_census_new(agents, 0, SECOND, 1, UF_AGENT_STARTING, 8, 0, 1, id);
    }
    if (status != UF_OK) {
        uf_census_settle(agents, &places, 0);
        return status;
    }
    status = uf_census_settle(agents, &places, 1);
    if (status != UF_OK) {
        uf_census_drop(agents, *id);
    }
    return status;
}

struct uf_census agents_by_hand(void)
{
    struct uf_census wanted = {0};
    for (uint32_t slot = 0; slot < AGENTS; slot++) {
        struct uf_agent_info info;
        uf_agent_at(&world.system.agents, slot, &info);
        wanted.alive += uf_agent_is_alive(info.state);
        wanted.warm += info.state == UF_AGENT_WARM;
        wanted.building += info.state == UF_AGENT_BUILDING;
    }
    return wanted;
}

static bool loads_are_true(void)
{
    for (uint32_t worker = 0; worker <= SECOND; worker++) {
        uint32_t load = 0;
        for (uint32_t slot = 0; slot < AGENTS; slot++) {
            struct uf_agent_info info;
            uf_agent_at(&world.system.agents, slot, &info);
            load += info.state != UF_AGENT_FREE && info.worker == worker;
        }
        if (uf_census_load(&world.system.agents, worker) != load) {
            return false;
        }
    }
    return true;
}

bool counts_are(const struct uf_census *wanted)
{
    struct uf_census mine;
    struct uf_census all;
    if (uf_census_read(&world.system.agents, 0, &mine) != UF_OK ||
        uf_census_read(&world.system.agents, world_sizes.types, &all) != UF_OK) {
        fatal("uf_census_read");
    }
    return mine.alive == wanted->alive && all.alive == wanted->alive && mine.warm == wanted->warm &&
           mine.building == wanted->building &&
           (world.limit == 0 || loads_are_true()); /* who does not count tells of no worker */
}

/* --- entries --------------------------------------------------------------------------------------- */

const struct uf_key *entry_key(uint32_t key)
{
    return &keys[key].key;
}

uint32_t entry_bytes(uint32_t value)
{
    return value >= 20 ? 200 : 24; /* the larger ones need the second class */
}

void entry_fill(uint64_t *words, uint32_t value)
{
    for (uint32_t i = 0; i < entry_bytes(value) / 8; i++) {
        words[i] = value + i * 0xe7037ed1a0b428dbull * (value + 1);
    }
}

int entry_write(uint32_t key, uint32_t value, uint32_t mode, uint64_t *stamp)
{
    uint64_t words[32];
    struct uf_entry entry = {.stamp = *stamp, .tag = value};
    entry_fill(words, value);
    int status = uf_table_set(&world.system.table, entry_key(key), words, entry_bytes(value), 0,
                              mode, &entry);
    *stamp = entry.stamp;
    return status;
}

int entry_read(uint32_t key, uint32_t *value)
{
    uint64_t words[32];
    uint64_t wanted[32];
    struct uf_entry entry;
    int status = uf_table_get(&world.system.table, entry_key(key), 0, words, sizeof words, &entry);
    if (status != UF_OK) {
        return status;
    }
    *value = (uint32_t)words[0];
    if (*value > 31) {
        found("key %u has a value that nobody wrote", key);
        return UF_CORRUPT;
    }
    entry_fill(wanted, *value);
    if (entry.value_bytes != entry_bytes(*value) || entry.tag != *value ||
        memcmp(words, wanted, entry.value_bytes) != 0) {
        found("key %u has a torn value", key);
    }
    return UF_OK;
}

void entry_put(uint32_t key, uint32_t value)
{
    uint64_t stamp = 0;
    if (entry_write(key, value, UF_SET_ANY, &stamp) != UF_OK) {
        fatal("uf_table_set");
    }
    world.key_may[key] = 1u << value;
}
