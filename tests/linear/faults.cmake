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

# --- the ring and the queue

if(NAME STREQUAL "push_without_comparing")
    # The slot is filled by a store: of two senders who saw it empty, one is forgotten.
    put([=[            if (atomic_compare_exchange_strong_explicit(
                    slot, &word, uf_slot(uf_slot_version(word), 0, handles[sent]),
                    memory_order_seq_cst, memory_order_relaxed)) {
]=] [=[            {
                atomic_store_explicit(slot, uf_slot(uf_slot_version(word), 0, handles[sent]),
                                      memory_order_seq_cst);
]=])

elseif(NAME STREQUAL "claim_without_comparing")
    put([=[        if (atomic_compare_exchange_strong_explicit(slot, &word,
                                                    uf_slot(uf_slot_version(word), me, handle),
                                                    memory_order_acquire, memory_order_relaxed)) {
]=] [=[        {
            atomic_store_explicit(slot, uf_slot(uf_slot_version(word), me, handle),
                                  memory_order_release);
]=])

elseif(NAME STREQUAL "claim_of_any_lap")
    # A message is taken from the slot where the hint points, whatever lap it is of.
    put([=[        bool claimed = uf_slot_claimer(word) != UF_NOBODY;
        if (ahead < -1) {
]=] [=[        bool claimed = uf_slot_claimer(word) != UF_NOBODY;
        if (handle != UF_HANDLE_NONE && !claimed) {
            ahead = 0;
        }
        if (ahead < -1) {
]=])

elseif(NAME STREQUAL "empty_behind_a_claim")
    # A receiver that meets another's claim says that there is nothing.
    put([=[        if (ahead > 0 || claimed) {
            at =]=] [=[        if (ahead == 0 && claimed) {
            return UF_EMPTY;
        }
        if (ahead > 0) {
            at =]=])

elseif(NAME STREQUAL "full_by_an_old_hint")
    # A sender whose hint is old takes a slot of the next lap for a full one.
    put([=[        if (ahead >= 0) {
            tail = past_filled(ring, tail, ahead); /* filled since the hint was moved */
            continue;
        }
]=] [=[        if (ahead == 0) {
            tail = past_filled(ring, tail, ahead);
            continue;
        }
        if (ahead > 0) {
            break;
        }
]=])

elseif(NAME STREQUAL "lower_lane_first")
    # A take looks at the lanes from the other end.
    put([=[        ring.shared = lane_of(queues, receiver->queue, lane);
]=] [=[        ring.shared = lane_of(queues, receiver->queue, UF_LANES - 1 - lane);
]=])
    put([=[            ring.shared = lane_of(queues, receiver->queue, serve);
]=] [=[            ring.shared = lane_of(queues, receiver->queue, UF_LANES - 1 - serve);
]=])

# --- the table

elseif(NAME STREQUAL "read_without_a_second_look")
    put([=[if (UF_UNLIKELY(!uf_table_is_still(found))) {]=] [=[if (false) {]=])

elseif(NAME STREQUAL "miss_beside_a_replacement")
    # A reader whose entry was replaced as it looked says that there is none.
    put([=[        return is_damaged(found) ? UF_CORRUPT : UF_BUSY;]=]
        [=[        return is_damaged(found) ? UF_CORRUPT : UF_MISSING;]=])

elseif(NAME STREQUAL "entry_of_another_head")
    # A reader takes what stands in a valid slot for an entry, though the head has changed meanwhile.
    put([=[        return UF_LIKELY(is_head_still(table, found->bucket, found->head)) ? UF_OK : UF_BUSY;]=]
        [=[        return is_head_still(table, found->bucket, found->head) ? UF_OK : UF_OK;]=])

elseif(NAME STREQUAL "kept_without_comparing_the_slot")
    # What a reader keeps is good to it until the block is written, which is after the slot.
    put([=[    if (atomic_load_explicit(found->slot, memory_order_acquire) != found->word ||
        UF_UNLIKELY(!uf_table_is_still(found))) {]=]
        [=[    if (UF_UNLIKELY(!uf_table_is_still(found)) != 0) {]=])

elseif(NAME STREQUAL "insert_without_comparing_the_head")
    put([=[        if (atomic_compare_exchange_strong_explicit(
                &table->bucket[found->bucket].head, &head,
                uf_head_next(head, uf_head_extension(head), valid | 1u << i), memory_order_release,
                memory_order_relaxed)) {
]=] [=[        head = atomic_load_explicit(&table->bucket[found->bucket].head, memory_order_acquire);
        while (!atomic_compare_exchange_strong_explicit(
            &table->bucket[found->bucket].head, &head,
            uf_head_next(head, uf_head_extension(head), uf_head_valid(head) | 1u << i),
            memory_order_release, memory_order_relaxed)) {
        }
        {
]=])

elseif(NAME STREQUAL "stamp_not_compared")
    put([=[        if (mode == UF_SET_STAMP && (expired || old.stamp != entry->stamp)) {]=]
        [=[        if (mode == UF_SET_STAMP && expired) {]=])

elseif(NAME STREQUAL "replace_without_comparing")
    put([=[    bool won = atomic_compare_exchange_strong_explicit(found->slot, &word, fresh,
                                                       memory_order_release, memory_order_relaxed);
    UF_STEP(T3);
]=] [=[    bool won = atomic_load_explicit(found->slot, memory_order_acquire) == word;
    if (won) {
        atomic_store_explicit(found->slot, fresh, memory_order_release);
    }
    UF_STEP(T3);
]=])

elseif(NAME STREQUAL "reservation_never_withdrawn")
    put([=[        /* Release. A store: a reserved slot is its reserver's alone. */
        atomic_store_explicit(slot, 0, memory_order_release);
]=] "")

# --- the pool

elseif(NAME STREQUAL "take_without_comparing")
    # A taker asks neither the bit nor the owner word whether another was quicker.
    put([=[        uint64_t picked = uf_bits_pick(class->bits, word, wanted);
]=] [=[        uint64_t picked = wanted;
        uf_bits_pick(class->bits, word, wanted);
]=])
    put([=[        if (uf_word_state(seen) == UF_BLOCK_FREE &&
            atomic_compare_exchange_strong_explicit(owner, &seen,
                                                    uf_word_as(seen, UF_BLOCK_OWNED, pool->me, 0),
                                                    memory_order_acquire, memory_order_relaxed)) {
]=] [=[        if (uf_word_state(seen) == UF_BLOCK_FREE) {
            atomic_store_explicit(owner, uf_word_as(seen, UF_BLOCK_OWNED, pool->me, 0),
                                  memory_order_release);
]=])

elseif(NAME STREQUAL "bit_cleared_for_good")
    # A taker clears all bits of the word, also of blocks that it does not take.
    put([=[        uint64_t picked = uf_bits_pick(class->bits, word, wanted);
]=] [=[        uint64_t picked = uf_bits_pick(class->bits, word, bits) & wanted;
]=])

elseif(NAME STREQUAL "give_of_anybodys")
    put([=[    if (uf_word_owner(*word) != pool->me || (state]=] [=[    if ((state]=])

# --- the agents

elseif(NAME STREQUAL "agent_claimed_without_comparing")
    put([=[        if (state_of(word) == UF_AGENT_WARM && type_of(word) == type &&
            atomic_compare_exchange_strong_explicit(&record->word, &word, claimed,
                                                    memory_order_acquire, memory_order_relaxed)) {
]=] [=[        if (state_of(word) == UF_AGENT_WARM && type_of(word) == type) {
            atomic_store_explicit(&record->word, claimed, memory_order_release);
]=])

elseif(NAME STREQUAL "one_id_for_two_lives")
    put([=[word_of(next_generation(word), 0, 0, UF_NOBODY, UF_AGENT_FREE, 0)]=]
        [=[word_of(generation_of(word), 0, 0, UF_NOBODY, UF_AGENT_FREE, 0)]=])

elseif(NAME STREQUAL "hint_never_given")
    put([=[                give_hint(agents, type_of(word), slot);
]=] [=[                (void)slot;
]=])

elseif(NAME STREQUAL "hint_used_once_though_in_vain")
    # A claim whose hint lied gives up instead of taking the next.
    put([=[            *worker = worker_of(word);
            return UF_OK;
        }
]=] [=[            *worker = worker_of(word);
            return UF_OK;
        }
        return UF_EMPTY;
]=])

elseif(NAME STREQUAL "hint_of_another_left_unused")
    # A claim that finds the ring full as it gives missing hints does not look at what fills it.
    put([=[return found || !uf_ring_is_empty(&ring);]=] [=[return found || ring.capacity == 0;]=])

else()
    message(FATAL_ERROR "no fault is called ${NAME}")
endif()

file(WRITE "${TO}" "/* ${NAME}: made from ${FROM}, wrong on purpose. */\n${text}")
