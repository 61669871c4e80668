#include "uf_region.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static uint64_t mix(uint64_t hash, uint64_t word)
{
    /* FNV-1a by words (Fowler, Noll, Vo): it has to notice damage, not an adversary. */
    return (hash ^ word) * 0x100000001b3ull ^ (hash >> 29);
}

static uint64_t checksum(const struct uf_region_head *head, const struct uf_area *areas)
{
    uint64_t hash = 0xcbf29ce484222325ull;
    hash = mix(hash, head->magic);
    hash = mix(hash, ((uint64_t)head->layout << 32) | head->areas);
    hash = mix(hash, head->bytes);
    hash = mix(hash, head->id);
    hash = mix(hash, head->created_ns);
    for (uint32_t i = 0; i < head->areas; i++) {
        hash = mix(hash, areas[i].offset);
        hash = mix(hash, areas[i].bytes);
        hash = mix(hash, areas[i].kind);
    }
    return hash;
}

uint64_t uf_region_layout(struct uf_area *areas, uint32_t count)
{
    uint64_t offset = UF_PAGE;
    for (uint32_t i = 0; i < count; i++) {
        areas[i].offset = offset;
        areas[i].reserved = 0;
        areas[i].reserved2 = 0;
        offset += uf_round_up(areas[i].bytes, UF_PAGE);
    }
    return offset;
}

static int status_of_errno(void)
{
    switch (errno) {
    case ENOENT:
        return UF_NO_REGION;
    case EEXIST:
        return UF_EXISTS;
    case EACCES:
    case EPERM:
    case ELOOP:
    case EROFS:
        return UF_DENIED;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return UF_NO_SPACE;
    default:
        return UF_SYSTEM;
    }
}

/* Open without following a link that somebody put there; those of our descriptors are the kernel's.
 * O_NONBLOCK: a FIFO planted under the name must not make us wait for its other end. */
static int open_plainly(const char *path, bool writable)
{
    static const char ours[] = "/proc/self/fd/";
    int follow = strncmp(path, ours, sizeof ours - 1) == 0 ? 0 : O_NOFOLLOW;
    return open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | follow);
}

/* Open the path once more for the descriptor that carries locks; it must be the same file. */
static int open_apart(struct uf_region *region, const char *path, bool writable)
{
    struct stat st;
    int fd = open_plainly(path, writable);
    if (fd < 0) {
        return status_of_errno();
    }
    if (fstat(fd, &st) != 0 || (uint64_t)st.st_ino != region->inode) {
        close(fd);
        return UF_DENIED;
    }
    region->fd = fd;
    return UF_OK;
}

static int map_file(struct uf_region *region, int fd, bool writable)
{
    int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    void *base = mmap(NULL, region->bytes, protection, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) {
        return UF_SYSTEM;
    }
    region->base = base;
    region->writable = writable;
    return UF_OK;
}

int uf_region_create(struct uf_region *region, const char *temp_path, struct uf_area *areas,
                     uint32_t count, uint64_t id, uint64_t created_ns, uint64_t *free_bytes)
{
    struct stat st;
    struct statvfs fs;
    memset(region, 0, sizeof *region);
    region->fd = -1;
    if (count == 0 || count > UF_AREAS_MAX) {
        return UF_INVALID;
    }
    region->bytes = uf_region_layout(areas, count);
    int fd = open(temp_path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return status_of_errno();
    }
    int status = UF_SYSTEM;
    if (fstat(fd, &st) != 0 || fstatvfs(fd, &fs) != 0) {
        goto fail;
    }
    region->inode = (uint64_t)st.st_ino;
    *free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (fs.f_blocks != 0 && *free_bytes < region->bytes) {
        errno = ENOSPC;
        status = UF_NO_SPACE;
        goto fail;
    }
    UF_STEP(G0);
    errno = posix_fallocate(fd, 0, (off_t)region->bytes);
    if (errno != 0) {
        status = status_of_errno();
        goto fail;
    }
    status = map_file(region, fd, true);
    if (status != UF_OK) {
        goto fail;
    }
    status = open_apart(region, temp_path, true);
    if (status != UF_OK) {
        munmap(region->base, region->bytes);
        goto fail;
    }
    close(fd);
    struct uf_region_head *head = (struct uf_region_head *)region->base;
    head->magic = UF_MAGIC;
    head->layout = UF_LAYOUT_VERSION;
    head->areas = count;
    head->bytes = region->bytes;
    head->id = region->id = id;
    head->created_ns = created_ns;
    memcpy(region->base + sizeof *head, areas, count * sizeof *areas);
    memcpy(region->area, areas, count * sizeof *areas);
    region->areas = count;
    head->checksum = checksum(head, areas);
    return UF_OK;
fail:
    region->base = NULL;
    {
        int reason = errno;
        close(fd);
        unlink(temp_path);
        errno = reason;
    }
    return status;
}

