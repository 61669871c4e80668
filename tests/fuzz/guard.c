/* guard.c -- a region is mapped with 4 GiB of forbidden addresses on either side, so that a wild index
 * meets nothing but them; the linker puts these in the place of mmap and munmap (--wrap). */
#include "fuzz.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ADDRESS_SANITIZER
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define WITH_ADDRESS_SANITIZER
#endif

#ifdef WITH_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

#define GUARD (4ull << 30)
#define GUARDED_MAX 8

static struct {
    uint8_t *base;
    size_t bytes;
} guarded[GUARDED_MAX];

void *__real_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t bytes);
int __wrap_munmap(void *at, size_t bytes);

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    int free_place = -1;
    for (int i = 0; i < GUARDED_MAX; i++) {
        free_place = guarded[i].base == NULL ? i : free_place;
    }
    if (fd < 0 || free_place < 0 || bytes > GUARD) {
        return __real_mmap(at, bytes, protection, flags, fd, offset);
    }
    size_t whole = bytes + 2 * GUARD;
    long where = syscall(SYS_mmap, NULL, whole, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0L);
    if (where == -1) {
        return MAP_FAILED;
    }
    uint8_t *base = (uint8_t *)where + GUARD;
    if (syscall(SYS_mmap, base, bytes, protection, flags | MAP_FIXED, fd, (long)offset) == -1) {
        syscall(SYS_munmap, where, whole);
        return MAP_FAILED;
    }
    guarded[free_place].base = base;
    guarded[free_place].bytes = bytes;
    return base;
}

int __wrap_munmap(void *at, size_t bytes)
{
    for (int i = 0; i < GUARDED_MAX; i++) {
        if (guarded[i].base != NULL && guarded[i].base == at) {
            guarded[i].base = NULL;
            ASAN_UNPOISON_MEMORY_REGION(at, guarded[i].bytes);
            return (int)syscall(SYS_munmap, (uint8_t *)at - GUARD, guarded[i].bytes + 2 * GUARD);
        }
    }
    return __real_munmap(at, bytes);
}

void guard_tails(const struct uf_region *region, bool poison)
{
    for (uint32_t i = 0; i < region->areas; i++) {
        const struct uf_area *area = &region->area[i];
        uint8_t *end = region->base + area->offset + area->bytes;
        size_t tail = uf_round_up(area->bytes, UF_PAGE) - area->bytes;
        tail = area->offset + area->bytes + tail > region->bytes ? 0 : tail;
        if (poison) {
            ASAN_POISON_MEMORY_REGION(end, tail);
        } else {
            ASAN_UNPOISON_MEMORY_REGION(end, tail);
        }
    }
}

void guard_strangers(const struct uf_region *region)
{
    uint64_t bytes;
    uint8_t *metrics = uf_region_area(region, UF_AREA_METRICS, &bytes);
    ASAN_POISON_MEMORY_REGION(region->base, UF_PAGE);
    ASAN_POISON_MEMORY_REGION(metrics, bytes);
}
