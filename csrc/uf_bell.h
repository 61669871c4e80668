/* uf_bell.h -- sleep until a sender rings; wake a receiver in another process.
 *
 * WHAT       One 32-bit word beside a queue says whether its receiver sleeps, and on what. A sender
 *            looks at it after a push and makes a system call only if somebody sleeps.
 * PICTURE    word: [ epoch 30 | mode 2 ]     AWAKE 0, FUTEX 1 (a thread), PIPE 2 (an event loop)
 *
 *            receiver                               sender
 *            word = {epoch + 1, mode}   seq_cst     push (CAS)              seq_cst
 *            rings empty?               seq_cst     word asleep?            seq_cst
 *              no: word = AWAKE, go on                no: done
 *              yes: sleep                             yes: wake it
 *            Each stores, then loads the other's word: one of them must see the other.
 * OWNERSHIP  The queue's receiver arms; any sender rings and may then mark the word AWAKE, if the
 *            epoch is still the one it saw (a later sleep is not its to end).
 * THREADS    Any number of senders. Several receivers may share a bell: a ring wakes them all.
 * PROGRESS   ring: wait-free, one load when the receiver is awake, else one system call. sleep
 *            waits for a sender, at most for the time given.
 * DEATH      Sender dies before L1: as if it had not rung; its message stands in the ring, and
 *            recovery rings every sleeper. PIPE: the byte is written before the word is marked, so
 *            a death between leaves one ring too many. FUTEX: the word must change before the wake,
 *            so sleeps are taken in slices of UF_BELL_SLICE_NS and look again after each.
 *            Receiver dies: the next one arms anew. The pipe's file stays, as the queue does.
 * ORDER      L1 push seq_cst, word load seq_cst <-> L2 word store seq_cst, ring load seq_cst
 * ERRORS     TIMEOUT, INTERRUPTED from sleep. DENIED: something else stands at the pipe's path.
 *            MISSING: no pipe there, from find.
 * PROOF      P1: `explore_bell` (a sender that dies before it rings). P2: no wake-up is lost,
 *            `explore_bell`, `test_bell`, `test_queue`. P5: holds no value. P8: `test_flips`.
 * SOURCE     The store-load handshake is Dekker's. Futex: Franke, Russell & Kirkwood 2002. A FIFO file
 *            rather than an eventfd, because a process that is nobody's child can open it by name.
 */
#ifndef UF_BELL_H
#define UF_BELL_H

#include "uf_ring.h"

#define UF_BELL_SLICE_NS 50000000ull

enum uf_bell_mode { UF_BELL_AWAKE = 0, UF_BELL_FUTEX = 1, UF_BELL_PIPE = 2 };

/* Arm: L2's store. The value to pass to uf_bell_sleep. */
UF_API uint32_t uf_bell_arm(_Atomic uint32_t *bell, uint32_t mode);
UF_API void uf_bell_disarm(_Atomic uint32_t *bell);
/* Sleep on an armed FUTEX bell until it is rung or `timeout_ns` has passed: OK, TIMEOUT,
 * INTERRUPTED. One slice at most. Call it without the interpreter's lock. */
UF_API int uf_bell_sleep(_Atomic uint32_t *bell, uint32_t armed, uint64_t timeout_ns);
/* Open the pipe file. The receiver makes it before it arms; a sender only finds it, so that none is
 * left behind after the region: MISSING then, and nobody sleeps. The descriptor, or a status. */
UF_API int uf_bell_open_pipe(const char *path);
UF_API int uf_bell_find_pipe(const char *path);
/* Take what was written into the pipe. */
UF_API void uf_bell_drain_pipe(int fd);
/* Wake whoever sleeps, `seen` being the word after the push. pipe: the open pipe, or -1. */
UF_API void uf_bell_wake(_Atomic uint32_t *bell, uint32_t seen, int pipe);

/* L1. seq_cst: after the push's seq_cst CAS; see PICTURE. Not AWAKE: call uf_bell_wake. */
static inline uint32_t uf_bell_look(_Atomic uint32_t *bell)
{
    return atomic_load_explicit(bell, memory_order_seq_cst);
}
static inline uint32_t uf_bell_mode_of(uint32_t word)
{
    return word & 3u;
}

#endif
