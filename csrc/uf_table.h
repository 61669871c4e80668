/* uf_table.h -- a hash table that every process reads and writes, and no death can lock.
 *
 * WHAT       (namespace, key) -> bytes. A bucket is one cache line; entries are blocks of the VALUES
 *            pool, written once and never changed while the table names them.
 * PICTURE    bucket:  [ head | slot 0 | slot 1 | ... | slot 6 ]       64 bytes
 *            head:    [ version 29 | extension + 1 20 | valid 15 ]    bits 0-6: slots of the bucket,
 *            slot:    [ fingerprint 16 | deleted 1 | version 21 | handle 26 ]   7-14: its extension's
 *            block:   [ uf_value | namespace key, padded to 8 | value, padded to 8 ]
 *            A bucket that overflows gets one line of eight more slots, for good.
 *
 *            insert   T1 slot: 0 -> word, T2 head: valid bit set         visible at T2
 *            update   T3 slot: word -> word'                             visible at T3
 *            delete   T4 slot: word -> word + deleted, T5 head: bit cleared, T6 slot -> 0; gone at T4
 *            T5 and T6 are anybody's to do, for a deleted word is never changed otherwise.
 * OWNERSHIP  The block is OWNED by its writer while it is filled, TABLE from just before it can be
 *            seen, HELD while views keep it. Whoever takes its word out of a slot (T3's or T6's winner)
 *            owns it and gives it back at once, or leaves it to the views: readers do not pin, they notice.
 * THREADS    A `struct uf_table` belongs to one thread at a time; any number of them on one area.
 * PROGRESS   get: lock-free, a retry means a write succeeded; never waits for a writer. set, delete:
 *            lock-free. All loops are bounded; BUSY after UF_TABLE_TRIES lost races.
 * DEATH      T1 (reserved, not valid): others use another slot; recovery empties it. T3 before the old
 *            block is given back, T6 likewise: the writer said in its process slot's `intent` what it
 *            was about to unlink; recovery frees that block if no slot names it. T4, T5: the next
 *            writer of the bucket, or recovery, finishes the delete. A block still OWNED, or TABLE but
 *            in no slot: recovery frees it.
 * ORDER      V1 block words release, slot CAS release -> V2 slot acquire      the entry is complete
 *            V3 owner word CAS (new owner) before its word stores, each release
 *               -> V4 word loads acquire, then the owner word again            a reused block shows
 *            V5 head CAS release -> V6 head acquire                            slots below are written
 *            V7 intent store, then slot CAS release -> recovery's acquire      the intent is known
 * ERRORS     MISSING, EXISTS: answers. NO_BLOCK, TOO_BIG: from the pool. STORE_FULL: bucket and
 *            extension are full, or no extension is left: one that another writer is giving to this
 *            bucket just now is not waited for. BUSY. INVALID: key too long. CORRUPT: a slot names a block
 *            that is none or another entry's, or a value is longer than its block.
 * PROOF      P1: `test_table_deaths`, `explore_table`, `explore_table_mend`,
 *            `steps_finds_reservation_never_emptied`, `steps_finds_replace_without_intent`,
 *            `steps_finds_extension_never_given_back`. P2: what a set said is stored stays so, `linear_finds_stamp_not_compared`,
 *            `linear_finds_replace_without_comparing`. P5: `test_table`, `test_table_again`,
 *            `linear_finds_kept_without_comparing_the_slot`,
 *            `linear_finds_read_without_a_second_look`, `linear_finds_miss_beside_a_replacement`,
 *            `steps_finds_freed_before_it_is_unlinked`. P8: `fuzz_table`,
 *            `fuzz_finds_length_of_a_value_believed`.
 * SOURCE     One line a bucket, reads that write nothing: David, Guerraoui & Trigonakis 2015 (CLHT).
 *            Whole reads by version, data as atomics: Boehm 2012. The range reduction: Lemire 2019.
 *
 * A slot's word names the block and its version, so it is unique for as long as 2^21 reuses of one
 * block take; a reader compares all 36 bits in the block, and an entry's stamp (its version to the
 * user) has them all.
 */
#ifndef UF_TABLE_H
#define UF_TABLE_H

#include "uf_hold.h"

#define UF_BUCKET_SLOTS 7u
#define UF_EXTENSION_SLOTS 8u
#define UF_TABLE_SLOTS (UF_BUCKET_SLOTS + UF_EXTENSION_SLOTS)
#define UF_TABLE_TRIES 10000u
#define UF_KEY_BYTES_MAX 1024u /* namespace and key together */

struct uf_bucket {
    alignas(UF_LINE) _Atomic uint64_t head; /* writers; V5, V6 */
    _Atomic uint64_t slot[UF_BUCKET_SLOTS]; /* writers; V1, V2 */
};
struct uf_extension {
    alignas(UF_LINE) _Atomic uint64_t slot[UF_EXTENSION_SLOTS]; /* writers; V1, V2 */
};
_Static_assert(sizeof(struct uf_bucket) == UF_LINE, "a bucket is one line");
_Static_assert(sizeof(struct uf_extension) == UF_LINE, "an extension is one line");

