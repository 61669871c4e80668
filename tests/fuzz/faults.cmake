# Make a copy of one source of the core with one fault in it: cmake -DNAME= -DFROM= -DTO= -P faults.cmake
#
# Each fault drops one check of what shared memory says. If its text is not there exactly once, the source
# has changed, and the fault has to be written anew.

file(READ "${FROM}" text)

function(put was now)
    string(FIND "${text}" "${was}" first)
    string(FIND "${text}" "${was}" last REVERSE)
    if(first EQUAL -1 OR NOT first EQUAL last)
        message(FATAL_ERROR "${NAME}: ${FROM} does not have this text once:\n${was}")
    endif()
    string(REPLACE "${was}" "${now}" text "${text}")
    set(text "${text}" PARENT_SCOPE)
endfunction()

if(NAME STREQUAL "area_outside_the_file")
    put([=[if (areas[i].offset != end || areas[i].bytes > file_bytes ||
            areas[i].offset > file_bytes - areas[i].bytes) {]=]
        [=[if (areas[i].offset != end) {]=])

elseif(NAME STREQUAL "pool_larger_than_its_area")
    put([=[ ||
        uf_pool_bytes(head.class, head.classes) > bytes) {]=] [=[) {]=])

elseif(NAME STREQUAL "handle_of_a_slot_believed")
    put([=[if (UF_UNLIKELY(message == NULL)) {]=] [=[if (false) {]=])

elseif(NAME STREQUAL "payload_of_a_reference_believed")
    put([=[    return *shared != NULL && reference->bit < UF_HOLDERS;]=] [=[    return true;]=])

elseif(NAME STREQUAL "claim_that_tries_for_ever")
    put([=[    while (got < max && attempts-- > 0) {]=] [=[    while (got < max && attempts > 0) {]=])

elseif(NAME STREQUAL "handle_of_an_entry_believed")
    put([=[if (UF_UNLIKELY(value == NULL)) {]=] [=[if (false) {]=])

elseif(NAME STREQUAL "length_of_a_value_believed")
    put([=[if (entry->value_bytes > room_in_block - offset) {]=] [=[if (room_in_block < offset) {]=])

elseif(NAME STREQUAL "length_of_a_key_believed")
    put([=[                bytes <= UF_KEY_BYTES_MAX && bytes <= uf_pool_room(table->pool, found.handle);]=]
        [=[                bytes <= UINT32_MAX;]=])

elseif(NAME STREQUAL "hint_at_an_agent_believed")
    put([=[        if (slot >= agents->count) {
            continue;
        }
        struct uf_agent *record = &agents->record[slot];
        uint64_t word = atomic_load_explicit(&record->word, memory_order_relaxed); /* CAS judges */
        uint64_t claimed = word_of(generation_of(word), type, worker_of(word), claimer, to,]=]
        [=[        struct uf_agent *record = &agents->record[slot];
        uint64_t word = atomic_load_explicit(&record->word, memory_order_relaxed);
        uint64_t claimed = word_of(generation_of(word), type, worker_of(word), claimer, to,]=])

elseif(NAME STREQUAL "type_of_a_record_believed")
    put([=[if (to == UF_AGENT_WARM && type_of(word) >= agents->types_max) {]=] [=[if (false) {]=])

elseif(NAME STREQUAL "type_of_an_ended_agent_believed")
    put([=[if (uf_agent_look(agents, id, &info) != UF_OK || info.type >= agents->types_max) {]=]
        [=[if (uf_agent_look(agents, id, &info) != UF_OK) {]=])

elseif(NAME STREQUAL "number_of_workers_believed")
    put([=[    workers = workers < UF_WORKERS_MAX ? workers : UF_WORKERS_MAX;
]=] "")

elseif(NAME STREQUAL "worker_of_a_record_believed")
    put([=[    if (index >= queues->count || lane >= UF_LANES) {
        return UF_INVALID;
    }
    struct uf_ring ring = gated_ring(]=] [=[    if (lane >= UF_LANES) {
        return UF_INVALID;
    }
    struct uf_ring ring = gated_ring(]=])

elseif(NAME STREQUAL "id_of_no_record_believed")
    put([=[    uint32_t slot = uf_agent_slot(id);
    if (slot >= agents->count) {
        return UF_STALE;
    }
]=] [=[    uint32_t slot = uf_agent_slot(id);
]=])

else()
    message(FATAL_ERROR "no fault is called ${NAME}")
endif()

file(WRITE "${TO}" "/* ${NAME}: made from ${FROM}, wrong on purpose. */\n${text}")
