# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""Regions: creating and attaching to one, its process slots, and recovery of the dead.

Stands on csrc/uf_system.h. Does not choose paths or sizes, nor when to recover whom, and never
removes a published file.
"""

import os
import weakref

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc
from libc.errno cimport EMFILE, ENFILE, errno
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset, strlen
from posix.fcntl cimport O_CLOEXEC, O_RDONLY, open as open_descriptor
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec
from posix.unistd cimport close as close_descriptor, getpid

from ultrafast.core cimport _c
from ultrafast.core._status cimport check

from ultrafast import errors
from ultrafast.core.advice import failure, no_space
from ultrafast.core.answers import OwnerInfo, Recovery

ROLE_MANAGER = _c.UF_ROLE_MANAGER
ROLE_WORKER = _c.UF_ROLE_WORKER
ROLE_CLIENT = _c.UF_ROLE_CLIENT
PHASE_FREE = _c.UF_PHASE_FREE
PHASE_LIVE = _c.UF_PHASE_LIVE
PHASE_DEAD = _c.UF_PHASE_DEAD
LAYOUT_VERSION = _c.UF_LAYOUT_VERSION


cdef uint64_t clock_ns(int clock) noexcept nogil:
    cdef timespec now
    clock_gettime(clock, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec


cdef uint64_t wall_ns() noexcept nogil:
    return clock_ns(CLOCK_REALTIME)


def now_ns():
    """CLOCK_MONOTONIC in nanoseconds: the same clock in every process of the machine."""
    return clock_ns(CLOCK_MONOTONIC)


cdef int name_of(str text, Py_ssize_t room, const char **out) except -1:
    """A zero-terminated name for the core, at most room - 1 bytes long."""
    cdef Py_ssize_t length
    out[0] = _c.PyUnicode_AsUTF8AndSize(text, &length)
    if length == 0 or length >= room or strlen(out[0]) != <size_t>length:
        raise errors.InvalidArgument(
            f"{text!r} is no name: 1 to {room - 1} bytes without a zero byte are, this has {length}"
        )
    return 0


cdef int put_classes(object blocks, _c.uf_class_spec *out, uint32_t *count) except -1:
    if len(blocks) > <Py_ssize_t>_c.UF_CLASSES:
        raise errors.InvalidArgument(f"{len(blocks)} block sizes, at most {_c.UF_CLASSES} are")
    count[0] = 0
    for block_bytes, blocks_count in blocks:
        out[count[0]].block_bytes = block_bytes
        out[count[0]].count = blocks_count
        count[0] += 1
    return 0


cdef uint64_t put_sizes(object sizes, _c.uf_sizes *out) except 0:
    """Convert a Sizes; the bytes of its region."""
    memset(out, 0, sizeof(_c.uf_sizes))
    out.owners = sizes.owners
    out.buckets = sizes.buckets
    out.extensions = sizes.extensions
    out.queues = sizes.queues
    out.queue_capacity = sizes.queue_capacity
    out.agents = sizes.agents
    out.types = sizes.types
    out.warm = sizes.warm
    out.shards = sizes.shards
    out.settings_bytes = sizes.settings_bytes
    put_classes(sizes.message_blocks, out.message, &out.message_classes)
    put_classes(sizes.value_blocks, out.value, &out.value_classes)
    cdef uint64_t needed = _c.uf_system_bytes(out)
    if needed == 0:
        check(_c.UF_INVALID, f"a region cannot be made of {sizes}")
    return needed


def region_bytes(sizes):
    """Bytes of the file that a region of these sizes needs."""
    cdef _c.uf_sizes core
    return put_sizes(sizes, &core)


@cython.final
@cython.no_gc  # names and numbers: it refers to nothing that could refer to it
cdef class Region:
    """One attachment to a shared file: created or attached to, never made directly.

    Use it from any thread of this process. `close` may be called twice; after it, and in a forked
    child, every other call raises `RegionClosed`. Close it without having given back the messages
    taken, and they wait for recovery, as if this process had died.
    """

    def __cinit__(self):
        self._mode = CLOSED
        self._pipes = NULL
        self._pins = 0
        self._held = 0
        self._lingers = False
        self._spare = -1

    def __init__(self):
        raise TypeError("use Region.create or Region.attach")

    @staticmethod
    def create(path, sizes, bytes settings=b""):
        """Make a region, join it, and give it its name once it is whole.

        Parameters
        ----------
        path : str or os.PathLike
            Its name. While it is built the file is called ``.NAME.PID.RANDOM.tmp`` beside it.
        sizes : Sizes
            What it holds.
        settings : bytes, optional
            For those who attach; not interpreted.

        Returns
        -------
        Region
            Attached in the role of the manager.

        Raises
        ------
        RegionExists, RegionNoSpace, RegionDenied, InvalidArgument, SystemCallFailed
            No file is left behind.
        """
        cdef Region region = Region.__new__(Region)
        cdef _c.uf_sizes core
        cdef uint64_t needed = put_sizes(sizes, &core)
        cdef uint64_t free_bytes = 0
        cdef uint64_t identity = int.from_bytes(os.urandom(8), "little")
        cdef bytes final = os.fsencode(path)
        folder, name = os.path.split(final)
        cdef bytes temp = os.path.join(
            folder, b".%b.%d.%b.tmp" % (name, getpid(), os.urandom(4).hex().encode())
        )
        if len(settings) > core.settings_bytes:
            raise errors.InvalidArgument(
                f"{len(settings)} bytes of settings, the region has room for {core.settings_bytes}"
            )
        cdef int status = _c.uf_system_create(
            &region._system, &core, temp, final, identity, wall_ns(), <uint64_t>getpid(),
            <const char *>settings, len(settings), &free_bytes
        )
        cdef int reason = errno
        if status == _c.UF_NO_SPACE:
            raise no_space(os.fsdecode(folder) or ".", needed, free_bytes, reason)
        if status != _c.UF_OK:
            raise failure(status, os.fsdecode(final), reason)
        return region._opened(path, final)

    @staticmethod
    def attach(path, uint32_t role=_c.UF_ROLE_CLIENT, bint read_only=False):
        """Attach to a region, once everything that its head says has been verified.

        Parameters
        ----------
        path : str or os.PathLike
            Its name; never followed through a symbolic link.
        role : int, optional
            `ROLE_CLIENT`, `ROLE_WORKER` or `ROLE_MANAGER`: for people and supervisors.
        read_only : bool, optional
            Take no process slot and map the file for reading.

        Returns
        -------
        Region
            The attachment.

        Raises
        ------
        RegionMissing, NotARegion, RegionLayoutMismatch, RegionTruncated, RegionCorrupt,
        RegionDenied, NoSlot, SystemCallFailed
            One for each reason.
        """
        cdef Region region = Region.__new__(Region)
        cdef bytes name = os.fsencode(path)
        cdef int status = _c.uf_system_attach(
            &region._system, name, role, read_only, wall_ns(), <uint64_t>getpid()
        )
        cdef int reason = errno
        if status != _c.UF_OK:
            raise failure(status, os.fsdecode(name), reason)
        return region._opened(path, name)

    cdef Region _opened(self, object path, bytes name):
        cdef uint32_t queue
        self._mode = WRITABLE if self._system.region.writable else READABLE
        self._path = name
        self.path = os.fsdecode(name)
        self.read_only = self._mode == READABLE
        self.settings = (<char *>self._system.settings)[:self._system.settings_bytes]
        self._pipes = <int *>PyMem_Malloc(self._system.queues.count * sizeof(int))
        if self._pipes == NULL:
            raise MemoryError()
        for queue in range(self._system.queues.count):
            self._pipes[queue] = -1
        if self._mode == WRITABLE:
            self._keep_spare()
        _open.add(self)
        return self

    cdef int _refuse(self) except -1:
        if self._mode == CLOSED:
            raise errors.RegionClosed(f"{self.path}: closed by this process")
        if self._mode == FORKED:
            raise errors.ForkedRegion(
                f"{self.path}: attached by the process that this one was forked from; attach anew"
            )
        raise errors.RegionReadOnly(f"{self.path}: attached read-only, and this would write")

    cdef int _pipe(self, uint32_t queue, bint make) except -2:
        """The queue's pipe; -1 where a sender finds none, because nobody sleeps on it."""
        cdef bytes path
        cdef int pipe
        if queue >= self._system.queues.count:
            check(_c.UF_INVALID, f"queue {queue} of {self._system.queues.count}")
        if self._pipes[queue] >= 0:
            return self._pipes[queue]
        path = self._path + b".bell.%d" % queue
        pipe = _c.uf_bell_open_pipe(path) if make else _c.uf_bell_find_pipe(path)
        if pipe == _c.UF_MISSING:
            return -1
        if pipe < 0:
            raise failure(pipe, os.fsdecode(path), errno)
        self._pipes[queue] = pipe
        return pipe

    cdef void _keep_spare(self) noexcept:
        if self._spare < 0:
            self._spare = open_descriptor(b"/dev/null", O_RDONLY | O_CLOEXEC)

    cdef void _ring(self, uint32_t queue, uint32_t seen) noexcept:
        """Wake the queue's receiver; `seen`, its bell's word, says that it sleeps and on what.

        Raises nothing: the message is sent. A process with no descriptor left rings in the place of
        its spare one; where that is not to be had either, the bell stays armed for whoever sends next.
        """
        cdef void *bell = _c.uf_queue_bell(&self._system.queues, queue)
        cdef int pipe
        if _c.uf_bell_mode_of(seen) != _c.UF_BELL_PIPE or self._pipes[queue] >= 0:
            _c.uf_bell_wake(bell, seen, self._pipes[queue])
            return
        path = self._path + b".bell.%d" % queue
        pipe = _c.uf_bell_find_pipe(path)
        if pipe >= 0:
            self._pipes[queue] = pipe
        elif pipe == _c.UF_SYSTEM and (errno == EMFILE or errno == ENFILE) and self._spare >= 0:
            close_descriptor(self._spare)
            self._spare = -1
            pipe = _c.uf_bell_find_pipe(path)
            _c.uf_bell_wake(bell, seen, pipe)
            if pipe >= 0:
                close_descriptor(pipe)
            self._keep_spare()
            return
        _c.uf_bell_wake(bell, seen, pipe)

    @property
    def slot(self):
        """This process's slot. `RegionReadOnly` for a reader, who has none."""
        if self.read_only:
            raise errors.RegionReadOnly(f"{self.path}: attached read-only, which takes no slot")
        return self._system.self.slot

    @property
    def slots(self):
        """Process slots in all."""
        return self._system.self.count

    @property
    def bytes(self):
        """Bytes of the file."""
        return self._system.region.bytes

    @property
    def id(self):
        """A random number that tells this region from others of its name."""
        return self._system.region.id

    @property
    def closed(self):
        """True after `close`, and in a forked child."""
        return self._mode < READABLE

    def close(self):
        """Leave the region and unmap it. The file stays.

        Raises
        ------
        BufferError
            While views of messages live, or another thread copies or waits.
        """
        if self._lingers:
            return
        if self._pins != 0:
            raise BufferError(
                f"{self.path}: in use by {self._pins} views, copies or waits: end them first"
            )
        if self._mode == FORKED:
            _c.uf_region_close(&self._system.region)
        elif self._held != 0:
            _c.uf_system_abandon(&self._system)
        else:
            _c.uf_system_close(&self._system)
        self._mode = CLOSED
        self._close_pipes()

    def retire(self):
        """`close`, also under live views: then the mapping goes with the last of them.

        Their bytes stay readable. What they keep is for recovery, as if this process had died; once
        that was done, others may write there.
        """
        if self._pins == 0 or self._mode < READABLE:
            self.close()
            return
        if not self.read_only:
            _c.uf_pool_flush(&self._system.messages)
            _c.uf_pool_flush(&self._system.values)
        _c.uf_region_forked(&self._system.region)  # which lets go of its locks, and stays mapped
        self._mode = CLOSED
        self._lingers = True
        self._close_pipes()

    cdef void _close_pipes(self) noexcept:
        cdef uint32_t queue
        if self._pipes == NULL:
            return
        for queue in range(self._system.queues.count):
            if self._pipes[queue] >= 0:
                close_descriptor(self._pipes[queue])
                self._pipes[queue] = -1
        if self._spare >= 0:
            close_descriptor(self._spare)
            self._spare = -1

    def _in_forked_child(self):
        if self._mode >= READABLE:
            _c.uf_region_forked(&self._system.region)
            self._mode = FORKED
            self._close_pipes()

    def __dealloc__(self):
        # Nothing pins it: views and messages keep their region alive.
        if self._mode == FORKED or self._lingers:
            _c.uf_region_close(&self._system.region)
        elif self._mode != CLOSED:
            _c.uf_system_close(&self._system)
        self._close_pipes()
        PyMem_Free(self._pipes)
        self._pipes = NULL

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def __repr__(self):
        place = "read-only" if self.read_only else f"slot {self._system.self.slot}"
        return f"<Region {self.path!r} {place}{' closed' if self.closed else ''}>"

    def alive(self, uint32_t slot):
        """True while a process, this one too, holds the slot."""
        can_read(self)
        return _c.uf_owner_alive(&self._system.self, slot)

    def owner(self, uint32_t slot):
        """What the slot says of itself, as an `OwnerInfo`."""
        cdef _c.uf_owner_info info
        can_read(self)
        check(
            _c.uf_owner_read(&self._system.self, slot, &info),
            f"slot {slot} of {self._system.self.count}",
        )
        queue = None if info.queue == 0 else info.queue - 1
        return OwnerInfo(slot, info.phase, info.role, queue, info.incarnation, info.pid,
                         info.heartbeat_ns, info.started_ns)

    def owners(self):
        """The `OwnerInfo` of every slot that is not free."""
        infos = [self.owner(slot) for slot in range(self._system.self.count)]
        return [info for info in infos if info.phase != _c.UF_PHASE_FREE]

    def inboxes(self):
        """Indexes of the queues that are some process's inbox."""
        cdef _c.uf_owner_info info
        cdef uint32_t slot
        cdef list queues = []
        can_read(self)
        for slot in range(self._system.self.count):
            if _c.uf_owner_read(&self._system.self, slot, &info) == _c.UF_OK:
                if info.phase != _c.UF_PHASE_FREE and info.queue != 0:
                    queues.append(info.queue - 1)
        return queues

    def beat(self, uint64_t now_ns):
        """Say that this process goes on."""
        can_write(self)
        _c.uf_owner_beat(&self._system.self, now_ns)

    def set_queue(self, queue):
        """Say which queue is this process's inbox, or None."""
        can_write(self)
        if queue is not None and not 0 <= queue < self._system.queues.count:
            check(_c.UF_INVALID, f"queue {queue} of {self._system.queues.count}")
        _c.uf_owner_set_queue(&self._system.self, 0 if queue is None else queue + 1)

    def recover(self, uint32_t slot):
        """Mend what a dead process left, and wake everybody who may want it.

        Parameters
        ----------
        slot : int
            Its slot.

        Returns
        -------
        Recovery or None
            None when the slot is free, its process lives, or somebody else mends it just now.

        Notes
        -----
        Waits: never. Cost: one pass over rings, blocks, buckets and records.
        """
        cdef _c.uf_recovery done
        cdef uint64_t scratch_bytes
        cdef void *scratch
        cdef int status
        can_write(self)
        scratch_bytes = _c.uf_system_scratch_bytes(&self._system)
        scratch = PyMem_Calloc(scratch_bytes // 8 + 1, 8)
        if scratch == NULL:
            raise MemoryError()
        self._pins += 1
        with nogil:  # a pass over all blocks: a quarter of a second for a million
            status = _c.uf_system_recover(&self._system, slot, <uint64_t *>scratch, &done)
        self._pins -= 1
        PyMem_Free(scratch)
        if status == _c.UF_MISSING or status == _c.UF_BUSY:
            return None
        check(status, f"{self.path}: slot {slot} of {self._system.self.count}")
        self._ring_all()
        return Recovery(
            slot,
            unclaimed=done.queue.unclaimed,
            orphaned=done.queue.orphaned,
            dropped=done.queue.dropped,
            freed_messages=done.queue.freed,
            emptied_entries=done.table.emptied,
            freed_values=done.table.freed,
            freed_agents=done.agents.freed,
            stopped_agents=done.agents.stopped,
            warm_agents=done.agents.hinted,
        )

    def _ring_all(self):
        cdef uint32_t queue, seen
        for queue in range(self._system.queues.count):
            seen = _c.uf_bell_look(_c.uf_queue_bell(&self._system.queues, queue))
            if _c.uf_bell_mode_of(seen) != _c.UF_BELL_AWAKE:
                self._ring(queue, seen)


_open = weakref.WeakSet()


def _forked():
    for region in list(_open):
        (<Region>region)._in_forked_child()


os.register_at_fork(after_in_child=_forked)