/* A key as the table wants it; made by uf_key_make, words point into the caller's buffer. */
struct uf_key {
    uint64_t hash;
    const uint64_t *words; /* namespace then key, zero-padded */
    uint16_t space_bytes;
    uint16_t key_bytes;
    uint32_t words_count;
};

/* A namespace, for those who make many keys of it. `text` stays the caller's. */
struct uf_space {
    uint64_t hash;
    uint64_t seed; /* of the keys in it */
    const void *text;
    uint64_t bytes;
};

/* Private. */
struct uf_table {
    struct uf_bucket *bucket;
    struct uf_extension *extension;
    _Atomic uint64_t *extension_owner; /* [ claimer 10 | bucket + 1 ], 0: free */
    struct uf_pool *pool;              /* of values */
    _Atomic uint64_t *intent;          /* ours; NULL when attached read-only */
    uint64_t seed;
    uint32_t buckets;
    uint32_t extensions;
    uint32_t me; /* slot + 1 */
};

struct uf_entry {
    uint64_t stamp; /* changes with every write of the key; what compare-and-set compares */
    uint64_t expires_ns;
    uint32_t value_bytes;
    uint32_t tag;
    uint16_t space_bytes;
    uint16_t key_bytes;
    uint32_t handle;
    uint32_t use; /* UF_USE_*: read by uf_table_set, told by nobody */
};

/* An entry that is read in place, until uf_hold_drop(pool, handle, name). */
struct uf_held {
    const uint8_t *data;
    uint32_t handle;
    uint32_t name;
};

/* Private: a key's entry, as it was found. */
struct uf_found {
    uint64_t head;          /* of the bucket, when the search began */
    uint64_t word;          /* the slot's */
    uint64_t owner;         /* the block's owner word: unchanged, the entry is whole */
    _Atomic uint64_t *slot; /* the word is read there; V1, V2 */
    struct uf_value *value;
    uint32_t bucket;
    uint32_t index; /* of the slot in the bucket, 7 and more in the extension */
    uint32_t handle;
};

enum uf_set_mode {
    UF_SET_ANY = 0,   /* insert or replace                                              */
    UF_SET_NEW = 1,   /* insert only: EXISTS otherwise                                  */
    UF_SET_STAMP = 2, /* replace only the entry with this stamp: EXISTS or MISSING else */
};

UF_API uint64_t uf_table_bytes(uint32_t buckets, uint32_t extensions);
UF_API int uf_table_init(void *area, uint64_t bytes, uint32_t buckets, uint32_t extensions);
UF_API int uf_table_open(struct uf_table *table, void *area, uint64_t bytes, struct uf_pool *pool,
                         _Atomic uint64_t *intent, uint64_t seed, uint32_t me);

/* buffer: UF_KEY_BYTES_MAX + 8 bytes, aligned to 8. */
UF_API int uf_key_make(struct uf_key *key, uint64_t seed, uint64_t *buffer, const void *space,
                       uint64_t space_bytes, const void *name, uint64_t name_bytes);

/* The same in two steps. */
UF_API int uf_space_make(struct uf_space *space, uint64_t seed, const void *text, uint64_t bytes);
UF_API int uf_key_in(struct uf_key *key, const struct uf_space *space, uint64_t *buffer,
                     const void *name, uint64_t name_bytes);

/* uf_key_in in two steps: what its hash is, and what it is compared by. */
UF_API int uf_key_begin(struct uf_key *key, const struct uf_space *space, const void *name,
                        uint64_t name_bytes);
UF_API void uf_key_end(struct uf_key *key, const struct uf_space *space, uint64_t *buffer,
                       const void *name);

/* Copy the value into out[0 .. room). OK with the entry's description; TOO_BIG (described, nothing
 * copied) when room is too small. now_ns: wall clock, an entry past its expiry is MISSING; 0: any. */
UF_API int uf_table_get(const struct uf_table *table, const struct uf_key *key, uint64_t now_ns,
                        void *out, uint64_t room, struct uf_entry *entry);
/* As uf_table_get, but where the value goes is asked once its length is known: NULL for nowhere. Asked
 * again when the entry was replaced as it was copied; what `entry` says is sure only after OK. */
typedef void *uf_table_place(void *where, const struct uf_entry *entry);
UF_API int uf_table_read(const struct uf_table *table, const struct uf_key *key, uint64_t now_ns,
                         uf_table_place *place, void *where, struct uf_entry *entry);
/* A read in two steps, for those who make room between them. MISSING is the answer. After OK nothing is
 * sure yet, not even what `entry` says: uf_table_fetch copies the value (`bytes`: at most its length),
 * and true says that it, and what `entry` said, was the key's. An entry past its expiry is told. */
UF_API int uf_table_glance(const struct uf_table *table, const struct uf_key *key,
                           struct uf_found *found, struct uf_entry *entry);
UF_API bool uf_table_fetch(const struct uf_table *table, const struct uf_found *found,
                           const struct uf_key *key, void *out, uint64_t bytes);
