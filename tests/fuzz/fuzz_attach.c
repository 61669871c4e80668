/* fuzz_attach.c -- bytes become a region file, and whatever attaching accepts is worked on.
 *
 * An input patches a whole region's file: its head, its directory, the first pages of every area; it may
 * cut the file or let it grow, and make the checksum right again, as a hostile writer would.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <unistd.h>

#define FILE_BYTES_MAX (4u << 20)
#define PATCHES 12u
#define CALLS_MAX 64u

enum flags {
    SUM = 1,       /* the checksum fits                          */
    SIZE = 2,      /* the file is as long as its head says       */
    READ_ONLY = 4, /* attached to for reading                    */
    CUT = 8,       /* it is cut: two bytes say where, in 64 bytes */
    RAW = 16,      /* the rest of the input is the file          */
};

struct top {
    struct uf_region_head head;
    struct uf_area area[UF_AREAS_MAX];
};

static struct guest maker; /* only its verified directory is used after the file is made */
static struct top whole;
static uint8_t *image; /* all but the metrics, which stay as they are: numbers and nothing else */
static int file = -1;

static void put(const void *bytes, size_t size, uint64_t at)
{
    if (pwrite(file, bytes, size, (off_t)at) != (ssize_t)size) {
        fuzz_broken("the region's file can't be written");
    }
}

static void cut(uint64_t bytes)
{
    if (ftruncate(file, (off_t)bytes) != 0) {
        fuzz_broken("the region's file can't be cut");
    }
}

static void prepare(void)
{
    stage_make(&maker);
    uf_system_abandon(&maker.system);
    file = open(stage_path, O_RDWR | O_CLOEXEC);
    uint64_t bytes = maker.system.region.bytes;
    image = malloc(bytes);
    if (file < 0 || image == NULL || pread(file, image, bytes, 0) != (ssize_t)bytes) {
        fuzz_broken("the region's file can't be read");
    }
    memcpy(&whole, image, sizeof whole);
}

static void copy_back(void)
{
    uint64_t bytes = maker.system.region.bytes;
    cut(bytes);
    for (uint32_t i = 0; i < whole.head.areas; i++) {
        if (whole.area[i].kind == UF_AREA_METRICS) {
            uint64_t behind = whole.area[i].offset + uf_round_up(whole.area[i].bytes, UF_PAGE);
            put(image, whole.area[i].offset, 0);
            put(image + behind, bytes - behind, behind);
        }
    }
}

/* uf_region.c's sum. */
static uint64_t mix(uint64_t hash, uint64_t word)
{
    return (hash ^ word) * 0x100000001b3ull ^ (hash >> 29);
}

static uint64_t sum_of(const struct top *top)
{
    const uint64_t words[] = {top->head.magic, ((uint64_t)top->head.layout << 32) | top->head.areas,
                              top->head.bytes, top->head.id, top->head.created_ns};
    uint64_t hash = 0xcbf29ce484222325ull;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        hash = mix(hash, words[i]);
    }
    for (uint32_t i = 0; i < top->head.areas && i < UF_AREAS_MAX; i++) {
        const struct uf_area *area = &top->area[i];
        hash = mix(mix(mix(hash, area->offset), area->bytes), area->kind);
    }
    return hash;
}

/* One patch: which area (0: head and directory), where, how many bytes, the bytes. */
static void patch(struct top *top, struct tape *tape)
{
    uint8_t bytes[8];
    uint32_t area = tape_below(tape, whole.head.areas + 2);
    uint32_t offset = (uint32_t)tape_bytes(tape, 2);
    uint32_t count = 1 + tape_below(tape, sizeof bytes);
    uint64_t value = tape_bytes(tape, count);
    memcpy(bytes, &value, sizeof bytes);
    if (area == 0 || area > whole.head.areas) {
        offset %= sizeof *top - sizeof bytes;
        memcpy((uint8_t *)top + offset, bytes, count);
    } else {
        put(bytes, count, whole.area[area - 1].offset + offset % 4096);
    }
}

