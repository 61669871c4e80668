/* driver.c -- a target without libFuzzer: plays its seeds, then random mutations of them; or the files it
 * is given.
 *
 *     fuzz_X [--runs N] [--seed S]      N mutations after the seeds; S makes them the same again
 *     fuzz_X FILE...                    these inputs, once each: libFuzzer's findings too
 *     fuzz_X --seeds DIRECTORY          write the seeds there, for libFuzzer
 *     fuzz_X --must-find ...            as above in a child; status 0 only if it died of a finding
 *
 * A finding is a sanitizer's report, an answer that is none (fuzz_found), or an input that is not done
 * after two seconds of its own. The input is then saved beside where the program was started. No input, or none that
 * got past the first check, is a failure.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define INPUT_BYTES 512u
#define SEEDS_MAX 1024u
#define STATUS_HANG 3
#define STATUS_NOTHING 4
#define PATIENCE_S 1 /* of processor time, so that a busy machine is no finding */

/* The sanitizers ask these; a runtime of its own sees them only if they are visible. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__ubsan_default_options(void);

const char *__asan_default_options(void)
{
    return "abort_on_error=1:detect_leaks=0:allocator_may_return_null=1";
}

const char *__ubsan_default_options(void)
{
    return "abort_on_error=1:print_stacktrace=1";
}

static struct {
    size_t size;
    uint8_t bytes[INPUT_BYTES];
} seed[SEEDS_MAX], input;
static uint32_t seeds;
static volatile uint64_t started; /* inputs */
static const char *program;
static bool quiet; /* nothing is saved: what is sought is known */

static void save_input(void)
{
    static const char text[] = "the input is saved as ";
    char name[128];
    if (quiet || program == NULL) {
        return;
    }
    snprintf(name, sizeof name, "%s-%ld.found", program, (long)getpid());
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd >= 0) {
        ssize_t put = write(fd, input.bytes, input.size);
        put = write(2, text, sizeof text - 1);
        put = write(2, name, strlen(name));
        put = write(2, "\n", 1);
        (void)put;
        close(fd);
    }
}

static void last_words(void)
{
    static bool said;
    if (!said) {
        said = true;
        save_input();
        stage_remove();
    }
}

/* A sanitizer's report ends so, and fuzz_found. */
static void aborted(int signal_number)
{
    last_words();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void tick(int signal_number)
{
    static const char text[] = "found: an input that does not come to an end\n";
    static uint64_t seen;
    (void)signal_number;
    if (started != seen) {
        seen = started;
        return;
    }
    ssize_t put = write(2, text, sizeof text - 1);
    (void)put;
    last_words();
    _exit(STATUS_HANG);
}

/* xorshift64*, Vigna 2016. */
static uint32_t roll(uint64_t *state, uint32_t sides)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)((*state * 0x2545f4914f6cdd1dull) >> 33) % sides;
}

static void keep_seed(const uint8_t *data, size_t size, void *to)
{
    (void)to;
    if (seeds == SEEDS_MAX || size > INPUT_BYTES) {
        fuzz_broken("a seed that is too much");
    }
    memcpy(seed[seeds].bytes, data, size);
    seed[seeds++].size = size;
}

static void play(void)
{
    started++;
    /* Its very size on the heap: reading behind it is a finding as well. */
    uint8_t *copy = malloc(input.size == 0 ? 1 : input.size);
    if (copy != NULL) {
        memcpy(copy, input.bytes, input.size);
        LLVMFuzzerTestOneInput(copy, input.size);
        free(copy);
    }
}

/* Put `size` bytes of another seed, or random ones, at a place: over what is there, or between. */
static void graft(uint64_t *dice)
{
    const uint8_t *from = seed[roll(dice, seeds)].bytes;
    uint32_t size = 1 + roll(dice, 24);
    uint32_t at = roll(dice, (uint32_t)input.size + 1);
    bool between = roll(dice, 2) == 0;
    if (at + size > INPUT_BYTES || (between && input.size + size > INPUT_BYTES)) {
        return;
    }
    if (between) {
        memmove(input.bytes + at + size, input.bytes + at, input.size - at);
        input.size += size;
    }
    memcpy(input.bytes + at, from + roll(dice, INPUT_BYTES - size), size);
    input.size = at + size > input.size ? at + size : input.size;
}

