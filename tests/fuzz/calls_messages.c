/* calls_messages.c -- the public calls on queues, blocks and shared payloads: see calls.c. */
#include "calls.h"

/* What every reader of a reference does: what it may believe is inside the pool. */
static void look_through(struct guest *guest, uint32_t handle)
{
    struct uf_shared shared;
    int status =
        judged(guest, "uf_share_look", uf_share_look(&guest->system.messages, handle, &shared), 0,
               OR(INVALID) | OR(CORRUPT));
    if (status == UF_OK) {
        uint8_t *copy = must((size_t)shared.payload_bytes + shared.note_bytes);
        memcpy(copy, shared.payload, shared.payload_bytes);
        memcpy(copy + shared.payload_bytes, shared.note, shared.note_bytes);
        free(copy);
    }
}

/* What every reader of a message does: look at the head, and at as much payload as it may believe. */
static void look_at(struct guest *guest, uint32_t handle)
{
    const struct uf_message *message = uf_pool_block(&guest->system.messages, handle);
    if (message == NULL) {
        fuzz_found("a take answered with a handle that names no block", handle);
    }
    uint32_t room = uf_pool_room(&guest->system.messages, handle);
    uint32_t bytes = message->payload_bytes <= room ? message->payload_bytes : room;
    uint8_t *copy = must(bytes);
    memcpy(copy, (const uint8_t *)message + UF_BLOCK_HEAD, bytes);
    free(copy);
    look_through(guest, handle);
}

void give_message(struct guest *guest, uint32_t handle)
{
    judged(guest, "uf_message_give", uf_message_give(&guest->system.messages, handle), 0,
           OR(INVALID));
}

/* Share what we have got of blocks, and give the references back or keep them to be sent. */
static void share(struct guest *guest, struct tape *tape)
{
    struct uf_pool *pool = &guest->system.messages;
    const uint32_t refusals = OR(NO_BLOCK) | OR(TOO_BIG);
    uint32_t handles[6];
    uint32_t wanted = 2 + tape_below(tape, 5);
    uint32_t count = 0;
    while (count < wanted && judged(guest, "uf_pool_take", uf_pool_take(pool, 40, &handles[count]),
                                    0, refusals) == UF_OK) {
        struct uf_message *message = uf_pool_block(pool, handles[count]);
        if (message == NULL) {
            fuzz_found("a take answered with a handle that names no block", handles[count]);
        }
        message->flags = 0;
        message->payload_bytes = 16 + (uint32_t)tape_byte(tape) % 24;
        count++;
    }
    int status = count < 2
                     ? UF_INVALID
                     : judged(guest, "uf_share", uf_share(pool, handles[0], handles + 1, count - 1),
                              0, OR(INVALID));
    for (uint32_t i = status == UF_OK; i < count; i++) {
        if (status == UF_OK && guest->holds < GUEST_HOLDS && tape_byte(tape) % 2 == 0) {
            guest->held[guest->holds++] = handles[i];
        } else {
            give_message(guest, handles[i]);
        }
    }
}

/* Keep what was taken, or give it back. */
static void settle(struct guest *guest, struct tape *tape, uint32_t *handles, int taken)
{
    bool keep = tape_byte(tape) % 4 == 0;
    for (int i = 0; i < taken; i++) {
        look_at(guest, handles[i]);
        if (keep && guest->holds < GUEST_HOLDS) {
            guest->held[guest->holds++] = handles[i];
        } else {
            give_message(guest, handles[i]);
        }
    }
}

uint32_t make_messages(struct guest *guest, struct tape *tape, uint32_t *handles, uint32_t wanted)
{
    uint32_t count = 0;
    for (; count < wanted; count++) {
        int status = judged(guest, "uf_pool_take",
                            uf_pool_take(&guest->system.messages,
                                         (uint32_t)tape_bytes(tape, 2) % 1200, &handles[count]),
                            0, OR(NO_BLOCK) | OR(TOO_BIG));
        if (status != UF_OK) {
            break;
        }
        struct uf_message *message = uf_pool_block(&guest->system.messages, handles[count]);
        if (message == NULL) {
            fuzz_found("uf_pool_take answered with a handle that names no block", handles[count]);
        }
        message->payload_bytes = (uint32_t)tape_bytes(tape, 1);
        message->flags = (uint16_t)tape_bytes(tape, 1);
    }
    return count;
}

static void send(struct guest *guest, struct tape *tape)
{
    const uint32_t refusals = OR(FULL) | OR(BUSY) | OR(CORRUPT) | OR(INVALID);
    uint32_t handles[8];
    uint32_t bell;
    uint32_t wanted = 1 + tape_below(tape, 8);
    uint32_t count = 0;
    bool forward = guest->holds > 0 && tape_byte(tape) % 4 == 0;
    if (forward) {
        handles[count++] = guest->held[--guest->holds];
    }
    count = forward ? count : make_messages(guest, tape, handles, wanted);
    uint32_t queue = tape_below(tape, 5);
    int sent = judged(
        guest, "uf_queue_send",
        uf_queue_send(&guest->system.queues, queue, tape_below(tape, 5), handles, count, &bell),
        (int)count, refusals);
    if (sent > 0 && uf_bell_mode_of(bell) != UF_BELL_AWAKE) {
        uf_bell_wake(uf_queue_bell(&guest->system.queues, queue), bell, -1);
    }
    for (uint32_t i = sent > 0 ? (uint32_t)sent : 0; i < count; i++) {
        give_message(guest, handles[i]);
    }
}

