# cython: language_level=3
"""What the doors call of the core; the headers in csrc/ are the contract, this only quotes them.

The one place with `cdef extern`, beside _py.pxd for CPython. Structs show only the plain fields that a door reads or fills, and
words that processes share stay behind `void *`, so no `_Atomic` crosses.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from cpython.object cimport PyObject

cdef extern from "Python.h":
    PyObject *bytes_of "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size)
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    void *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    Py_ssize_t PyNumber_AsSsize_t(object number, void *error) except? -1

cdef extern from "sched.h" nogil:
    int sched_yield()

cdef extern from "uf.h" nogil:
    # uf_status.h
    enum:
        UF_OK, UF_FULL, UF_EMPTY, UF_MISSING, UF_EXISTS, UF_NO_BLOCK, UF_TOO_BIG, UF_STALE
        UF_BUSY, UF_CORRUPT, UF_NOT_REGION, UF_LAYOUT, UF_TRUNCATED, UF_NO_SPACE, UF_DENIED
        UF_NO_REGION, UF_NO_SLOT, UF_INVALID, UF_TIMEOUT, UF_INTERRUPTED, UF_SYSTEM, UF_CLOSED
        UF_READ_ONLY, UF_NO_AGENT_SLOT, UF_STORE_FULL, UF_DELETED
        UF_STATUS_COUNT
    const char *uf_status_sentence(int status)
    const char *uf_status_name(int status)

    # uf_line.h
    void uf_pause()

    # uf_crc.h
    uint32_t uf_crc(uint32_t before, const void *data, uint64_t data_bytes)
    uint32_t uf_crc_plain(uint32_t before, const void *data, uint64_t data_bytes)

    # uf_region.h
    enum:
        UF_LAYOUT_VERSION
    struct uf_region:
        uint64_t bytes
        uint64_t id
        bint writable
    void uf_region_close(uf_region *region)
    void uf_region_forked(uf_region *region)

    # uf_owner.h
    enum:
        UF_OWNERS_MAX, UF_PHASE_FREE, UF_PHASE_LIVE, UF_PHASE_DEAD
    struct uf_self:
        uint32_t count
        uint32_t slot
    struct uf_owner_info:
        uint32_t phase
        uint32_t role
        uint32_t queue
        uint32_t incarnation
        uint64_t pid
        uint64_t heartbeat_ns
        uint64_t started_ns
    void uf_owner_set_queue(uf_self *self, uint32_t queue_plus_one)
    void uf_owner_beat(uf_self *self, uint64_t now_ns)
    bint uf_owner_alive(const uf_self *self, uint32_t slot)
    int uf_owner_read(const uf_self *self, uint32_t slot, uf_owner_info *info)

    # uf_pool.h
    enum:
        UF_CLASSES, UF_INDEX_BITS, UF_BLOCK_HEAD, UF_MESSAGE_REDELIVERED, UF_MESSAGE_ONCE
        UF_MESSAGE_REFERENCE, UF_MESSAGE_TRACED, UF_TRACE_BYTES
    struct uf_class_spec:
        uint32_t block_bytes
        uint32_t count
    struct uf_class:
        uint32_t block_bytes
        uint32_t count
    struct uf_pool:
        uint32_t classes
        uf_class size_class "class"[12]
    struct uf_message:
        uint32_t payload_bytes
        uint8_t kind
        uint8_t lane
        uint16_t flags
        uint64_t sender
        uint64_t receiver
        uint64_t correlation
        uint64_t sent_ns
        uint16_t reply_queue
        uint8_t codec
        uint8_t attempt
        uint32_t extra
    uint32_t uf_handle(uint32_t size_class, uint32_t index)
    void *uf_pool_block(const uf_pool *pool, uint32_t handle)
    uint32_t uf_pool_room(const uf_pool *pool, uint32_t handle)
    int uf_pool_take(uf_pool *pool, uint32_t payload_bytes, uint32_t *handle)
    int uf_pool_give(uf_pool *pool, uint32_t handle)
    uint32_t uf_pool_give_many(uf_pool *pool, const uint32_t *handles, uint32_t count)
    void uf_pool_flush(uf_pool *pool)
    void uf_pool_count(const uf_pool *pool, uint32_t size_class, uint32_t *free_blocks,
                       uint32_t *blocks, uint32_t *block_bytes)

    # uf_share.h
    enum:
        UF_HOLDERS
    struct uf_reference:
        pass
    struct uf_shared:
        const uint8_t *payload
        const uint8_t *note
        uint32_t payload_bytes
        uint32_t note_bytes
    int uf_share(uf_pool *pool, uint32_t handle, const uint32_t *references, uint32_t count)
    int uf_share_look(const uf_pool *pool, uint32_t reference, uf_shared *shared)
    int uf_message_give(uf_pool *pool, uint32_t handle)
    int uf_message_handled(uf_pool *pool, uint32_t handle)

    # uf_bell.h
    enum:
        UF_BELL_AWAKE, UF_BELL_FUTEX, UF_BELL_PIPE
    uint32_t uf_bell_arm(void *bell, uint32_t mode)
    void uf_bell_disarm(void *bell)
    int uf_bell_sleep(void *bell, uint32_t armed, uint64_t timeout_ns)
    int uf_bell_open_pipe(const char *path)
    int uf_bell_find_pipe(const char *path)
    void uf_bell_drain_pipe(int fd)
    void uf_bell_wake(void *bell, uint32_t seen, int pipe)
    uint32_t uf_bell_look(void *bell)
    uint32_t uf_bell_mode_of(uint32_t word)

    # uf_queue.h
    enum:
        UF_LANES, UF_NAME_BYTES
    struct uf_queues:
        uint32_t count
        uint32_t capacity
        uint32_t limit
    struct uf_receiver:
        uint32_t queue
        uint64_t opening
    int uf_queue_open(uf_queues *queues, const char *name, uint32_t *index)
    int uf_queue_find(uf_queues *queues, const char *name, uint32_t *index)
    int uf_queue_close(uf_queues *queues, uint32_t index)
    int uf_queue_enter(uf_queues *queues, const char *name, uint32_t index, uint64_t *opening)
    int uf_queue_delete(uf_queues *queues, uint32_t index, uint64_t opening, uint64_t *closing)
    bint uf_queue_stands(const uf_queues *queues, uint32_t index, uint64_t opening)
    uint64_t uf_queue_closing(const uf_queues *queues, uint32_t index)
    int uf_queue_retire(uf_queues *queues, uint32_t index, uint64_t closing)
    const char *uf_queue_name(const uf_queues *queues, uint32_t index)
    int uf_queue_send(uf_queues *queues, uint32_t index, uint32_t lane, const uint32_t *handles,
                      uint32_t count, uint32_t *bell)
    int uf_queue_send_to(uf_queues *queues, uint32_t index, uint64_t opening, uint32_t lane,
                         const uint32_t *handles, uint32_t count, uint32_t *bell)
    int uf_queue_take(uf_queues *queues, uf_receiver *receiver, uint32_t *handles, uint32_t max)
    int uf_queue_adopt(uf_queues *queues, uint32_t index, uint32_t *handles, uint32_t max)
    int uf_queue_adopt_as(uf_queues *queues, const uf_receiver *receiver, uint32_t *handles,
                          uint32_t max)
    int uf_queue_arm(uf_queues *queues, uint32_t index, uint32_t mode, uint32_t *armed)
    bint uf_queue_is_empty(uf_queues *queues, uint32_t index)
    uint32_t uf_queue_length(uf_queues *queues, uint32_t index, uint32_t lane)
    bint uf_queue_has_orphans(const uf_queues *queues, uint32_t index)
    void *uf_queue_bell(uf_queues *queues, uint32_t index)
    struct uf_queue_recovery:
        uint32_t unclaimed
        uint32_t orphaned
        uint32_t freed
        uint32_t dropped

    # uf_table.h
    enum:
        UF_KEY_BYTES_MAX, UF_SET_ANY, UF_SET_NEW, UF_SET_STAMP, UF_HANDLE_NONE
    struct uf_key:
        uint64_t hash
        const uint64_t *words
        uint16_t space_bytes
        uint16_t key_bytes
    struct uf_space:
        uint64_t bytes "bytes"
    struct uf_found:
        uint64_t word
    struct uf_table:
        uint64_t seed
        uint32_t buckets
    struct uf_entry:
        uint64_t stamp
        uint64_t expires_ns
        uint32_t value_bytes
        uint32_t tag
        uint16_t space_bytes
        uint16_t key_bytes
        uint32_t handle
        uint32_t use
    struct uf_held:
        const uint8_t *data
        uint32_t handle
        uint32_t name
    int uf_table_hold(uf_table *table, const uf_key *key, uint64_t now_ns, uf_held *held,
                      uf_entry *entry)
    int uf_key_make(uf_key *key, uint64_t seed, uint64_t *buffer, const void *space,
                    uint64_t space_bytes, const void *name, uint64_t name_bytes)
    int uf_table_get(const uf_table *table, const uf_key *key, uint64_t now_ns, void *out,
                     uint64_t room, uf_entry *entry)
    int uf_space_make(uf_space *space, uint64_t seed, const void *text, uint64_t text_bytes)
    int uf_key_in(uf_key *key, const uf_space *space, uint64_t *buffer, const void *name,
                  uint64_t name_bytes)
    int uf_key_begin(uf_key *key, const uf_space *space, const void *name, uint64_t name_bytes)
    void uf_key_end(uf_key *key, const uf_space *space, uint64_t *buffer, const void *name)
    int uf_table_glance(const uf_table *table, const uf_key *key, uf_found *found, uf_entry *entry)
    bint uf_table_fetch(const uf_table *table, const uf_found *found, const uf_key *key, void *out,
                        uint64_t out_bytes)
    bint uf_table_lacks(const uf_table *table, uint64_t hash)
    bint uf_table_again(const uf_table *table, const uf_found *found)
    void uf_table_near(const uf_table *table, uint64_t hash)
    int uf_table_nearer(const uf_table *table, uint64_t hash, uf_found *found)
    int uf_table_met(const uf_table *table, const uf_key *key, uf_found *found, uf_entry *entry)
    int uf_table_set(uf_table *table, const uf_key *key, const void *data, uint64_t data_bytes,
                     uint64_t now_ns, uint32_t mode, uf_entry *entry)
    int uf_table_delete(uf_table *table, const uf_key *key, uint64_t now_ns, uint64_t stamp)
    int uf_table_next(const uf_table *table, uint64_t *cursor, uint64_t now_ns, uint64_t *words,
                      uf_entry *entry)
    uint64_t uf_table_marks_bytes(const uf_table *table)
    int uf_table_changed(const uf_table *table, uint64_t *marks, uint64_t *cursor, uint64_t end,
                         uint64_t *words, void *out, uint64_t room, uf_entry *entry)
    void uf_table_forget(const uf_table *table, uint64_t *marks, uint64_t place)
    int uf_table_known(const uf_table *table, uint64_t *marks, const uf_key *key, uint64_t *place)
    uint64_t uf_table_count(const uf_table *table)
    struct uf_table_recovery:
        uint32_t emptied
        uint32_t freed

    # uf_hold.h, uf_declared.h, uf_clock.h
    enum:
        UF_USE_NONE, UF_USE_IDLE, UF_VIEWS, UF_DECLARED, UF_DECLARED_NAME_BYTES
        UF_DECLARED_TTL_SHIFT
    const uint64_t UF_DECLARED_TOLD, UF_DECLARED_CACHE, UF_DECLARED_TTL_MAX_MS
    struct uf_declaration:
        pass
    struct uf_declared:
        pass
    struct uf_clocked:
        uint32_t steps
        uint32_t evicted
        uint32_t expired
    void uf_hold_drop(const uf_pool *pool, uint32_t handle, uint32_t name)
    int uf_declare(uf_declared *declared, const void *name, uint64_t name_bytes, uint64_t settings)
    uf_declaration *uf_declared_find(const uf_declared *declared, const void *name,
                                     uint64_t name_bytes)
    int uf_declared_at(const uf_declared *declared, uint32_t index, uint64_t *settings, void *name,
                       uint32_t *name_bytes)
    void uf_declared_count(uf_declared *declared, uf_declaration *record, uint64_t evicted,
                           uint64_t expired)
    void uf_declared_counted(const uf_declared *declared, const uf_declaration *record,
                             uint64_t *evicted, uint64_t *expired)
    bint uf_declared_any(const uf_declared *declared)
    uint64_t uf_declared_settings(const uf_declared *declared, const void *name,
                                  uint64_t name_bytes)
    int uf_clock_sweep(uf_table *table, uf_declared *declared, uint32_t size_class,
                       uint64_t now_ns, uint32_t steps, uint32_t want, uf_clocked *done)
    void uf_clock_bucket(uf_table *table, uf_declared *declared, uint64_t hash, uint64_t now_ns,
                         uf_clocked *done)

    # uf_agents.h
    enum:
        UF_AGENT_FREE, UF_AGENT_BUILDING, UF_AGENT_WARM, UF_AGENT_STARTING, UF_AGENT_ACTIVE
        UF_AGENT_DRAINING, UF_AGENT_STOPPED, UF_AGENT_FAILED, UF_AGENT_MOVING, UF_AGENT_ARRIVING
        UF_AGENT_STATES
        UF_AGENT_SLOT_BITS, UF_TYPES_MAX, UF_TYPE_NAME_BYTES, UF_EVERY_WORKER
    struct uf_agent_info:
        uint64_t id
        uint64_t handled
        uint64_t touched_ns
        uint64_t spawned_ns
        uint64_t parent
        uint32_t state
        uint32_t type
        uint32_t worker
        uint32_t priority
        uint32_t depth
        uint32_t limit
        uint32_t failed
        uint32_t restarts
        uint32_t left
    struct uf_agents:
        uint32_t count
        uint32_t types_max
    int uf_agents_type(uf_agents *agents, const char *name, bint make, uint32_t *type)
    const char *uf_agents_type_name(const uf_agents *agents, uint32_t type)
    int uf_agent_new(uf_agents *agents, uint32_t type, uint32_t worker, uint32_t priority,
                     uint32_t state, uint32_t limit, uint64_t parent, uint64_t now_ns,
                     uint64_t *id)
    int uf_agent_claim(uf_agents *agents, uint32_t type, uint32_t priority, uint64_t parent,
                       uint64_t now_ns, uint64_t *id, uint32_t *worker)
    int uf_agent_move(uf_agents *agents, uint64_t id, uint32_t old, uint32_t new)
    int uf_agent_leave(uf_agents *agents, uint64_t id, uint32_t worker, uint32_t to)
    int uf_agent_look(const uf_agents *agents, uint64_t id, uf_agent_info *info)
    int uf_agent_at(const uf_agents *agents, uint32_t slot, uf_agent_info *info)
    int uf_agent_route(const uf_agents *agents, uint64_t id, uint32_t *worker)
    void uf_agent_handled(uf_agents *agents, uint32_t slot, bint failed, uint64_t now_ns)
    void uf_agent_set_depth(uf_agents *agents, uint32_t slot, uint32_t depth)
    void uf_agent_restarted(uf_agents *agents, uint32_t slot)
    uint32_t uf_agent_relapsed(uf_agents *agents, uint32_t slot, uint64_t now_ns, uint64_t period_ns)
    void uf_agent_settled(uf_agents *agents, uint32_t slot)
    bint uf_agent_may(uint32_t old, uint32_t new)
    void uf_agents_tally(const uf_agents *agents, uint32_t worker_or_all, uint32_t *counts)

    # uf_counts.h, uf_census.h
    enum:
        UF_COUNT_MOST
    struct uf_census:
        uint64_t claimed, cold
        uint32_t alive, warm, building, most, target
    struct uf_places:
        uint32_t type, count, type_era, all_era
    int uf_census_read(const uf_agents *agents, uint32_t type, uf_census *census)
    int uf_census_limit(uf_agents *agents, uint32_t type, uint32_t most)
    int uf_census_aim(uf_agents *agents, uint32_t type, uint32_t target)
    int uf_census_admit(uf_agents *agents, uint32_t type, uint32_t wanted, uf_places *places)
    int uf_census_settle(uf_agents *agents, const uf_places *places, uint32_t used)
    int uf_census_spawn(uf_agents *agents, uint32_t type, uint32_t priority, uint64_t parent,
                        uint64_t now_ns, uf_places *places, uint64_t *id, uint32_t *worker)
    void uf_census_drop(uf_agents *agents, uint64_t id)
    int uf_census_new(uf_agents *agents, uint32_t type, uint32_t worker, uint32_t priority,
                      uint32_t state, uint32_t limit, uint64_t parent, uint64_t now_ns,
                      uint64_t *id)
    int uf_census_claim(uf_agents *agents, uint32_t type, uint32_t priority, uint64_t parent,
                        uint64_t now_ns, uint64_t *id, uint32_t *worker)
    int uf_census_move(uf_agents *agents, uint64_t id, uint32_t old, uint32_t new)
    bint uf_agent_is_alive(uint32_t state)
    int uf_census_end(uf_agents *agents, uint64_t id, uint32_t old, uint32_t new)
    int uf_census_leave(uf_agents *agents, uint64_t id, uint32_t worker, uint32_t to)
    int uf_census_dismiss(uf_agents *agents, uint32_t type)
    int uf_census_mend(uf_agents *agents)
    uint64_t uf_census_stops(const uf_agents *agents)
    uint32_t uf_census_load(const uf_agents *agents, uint32_t worker)

    struct uf_agents_recovery:
        uint32_t freed
        uint32_t stopped
        uint32_t hinted

    # uf_deliver.h
    enum:
        UF_DELIVER_MAX
    struct uf_departure:
        uint64_t *seen
    int uf_deliver(const uf_self *self, const uf_agents *agents, uf_queues *queues,
                   const uint64_t *ids, uint32_t lane, const uint32_t *handles, uint32_t count,
                   uint32_t *worker, uint32_t *together, uint32_t *bell)
    void uf_departure_begin(const uf_self *self, uf_departure *departure)
    int uf_departure_look(const uf_self *self, uf_queues *queues, uint32_t index,
                          uf_departure *departure, bint patient, uint32_t *on_way)

    # uf_hist.h
    enum:
        UF_HISTS, UF_COUNTERS, UF_HIST_BUCKETS
    struct uf_metrics:
        uint32_t shards
    uint64_t uf_hist_upper(uint32_t bucket)
    int uf_hist_record(uf_metrics *metrics, uint32_t hist, uint64_t value)
    int uf_counter_add(uf_metrics *metrics, uint32_t counter, uint64_t n)
    int uf_hist_read(const uf_metrics *metrics, uint32_t hist, uint64_t *counts, uint64_t *sum,
                     uint64_t *max)
    int uf_counter_read(const uf_metrics *metrics, uint32_t counter, uint64_t *value)

    # uf_system.h
    enum:
        UF_ROLE_MANAGER, UF_ROLE_WORKER, UF_ROLE_CLIENT
    struct uf_sizes:
        uint32_t owners
        uint32_t buckets
        uint32_t extensions
        uint32_t queues
        uint32_t queue_capacity
        uint32_t agents
        uint32_t types
        uint32_t warm
        uint32_t shards
        uint32_t message_classes
        uint32_t value_classes
        uint64_t settings_bytes
        uf_class_spec message[12]
        uf_class_spec value[12]
    struct uf_system:
        uf_region region
        uf_self self
        uf_pool messages
        uf_pool values
        uf_queues queues
        uf_table table
        uf_declared declared
        uf_agents agents
        uf_metrics metrics
        const uint8_t *settings
        uint64_t settings_bytes
    struct uf_recovery:
        uf_queue_recovery queue
        uf_table_recovery table
        uf_agents_recovery agents
    uint64_t uf_system_bytes(const uf_sizes *sizes)
    int uf_system_create(uf_system *system, const uf_sizes *sizes, const char *temp_path,
                         const char *path, uint64_t id, uint64_t wall_ns, uint64_t pid,
                         const void *settings, uint64_t settings_bytes, uint64_t *free_bytes)
    int uf_system_attach(uf_system *system, const char *path, uint32_t role, bint read_only,
                         uint64_t wall_ns, uint64_t pid)
    void uf_system_close(uf_system *system)
    void uf_system_abandon(uf_system *system)
    uint64_t uf_system_scratch_bytes(const uf_system *system)
    int uf_system_recover(uf_system *system, uint32_t slot, uint64_t *scratch, uf_recovery *done)

cdef extern from "uf.h":
    # uf_table.h: what calls back into Python
    ctypedef void *uf_table_place(void *where, const uf_entry *entry) noexcept
    int uf_table_read(const uf_table *table, const uf_key *key, uint64_t now_ns,
                      uf_table_place *place, void *where, uf_entry *entry)
