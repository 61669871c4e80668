/* test_bell.c -- who sleeps on a queue is woken by its next message, and by nothing less. */
#include "arena.h"
#include "deaths.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/syscall.h>

static struct arena arena;
static const struct arena_sizes usual = {
    .owners = 4, .queues = 2, .capacity = 64, .classes = 1, .class = {{128, 200}}};

/* uf_bell_sleep looks again after a slice, which would hide a lost wake-up: here nobody looks. */
static void sleep_until_rung(_Atomic uint32_t *bell, uint32_t armed)
{
    syscall(SYS_futex, (uint32_t *)bell, FUTEX_WAIT, armed, NULL, NULL, 0);
}

struct player {
    uint32_t from;
    uint32_t to;
    uint32_t rounds;
    int pipe[2]; /* of queue 0 and 1, or -1 */
    bool serves;
    uint64_t slept;
};

static void send_and_ring(struct seat *seat, const struct player *player, uint64_t number)
{
    uint32_t bell;
    CHECK_EQ(number_send(seat, player->to, 1, number, 0, &bell), UF_OK);
    if (uf_bell_mode_of(bell) != UF_BELL_AWAKE) {
        uf_bell_wake(uf_queue_bell(&seat->queues, player->to), bell, player->pipe[player->to]);
    }
}

static uint64_t receive(struct seat *seat, struct player *player)
{
    struct uf_receiver receiver = {.queue = player->from};
    uint32_t mode = player->pipe[player->from] >= 0 ? UF_BELL_PIPE : UF_BELL_FUTEX;
    uint32_t handle;
    uint32_t armed;
    while (uf_queue_take(&seat->queues, &receiver, &handle, 1) != 1) {
        int status = uf_queue_arm(&seat->queues, player->from, mode, &armed);
        if (status == UF_OK) {
            continue;
        }
        CHECK_EQ(status, UF_EMPTY);
        player->slept++;
        if (mode == UF_BELL_FUTEX) {
            sleep_until_rung(uf_queue_bell(&seat->queues, player->from), armed);
        } else {
            struct pollfd wait = {.fd = player->pipe[player->from], .events = POLLIN};
            CHECK_EQ(poll(&wait, 1, -1), 1);
            uf_bell_drain_pipe(wait.fd);
        }
    }
    uint64_t number = number_of(&seat->pool, handle);
    CHECK_EQ(uf_pool_give(&seat->pool, handle), UF_OK);
    return number;
}

static void *play(void *argument)
{
    struct player *player = argument;
    struct seat seat;
    seat_take(&seat, &arena);
    for (uint64_t round = 1; round <= player->rounds; round++) {
        if (player->serves) {
            send_and_ring(&seat, player, round);
        }
        CHECK_EQ(receive(&seat, player), round);
        if (!player->serves) {
            send_and_ring(&seat, player, round);
        }
    }
    seat_leave(&seat);
    return NULL;
}

static void play_in_child(void *argument)
{
    play(argument);
}

static void nobody_sleeps_through_a_message(bool pipes, bool processes)
{
    char what[80];
    char path[2][128];
    struct player player[2] = {
        {.from = 0, .to = 1, .pipe = {-1, -1}, .serves = true},
        {.from = 1, .to = 0, .pipe = {-1, -1}, .serves = false},
    };
    arena_open(&arena, &usual);
    player[0].rounds = player[1].rounds = (processes ? 6000 : 10000) / SLOWER;
    for (uint32_t i = 0; pipes && i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/bell-%u", arena.directory, i);
        for (uint32_t p = 0; p < 2; p++) {
            player[p].pipe[i] = uf_bell_open_pipe(path[i]);
            CHECK(player[p].pipe[i] >= 0);
        }
    }
    if (processes) {
        fflush(stdout);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            watchdog(100);
            play_in_child(&player[1]);
            _exit(0);
        }
        play(&player[0]);
        CHECK_EQ(child_end(child), 0);
    } else {
        struct team team = {0};
        uf_step_hook = yield_at_marks;
        team_add(&team, play, &player[0]);
        team_add(&team, play, &player[1]);
        team_join(&team);
        uf_step_hook = NULL;
    }
    for (uint32_t i = 0; pipes && i < 2; i++) {
        for (uint32_t p = 0; p < 2; p++) {
            close(player[p].pipe[i]);
        }
        unlink(path[i]);
    }
    arena_close(&arena);
    snprintf(what, sizeof what, "exchanges between two %s, woken by %s",
             processes ? "processes" : "threads", pipes ? "pipe" : "futex");
    explored(what, player[0].rounds);
    explored("  sleeps", player[0].slept + player[1].slept);
}

