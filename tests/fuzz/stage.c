/* stage.c -- a small region with something in everything, made once; an input is played on it and what
 * was there before is copied back. */
#include "fuzz.h"

#include "uf_agents_in.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#define LATER_BYTES 12u /* of the tape, for a damage that waits for its mark */
#define LATERS 4u

uint64_t fuzz_played;
uint64_t fuzz_past;

static char directory[64];
static char path[96];
const char *const stage_path = path;

_Noreturn void fuzz_found(const char *what, long long value)
{
    fprintf(stderr, "found: %s: %lld (%s)\n", what, value,
            value < 0 ? uf_status_name((int)value) : "a value");
    abort();
}

_Noreturn void fuzz_broken(const char *what)
{
    fprintf(stderr, "broken: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* --- the region --------------------------------------------------------------------------------- */

static const struct uf_sizes sizes = {
    .owners = 6,
    .buckets = 2,
    .extensions = 2,
    .queues = 4,
    .queue_capacity = 4,
    .agents = 20,
    .types = 3,
    .warm = 4,
    .shards = 1,
    .message_classes = 2,
    .value_classes = 2,
    .settings_bytes = 64,
    .message = {{192, 24}, {1024, 6}},
    .value = {{192, 24}, {1024, 6}},
};

static void needs(bool condition, const char *what)
{
    if (!condition) {
        fuzz_broken(what);
    }
}

static void remove_all(void)
{
    stage_remove();
}

void stage_remove(void)
{
    char temp[112];
    snprintf(temp, sizeof temp, "%s.tmp", path);
    unlink(temp);
    unlink(path);
    rmdir(directory);
}

static void send_some(struct uf_system *system, uint32_t queue, uint32_t lane, uint32_t count)
{
    uint32_t bell;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t handle;
        needs(uf_pool_take(&system->messages, 100, &handle) == UF_OK, "a stage without a block");
        struct uf_message *message = uf_pool_block(&system->messages, handle);
        message->payload_bytes = 100;
        needs(uf_queue_send(&system->queues, queue, lane, &handle, 1, &bell) == 1,
              "a stage whose queue is full");
    }
}

static void store_some(struct uf_system *system, uint32_t count)
{
    uint64_t buffer[UF_KEY_BYTES_MAX / 8 + 1];
    for (uint32_t i = 0; i < count; i++) {
        char name[16];
        struct uf_key key;
        struct uf_entry entry = {.tag = 1};
        snprintf(name, sizeof name, "key %u", i);
        needs(uf_key_make(&key, system->table.seed, buffer, "space", 5, name, strlen(name)) ==
                      UF_OK &&
                  uf_table_set(&system->table, &key, "a value of some length", 22, 1, UF_SET_ANY,
                               &entry) == UF_OK,
              "a stage whose table is full");
    }
}

static void populate(struct uf_system *system)
{
    uint64_t id;
    uint32_t type;
    for (uint32_t i = 0; i < 6; i++) {
        needs(uf_agents_type(&system->agents, i % 2 == 0 ? "inbox" : "other", true, &type) ==
                      UF_OK &&
                  uf_census_new(&system->agents, type, 0, 1, UF_AGENT_BUILDING, 9, 0, 1, &id) ==
                      UF_OK &&
                  uf_census_move(&system->agents, id, UF_AGENT_BUILDING, UF_AGENT_WARM) == UF_OK,
              "a stage without agents");
    }
    needs(uf_agent_new(&system->agents, type, 0, 1, UF_AGENT_STARTING, 9, 0, 1, &id) == UF_OK &&
              uf_agent_move(&system->agents, id, UF_AGENT_STARTING, UF_AGENT_ACTIVE) == UF_OK,
          "a stage without an active agent");
}

/* An agent of `type` in the second worker's hands, counted as the spawner counts it. */
static uint64_t spawn_one(struct uf_system *system, uint32_t type)
{
    uint64_t id = 0;
    struct uf_places places;
    needs(uf_census_admit(&system->agents, type, 1, &places) == UF_OK &&
              uf_census_new(&system->agents, type, 1, 1, UF_AGENT_STARTING, 9, 0, 1, &id) ==
                  UF_OK &&
              uf_census_settle(&system->agents, &places, 1) == UF_OK &&
              uf_census_move(&system->agents, id, UF_AGENT_STARTING, UF_AGENT_ACTIVE) == UF_OK,
          "a stage without agents that are counted");
    return id;
}

/* Limits, and of three agents one that is on its way to another worker. */
static void count_some(struct uf_system *system)
{
    needs(uf_census_limit(&system->agents, 0, 4) == UF_OK &&
              uf_census_limit(&system->agents, sizes.types, 6) == UF_OK,
          "a stage without limits");
    spawn_one(system, 0);
    spawn_one(system, 1);
    uint64_t id = spawn_one(system, 0);
    needs(uf_census_leave(&system->agents, id, 1, 0) == UF_OK, "a stage where none moves");
}

/* A process that died with a bit of everything in its hands. */
static void leave_a_dead_one(void)
{
    static struct uf_system ghost;
    uint32_t handles[2];
    uint32_t handle;
    uint64_t from = 0;
    uint64_t id;
    struct uf_claim claim;
    struct uf_receiver receiver = {.queue = 0};
    needs(uf_system_attach(&ghost, path, UF_ROLE_WORKER, false, 1, 2) == UF_OK &&
              uf_queue_take(&ghost.queues, &receiver, handles, 2) == 2 &&
              uf_pool_take(&ghost.messages, 10, &handle) == UF_OK &&
              uf_pool_take(&ghost.values, 10, &handle) == UF_OK &&
              uf_agent_new(&ghost.agents, 0, 0, 1, UF_AGENT_BUILDING, 9, 0, 1, &id) == UF_OK,
          "a stage without a dead process");
    struct uf_ring ring = {
        .shared = (struct uf_ring_head *)(void *)(ghost.queues.rings +
                                                  UF_LANES * uf_ring_bytes(ghost.queues.capacity)),
        .capacity = ghost.queues.capacity,
        .shift = uf_log2(ghost.queues.capacity),
    };
    needs(uf_ring_claim(&ring, ghost.queues.me, &from, &claim) == UF_OK, "a stage without a claim");
    uf_system_abandon(&ghost);
}

void stage_make(struct guest *guest)
{
    char temp[112];
    uint64_t free_bytes;
    uint32_t index;
    struct stat st;
    bool memory = stat("/dev/shm", &st) == 0 && access("/dev/shm", W_OK) == 0;
    snprintf(directory, sizeof directory, "%s/uf-c-fuzz-%ld", memory ? "/dev/shm" : "/tmp",
             (long)getpid());
    snprintf(path, sizeof path, "%s/region", directory);
    snprintf(temp, sizeof temp, "%s.tmp", path);
    needs(mkdir(directory, 0700) == 0, "no directory for the region");
    atexit(remove_all);
    memset(guest, 0, sizeof *guest);
    int status =
        uf_system_create(&guest->system, &sizes, temp, path, 7, 1, 1, "settings", 8, &free_bytes);
    needs(status == UF_OK, "no region");
    needs(uf_queue_open(&guest->system.queues, "inbox", &index) == UF_OK && index == 0 &&
              uf_queue_open(&guest->system.queues, "other", &index) == UF_OK && index == 1,
          "a stage without queues");
    send_some(&guest->system, 0, 1, 3);
    send_some(&guest->system, 0, 2, 4);
    send_some(&guest->system, 1, 0, 2);
    store_some(&guest->system, 16);
    populate(&guest->system);
    leave_a_dead_one();
    count_some(&guest->system);
}

/* --- one input ----------------------------------------------------------------------------------- */

static struct guest fresh; /* the attachment as it was when the region was whole */
static struct guest guest;

/* What is copied back: everything but the metrics, which are numbers and nothing else. */
static struct {
    uint8_t *live;
    uint8_t *copy;
    size_t bytes;
} kept[2];

static struct {
    struct tape tape;
    uint32_t marks; /* to pass before it happens */
} later[LATERS];
static uint32_t laters;
static const struct scene *playing;

static void keep(uint32_t which, uint32_t first, uint32_t last)
{
    const struct uf_region *region = &fresh.system.region;
    uint64_t bytes;
    uint8_t *from = uf_region_area(region, first, &bytes);
    uint8_t *end = uf_region_area(region, last, &bytes);
    kept[which].live = from;
    kept[which].bytes = (size_t)(end + bytes - from);
    kept[which].copy = malloc(kept[which].bytes);
    needs(kept[which].copy != NULL, "no memory for the stage's copy");
    memcpy(kept[which].copy, from, kept[which].bytes);
}

static void prepare(void)
{
    stage_make(&fresh);
    stage_remove(); /* the mapping is enough, and no death leaves a file behind */
    keep(0, UF_AREA_OWNERS, UF_AREA_AGENTS);
    keep(1, UF_AREA_VALUES, UF_AREA_SETTINGS);
    guard_tails(&fresh.system.region, true);
    guard_strangers(&fresh.system.region);
    fresh.no_metrics = true;
}

static void at_mark(const char *id)
{
    (void)id;
    for (uint32_t i = 0; i < laters; i++) {
        if (later[i].marks-- == 0) {
            struct tape tape = later[i].tape;
            later[i] = later[--laters];
            playing->damage(&guest, &tape);
            return;
        }
    }
}

static void damage_later(struct tape *tape)
{
    uint32_t marks = tape_below(tape, 16);
    size_t bytes = tape->left < LATER_BYTES ? tape->left : LATER_BYTES;
    if (laters < LATERS) {
        later[laters].marks = marks;
        later[laters].tape = (struct tape){tape->at, bytes};
        laters++;
    }
    tape->at += bytes;
    tape->left -= bytes;
}

/* The tails stay poisoned while the areas around them are copied, so not in one piece. */
static void copy_back(void)
{
    guard_tails(&fresh.system.region, false);
    for (uint32_t i = 0; i < 2; i++) {
        memcpy(kept[i].live, kept[i].copy, kept[i].bytes);
    }
    guard_tails(&fresh.system.region, true);
}

void stage_play(const struct scene *scene, const uint8_t *data, size_t size)
{
    struct tape tape = {data, size};
    if (fresh.system.region.base == NULL) {
        prepare();
    }
    guest = fresh;
    laters = 0;
    playing = scene;
    uf_step_hook = at_mark;
    while (tape.left > 0) {
        uint32_t command = tape_below(&tape, STAGE_COMMANDS);
        if (command < STAGE_DAMAGE_LATER) {
            scene->damage(&guest, &tape);
        } else if (command == STAGE_DAMAGE_LATER) {
            damage_later(&tape);
        } else {
            scene->call(&guest, &tape);
        }
    }
    uf_step_hook = NULL;
    copy_back();
    fuzz_played++;
    fuzz_past += guest.past;
}
