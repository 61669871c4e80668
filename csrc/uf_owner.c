#include "uf_owner.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#ifndef F_OFD_SETLK
#define F_OFD_GETLK 36
#define F_OFD_SETLK 37
#endif

static uint64_t pack(uint32_t incarnation, uint32_t role, uint32_t queue, uint32_t phase)
{
    return ((uint64_t)incarnation << 32) | ((uint64_t)(role & 0xff) << 24) |
           ((uint64_t)(queue & 0xffff) << 8) | phase;
}

static uint32_t phase_of(uint64_t state)
{
    return (uint32_t)(state & 0xff);
}

static uint32_t incarnation_of(uint64_t state)
{
    return (uint32_t)(state >> 32);
}

static struct flock byte_of(const struct uf_self *self, uint32_t slot, short type)
{
    struct flock lock;
    memset(&lock, 0, sizeof lock); /* l_pid must be 0 for these locks */
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = (off_t)(self->offset + (uint64_t)slot * sizeof(struct uf_owner));
    lock.l_len = 1;
    return lock;
}

static bool try_lock(const struct uf_self *self, uint32_t slot)
{
    struct flock lock = byte_of(self, slot, F_WRLCK);
    return fcntl(self->fd, F_OFD_SETLK, &lock) == 0;
}

static void unlock(const struct uf_self *self, uint32_t slot)
{
    struct flock lock = byte_of(self, slot, F_UNLCK);
    (void)fcntl(self->fd, F_OFD_SETLK, &lock);
}

int uf_owner_open(struct uf_self *self, const struct uf_region *region)
{
    uint64_t bytes;
    memset(self, 0, sizeof *self);
    self->slot = UINT32_MAX;
    self->fd = region->fd;
    self->owner = uf_region_area(region, UF_AREA_OWNERS, &bytes);
    if (self->owner == NULL || bytes < sizeof(struct uf_owner)) {
        return UF_CORRUPT;
    }
    self->offset = (uint64_t)((uint8_t *)self->owner - region->base);
    bytes /= sizeof(struct uf_owner);
    self->count = bytes > UF_OWNERS_MAX ? UF_OWNERS_MAX : (uint32_t)bytes;
    return UF_OK;
}

int uf_owner_join(struct uf_self *self, uint32_t role, uint64_t pid, uint64_t wall_ns)
{
    for (uint32_t slot = 0; slot < self->count; slot++) {
        struct uf_owner *owner = &self->owner[slot];
        /* Relaxed: a hint that spares a system call; judged again under the lock. */
        if (phase_of(atomic_load_explicit(&owner->state, memory_order_relaxed)) != UF_PHASE_FREE ||
            !try_lock(self, slot)) {
            continue;
        }
        /* Acquire: the last recoverer's or leaver's writes to the slot are behind us. */
        uint64_t state = atomic_load_explicit(&owner->state, memory_order_acquire);
        if (phase_of(state) != UF_PHASE_FREE) {
            unlock(self, slot); /* a dead process's, not yet mended */
            continue;
        }
        UF_STEP(O1);
        atomic_store_explicit(&owner->intent, 0, memory_order_relaxed); /* before O1 */
        atomic_store_explicit(&owner->heartbeat_ns, 0, memory_order_relaxed);
        atomic_store_explicit(&owner->pid, pid, memory_order_relaxed);
        atomic_store_explicit(&owner->started_ns, wall_ns, memory_order_relaxed);
        /* Even, and none that the slot's last process had: who waits for that one need not any more. */
        uint64_t crossing = atomic_load_explicit(&owner->crossing, memory_order_relaxed);
        atomic_store_explicit(&owner->crossing, (crossing | 1) + 1, memory_order_relaxed);
        uint64_t live = pack(incarnation_of(state) + 1, role, 0, UF_PHASE_LIVE);
        /* O1 -> O2. Release: whoever reads LIVE reads this incarnation's fields. The lock makes
         * us the only writer, so a store is enough. */
        atomic_store_explicit(&owner->state, live, memory_order_release);
        UF_STEP(O2);
        self->slot = slot;
        return UF_OK;
    }
    return UF_NO_SLOT;
}

void uf_owner_set_queue(struct uf_self *self, uint32_t queue_plus_one)
{
    struct uf_owner *owner = &self->owner[self->slot];
    /* Relaxed: this process wrote it last. */
    uint64_t state = atomic_load_explicit(&owner->state, memory_order_relaxed);
    state = (state & ~(0xffffull << 8)) | ((uint64_t)(queue_plus_one & 0xffff) << 8);
    /* Release, as O1: the queue's record was initialised before its index is told. */
    atomic_store_explicit(&owner->state, state, memory_order_release);
}

