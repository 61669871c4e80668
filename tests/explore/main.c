/* main.c -- an explorer's command line: which checks, with which bounds. */
#include "inside.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void crashed(int number)
{
    static const char text[] = "explore: the explored code crashed\n";
    signal(number, SIG_DFL);
    ssize_t put = write(2, text, sizeof text - 1);
    (void)put;
    _exit(2);
}

static bool is_named(int argc, char **argv, const char *name)
{
    bool any = false;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-') {
            i += strcmp(argv[i], "--deep") != 0; /* its number */
            continue;
        }
        any = true;
        if (strcmp(argv[i], name) == 0) {
            return true;
        }
    }
    return !any;
}

static bool option(int argc, char **argv, const char *name, uint32_t *number)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            if (number != NULL && i + 1 < argc) {
                *number = (uint32_t)strtoul(argv[i + 1], NULL, 10);
            }
            return true;
        }
    }
    return false;
}

int explore_main(int argc, char **argv, const struct explore_check *checks, size_t count)
{
    size_t ran = 0;
    signal(SIGSEGV, crashed);
    signal(SIGFPE, crashed);
    for (size_t c = 0; c < count; c++) {
        if (!is_named(argc, argv, checks[c].name)) {
            continue;
        }
        bool deep = option(argc, argv, "--deep", NULL);
        struct explore_bounds wanted = deep ? checks[c].deep : checks[c].usual;
        bool stale = option(argc, argv, "--stale", &wanted.stale);
        bool preemptions = option(argc, argv, "--preemptions", &wanted.preemptions);
        run_check(&checks[c], &wanted, !stale && !preemptions);
        ran++;
    }
    return ran == 0;
}
