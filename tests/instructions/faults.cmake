# Make a copy of one source of the core with one fault in it: cmake -DNAME= -DFROM= -DTO= -P faults.cmake
#
# Each fault is a text of the source and what stands in its place; if the text is not there exactly
# once, the source has changed, and the fault has to be written anew.

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

if(NAME STREQUAL "claim_without_a_name")
    # A consumer empties the slot at once: until it has named the block, nothing says who has it.
    put([=[uf_slot(uf_slot_version(word), me, handle),]=]
        [=[uf_slot((uf_slot_version(word) + 1) & VERSION_MASK, 0 * me, 0),]=])

elseif(NAME STREQUAL "dead_sender_waited_for")
    # Who gives an agent away waits for a count that its dead writer will not change any more.
    put([=[        if (now != seen[slot] || !alive) {]=] [=[        if (now != seen[slot] + 0 * alive) {]=])

elseif(NAME STREQUAL "slot_cleared_before_the_name")
    put([=[    UF_STEP(Q2);
]=] [=[    uf_ring_clear(ring, claim->position);
]=])

elseif(NAME STREQUAL "name_left_before_the_push")
    # The sender lets go of its blocks, then publishes them.
    put([=[    int sent = uf_ring_push_from(&ring, &queues->filled, handles, count); /* Q1 */
]=] [=[    for (uint32_t i = 0; i < count; i++) {
        struct uf_message *message = uf_pool_block(queues->pool, handles[i]);
        message->owner = uf_word_as(message->owner, UF_BLOCK_RING, 0, 0);
    }
    int sent = uf_ring_push(&ring, handles, count);
    for (uint32_t i = sent > 0 ? (uint32_t)sent : 0; i < count; i++) {
        struct uf_message *message = uf_pool_block(queues->pool, handles[i]);
        message->owner = uf_word_as(message->owner, UF_BLOCK_OWNED, queues->me, 0);
    }
]=])

elseif(NAME STREQUAL "bit_never_mended")
    put([=[    uf_pool_repair(queues->pool);
]=] "")

elseif(NAME STREQUAL "orphan_before_its_mark")
    # Recovery gives a message to the next receiver, then counts the delivery that failed.
    put([=[    message->flags |= UF_MESSAGE_REDELIVERED;
    message->attempt += message->attempt != UINT8_MAX;
]=] "")
    put([=[    UF_STEP(Q12);
]=] [=[    message->flags |= UF_MESSAGE_REDELIVERED;
    message->attempt += message->attempt != UINT8_MAX;
]=])

elseif(NAME STREQUAL "claim_never_undone")
    put([=[        if (uf_slot_claimer(word) != dead) {]=]
        [=[        if (uf_slot_claimer(word) != dead + 1) {]=])

elseif(NAME STREQUAL "reference_without_a_mark")
    put([=[uf_word_as(word, UF_BLOCK_OWNED, pool->me, UF_PLACE_REFERENCE)]=]
        [=[uf_word_as(word, UF_BLOCK_OWNED, pool->me, 0)]=])

elseif(NAME STREQUAL "shared_before_the_references")
    # The payload has its holders before anything says who they are.
    put([=[    uint64_t word = atomic_load_explicit(&shared->owner, memory_order_relaxed); /* ours */
    for]=] [=[    uint64_t word = shared->owner;
    shared->owner = uf_word_as(word, UF_BLOCK_SHARED, 0, 0) | UF_HOLDERS_MASK >> (UF_HOLDERS - count);
    for]=])

elseif(NAME STREQUAL "holder_never_dropped")
    put([=[        uf_share_drop(queues->pool, handle);
]=] "")

elseif(NAME STREQUAL "replace_without_intent")
    put([=[    uf_table_intend(table, found->handle, found->owner);
]=] "")

elseif(NAME STREQUAL "owned_until_it_is_visible")
    # An entry's block says TABLE only after a slot has named it.
    put([=[    status = UF_BUSY;
    for (uint32_t tries]=] [=[    struct uf_value *early = uf_pool_block(table->pool, handle);
    early->owner = uf_word_as(owner, UF_BLOCK_OWNED, table->me, 0);
    status = UF_BUSY;
    for (uint32_t tries]=])
    put([=[    if (status == UF_OK) {
        entry->stamp = uf_table_stamp(owner, handle);]=] [=[    early->owner = owner;
    if (status == UF_OK) {
        entry->stamp = uf_table_stamp(owner, handle);]=])

elseif(NAME STREQUAL "freed_before_it_is_unlinked")
    # The old entry's block goes back to the pool while the slot still names it.
    put([=[    UF_STEP(T3a);
]=] [=[    uf_table_retire(table, found->handle, found->owner);
]=])

elseif(NAME STREQUAL "reservation_never_emptied")
    put([=[        if (reserved && uf_word_owner(owner) == dead &&]=]
        [=[        if (reserved && uf_word_owner(owner) == dead + 1 &&]=])

elseif(NAME STREQUAL "extension_never_given_back")
    put([=[        if (owner >> 32 != dead || owner == 0) {]=]
        [=[        if (owner >> 32 != dead + 1 || owner == 0) {]=])

elseif(NAME STREQUAL "declared_before_its_name")
    # The settings are there while the name is not yet.
    put([=[    for (uint64_t i = 0; i < bytes; i += 8) {
        uint64_t word = 0;
        memcpy(&word, (const uint8_t *)name + i, bytes - i < 8 ? bytes - i : 8);
        /* N2.]=]
        [=[    atomic_store_explicit(&record->settings, settings, memory_order_release);
    for (uint64_t i = 0; i < bytes; i += 8) {
        uint64_t word = 0;
        memcpy(&word, (const uint8_t *)name + i, bytes - i < 8 ? bytes - i : 8);
        /* N2.]=])

elseif(NAME STREQUAL "hint_never_given_again")
    put([=[        atomic_fetch_or_explicit(&row->state, TYPE_UNHINTED, memory_order_release);
    }
    for]=] [=[    }
    for]=])

elseif(NAME STREQUAL "death_that_nobody_counts")
    put([=[
    uf_counts_doubt(agents->counts);
]=] "\n")

elseif(NAME STREQUAL "counted_again_after_a_mend")
    # Whoever was mended while it stood between a record and its count counts the record once more.
    put([=[        if (uf_count_era(word) != era) {
            return false; /* C3 */
        }
]=] [=[        era = uf_count_era(word);
]=])

elseif(NAME STREQUAL "place_kept_over_a_mend")
    # A mend that found no record gave the place to another, and its first owner has it as well.
    put([=[bool lost = uf_count_era(word) != era;]=] [=[bool lost = era > 0xffff;]=])

elseif(NAME STREQUAL "place_lost_where_all_are_taken")
    # A place of the type, and none of all: it is not given back.
    put([=[    if (places->count < of_type) {]=] [=[    if (places->count < of_type && status == UF_OK) {]=])

elseif(NAME STREQUAL "stopped_and_not_said")
    put([=[        if (to == UF_AGENT_STOPPED || to == UF_AGENT_ARRIVING) {]=]
        [=[        if (to == UF_AGENT_ARRIVING) {]=])

elseif(NAME STREQUAL "slot_free_before_it_is_mended")
    put([=[    uf_agents_recover(&system->agents, slot + 1, &done->agents);
]=] [=[    uf_owner_end_recovery(&system->self, slot, true);
    uf_agents_recover(&system->agents, slot + 1, &done->agents);
]=])
    put([=[    UF_STEP(O5);
    uf_owner_end_recovery(&system->self, slot, true);
]=] "")

elseif(NAME STREQUAL "published_before_it_is_whole")
    put([=[    status = initialise(system, sizes, settings, settings_bytes);
    if (status == UF_OK) {
]=] [=[    status = uf_region_publish(&system->region, temp_path, path);
    if (status == UF_OK) {
        status = initialise(system, sizes, settings, settings_bytes);
    }
    if (status == UF_OK) {
]=])
    put([=[    if (status == UF_OK) {
        status = uf_region_publish(&system->region, temp_path, path);
    }
    if (status != UF_OK) {
        int]=] [=[    if (status != UF_OK) {
        int]=])

elseif(NAME STREQUAL "view_never_dropped")
    put([=[            uf_hold_recover(pool, handle, dead);
]=] "")

else()
    message(FATAL_ERROR "no fault is called ${NAME}")
endif()

file(WRITE "${TO}" "/* ${NAME}: made from ${FROM}, wrong on purpose. */\n${text}")