int uf_region_publish(struct uf_region *region, const char *temp_path, const char *path)
{
    struct uf_region_head *head = (struct uf_region_head *)region->base;
    /* G1 -> G2. Release: whoever sees ready sees the head, the directory and every area
     * initialised. Relaxed, an attaching process could meet an empty ring header. */
    atomic_store_explicit(&head->ready, 1, memory_order_release);
    UF_STEP(G1);
    if (link(temp_path, path) != 0) {
        return status_of_errno();
    }
    UF_STEP(G1b);
    unlink(temp_path);
    return UF_OK;
}

/* Judge head and directory, both private copies, against the file's true size. */
static int verify(struct uf_region *region, const struct uf_region_head *head,
                  const struct uf_area *areas, uint64_t file_bytes)
{
    if (head->magic != UF_MAGIC) {
        return UF_NOT_REGION;
    }
    if (head->layout != UF_LAYOUT_VERSION) {
        return UF_LAYOUT;
    }
    if (head->areas == 0 || head->areas > UF_AREAS_MAX) {
        return UF_CORRUPT;
    }
    if (head->bytes != file_bytes) {
        return file_bytes < head->bytes ? UF_TRUNCATED : UF_CORRUPT;
    }
    if (head->checksum != checksum(head, areas)) {
        return UF_CORRUPT;
    }
    uint64_t end = UF_PAGE;
    for (uint32_t i = 0; i < head->areas; i++) {
        if (areas[i].offset != end || areas[i].bytes > file_bytes ||
            areas[i].offset > file_bytes - areas[i].bytes) {
            return UF_CORRUPT;
        }
        end += uf_round_up(areas[i].bytes, UF_PAGE);
    }
    region->bytes = file_bytes;
    region->id = head->id;
    region->areas = head->areas;
    memcpy(region->area, areas, head->areas * sizeof *areas);
    return UF_OK;
}

int uf_region_attach(struct uf_region *region, const char *path, bool writable)
{
    struct stat st;
    struct {
        struct uf_region_head head;
        struct uf_area area[UF_AREAS_MAX];
    } top;
    memset(region, 0, sizeof *region);
    region->fd = -1;
    int fd = open_plainly(path, writable);
    if (fd < 0) {
        return status_of_errno();
    }
    int status;
    if (fstat(fd, &st) != 0) {
        status = UF_SYSTEM;
    } else if (!S_ISREG(st.st_mode)) {
        status = UF_NOT_REGION;
    } else if (st.st_uid != geteuid() || (st.st_mode & 0077) != 0) {
        status = UF_DENIED;
    } else if (pread(fd, &top, sizeof top, 0) != (ssize_t)sizeof top) {
        status = UF_TRUNCATED;
    } else {
        region->inode = (uint64_t)st.st_ino;
        status = verify(region, &top.head, top.area, (uint64_t)st.st_size);
    }
    if (status == UF_OK) {
        status = map_file(region, fd, writable);
    }
    close(fd);
    if (status != UF_OK) {
        return status;
    }
    struct uf_region_head *head = (struct uf_region_head *)region->base;
    /* G2 <- G1. Acquire: see there. An unready file was found under its temporary name. */
    if (atomic_load_explicit(&head->ready, memory_order_acquire) != 1) {
        status = UF_NOT_REGION;
    } else {
        status = open_apart(region, path, writable);
    }
    if (status != UF_OK) {
        uf_region_close(region);
    }
    return status;
}

void uf_region_close(struct uf_region *region)
{
    if (region->base != NULL) {
        munmap(region->base, region->bytes);
        region->base = NULL;
    }
    if (region->fd >= 0) {
        close(region->fd);
        region->fd = -1;
    }
}

void uf_region_forked(struct uf_region *region)
{
    if (region->fd >= 0) {
        close(region->fd);
        region->fd = -1;
    }
}

void *uf_region_area(const struct uf_region *region, uint32_t kind, uint64_t *bytes)
{
    for (uint32_t i = 0; i < region->areas; i++) {
        if (region->area[i].kind == kind) {
            *bytes = region->area[i].bytes;
            return region->base + region->area[i].offset;
        }
    }
    *bytes = 0;
    return NULL;
}
