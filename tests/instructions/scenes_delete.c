/* scenes_delete.c -- deleting a queue with messages in it. */
#include "steps.h"

static uint64_t third_opening;

/* Messages of three lanes in it. */
static void third_has_three(void)
{
    uint32_t index;
    if (uf_queue_open(&world.system.queues, "third", &index) != UF_OK || index != 2) {
        fatal("uf_queue_open");
    }
    for (uint32_t n = 1; n <= 3; n++) {
        message_put(2, n, n);
        message_may(n, 0, 1); /* until we look at what the dead one had given back */
    }
    if (uf_queue_enter(&world.system.queues, "third", 2, &third_opening) != UF_OK) {
        fatal("uf_queue_enter");
    }
}

/* What is left in a deleted queue: handed to `with`, and the record freed. */
static int empty_third(uint64_t closing, void (*with)(uint32_t handle))
{
    struct uf_receiver receiver = {.queue = 2, .opening = closing};
    uint32_t handle;
    for (uint32_t rounds = 0; rounds < 100; rounds++) {
        if (uf_queue_adopt_as(&world.system.queues, &receiver, &handle, 1) != 1 &&
            uf_queue_take(&world.system.queues, &receiver, &handle, 1) != 1) {
            break;
        }
        with(handle);
    }
    return uf_queue_retire(&world.system.queues, 2, closing);
}

/* It says which it is about to give back, and which it gave. */
static void give_emptied(uint32_t handle)
{
    const uint8_t *block = uf_pool_block(&world.system.messages, handle);
    world.note->id |= 1ull << block[UF_BLOCK_HEAD];
    uf_pool_give(&world.system.messages, handle);
}

static void delete_third(void)
{
    uint64_t closing;
    int status = uf_queue_delete(&world.system.queues, 2, third_opening, &closing);
    world.note->status = status == UF_OK ? empty_third(closing, give_emptied) : status;
}

static void deliver_emptied(uint32_t handle)
{
    deliver(handle, NULL);
}

/* All goes on from where the dead one was: nothing is left in the record, and nothing of it is lost. */
static void deleted(const struct note *note)
{
    struct uf_queues *queues = &world.system.queues;
    uint64_t closing = uf_queue_closing(queues, 2);
    uint32_t handle;
    uint32_t bell;
    uint32_t index;
    if (uf_queue_stands(queues, 2, third_opening) &&
        uf_queue_delete(queues, 2, third_opening, &closing) != UF_OK) {
        found("a queue that the dead was deleting can't be deleted");
    }
    if (closing != 0 && empty_third(closing, deliver_emptied) != UF_OK) {
        found("a queue that the dead was deleting can't be emptied and freed");
    }
    for (uint32_t n = 1; n <= 3; n++) {
        /* The last that it had may have been on its way back; no other may be. */
        message_may(n, (note->id >> n & 1) == 0, 1);
    }
    if (note->ended && note->status != UF_OK) {
        found("deleting answered %d", note->status);
    }
    if (uf_queue_find(queues, "third", &index) != UF_MISSING || uf_queue_name(queues, 2) != NULL) {
        found("a deleted queue is there");
    }
    message_make(SPARE - 1, 40, 0);
    handle = world.held[--world.holds];
    if (uf_queue_send_to(queues, 2, third_opening, 1, &handle, 1, &bell) != UF_DELETED) {
        found("a deleted queue takes a message");
    }
    uf_pool_give(&world.system.messages, handle);
}

const struct scene delete_scenes[] = {
    {.name = "queue delete, with messages",
     .prepare = third_has_three,
     .act = delete_third,
     .after = deleted},
};
const uint32_t delete_scenes_count = COUNT_OF(delete_scenes);