/* Whether no entry can be that of a key with this hash: sure. False says nothing. */
UF_API bool uf_table_lacks(const struct uf_table *table, uint64_t hash);
/* Whether the entry that a fetch was of is still its key's, for those who keep what they read: wait-free, the
 * slot's word and the owner word. A word names one version of one block, and stands in one slot from T2
 * until it is taken out, so where it still stands nobody has written the key or taken it away. */
UF_API bool uf_table_again(const struct uf_table *table, const struct uf_found *found);
/* For those who have many keys at hand: bring the bucket of a hash near; once it is, the block. OK: it was found;
 * MISSING: there is none; else a search would tell. */
UF_API void uf_table_near(const struct uf_table *table, uint64_t hash);
UF_API int uf_table_nearer(const struct uf_table *table, uint64_t hash, struct uf_found *found);
/* After uf_table_nearer's OK: uf_table_glance without the search. BUSY: what was found is not there any more. */
UF_API int uf_table_met(const struct uf_table *table, const struct uf_key *key,
                        struct uf_found *found, struct uf_entry *entry);
/* entry->stamp: compared in UF_SET_STAMP, and what the write got on OK. tag, expires_ns are read. */
UF_API int uf_table_set(struct uf_table *table, const struct uf_key *key, const void *data,
                        uint64_t bytes, uint64_t now_ns, uint32_t mode, struct uf_entry *entry);
/* Keep the entry where it is, whatever becomes of its key, and tell where its value lies. FULL: as many
 * processes as can keep it already. */
UF_API int uf_table_hold(struct uf_table *table, const struct uf_key *key, uint64_t now_ns,
                         struct uf_held *held, struct uf_entry *entry);
/* The entry that lies in a block, and its namespace, where `room` is enough. MISSING: none, or one that a
 * view keeps. */
UF_API int uf_table_entry_in(const struct uf_table *table, uint32_t handle, void *space,
                             uint64_t room, struct uf_entry *entry);
/* The block of slot `index` (to UF_TABLE_SLOTS) of the bucket that a hash belongs to, or none. */
UF_API uint32_t uf_table_neighbour(const struct uf_table *table, uint64_t hash, uint32_t index);
/* Take the entry with this stamp away. MISSING: it is gone. */
UF_API int uf_table_remove(struct uf_table *table, uint64_t stamp);
/* stamp 0: whatever is there. EXISTS: another stamp. now_ns as above: an entry past its expiry goes too,
 * whatever its stamp, and is MISSING. */
UF_API int uf_table_delete(struct uf_table *table, const struct uf_key *key, uint64_t now_ns,
                           uint64_t stamp);
/* The next entry at or after *cursor (0 to begin), its namespace and key copied to `words`
 * (UF_KEY_BYTES_MAX + 8 bytes). EMPTY at the end. Sees every entry that stays throughout. */
UF_API int uf_table_next(const struct uf_table *table, uint64_t *cursor, uint64_t now_ns,
                         uint64_t *words, struct uf_entry *entry);
/* What changed since the table was last looked over, for those who copy it elsewhere. `marks` are
 * private memory of uf_table_marks_bytes, zeroed to begin with: the words that the slots had. Writers
 * do nothing for it. Looks at places *cursor .. end - 1 (a place is bucket * 16 + slot). OK: the entry
 * of place *cursor - 1 is another than last time; it is copied as uf_table_get and uf_table_next do
 * (out NULL: but for its value), or its handle is UF_HANDLE_NONE: there is none now. TOO_BIG: described, nothing copied or noted.
 * EMPTY at the end. A write that happened before a look is told by it, unless an earlier look had it
 * already. A key may be told at another place before its old place is told empty. A slot has the same
 * word again only after 2^21 reuses of one block, more writes of one key than a second has time for. */
UF_API uint64_t uf_table_marks_bytes(const struct uf_table *table);
UF_API int uf_table_changed(const struct uf_table *table, uint64_t *marks, uint64_t *cursor,
                            uint64_t end, uint64_t *words, void *out, uint64_t room,
                            struct uf_entry *entry);
/* Tell of this place at the next look, whatever it holds by then. */
UF_API void uf_table_forget(const struct uf_table *table, uint64_t *marks, uint64_t place);
/* Note that the entry of a key is known as it is now: the next look does not tell it. */
UF_API int uf_table_known(const struct uf_table *table, uint64_t *marks, const struct uf_key *key,
                          uint64_t *place);
/* Valid entries, expired ones too: already old when it returns. */
UF_API uint64_t uf_table_count(const struct uf_table *table);

struct uf_table_recovery {
    uint32_t emptied; /* reservations undone and deletes finished */
    uint32_t freed;   /* blocks given back                        */
};
/* Mend what slot `dead` (+ 1) left, `intent` being its intent word. `seen`: zeroed private memory. */
UF_API void uf_table_recover(struct uf_table *table, uint32_t dead, uint64_t intent, uint64_t *seen,
                             struct uf_table_recovery *done);

#endif
