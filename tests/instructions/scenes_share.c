/* scenes_share.c -- one payload for two receivers: published, taken, given back. */
#include "steps.h"

#define NUMBER 21u /* of what the survivor published */
#define NEW 24u    /* of what a child publishes      */

/* A payload and two references, in hand: held[0], and then one for each queue. */
static void hold(uint32_t number)
{
    message_make(number, 150, 0);
    for (uint32_t r = 0; r < 2; r++) {
        message_make(number + 1 + r, sizeof(struct uf_reference), 0);
    }
}

static void hold_publication(void)
{
    hold(NEW);
}

static void publish(void)
{
    struct uf_system *system = &world.system;
    uint32_t bell;
    uint32_t sent = 0;
    if (uf_share(&system->messages, world.held[0], world.held + 1, 2) == UF_OK) {
        for (uint32_t r = 0; r < 2; r++) {
            sent += uf_queue_send(&system->queues, r == 0 ? INBOX : SECOND, 1, &world.held[1 + r],
                                  1, &bell) == 1;
        }
    }
    world.note->status = (int)sent;
}

static void published(const struct note *note)
{
    message_may(NEW, note->ended ? 2 : 0, 2);
}

static void publish_and_refuse(void)
{
    struct uf_system *system = &world.system;
    uint32_t bell;
    uf_share(&system->messages, world.held[0], world.held + 1, 2);
    uf_queue_send(&system->queues, INBOX, 1, &world.held[1], 1, &bell);
    world.note->status = uf_message_give(&system->messages, world.held[2]);
}

static void published_to_one(const struct note *note)
{
    message_may(NEW, note->ended, 1);
}

/* --- receiving: the survivor has published ---------------------------------------------------------- */

static void two_have_it(void)
{
    struct note note = {.ended = 1};
    struct note *mine = world.note;
    world.note = &note;
    hold(NUMBER);
    publish();
    world.holds = 0;
    world.note = mine;
    message_may(NUMBER, 2, 2);
}

static void one_has_it(void)
{
    uint32_t handle;
    two_have_it();
    struct uf_receiver receiver = {.queue = SECOND};
    if (uf_queue_take(&world.system.queues, &receiver, &handle, 1) != 1 ||
        uf_message_give(&world.system.messages, handle) != UF_OK) {
        fatal("a reference that was sent");
    }
    message_may(NUMBER, 1, 1);
}

static void take(void)
{
    int got = uf_queue_take(&world.system.queues, &world.receiver, world.held, 1);
    world.holds = got == 1;
    world.note->status = got;
}

static void give(void)
{
    world.note->status = uf_message_give(&world.system.messages, world.held[0]);
}

static void handled_and_give(void)
{
    uf_message_handled(&world.system.messages, world.held[0]);
    give();
}

static void gave_one_of_two(const struct note *note)
{
    message_may(NUMBER, 1, note->ended ? 1 : 2);
}

static void gave_the_last(const struct note *note)
{
    message_may(NUMBER, 0, !note->ended);
}

const struct scene share_scenes[] = {
    {.name = "share, publish to two",
     .ready = hold_publication,
     .act = publish,
     .expect = published},
    {.name = "share, publish to one and be refused",
     .ready = hold_publication,
     .act = publish_and_refuse,
     .expect = published_to_one},
    {.name = "share, give one of two",
     .prepare = two_have_it,
     .ready = take,
     .act = give,
     .expect = gave_one_of_two},
    {.name = "share, give the last",
     .prepare = one_has_it,
     .ready = take,
     .act = give,
     .expect = gave_the_last},
    {.name = "share, handled and then given",
     .prepare = one_has_it,
     .ready = take,
     .act = handled_and_give,
     .expect = gave_the_last},
};
const uint32_t share_scenes_count = COUNT_OF(share_scenes);