static void take(struct guest *guest, struct tape *tape, bool adopt)
{
    struct uf_queues *queues = &guest->system.queues;
    uint32_t max = tape_below(tape, 65);
    uint32_t *handles = must(max * sizeof *handles);
    guest->receiver.queue = tape_below(tape, 5);
    int taken = adopt ? judged(guest, "uf_queue_adopt",
                               uf_queue_adopt(queues, guest->receiver.queue, handles, max),
                               (int)max, OR(EMPTY) | OR(INVALID))
                      : judged(guest, "uf_queue_take",
                               uf_queue_take(queues, &guest->receiver, handles, max), (int)max,
                               OR(EMPTY) | OR(BUSY) | OR(CORRUPT) | OR(INVALID));
    settle(guest, tape, handles, taken);
    free(handles);
}

void name_of(struct tape *tape, char *name, uint32_t room)
{
    static const char *const known[] = {"inbox", "other", "third", "fourth"};
    uint32_t which = tape_below(tape, 6);
    snprintf(name, room, "%s", which < 4 ? known[which] : "");
    if (which == 5) {
        memset(name, 'n', room - 1);
        name[room - 1] = '\0';
    }
}

void length_of(struct guest *guest, const char *text, uint32_t room)
{
    if (text != NULL && strnlen(text, room) == room) {
        fuzz_found("a name without an end", room);
    }
    guest->past |= text != NULL;
}

void read_queues(struct guest *guest, struct tape *tape)
{
    struct uf_queues *queues = &guest->system.queues;
    uint32_t index = tape_below(tape, 5);
    char name[UF_NAME_BYTES + 1];
    name_of(tape, name, sizeof name);
    uint32_t length = uf_queue_length(queues, index, tape_below(tape, 5));
    if (length > queues->capacity) {
        fuzz_found("uf_queue_length", length);
    }
    uf_queue_has_orphans(queues, index);
    length_of(guest, uf_queue_name(queues, index), UF_NAME_BYTES);
    judged(guest, "uf_queue_find", uf_queue_find(queues, name, &index), 0,
           OR(MISSING) | OR(INVALID));
}

void call_queues(struct guest *guest, struct tape *tape)
{
    struct uf_queues *queues = &guest->system.queues;
    uint32_t index = 0;
    uint32_t armed;
    char name[UF_NAME_BYTES + 1];
    switch (tape_below(tape, 12)) {
    case 0:
    case 1:
    case 2:
        send(guest, tape);
        break;
    case 3:
    case 4:
    case 5:
        take(guest, tape, false);
        break;
    case 6:
        take(guest, tape, true);
        break;
    case 7:
        name_of(tape, name, sizeof name);
        if (judged(guest, "uf_queue_open", uf_queue_open(queues, name, &index), 0,
                   OR(BUSY) | OR(NO_SLOT) | OR(INVALID)) == UF_OK &&
            index >= queues->count) {
            fuzz_found("uf_queue_open answered with a queue that is none", index);
        }
        break;
    case 8:
        judged(guest, "uf_queue_close", uf_queue_close(queues, tape_below(tape, 5)), 0,
               OR(MISSING) | OR(INVALID));
        break;
    case 9:
        index = tape_below(tape, 5);
        judged(guest, "uf_queue_arm", uf_queue_arm(queues, index, 1 + tape_below(tape, 2), &armed),
               0, OR(EMPTY) | OR(INVALID));
        break;
    default:
        read_queues(guest, tape);
    }
}

void call_pool(struct guest *guest, struct tape *tape)
{
    struct uf_pool *pool =
        tape_byte(tape) % 2 == 0 ? &guest->system.messages : &guest->system.values;
    uint32_t handle = (uint32_t)tape_bytes(tape, 4);
    uint32_t free_blocks;
    uint32_t blocks;
    uint32_t bytes;
    switch (tape_below(tape, 7)) {
    case 0:
        judged(guest, "uf_pool_give", uf_pool_give(pool, handle), 0, OR(INVALID));
        break;
    case 4:
        judged(guest, "uf_message_handled", uf_message_handled(&guest->system.messages, handle), 0,
               OR(INVALID));
        break;
    case 5:
        look_through(guest, handle);
        give_message(guest, handle);
        break;
    case 6:
        share(guest, tape);
        break;
    case 1:
        uf_pool_repair(pool);
        break;
    case 2:
        uf_pool_flush(pool);
        break;
    default:
        uf_pool_count(pool, handle % 16, &free_blocks, &blocks, &bytes);
        if (free_blocks > blocks) {
            fuzz_found("uf_pool_count", free_blocks);
        }
    }
}
