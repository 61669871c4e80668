/* uf_deliver.h -- from an agent's id into the inbox of the worker that it lives in, while agents move.
 *
 * WHAT       A sender reads in a record whose inbox an agent's messages go to, and pushes there. Both
 *            are one crossing, said in the sender's slot, so that who gives an agent to another worker
 *            knows when the last message on its way to the old inbox is in it.
 * PICTURE    crossing: a count, odd while its process is on its way.
 *
 *            sender                                   the worker W1 that has agent A
 *            X1 crossing = odd                        A8 record: A is MOVING, messages go to W2
 *            A10 read the record: W1 or W2            X4 look at all crossings; those that are odd
 *            push there                               X5 ... until each has changed or its process died
 *            X3 crossing = even                       X6 where W1's lanes end now: all that stands
 *                                                     before is handled by W1, as ever; meanwhile W2
 *                                                     keeps what comes for A
 *                                                     A9 A is ARRIVING: W2 builds it, and hands out
 * OWNERSHIP  A slot's process alone writes its crossing. W1 alone looks at crossings for its agents.
 * THREADS    deliver: one thread of an attachment at a time, as its `struct uf_pool`: from X1 to X3
 *            the doors hold the interpreter's lock. departure: its own.
 * PROGRESS   deliver: lock-free, as uf_queue_send. departure: wait-free, one load a slot, and one
 *            fcntl for each that has not changed; a look at the lanes as uf_queue_is_past.
 * DEATH      A sender between X1 and X3: it pushed or never will; its crossing counts no more, and the
 *            slot's next process begins with another (uf_owner.h). W1 at A8, X4 to X6: its successor has the
 *            agent, and begins at X4 again. W1 after A9, W2 at any time: see uf_agents.h.
 *            A sender that is stopped, not dead, between X1 and X3 holds a move up, and no one else. Who
 *            waits for it no longer can lose nothing: what it then pushes to the old inbox is sent on
 *            by W1. That one call's messages (UF_DELIVER_MAX at most) may arrive after later ones of the
 *            same sender.
 * ORDER      X1 crossing seq_cst, A10 word seq_cst; A8 word seq_cst, X4 crossing seq_cst: either the
 *            sender reads where the agent goes, or W1 sees it on its way
 *            X3 crossing release -> X4, X5 acquire       its push is seen when W1 looks where its lanes end
 * ERRORS     STALE: the agent takes no messages (any more). READ_ONLY: we have no slot. As uf_queue_send.
 * PROOF      P1: `explore_deliver`, a sender's death at each step; `steps_finds_dead_sender_waited_for`.
 *            P2: `explore_deliver`, `test_deliver`: nothing lost, nothing overtaken. P5: holds no value.
 *            P8: `test_flips`, `fuzz_deliver`, `fuzz_finds_worker_of_a_record_believed`.
 * SOURCE     Grace periods: Desnoyers, McKenney, Stern, Dagenais & Walpole 2012, who count in the
 *            reader as well. Hazard words (Michael 2004) would name the agent: a call that sends to
 *            many would need as many.
 */
#ifndef UF_DELIVER_H
#define UF_DELIVER_H

#include "uf_agents.h"
#include "uf_queue.h"

#define UF_DELIVER_MAX 256u

/* Send blocks that are ours to agents, block i to ids[i], up to the first that lives elsewhere than ids[0].
 * The number sent, as uf_queue_send; STALE: ids[0] takes no messages. `*worker`: whose inbox it was;
 * `*together`: how many of the agents live there, from the first on, so many were tried. */
UF_API int uf_deliver(const struct uf_self *self, const struct uf_agents *agents,
                      struct uf_queues *queues, const uint64_t *ids, uint32_t lane,
                      const uint32_t *handles, uint32_t count, uint32_t *worker, uint32_t *together,
                      uint32_t *bell);

/* What a worker waits for before the agents that left it can begin elsewhere; its own memory. */
struct uf_departure {
    uint64_t *seen; /* a word for every slot there is: who was on its way, and is still */
    uint64_t ends[UF_LANES];
    bool crossed; /* nobody is on its way any more; `ends` is where the lanes ended then */
};

/* After the agents' leave, or anew by a successor. */
UF_API void uf_departure_begin(const struct uf_self *self, struct uf_departure *departure);
/* OK: all that was sent to the agents by this inbox has been taken from it. BUSY: not yet; come again.
 * `patient` is false: wait no longer for who is on its way. `on_way`: how many are. */
UF_API int uf_departure_look(const struct uf_self *self, struct uf_queues *queues, uint32_t index,
                             struct uf_departure *departure, bool patient, uint32_t *on_way);

#endif
