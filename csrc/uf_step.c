#include "uf_step.h"

#ifdef UF_TEST_STEPS
void (*uf_step_hook)(const char *id);
#else
typedef int uf_step_is_empty_in_releases;
#endif
