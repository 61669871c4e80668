#include "uf_status.h"

const char *uf_status_sentence(int status)
{
    switch (status) {
#define X(name, value, sentence)                                                                   \
    case (value):                                                                                  \
        return sentence;
        UF_STATUS_LIST(X)
#undef X
    default:
        return "unknown status";
    }
}

const char *uf_status_name(int status)
{
    switch (status) {
#define X(name, value, sentence)                                                                   \
    case (value):                                                                                  \
        return #name;
        UF_STATUS_LIST(X)
#undef X
    default:
        return "UNKNOWN";
    }
}
