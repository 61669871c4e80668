/* uf_status.h -- every way a call of the core can end, said once.
 *
 * A call answers UF_OK (or a count) or one of these negative values. Values are never renumbered:
 * the Python classes in errors.py carry them. FULL, EMPTY, MISSING, EXISTS and BUSY are ordinary
 * answers; the others are errors. Where a system call failed, errno still holds its reason.
 */
#ifndef UF_STATUS_H
#define UF_STATUS_H

#include "uf_line.h"

#define UF_STATUS_LIST(X)                                                                          \
    X(OK, 0, "done")                                                                               \
    X(FULL, -1, "the ring has no free slot")                                                       \
    X(EMPTY, -2, "there is nothing to take")                                                       \
    X(MISSING, -3, "there is no such entry")                                                       \
    X(EXISTS, -4, "there already is such an entry")                                                \
    X(NO_BLOCK, -5, "the pool has no free block of this size")                                     \
    X(TOO_BIG, -6, "the payload is larger than the largest block")                                 \
    X(STALE, -7, "the id names an agent that is gone")                                             \
    X(BUSY, -8, "others changed the same words at every attempt")                                  \
    X(CORRUPT, -9, "shared memory holds a value that no process of ours writes")                   \
    X(NOT_REGION, -10, "the file is not a region")                                                 \
    X(LAYOUT, -11, "the region was made by another layout version")                                \
    X(TRUNCATED, -12, "the file is shorter than its header says")                                  \
    X(NO_SPACE, -13, "the file system has too little free space")                                  \
    X(DENIED, -14, "the file belongs to another user, is a link, or may not be opened")            \
    X(NO_REGION, -15, "there is no region of this name")                                           \
    X(NO_SLOT, -16, "every process slot of the region is taken")                                   \
    X(INVALID, -17, "an argument is out of its range")                                             \
    X(TIMEOUT, -18, "the deadline passed")                                                         \
    X(INTERRUPTED, -19, "a signal arrived during the wait")                                        \
    X(SYSTEM, -20, "the operating system refused the call")                                        \
    X(CLOSED, -21, "the region was closed by this process")                                        \
    X(READ_ONLY, -22, "the region was attached read-only")                                         \
    X(NO_AGENT_SLOT, -23, "every agent record is taken")                                           \
    X(STORE_FULL, -24, "the table has no room for another key in this bucket")                     \
    X(DELETED, -25, "the queue was deleted")

enum uf_status {
#define X(name, value, sentence) UF_##name = (value),
    UF_STATUS_LIST(X)
#undef X
};

#define UF_STATUS_COUNT 26

/* The sentence of a status; "unknown status" for a value that is not in the list. */
UF_API const char *uf_status_sentence(int status);
/* The name of a status without its prefix, as "FULL". */
UF_API const char *uf_status_name(int status);

#endif
