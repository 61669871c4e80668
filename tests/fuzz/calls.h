/* calls.h -- what the files of calls share: the judge of answers, and buffers of the very size. */
#ifndef UF_TESTS_CALLS_H
#define UF_TESTS_CALLS_H

#include "fuzz.h"
#include "uf_share.h"

#define OR(status) (1u << -(UF_##status))

/* Judge an answer: 0 .. most, or one of the statuses. */
static inline int judged(struct guest *guest, const char *call, int status, int most,
                         uint32_t statuses)
{
    if (status >= 0 ? status > most : status <= -UF_STATUS_COUNT || !(statuses >> -status & 1)) {
        fuzz_found(call, status);
    }
    guest->past |= status >= 0;
    return status;
}

static inline void *must(size_t bytes)
{
    void *memory = malloc(bytes == 0 ? 1 : bytes);
    if (memory == NULL) {
        fuzz_broken("no memory for a test's own buffer");
    }
    return memory;
}

/* calls.c: the id of a record, or of none; `*state` is the one it is in. */
uint64_t id_of(struct guest *guest, struct tape *tape, uint32_t *state);
/* calls_census.c */
void read_census(struct guest *guest, struct tape *tape);
/* calls_messages.c: up to `wanted` messages of ours. */
uint32_t make_messages(struct guest *guest, struct tape *tape, uint32_t *handles, uint32_t wanted);
void give_message(struct guest *guest, uint32_t handle);
void name_of(struct tape *tape, char *name, uint32_t room);
void length_of(struct guest *guest, const char *text, uint32_t room);
void read_queues(struct guest *guest, struct tape *tape);

#endif