void uf_owner_beat(struct uf_self *self, uint64_t now_ns)
{
    /* Relaxed: a time from which nothing else is inferred. */
    atomic_store_explicit(&self->owner[self->slot].heartbeat_ns, now_ns, memory_order_relaxed);
}

void uf_owner_leave(struct uf_self *self)
{
    if (self->slot == UINT32_MAX || self->fd < 0) {
        return;
    }
    struct uf_owner *owner = &self->owner[self->slot];
    uint64_t state = atomic_load_explicit(&owner->state, memory_order_relaxed); /* ours */
    /* Release: all that we gave back is given back before the slot is free. */
    atomic_store_explicit(&owner->state, pack(incarnation_of(state), 0, 0, UF_PHASE_FREE),
                          memory_order_release);
    UF_STEP(O4);
    unlock(self, self->slot);
    self->slot = UINT32_MAX;
}

bool uf_owner_alive(const struct uf_self *self, uint32_t slot)
{
    if (slot >= self->count) {
        return false;
    }
    if (slot == self->slot) {
        return true; /* our own lock does not show to ourselves */
    }
    /* Relaxed: DEAD stays DEAD until the slot is free; the lock is then its recoverer's. */
    if (phase_of(atomic_load_explicit(&self->owner[slot].state, memory_order_relaxed)) ==
        UF_PHASE_DEAD) {
        return false;
    }
    struct flock lock = byte_of(self, slot, F_WRLCK);
    if (fcntl(self->fd, F_OFD_GETLK, &lock) != 0) {
        return true; /* the kernel would not say: never call a process dead on that */
    }
    return lock.l_type != F_UNLCK;
}

int uf_owner_read(const struct uf_self *self, uint32_t slot, struct uf_owner_info *info)
{
    if (slot >= self->count) {
        return UF_INVALID;
    }
    const struct uf_owner *owner = &self->owner[slot];
    /* O2 <- O1. Acquire: see there. */
    uint64_t state = atomic_load_explicit(&owner->state, memory_order_acquire);
    info->phase = phase_of(state);
    info->role = (uint32_t)(state >> 24) & 0xff;
    info->queue = (uint32_t)(state >> 8) & 0xffff;
    info->incarnation = incarnation_of(state);
    info->pid = atomic_load_explicit(&owner->pid, memory_order_relaxed); /* for people */
    info->heartbeat_ns = atomic_load_explicit(&owner->heartbeat_ns, memory_order_relaxed);
    info->started_ns = atomic_load_explicit(&owner->started_ns, memory_order_relaxed);
    return UF_OK;
}

int uf_owner_begin_recovery(struct uf_self *self, uint32_t slot)
{
    if (slot >= self->count || slot == self->slot) {
        return UF_INVALID;
    }
    struct uf_owner *owner = &self->owner[slot];
    if (phase_of(atomic_load_explicit(&owner->state, memory_order_relaxed)) == UF_PHASE_FREE) {
        return UF_MISSING; /* relaxed: a hint, and freeing it needs the lock */
    }
    if (!try_lock(self, slot)) {
        if (errno != EAGAIN && errno != EACCES) {
            return UF_SYSTEM;
        }
        /* Relaxed: an answer for the caller, from which nothing is inferred. A recoverer that has
         * the lock but has not yet said DEAD passes for the living. */
        uint64_t now = atomic_load_explicit(&owner->state, memory_order_relaxed);
        return phase_of(now) == UF_PHASE_DEAD ? UF_BUSY : UF_MISSING;
    }
    /* Acquire: everything the dead process released with its last stores is seen. */
    uint64_t state = atomic_load_explicit(&owner->state, memory_order_acquire);
    if (phase_of(state) == UF_PHASE_FREE) {
        unlock(self, slot);
        return UF_MISSING;
    }
    state = (state & ~0xffull) | UF_PHASE_DEAD;
    /* Relaxed: a word for people; the lock is what gives the right. */
    atomic_store_explicit(&owner->state, state, memory_order_relaxed);
    UF_STEP(O3);
    return UF_OK;
}

void uf_owner_end_recovery(struct uf_self *self, uint32_t slot, bool mended)
{
    struct uf_owner *owner = &self->owner[slot];
    if (mended) {
        uint64_t state = atomic_load_explicit(&owner->state, memory_order_relaxed); /* locked */
        /* Release: no claim by this slot is left when it is given away. */
        atomic_store_explicit(&owner->state, pack(incarnation_of(state), 0, 0, UF_PHASE_FREE),
                              memory_order_release);
    }
    unlock(self, slot);
}
