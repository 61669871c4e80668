/* test_region.c -- a file is judged before a byte of it is trusted. */
#include "arena.h"

#include <fcntl.h>
#include <sys/resource.h>

static struct arena arena;

static void make(void)
{
    uint64_t free_bytes;
    struct uf_area areas[] = {{.kind = UF_AREA_OWNERS, .bytes = 4096},
                              {.kind = UF_AREA_MESSAGES, .bytes = 10000}};
    CHECK_EQ(uf_region_create(&arena.region, arena.temp_path, areas, 2, 7, 5, &free_bytes), UF_OK);
    CHECK_EQ(uf_region_publish(&arena.region, arena.temp_path, arena.path), UF_OK);
    uf_region_close(&arena.region);
}

static int attach(bool writable)
{
    struct uf_region region;
    int status = uf_region_attach(&region, arena.path, writable);
    if (status == UF_OK) {
        CHECK(region.fd >= 0);
        uf_region_close(&region);
    }
    /* Refused or closed: neither mapping nor descriptor is left. */
    CHECK(region.base == NULL && region.fd == -1);
    uf_region_close(&region);
    return status;
}

static void whole(void)
{
    struct uf_region region;
    struct stat st;
    uint64_t bytes;
    uint64_t cases = 0;
    make();
    CHECK_EQ(stat(arena.temp_path, &st), -1);
    CHECK_EQ(stat(arena.path, &st), 0);
    CHECK_EQ(st.st_mode & 07777, 0600);
    CHECK((uint64_t)st.st_blocks * 512 >= (uint64_t)st.st_size); /* reserved, not a hole */
    for (int writable = 0; writable < 2; writable++, cases++) {
        CHECK_EQ(uf_region_attach(&region, arena.path, writable != 0), UF_OK);
        CHECK_EQ(region.id, 7);
        CHECK_EQ(region.bytes, st.st_size);
        CHECK(uf_region_area(&region, UF_AREA_OWNERS, &bytes) == region.base + UF_PAGE);
        CHECK_EQ(bytes, 4096);
        CHECK(uf_region_area(&region, UF_AREA_MESSAGES, &bytes) == region.base + 2 * UF_PAGE);
        CHECK_EQ(bytes, 10000);
        CHECK(uf_region_area(&region, UF_AREA_VALUES, &bytes) == NULL);
        CHECK_EQ(bytes, 0);
        uf_region_close(&region);
    }
    unlink(arena.path);
    explored("attached to whole regions", cases);
}

/* What stands at the name is not a region of ours. */
static void strangers(void)
{
    uint64_t cases = 0;
    char other[128];
    CHECK_EQ(attach(true), UF_NO_REGION);
    CHECK_EQ(mkfifo(arena.path, 0600), 0);
    CHECK_EQ(attach(true), UF_NOT_REGION);
    CHECK_EQ(attach(false), UF_NOT_REGION);
    unlink(arena.path);
    CHECK_EQ(mkdir(arena.path, 0700), 0);
    CHECK(attach(true) < 0); /* a directory cannot be opened for writing */
    CHECK_EQ(attach(false), UF_NOT_REGION);
    rmdir(arena.path);
    cases += 5;

    make();
    snprintf(other, sizeof other, "%s/other", arena.directory);
    CHECK_EQ(rename(arena.path, other), 0);
    CHECK_EQ(symlink(other, arena.path), 0);
    CHECK_EQ(attach(true), UF_DENIED);
    CHECK_EQ(attach(false), UF_DENIED);
    unlink(arena.path);
    CHECK_EQ(rename(other, arena.path), 0);
    CHECK_EQ(attach(true), UF_OK);
    static const mode_t modes[] = {0640, 0604, 0660, 0644, 0601};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++, cases++) {
        CHECK_EQ(chmod(arena.path, modes[i]), 0);
        CHECK_EQ(attach(true), UF_DENIED);
    }
    if (geteuid() == 0) { /* only the superuser can give a file away */
        CHECK_EQ(chmod(arena.path, 0600), 0);
        CHECK_EQ(chown(arena.path, 12345, (gid_t)-1), 0);
        CHECK_EQ(attach(true), UF_DENIED);
        cases++;
    }
    unlink(arena.path);
    explored("strangers under the name refused", cases + 3);
}

