/* uf_step.h -- marks between the steps of an operation.
 *
 * UF_STEP(id) is nothing in a release. Built with UF_TEST_STEPS it calls the function that a test
 * installed, which may yield, park or kill the process: a mark stands wherever a death or a
 * preemption leaves something for others to mend. Ids are the labels of the headers' DEATH tables.
 */
#ifndef UF_STEP_H
#define UF_STEP_H

#include "uf_line.h"

#ifdef UF_TEST_STEPS
/* Test builds only, and the only mutable global of the core. */
extern void (*uf_step_hook)(const char *id);
#define UF_STEP(id)                                                                                \
    do {                                                                                           \
        if (uf_step_hook) {                                                                        \
            uf_step_hook(#id);                                                                     \
        }                                                                                          \
    } while (0)
#else
#define UF_STEP(id) ((void)0)
#endif

#endif
