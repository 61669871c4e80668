/* gates.h -- stop one thread at one mark until another has done what the test wants done meanwhile.
 *
 * gate_run starts work(argument) in a thread that stops at the first mark of the gate's name;
 * gate_reached waits until it stands there, gate_open lets it go on, gate_move lets it go on to its
 * next mark of another name, gate_join waits for its end.
 */
#ifndef UF_TESTS_GATES_H
#define UF_TESTS_GATES_H

#include "check.h"

#include <semaphore.h>

struct gate {
    const char *label;
    void (*work)(void *);
    void *argument;
    sem_t reached;
    sem_t open;
    pthread_t thread;
    bool passed;
};

static _Thread_local struct gate *gate_of_thread;

static inline void stop_at_gate(const char *id)
{
    struct gate *gate = gate_of_thread;
    if (gate != NULL && !gate->passed && strcmp(gate->label, id) == 0) {
        gate->passed = true;
        sem_post(&gate->reached);
        while (sem_wait(&gate->open) != 0) {
            CHECK_EQ(errno, EINTR);
        }
    }
}

static inline void *gate_thread(void *argument)
{
    struct gate *gate = argument;
    gate_of_thread = gate;
    gate->work(gate->argument);
    CHECK(gate->passed); /* the mark is on the way, or the test shows nothing */
    return NULL;
}

static inline void gate_run(struct gate *gate, const char *label, void (*work)(void *),
                            void *argument)
{
    *gate = (struct gate){.label = label, .work = work, .argument = argument};
    CHECK_EQ(sem_init(&gate->reached, 0, 0), 0);
    CHECK_EQ(sem_init(&gate->open, 0, 0), 0);
    uf_step_hook = stop_at_gate;
    CHECK_EQ(pthread_create(&gate->thread, NULL, gate_thread, gate), 0);
}

static inline void gate_reached(struct gate *gate)
{
    while (sem_wait(&gate->reached) != 0) {
        CHECK_EQ(errno, EINTR);
    }
}

static inline void gate_open(struct gate *gate)
{
    sem_post(&gate->open);
}

/* It stands at the gate; now the gate stands at its next mark of this name. */
static inline void gate_move(struct gate *gate, const char *label)
{
    gate->label = label;
    gate->passed = false;
    gate_open(gate);
    gate_reached(gate);
}

static inline void gate_join(struct gate *gate)
{
    CHECK_EQ(pthread_join(gate->thread, NULL), 0);
    sem_destroy(&gate->reached);
    sem_destroy(&gate->open);
}

#endif