static void put(off_t at, const void *bytes, size_t size)
{
    int fd = open(arena.path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_EQ(pwrite(fd, bytes, size, at), (ssize_t)size);
    close(fd);
}

static void damaged(void)
{
    uint64_t cases = 0;
    struct stat st;
    struct uf_region_head head;
    struct uf_area area[2];
    make();
    int fd = open(arena.path, O_RDONLY | O_CLOEXEC);
    CHECK_EQ(fstat(fd, &st), 0);
    CHECK_EQ(pread(fd, &head, sizeof head, 0), (ssize_t)sizeof head);
    CHECK_EQ(pread(fd, area, sizeof area, sizeof head), (ssize_t)sizeof area);
    close(fd);

    const off_t lengths[] = {0, 1, 63, 64, 511, 512, 4096, 8192, st.st_size - 1};
    for (size_t i = sizeof lengths / sizeof *lengths; i-- > 0; cases++) {
        CHECK_EQ(truncate(arena.path, lengths[i]), 0);
        CHECK_EQ(attach(true), UF_TRUNCATED);
    }
    unlink(arena.path);
    make();
    CHECK_EQ(truncate(arena.path, st.st_size + 4096), 0);
    CHECK_EQ(attach(true), UF_CORRUPT);
    CHECK_EQ(truncate(arena.path, st.st_size), 0);
    CHECK_EQ(attach(true), UF_OK);

    const uint64_t magic = UF_MAGIC ^ 0x20;
    put(offsetof(struct uf_region_head, magic), &magic, sizeof magic);
    CHECK_EQ(attach(true), UF_NOT_REGION);
    put(0, &head, sizeof head);
    const uint32_t older = UF_LAYOUT_VERSION - 1;
    put(offsetof(struct uf_region_head, layout), &older, sizeof older);
    CHECK_EQ(attach(true), UF_LAYOUT);
    put(0, &head, sizeof head);
    const uint32_t unready = 0;
    put(offsetof(struct uf_region_head, ready), &unready, sizeof unready);
    CHECK_EQ(attach(true), UF_NOT_REGION);
    put(0, &head, sizeof head);
    CHECK_EQ(attach(true), UF_OK);
    cases += 4;

    /* Every bit of the head and the directory that means something. */
    uint8_t bytes[sizeof head + sizeof area];
    memcpy(bytes, &head, sizeof head);
    memcpy(bytes + sizeof head, area, sizeof area);
    for (size_t bit = 0; bit < sizeof bytes * 8; bit++) {
        size_t at = bit / 8;
        bool spare = at >= sizeof head
                         ? (at - sizeof head) % sizeof *area >= offsetof(struct uf_area, reserved)
                         : at >= offsetof(struct uf_region_head, reserved);
        bytes[at] ^= (uint8_t)(1u << bit % 8);
        put(0, bytes, sizeof bytes);
        CHECK_EQ(attach(true) == UF_OK, spare);
        bytes[at] ^= (uint8_t)(1u << bit % 8);
        cases++;
    }
    unlink(arena.path);
    explored("damaged files refused", cases);
}

/* uf_region.c's sum, as a hostile writer would make it. */
static uint64_t mix(uint64_t hash, uint64_t word)
{
    return (hash ^ word) * 0x100000001b3ull ^ (hash >> 29);
}

static uint64_t sum_of(const struct uf_region_head *head, const struct uf_area *areas)
{
    const uint64_t words[] = {head->magic, ((uint64_t)head->layout << 32) | head->areas,
                              head->bytes, head->id, head->created_ns};
    uint64_t hash = 0xcbf29ce484222325ull;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        hash = mix(hash, words[i]);
    }
    for (uint32_t i = 0; i < head->areas && i < UF_AREAS_MAX; i++) {
        hash = mix(mix(mix(hash, areas[i].offset), areas[i].bytes), areas[i].kind);
    }
    return hash;
}

