# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""Agent records: types, ids, states, and the counters of each agent.

Stands on csrc/uf_agents.h, which draws the states and says who may move an agent from which to which,
and on csrc/uf_census.h, which counts them.
Does not know what an agent does.
"""

cimport cython
from cpython cimport array
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport UINT32_MAX, uint32_t, uint64_t

from ultrafast.core cimport _c
from ultrafast.core._region cimport Region, can_read, can_write, name_of
from ultrafast.core._status cimport check

import array

from ultrafast import errors
from ultrafast.core.answers import AgentInfo, Census

FREE = _c.UF_AGENT_FREE
BUILDING = _c.UF_AGENT_BUILDING
WARM = _c.UF_AGENT_WARM
STARTING = _c.UF_AGENT_STARTING
ACTIVE = _c.UF_AGENT_ACTIVE
DRAINING = _c.UF_AGENT_DRAINING
STOPPED = _c.UF_AGENT_STOPPED
FAILED = _c.UF_AGENT_FAILED
MOVING = _c.UF_AGENT_MOVING
ARRIVING = _c.UF_AGENT_ARRIVING
STATES = ("free", "building", "warm", "starting", "active", "draining", "stopped", "failed",
          "moving", "arriving")
# Those that take messages.
TAKING = frozenset((STARTING, ACTIVE, MOVING, ARRIVING))
MOVES = frozenset(
    (old, new) for old in range(len(STATES)) for new in range(len(STATES))
    if _c.uf_agent_may(old, new)
)
SLOT_BITS = _c.UF_AGENT_SLOT_BITS
NO_LIMIT = UINT32_MAX


cdef array.array IDS = array.array("Q")


cdef str name_of_state(uint32_t state):
    return STATES[state] if state < len(STATES) else str(state)


cdef object info_of(const _c.uf_agent_info *info):
    # As AgentInfo._make does: the fields one by one cost four times as much.
    return tuple.__new__(AgentInfo, (
        info.id, info.state, info.type, info.worker, info.priority, info.depth, info.limit,
        info.handled, info.failed, info.restarts, info.touched_ns, info.spawned_ns, info.parent,
        info.left,
    ))


@cython.final
cdef class Places:
    """Places taken by `Agents.admit` or `Agents.spawn`, until they are settled."""

    cdef _c.uf_places _places

    def __len__(self):
        return self._places.count


@cython.final
cdef class Agents:
    """The agent records of a region.

    Parameters
    ----------
    region : Region
        Attached; read-only is enough to look.
    """

    def __cinit__(self, Region region not None):
        can_read(region)
        self.region = region
        self._agents = &region._system.agents

    @property
    def capacity(self):
        """Records in all."""
        return self._agents.count

    @property
    def types(self):
        """Types that the region has room for."""
        return self._agents.types_max

    def type(self, str name not None, bint make=True):
        """The number of a type, given on first use; None when it has none and `make` is False."""
        cdef uint32_t number
        cdef const char *text
        can_write(self.region) if make else can_read(self.region)
        name_of(name, _c.UF_TYPE_NAME_BYTES, &text)
        cdef int status = _c.uf_agents_type(self._agents, text, make, &number)
        if status == _c.UF_MISSING:
            return None
        if status == _c.UF_NO_SLOT:
            raise errors.NoSlot(
                f"agent type {name!r}: every one of the {self._agents.types_max} types is in use"
            )
        check(status, name)
        return number

    def type_name(self, uint32_t type):
        """The name of a type, or None."""
        can_read(self.region)
        cdef const char *text = _c.uf_agents_type_name(self._agents, type)
        if text == NULL:
            return None
        # Copied whole and then cut: another process may be writing over it, and over its end.
        cdef bytes name = text[:_c.UF_TYPE_NAME_BYTES]
        return name.split(b"\0", 1)[0].decode("utf-8", "replace")

    def new(self, uint32_t type, uint32_t worker, uint32_t priority, uint32_t state,
            uint32_t limit, uint64_t parent, uint64_t now_ns):
        """A fresh record of this process's.

        Parameters
        ----------
        type, worker, priority : int
            What it is, the index of its worker's queue, and its lane.
        state : int
            `BUILDING` or `STARTING`.
        limit : int
            Messages its mailbox holds; `NO_LIMIT` for any number.
        parent : int
            Id of the agent that spawned it, or 0.
        now_ns : int
            CLOCK_MONOTONIC.

        Returns
        -------
        int
            Its id.

        Raises
        ------
        NoAgentSlot
            Every record is in use.
        """
        cdef uint64_t id
        can_write(self.region)
        cdef int status = _c.uf_census_new(
            self._agents, type, worker, priority, state, limit, parent, now_ns, &id
        )
        if status != _c.UF_OK:
            check(
                status,
                f"agent of type {type} on worker {worker}, with {self._agents.count} records in all",
            )
        return id

    def claim(self, uint32_t type, uint32_t priority, uint64_t parent, uint64_t now_ns):
        """A warm agent of the type, now STARTING and this process's: (id, worker), or None."""
        cdef uint64_t id
        cdef uint32_t worker
        can_write(self.region)
        cdef int status = _c.uf_census_claim(
            self._agents, type, priority, parent, now_ns, &id, &worker
        )
        if status == _c.UF_EMPTY or status == _c.UF_BUSY:
            return None
        if status != _c.UF_OK:
            check(status, f"type {type}, priority {priority}")
        return id, worker

    def new_many(self, uint32_t type, uint32_t worker, uint32_t priority, uint32_t state,
                 uint32_t limit, uint64_t parent, uint64_t now_ns, uint32_t count):
        """As `new`, so often as there are records, `count` times at most: an array of the ids."""
        cdef array.array ids = array.clone(IDS, count, False)
        cdef uint32_t made = 0
        cdef int status = _c.UF_OK
        can_write(self.region)
        while made < count:
            status = _c.uf_census_new(self._agents, type, worker, priority, state, limit, parent,
                                     now_ns, <uint64_t *>&ids.data.as_ulonglongs[made])
            if status != _c.UF_OK:
                break
            made += 1
        if status != _c.UF_OK and status != _c.UF_NO_AGENT_SLOT:
            check(status, f"agents of type {type} on worker {worker}")
        array.resize(ids, made)
        return ids

    def claim_many(self, uint32_t type, uint32_t priority, uint64_t parent, uint64_t now_ns,
                   uint32_t count):
        """As `claim`, so often as there are warm agents, `count` times at most.

        Returns
        -------
        dict of int to array
            Ids, by the queue of their worker.
        """
        cdef uint64_t id = 0
        cdef uint32_t worker = 0
        cdef uint32_t made = 0
        cdef int status
        can_write(self.region)
        found = {}
        while made < count:
            status = _c.uf_census_claim(self._agents, type, priority, parent, now_ns, &id, &worker)
            if status == _c.UF_EMPTY or status == _c.UF_BUSY:
                break
            if status != _c.UF_OK:
                check(status, f"type {type}, priority {priority}")
            theirs = found.get(worker)
            if theirs is None:
                theirs = found[worker] = array.clone(IDS, 0, False)
            theirs.append(id)
            made += 1
        return found

    def move(self, uint64_t id, uint32_t old, uint32_t new):
        """Change an agent's state: `OK`; `STALE`: it is gone; `BUSY`: it was in another state.

        `InvalidArgument` when `MOVES` has no such move.
        """
        can_write(self.region)
        cdef int status = _c.uf_census_move(self._agents, id, old, new)
        if status != _c.UF_OK and status != _c.UF_STALE and status != _c.UF_BUSY:
            check(status, f"agent {id:#x} from {name_of_state(old)} to {name_of_state(new)}")
        return status

    def leave(self, uint64_t id, uint32_t worker, uint32_t to):
        """Give an active agent of a worker to another, which is where messages go from then on.

        Returns
        -------
        int
            `OK`: it is MOVING; `STALE`: it is gone; `BUSY`: it was in another state, or another's.
        """
        can_write(self.region)
        cdef int status = _c.uf_census_leave(self._agents, id, worker, to)
        if status != _c.UF_OK and status != _c.UF_STALE and status != _c.UF_BUSY:
            check(status, f"agent {id:#x} from worker {worker} to {to}")
        return status

    def look(self, uint64_t id):
        """The `AgentInfo` of an id, or None when the agent is gone."""
        cdef _c.uf_agent_info info
        can_read(self.region)
        if _c.uf_agent_look(self._agents, id, &info) != _c.UF_OK:
            return None
        return info_of(&info)

    def starting(self, uint64_t id, uint32_t worker):
        """The type of an agent that a worker is to start; -1 when it is not."""
        cdef _c.uf_agent_info info
        can_read(self.region)
        if _c.uf_agent_look(self._agents, id, &info) != _c.UF_OK:
            return -1
        if info.state != _c.UF_AGENT_STARTING or info.worker != worker:
            return -1
        return info.type

    def at(self, uint32_t slot):
        """The `AgentInfo` of a record, whoever has it now."""
        cdef _c.uf_agent_info info
        can_read(self.region)
        cdef int status = _c.uf_agent_at(self._agents, slot, &info)
        if status != _c.UF_OK:
            check(status, f"record {slot} of {self._agents.count}")
        return info_of(&info)

    def route(self, uint64_t id):
        """Where to send: the worker's queue, or `STALE`, or `FULL` when the mailbox is."""
        cdef uint32_t worker
        can_read(self.region)
        cdef int status = _c.uf_agent_route(self._agents, id, &worker)
        return <int>worker if status == _c.UF_OK else status

    def living(self):
        """Ids of the agents that take messages, as an array. Cost: a pass over the records."""
        cdef array.array ids = array.clone(IDS, 0, False)
        cdef _c.uf_agent_info info
        cdef uint32_t slot
        cdef uint32_t worker
        cdef int status
        can_read(self.region)
        for slot in range(self._agents.count):
            _c.uf_agent_at(self._agents, slot, &info)
            status = _c.uf_agent_route(self._agents, info.id, &worker)
            if status == _c.UF_OK or status == _c.UF_FULL:
                ids.append(info.id)
        return ids

    def in_state(self, uint32_t state):
        """Arrays of ids of the agents in a state, by the queue of their worker. Cost: a pass over
        the records."""
        cdef _c.uf_agent_info info
        cdef uint32_t slot
        can_read(self.region)
        found = {}
        for slot in range(self._agents.count):
            if _c.uf_agent_at(self._agents, slot, &info) == _c.UF_OK and info.state == state:
                theirs = found.get(info.worker)
                if theirs is None:
                    theirs = found[info.worker] = array.clone(IDS, 0, False)
                theirs.append(info.id)
        return found

    def by_worker(self, ids):
        """Arrays of those of the ids that take messages, by the queue of their worker."""
        cdef uint32_t worker = 0
        cdef uint64_t id
        cdef int status
        can_read(self.region)
        found = {}
        for id in ids:
            status = _c.uf_agent_route(self._agents, id, &worker)
            if status == _c.UF_OK or status == _c.UF_FULL:
                theirs = found.get(worker)
                if theirs is None:
                    theirs = found[worker] = array.clone(IDS, 0, False)
                theirs.append(id)
        return found

    def handled(self, uint32_t slot, bint failed, uint64_t now_ns):
        """Count a message; the agent's worker alone says so."""
        can_write(self.region)
        _c.uf_agent_handled(self._agents, slot, failed, now_ns)

    def set_depth(self, uint32_t slot, uint32_t depth):
        """Say how many messages wait in the mailbox; the agent's worker alone does."""
        can_write(self.region)
        _c.uf_agent_set_depth(self._agents, slot, depth)

    def restarted(self, uint32_t slot):
        """Count a restart."""
        can_write(self.region)
        _c.uf_agent_restarted(self._agents, slot)

    def relapsed(self, uint32_t slot, uint64_t now_ns, uint64_t period_ns):
        """Count a restart that begins: how many have, in the period that the first of them opened."""
        can_write(self.region)
        return _c.uf_agent_relapsed(self._agents, slot, now_ns, period_ns)

    def settled(self, uint32_t slot):
        """Take the last restart off that count: it ended well, and was not of the agent's doing."""
        can_write(self.region)
        _c.uf_agent_settled(self._agents, slot)

    # --- how many there are

    def census(self, type=None):
        """The `Census` of a type, or of all types together: a few loads, however many agents."""
        cdef _c.uf_census found
        cdef uint32_t number = self._agents.types_max if type is None else type
        can_read(self.region)
        check(_c.uf_census_read(self._agents, number, &found), f"type {type}")
        return Census(found.alive, found.warm, found.building, found.most, found.target,
                      found.claimed, found.cold)

    def load(self, uint32_t worker):
        """Records of a worker, warm agents and those being built included."""
        can_read(self.region)
        return _c.uf_census_load(self._agents, worker)

    def set_limit(self, type, uint32_t most):
        """How many agents of a type, or of all (None), may be alive; 0: any number."""
        cdef uint32_t number = self._agents.types_max if type is None else type
        can_write(self.region)
        check(_c.uf_census_limit(self._agents, number, most),
              f"type {type}, at most {most}, which is to be {_c.UF_COUNT_MOST} or fewer")

    def set_target(self, uint32_t type, uint32_t target):
        """Say how many warm agents of a type are wanted, for others to see."""
        can_write(self.region)
        check(_c.uf_census_aim(self._agents, type, target), f"type {type}")

    def admit(self, uint32_t type, uint32_t wanted):
        """Take places for agents that are to be spawned.

        Returns
        -------
        Places, int
            For `wanted` agents or fewer, to be settled; `FULL`: the type has no place free;
            `NO_AGENT_SLOT`: the system has none.
        """
        cdef Places places = Places.__new__(Places)
        can_write(self.region)
        cdef int status = _c.uf_census_admit(self._agents, type, wanted, &places._places)
        if status == _c.UF_OK:
            return places
        if status != _c.UF_FULL and status != _c.UF_NO_AGENT_SLOT and status != _c.UF_BUSY:
            check(status, f"{wanted} places of type {type}")
        return _c.UF_FULL if status == _c.UF_BUSY else status

    def spawn(self, uint32_t type, uint32_t priority, uint64_t parent, uint64_t now_ns):
        """Have a warm agent of a type live: `admit`, `claim` and `settle` in one.

        Returns
        -------
        (int, int), Places or int
            Its id and its worker. Places: for one agent, there is no warm one. `FULL`,
            `NO_AGENT_SLOT`: as `admit`; `BUSY`: its place was lost, and there may be another.
        """
        cdef Places places = Places.__new__(Places)
        cdef uint64_t id
        cdef uint32_t worker
        can_write(self.region)
        cdef int status = _c.uf_census_spawn(
            self._agents, type, priority, parent, now_ns, &places._places, &id, &worker
        )
        if status == _c.UF_OK:
            return id, worker
        if status == _c.UF_EMPTY:
            return places
        if status != _c.UF_FULL and status != _c.UF_NO_AGENT_SLOT and status != _c.UF_BUSY:
            check(status, f"an agent of type {type} at priority {priority}")
        return status

    def settle(self, Places places not None, uint32_t used):
        """The agents in `used` of the places are STARTING, the other places free. False: they have
        lost them, and are to be dropped; there may be others."""
        can_write(self.region)
        cdef int status = _c.uf_census_settle(self._agents, &places._places, used)
        if status != _c.UF_OK and status != _c.UF_FULL:
            check(status, f"{used} of {places._places.count} places")
        return status == _c.UF_OK

    def drop(self, uint64_t id):
        """Stop an agent that has no place."""
        can_write(self.region)
        _c.uf_census_drop(self._agents, id)

    def end(self, uint64_t id, uint32_t old, uint32_t new):
        """As `move`, from a state in which an agent is alive to one in which it is not: its place is
        free. What it was not alive in, it leaves as by `move`."""
        can_write(self.region)
        cdef int status
        if _c.uf_agent_is_alive(old):
            status = _c.uf_census_end(self._agents, id, old, new)
        else:
            status = _c.uf_census_move(self._agents, id, old, new)
        if status != _c.UF_OK and status != _c.UF_STALE and status != _c.UF_BUSY:
            check(status, f"agent {id:#x} from {name_of_state(old)} to {name_of_state(new)}")
        return status

    def dismiss(self, uint32_t type, uint32_t count):
        """Stop up to `count` warm agents of a type: how many there were."""
        cdef uint32_t gone = 0
        can_write(self.region)
        while gone < count and _c.uf_census_dismiss(self._agents, type) == _c.UF_OK:
            gone += 1
        return gone

    def mend(self):
        """Count the records anew, if a process died since that was last done: whether all is well.

        Cost: one pass over the records then, else one load.
        """
        can_write(self.region)
        cdef int status = _c.uf_census_mend(self._agents)
        if status != _c.UF_OK and status != _c.UF_BUSY:
            check(status)
        return status == _c.UF_OK

    def stops(self):
        """A number that changes with every agent stopped or arriving: its host may not know it."""
        can_read(self.region)
        return _c.uf_census_stops(self._agents)

    def tally(self, worker=None):
        """Count agents by type and state, of all workers or of one.

        Parameters
        ----------
        worker : int, optional
            The index of its queue.

        Returns
        -------
        ndarray of uint32, shape (types, 10)
            A row for each type, a column for each state; free records are not counted.
        """
        import numpy

        cdef Py_buffer view
        cdef uint32_t which = _c.UF_EVERY_WORKER if worker is None else worker
        can_read(self.region)
        counts = numpy.zeros((self._agents.types_max, _c.UF_AGENT_STATES), dtype=numpy.uint32)
        PyObject_GetBuffer(counts, &view, PyBUF_WRITABLE)
        _c.uf_agents_tally(self._agents, which, <uint32_t *>view.buf)
        PyBuffer_Release(&view)
        return counts

    def count(self):
        """Records that are not free. Cost: one pass over the records."""
        return int(self.tally().sum())
