/* uf_region.h -- one file, mapped by every process of a system.
 *
 * WHAT       A file on a memory file system (or any path) divided into areas. Everything in it is
 *            offsets and fixed-width integers, so each process may map it where it likes.
 * PICTURE    0        64            512 .. 4096        4096
 *            [ head   | directory   | pad            | area | area | ... | area ]
 *              magic    {kind, offset, bytes} x n      each starts on a page
 * OWNERSHIP  The file is its creator's user's, mode 0600. head and directory are written before the
 *            region is published and never after; each area belongs to the structure of its kind.
 * THREADS    create, publish, attach, close: one thread per `struct uf_region`.
 * PROGRESS   area: wait-free. create, attach, close: bounded system calls; they wait for nobody.
 * DEATH      Before publish: a file under a temporary name that nobody attaches to; the next start
 *            removes it, because its lock is free. After publish: a whole region.
 * ORDER      G1 ready release -> G2 ready acquire   head, directory and areas are initialised
 * ERRORS     create: EXISTS, NO_SPACE, DENIED, INVALID, SYSTEM.  attach: NO_REGION, NOT_REGION,
 *            LAYOUT, TRUNCATED, CORRUPT, DENIED, SYSTEM. A file is read with pread and judged
 *            before it is mapped, so that no length in it can lead to a SIGBUS. No link is followed
 *            but the kernel's own, /proc/self/fd/N: so a region is attached to whose name is gone.
 * PROOF      P1, P2: `steps_finds_published_before_it_is_whole`; a creator killed at every
 *            instruction, `steps`. P5: holds no value. P8: `test_region`, `fuzz_attach`,
 *            `fuzz_finds_area_outside_the_file`.
 * SOURCE     The verify-before-trust order follows LMDB's meta pages (H. Chu).
 *
 * Two descriptors, one purpose each: the one that was mapped is closed at once; `fd` is opened
 * apart and never mapped, because the kernel keeps an open file description (and so its locks,
 * see uf_owner.h) alive for as long as a mapping made from it lives, in a forked child too.
 *
 * Truncating the file under a live mapping is the one thing that no check here can survive: the
 * file's mode (0600) leaves that to its own user.
 */
#ifndef UF_REGION_H
#define UF_REGION_H

#include "uf_status.h"
#include "uf_step.h"

#define UF_MAGIC 0x5453414652544c55ull /* "ULTRFAST", little endian */
#define UF_LAYOUT_VERSION 5u
#define UF_AREAS_MAX 14u

enum uf_area_kind {
    UF_AREA_OWNERS = 1,
    UF_AREA_TABLE = 2,
    UF_AREA_QUEUES = 3,
    UF_AREA_MESSAGES = 4,
    UF_AREA_AGENTS = 5,
    UF_AREA_METRICS = 6,
    UF_AREA_VALUES = 7,
    UF_AREA_SETTINGS = 8,
    UF_AREA_DECLARED = 9,
};

/* Written by the creator before G1, read by everybody after G2. */
struct uf_area {
    uint64_t offset; /* from the start of the file, a multiple of UF_PAGE */
    uint64_t bytes;
    uint32_t kind;
    uint32_t reserved;
    uint64_t reserved2;
};

struct uf_region_head {
    uint64_t magic;
    uint32_t layout;
    uint32_t areas;
    uint64_t bytes;         /* of the whole file                                     */
    uint64_t id;            /* random, tells two regions of one name apart           */
    uint64_t created_ns;    /* wall clock, for people                                */
    uint64_t checksum;      /* of the fields above and the directory                 */
    _Atomic uint32_t ready; /* 0 while it is built, 1 once published; G1, G2         */
    uint32_t reserved;
    uint64_t reserved2;
};
_Static_assert(sizeof(struct uf_region_head) == UF_LINE, "the head is one cache line");
_Static_assert(sizeof(struct uf_area) == 32, "two areas to a cache line");

/* Private to the process that mapped it. */
struct uf_region {
    uint8_t *base; /* NULL when closed */
    uint64_t bytes;
    uint64_t id;
    uint64_t inode;
    int fd; /* never mapped; carries this attachment's locks */
    bool writable;
    uint32_t areas;
    struct uf_area area[UF_AREAS_MAX]; /* verified copy: the mapped one is not read again */
};

/* Bytes of a file with these areas (only .kind and .bytes are read); fills in the offsets. */
UF_API uint64_t uf_region_layout(struct uf_area *areas, uint32_t count);

/* Make `temp_path`, reserve every byte of it and map it. Nobody attaches to it before publish.
 * On NO_SPACE, `*free_bytes` tells what the file system has. */
UF_API int uf_region_create(struct uf_region *region, const char *temp_path, struct uf_area *areas,
                            uint32_t count, uint64_t id, uint64_t created_ns, uint64_t *free_bytes);
/* Give the finished region its name. EXISTS if the name is taken (link, unlike rename, replaces
 * nothing). */
UF_API int uf_region_publish(struct uf_region *region, const char *temp_path, const char *path);
UF_API int uf_region_attach(struct uf_region *region, const char *path, bool writable);
/* Unmap and close. May be called twice. */
UF_API void uf_region_close(struct uf_region *region);
/* In a forked child: let go of the descriptor (and so of the parent's locks), keep the mapping. */
UF_API void uf_region_forked(struct uf_region *region);

/* Address and size of an area, or NULL when the region has none of this kind. */
UF_API void *uf_region_area(const struct uf_region *region, uint32_t kind, uint64_t *bytes);

#endif