/* The sum is right and the contents are not. */
static void hostile(void)
{
    uint64_t cases = 0;
    uint64_t free_bytes;
    struct {
        struct uf_region_head head;
        struct uf_area area[UF_AREAS_MAX];
    } good, top;
    make();
    int fd = open(arena.path, O_RDONLY | O_CLOEXEC);
    CHECK_EQ(pread(fd, &good, sizeof good, 0), (ssize_t)sizeof good);
    close(fd);
    CHECK_EQ(sum_of(&good.head, good.area), good.head.checksum); /* ours is theirs */
    const uint64_t wild[] = {
        0, 1, 4095, 4097, 1u << 20, 1ull << 40, 1ull << 63, UINT64_MAX - 4095, UINT64_MAX};
    for (size_t i = 0; i < sizeof wild / sizeof *wild; i++) {
        for (int what = 0; what < 5; what++, cases++) {
            top = good;
            uint64_t *field[] = {&top.area[0].offset, &top.area[1].offset, &top.area[0].bytes,
                                 &top.area[1].bytes, &top.head.bytes};
            bool same = *field[what] == wild[i];
            /* A first area of one page may say fewer bytes, and the last area too. */
            bool fits = (what == 2 && wild[i] > 0 && wild[i] <= UF_PAGE) ||
                        (what == 3 && wild[i] <= top.area[1].bytes);
            *field[what] = wild[i];
            top.head.checksum = sum_of(&top.head, top.area);
            put(0, &top, sizeof top);
            CHECK_EQ(attach(true) == UF_OK, same || fits);
        }
    }
    for (uint64_t count = 0; count < 20; count++, cases++) {
        top = good;
        top.head.areas = count < 19 ? (uint32_t)count : UINT32_MAX;
        top.head.checksum = sum_of(&top.head, top.area);
        put(0, &top, sizeof top);
        CHECK_EQ(attach(true) == UF_OK, count == 1 || count == 2);
    }
    unlink(arena.path);
    for (uint32_t count = 0; count < UF_AREAS_MAX + 3; count++, cases++) {
        struct uf_area areas[UF_AREAS_MAX + 3] = {{0}};
        for (uint32_t i = 0; i < count; i++) {
            areas[i] = (struct uf_area){.kind = i + 1, .bytes = 64};
        }
        struct uf_region region;
        bool good = count > 0 && count <= UF_AREAS_MAX;
        CHECK_EQ(uf_region_create(&region, arena.temp_path, areas, count, 7, 5, &free_bytes),
                 good ? UF_OK : UF_INVALID);
        if (good) {
            CHECK_EQ(uf_region_publish(&region, arena.temp_path, arena.path), UF_OK);
            CHECK_EQ(attach(false), UF_OK);
            unlink(arena.path);
        }
        uf_region_close(&region);
    }
    explored("directories judged", cases);
}

static void names_taken(void)
{
    struct uf_region region;
    struct stat st;
    uint64_t free_bytes;
    struct uf_area areas[] = {{.kind = UF_AREA_OWNERS, .bytes = 4096}};
    make();
    CHECK_EQ(uf_region_create(&region, arena.path, areas, 1, 7, 5, &free_bytes), UF_EXISTS);
    CHECK_EQ(attach(true), UF_OK); /* what stood there still stands */
    CHECK_EQ(uf_region_create(&region, arena.temp_path, areas, 1, 8, 5, &free_bytes), UF_OK);
    CHECK_EQ(uf_region_publish(&region, arena.temp_path, arena.path), UF_EXISTS);
    uf_region_close(&region);
    uf_region_close(&region);
    CHECK_EQ(uf_region_attach(&region, arena.path, true), UF_OK);
    CHECK_EQ(region.id, 7);
    uf_region_close(&region);
    unlink(arena.temp_path);
    unlink(arena.path);
    CHECK_EQ(stat(arena.temp_path, &st), -1);
    char nowhere[160];
    snprintf(nowhere, sizeof nowhere, "%s/nowhere/region", arena.directory);
    CHECK_EQ(uf_region_create(&region, nowhere, areas, 1, 7, 5, &free_bytes), UF_NO_REGION);
    explored("names that were taken", 3);
}

static void no_space(void)
{
    struct uf_region region;
    struct stat st;
    uint64_t free_bytes = 0;
    struct rlimit old;
    struct rlimit limit;
    struct uf_area areas[] = {{.kind = UF_AREA_OWNERS, .bytes = 1u << 20}};
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = old;
    limit.rlim_cur = 65536;
    signal(SIGXFSZ, SIG_IGN);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    CHECK_EQ(uf_region_create(&region, arena.temp_path, areas, 1, 7, 5, &free_bytes), UF_NO_SPACE);
    CHECK_EQ(errno, EFBIG);
    CHECK_EQ(stat(arena.temp_path, &st), -1);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
    areas[0].bytes = 1ull << 52; /* more than any file system has */
    CHECK_EQ(uf_region_create(&region, arena.temp_path, areas, 1, 7, 5, &free_bytes), UF_NO_SPACE);
    CHECK(free_bytes > 0);
    CHECK_EQ(stat(arena.temp_path, &st), -1);
    uf_region_close(&region);
    explored("refused for want of space, nothing left behind", 2);
}

int main(void)
{
    watchdog(60);
    arena_names(&arena);
    whole();
    strangers();
    damaged();
    hostile();
    names_taken();
    no_space();
    CHECK_EQ(rmdir(arena.directory), 0);
    return 0;
}