static void mutate(uint64_t *dice)
{
    static const uint8_t edges[] = {0, 1, 2, 7, 8, 63, 64, 127, 128, 254, 255};
    for (uint32_t times = 1 + roll(dice, 8); times > 0; times--) {
        uint32_t at = input.size == 0 ? 0 : roll(dice, (uint32_t)input.size);
        switch (input.size == 0 ? 4 : roll(dice, 6)) {
        case 0:
            input.bytes[at] ^= (uint8_t)(1u << roll(dice, 8));
            break;
        case 1:
            input.bytes[at] = (uint8_t)roll(dice, 256);
            break;
        case 2:
            input.bytes[at] = edges[roll(dice, sizeof edges)];
            break;
        case 3:
            memmove(input.bytes + at, input.bytes + at + 1, input.size - at - 1);
            input.size--;
            break;
        default:
            graft(dice);
        }
    }
}

static int explore(uint64_t runs, uint64_t first)
{
    fuzz_seeds(keep_seed, NULL);
    for (uint32_t i = 0; i < seeds; i++) {
        input = seed[i];
        play();
    }
    uint64_t dice = first | 1;
    for (uint64_t run = 0; run < runs; run++) {
        if (run % 4 != 0 || roll(&dice, 4) == 0) {
            input = seed[roll(&dice, seeds)]; /* else: the last one, mutated further */
        }
        mutate(&dice);
        play();
    }
    printf("%s: seed %llu: %u seeds and %llu mutations tried, %llu got past the first check\n",
           program, (unsigned long long)first, seeds, (unsigned long long)runs,
           (unsigned long long)fuzz_past);
    return fuzz_past == 0 || fuzz_played == 0 ? STATUS_NOTHING : 0;
}

static int replay(char **files)
{
    for (; *files != NULL; files++) {
        FILE *file = fopen(*files, "rb");
        if (file == NULL) {
            perror(*files);
            return 2;
        }
        input.size = fread(input.bytes, 1, INPUT_BYTES, file);
        if (!feof(file) && fgetc(file) != EOF) {
            fprintf(stderr, "%s: only its first %u bytes are played\n", *files, INPUT_BYTES);
        }
        fclose(file);
        play();
        printf("%s: played; %s the first check\n", *files, fuzz_past > 0 ? "past" : "not past");
    }
    return 0;
}

static void write_seed(const uint8_t *data, size_t size, void *to)
{
    char name[512];
    snprintf(name, sizeof name, "%s/seed-%03u", (const char *)to, seeds++);
    FILE *file = fopen(name, "wb");
    if (file == NULL || fwrite(data, 1, size, file) != size || fclose(file) != 0) {
        perror(name);
        exit(2);
    }
}

static int write_seeds(char *where)
{
    mkdir(where, 0700); /* there already is fine: the next lines tell */
    fuzz_seeds(write_seed, where);
    printf("%s: %u seeds in %s\n", program, seeds, where);
    return seeds == 0 ? STATUS_NOTHING : 0;
}

/* In the child that is to be found out, or in the program itself. */
static bool is_found(pid_t child)
{
    int status;
    if (waitpid(child, &status, 0) != child) {
        perror("waitpid");
        exit(2);
    }
    if (WIFSIGNALED(status)) {
        printf("found: it died of signal %d\n", WTERMSIG(status));
        return true;
    }
    printf("it ended with status %d\n", WEXITSTATUS(status));
    return WEXITSTATUS(status) == STATUS_HANG;
}

int main(int argc, char **argv)
{
    uint64_t runs = 10000;
    uint64_t first = (uint64_t)getpid() * 2654435761u;
    char *where = NULL;
    int at = 1;
    program = strrchr(argv[0], '/') != NULL ? strrchr(argv[0], '/') + 1 : argv[0];
    for (; at < argc && strncmp(argv[at], "--", 2) == 0; at++) {
        if (strcmp(argv[at], "--must-find") == 0) {
            quiet = true;
        } else if (at + 1 < argc && strcmp(argv[at], "--runs") == 0) {
            runs = strtoull(argv[++at], NULL, 0);
        } else if (at + 1 < argc && strcmp(argv[at], "--seed") == 0) {
            first = strtoull(argv[++at], NULL, 0);
        } else if (at + 1 < argc && strcmp(argv[at], "--seeds") == 0) {
            where = argv[++at];
        } else {
            fprintf(stderr, "%s: what is %s?\n", program, argv[at]);
            return 2;
        }
    }
    if (quiet) {
        fflush(NULL);
        pid_t child = fork();
        if (child > 0) {
            return is_found(child) ? 0 : 1;
        }
    }
    signal(SIGABRT, aborted);
    const struct itimerval ticks = {{PATIENCE_S, 0}, {PATIENCE_S, 0}};
    signal(SIGPROF, tick);
    setitimer(ITIMER_PROF, &ticks, NULL);
    if (where != NULL) {
        return write_seeds(where);
    }
    return at < argc ? replay(argv + at) : explore(runs, first);
}
