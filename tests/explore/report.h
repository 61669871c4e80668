/* report.h -- what the explorer prints: a line a check, and the steps of an execution that failed. */
#ifndef UF_EXPLORE_REPORT_H
#define UF_EXPLORE_REPORT_H

#include <stdint.h>

void report_check(const char *name, uint64_t whole, uint64_t pruned, uint64_t states,
                  uint64_t steps, double seconds);
void report_keep_failure(const char *file, int line, const char *what, long long got,
                         long long wanted);
/* Print the traced steps, with the places in the source that made them, and what failed. */
void report_failure(void);

#endif