static void a_sleep_ends(void)
{
    struct seat seat;
    struct stat st;
    uint32_t armed;
    uint32_t rung;
    char path[128];
    arena_open(&arena, &usual);
    seat_take(&seat, &arena);
    _Atomic uint32_t *bell = uf_queue_bell(&seat.queues, 0);
    CHECK_EQ(uf_queue_arm(&seat.queues, 0, UF_BELL_FUTEX, &armed), UF_EMPTY);
    CHECK_EQ(uf_bell_sleep(bell, armed, 1000000), UF_TIMEOUT);
    CHECK_EQ(uf_bell_sleep(bell, armed, 0), UF_TIMEOUT);
    CHECK_EQ(uf_bell_sleep(bell, armed - 4, 1000000000), UF_OK); /* an older sleep than this one */
    CHECK_EQ(number_send(&seat, 0, 3, 1, 0, &rung), UF_OK);
    CHECK_EQ(rung, armed); /* the sender is told of the sleeper */
    CHECK_EQ(uf_bell_mode_of(uf_bell_look(bell)), UF_BELL_FUTEX);
    uf_bell_wake(bell, armed - 4, -1); /* a sender that looked at an earlier sleep */
    CHECK_EQ(uf_bell_look(bell), armed);
    uf_bell_wake(bell, armed, -1);
    CHECK_EQ(uf_bell_mode_of(uf_bell_look(bell)), UF_BELL_AWAKE);
    CHECK_EQ(uf_bell_sleep(bell, armed, 1000000000), UF_OK);
    CHECK_EQ(uf_queue_arm(&seat.queues, 0, UF_BELL_FUTEX, &armed), UF_OK); /* there is something */
    CHECK_EQ(uf_bell_mode_of(uf_bell_look(bell)), UF_BELL_AWAKE);

    snprintf(path, sizeof path, "%s/bell", arena.directory);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    close(fd);
    CHECK_EQ(uf_bell_open_pipe(path), UF_DENIED); /* a file stands there */
    unlink(path);
    CHECK_EQ(symlink("/dev/null", path), 0);
    CHECK_EQ(uf_bell_open_pipe(path), UF_DENIED);
    unlink(path);
    fd = uf_bell_open_pipe(path);
    CHECK(fd >= 0);
    CHECK_EQ(stat(path, &st), 0);
    CHECK_EQ(st.st_mode & 07777, 0600);
    uf_bell_drain_pipe(fd); /* nothing there: does not wait */
    for (int i = 0; i < 100000; i++) {
        uf_bell_wake(bell, (uint32_t)i << 2 | UF_BELL_PIPE, fd); /* a full pipe: does not wait */
    }
    close(fd);
    unlink(path);
    seat_leave(&seat);
    arena_close(&arena);
    explored("ways for a sleep to end", 8);
}

int main(void)
{
    watchdog(100);
    a_sleep_ends();
    for (int pipes = 0; pipes < 2; pipes++) {
        nobody_sleeps_through_a_message(pipes != 0, true);
        nobody_sleeps_through_a_message(pipes != 0, false);
    }
    return 0;
}