static void make(struct tape *tape, uint32_t flags)
{
    struct top top = whole;
    if ((flags & RAW) != 0) {
        size_t bytes = tape->left;
        cut(0);
        put(tape->at, bytes, 0);
        return;
    }
    for (uint32_t patches = tape_below(tape, PATCHES); patches > 0; patches--) {
        patch(&top, tape);
    }
    if ((flags & SUM) != 0) {
        top.head.checksum = sum_of(&top);
    }
    put(&top, sizeof top, 0);
    if ((flags & SIZE) != 0 && top.head.bytes <= FILE_BYTES_MAX) {
        cut(top.head.bytes);
    } else if ((flags & CUT) != 0) {
        cut(tape_bytes(tape, 2) * 64);
    }
}

static void use(struct guest *guest, struct tape *tape, bool read_only)
{
    for (uint32_t calls = 0; calls < CALLS_MAX && tape->left > 0; calls++) {
        switch (read_only ? 9 : tape_below(tape, 9)) {
        case 0:
        case 1:
            call_queues(guest, tape);
            break;
        case 2:
            call_pool(guest, tape);
            break;
        case 3:
        case 4:
            call_table(guest, tape);
            break;
        case 5:
            call_agents(guest, tape);
            break;
        case 6:
            call_others(guest, tape);
            break;
        case 7:
            call_census(guest, tape);
            break;
        case 8:
            call_deliver(guest, tape);
            break;
        default:
            call_reads(guest, tape);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct guest guest;
    struct tape tape = {data, size};
    if (file < 0) {
        prepare();
    }
    uint32_t flags = tape_byte(&tape);
    bool read_only = (flags & READ_ONLY) != 0;
    make(&tape, flags);
    memset(&guest, 0, sizeof guest);
    int status = uf_system_attach(&guest.system, stage_path, UF_ROLE_CLIENT, read_only, 1, 1);
    switch (status) {
    case UF_OK:
        fuzz_past++;
        guard_tails(&guest.system.region, true);
        use(&guest, &tape, read_only);
        /* Abandoned, not closed: the next input needs no slot of this one's. */
        uf_system_abandon(&guest.system);
        break;
    case UF_NOT_REGION:
    case UF_LAYOUT:
    case UF_TRUNCATED:
    case UF_CORRUPT:
    case UF_NO_SLOT:
    case UF_SYSTEM:
        break;
    default:
        fuzz_found("uf_system_attach", status);
    }
    if (guest.system.region.base != NULL || guest.system.region.fd >= 0) {
        fuzz_found("something is left of an attachment that ended", guest.system.region.fd);
    }
    copy_back();
    fuzz_played++;
    return 0;
}

static size_t seed_with(uint8_t *seed, uint8_t flags, uint32_t area, uint32_t offset,
                        const void *bytes, uint8_t count)
{
    size_t size = 0;
    seed[size++] = flags;
    seed[size++] = 1; /* one patch */
    seed[size++] = (uint8_t)area;
    seed[size++] = (uint8_t)offset;
    seed[size++] = (uint8_t)(offset >> 8);
    seed[size++] = (uint8_t)(count - 1);
    memcpy(seed + size, bytes, count);
    size += count;
    for (uint8_t call = 0; call < 27; call++) { /* three rounds of the calls */
        const uint8_t one[] = {call, (uint8_t)(call * 5), 1, 2, 0, 1, 0};
        memcpy(seed + size, one, sizeof one);
        size += sizeof one;
    }
    return size;
}

/* Patches that write what stands there already: the fields that a mutation is to find. */
void fuzz_seeds(fuzz_give *give, void *to)
{
    uint8_t seed[256];
    if (file < 0) {
        prepare();
    }
    for (uint32_t at = 0; at < sizeof(struct uf_region_head) + 32 * whole.head.areas; at += 8) {
        size_t size = seed_with(seed, SUM | SIZE, 0, at, (const uint8_t *)&whole + at, 8);
        give(seed, size, to);
    }
    for (uint32_t area = 0; area < whole.head.areas; area++) {
        for (uint32_t at = 0; at < 32; at += 4) {
            const uint8_t *bytes = image + whole.area[area].offset + at;
            uint8_t flags = (uint8_t)(SUM | (at % 8 == 0 ? 0 : READ_ONLY));
            size_t size = seed_with(seed, flags, area + 1, at, bytes, 4);
            give(seed, size, to);
        }
    }
    static const uint8_t raw[] = {RAW, 0x55, 0x4c, 0x54, 0x52, 0x46, 0x41, 0x53, 0x54, 1, 0, 0, 0};
    static const uint8_t short_file[] = {CUT, 0, 8, 0};
    give(raw, sizeof raw, to);
    give(short_file, sizeof short_file, to);
}
