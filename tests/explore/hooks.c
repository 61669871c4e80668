/* hooks.c -- what gcc's -fsanitize=thread calls, in place of the sanitizer's own runtime.
 *
 * Accesses outside the arena, and all of those in setup and finish, are done as they stand.
 */
#include "inside.h"

#include <string.h>

void *explore_memcpy(void *to, const void *from, size_t bytes);
int explore_strncmp(const char *a, const char *b, size_t most);

#define EXPLORED(at) (running != NULL && in_arena(at))
#define FROM __builtin_return_address(0)
#define HOOK __attribute__((visibility("default")))

#define ATOMIC(bits, type)                                                                         \
    HOOK type __tsan_atomic##bits##_load(const volatile type *at, int order)                       \
    {                                                                                              \
        return EXPLORED(at) ? (type)memory_load(at, sizeof(type), order, FROM)                     \
                            : __atomic_load_n(at, __ATOMIC_SEQ_CST);                               \
    }                                                                                              \
    HOOK void __tsan_atomic##bits##_store(volatile type *at, type value, int order)                \
    {                                                                                              \
        if (EXPLORED(at)) {                                                                        \
            memory_store(at, sizeof(type), value, order, FROM);                                    \
        } else {                                                                                   \
            __atomic_store_n(at, value, __ATOMIC_SEQ_CST);                                         \
        }                                                                                          \
    }                                                                                              \
    CHANGE(bits, type, exchange, EXCHANGE, __atomic_exchange_n)                                    \
    CHANGE(bits, type, fetch_add, ADD, __atomic_fetch_add)                                         \
    CHANGE(bits, type, fetch_sub, SUB, __atomic_fetch_sub)                                         \
    CHANGE(bits, type, fetch_or, OR, __atomic_fetch_or)                                            \
    CHANGE(bits, type, fetch_and, AND, __atomic_fetch_and)                                         \
    CHANGE(bits, type, fetch_xor, XOR, __atomic_fetch_xor)                                         \
    COMPARE(bits, type, compare_exchange_strong)                                                   \
    COMPARE(bits, type, compare_exchange_weak)

#define CHANGE(bits, type, name, how, builtin)                                                     \
    HOOK type __tsan_atomic##bits##_##name(volatile type *at, type operand, int order)             \
    {                                                                                              \
        return EXPLORED(at) ? (type)memory_change(at, sizeof(type), how, operand, order, FROM)     \
                            : builtin(at, operand, __ATOMIC_SEQ_CST);                              \
    }

#define COMPARE(bits, type, name)                                                                  \
    HOOK _Bool __tsan_atomic##bits##_##name(volatile type *at, type *expected, type desired,       \
                                            int order, int failure)                                \
    {                                                                                              \
        if (!EXPLORED(at)) {                                                                       \
            return __atomic_compare_exchange_n(at, expected, desired, 0, __ATOMIC_SEQ_CST,         \
                                               __ATOMIC_SEQ_CST);                                  \
        }                                                                                          \
        uint64_t wanted = *expected;                                                               \
        bool equal = memory_compare(at, sizeof(type), &wanted, desired, order, failure, FROM);     \
        *expected = (type)wanted;                                                                  \
        return equal;                                                                              \
    }

ATOMIC(8, uint8_t)
ATOMIC(16, uint16_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)

#define PLAIN(bytes)                                                                               \
    HOOK void __tsan_read##bytes(void *at)                                                         \
    {                                                                                              \
        if (EXPLORED(at)) {                                                                        \
            memory_plain(at, bytes, false, FROM);                                                  \
        }                                                                                          \
    }                                                                                              \
    HOOK void __tsan_write##bytes(void *at)                                                        \
    {                                                                                              \
        if (EXPLORED(at)) {                                                                        \
            memory_plain(at, bytes, true, FROM);                                                   \
        }                                                                                          \
    }                                                                                              \
    HOOK void __tsan_unaligned_read##bytes(void *at)                                               \
    {                                                                                              \
        if (EXPLORED(at)) {                                                                        \
            memory_plain(at, bytes, false, FROM);                                                  \
        }                                                                                          \
    }                                                                                              \
    HOOK void __tsan_unaligned_write##bytes(void *at)                                              \
    {                                                                                              \
        if (EXPLORED(at)) {                                                                        \
            memory_plain(at, bytes, true, FROM);                                                   \
        }                                                                                          \
    }

PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

HOOK void __tsan_read_range(void *at, unsigned long bytes)
{
    if (bytes > 0 && EXPLORED(at)) {
        memory_plain(at, (uint32_t)bytes, false, FROM);
    }
}

HOOK void __tsan_write_range(void *at, unsigned long bytes)
{
    if (bytes > 0 && EXPLORED(at)) {
        memory_plain(at, (uint32_t)bytes, true, FROM);
    }
}

/* The core is compiled to call these two for libc's: what they touch are plain accesses as well. */
void *explore_memcpy(void *to, const void *from, size_t bytes)
{
    if (bytes > 0 && EXPLORED(from)) {
        memory_plain(from, (uint32_t)bytes, false, FROM);
    }
    if (bytes > 0 && EXPLORED(to)) {
        memory_plain(to, (uint32_t)bytes, true, FROM);
    }
    return memcpy(to, from, bytes);
}

int explore_strncmp(const char *a, const char *b, size_t most)
{
    const char *both[] = {a, b};
    for (uint32_t i = 0; i < 2; i++) {
        if (EXPLORED(both[i])) {
            size_t length = strnlen(both[i], most);
            memory_plain(both[i], (uint32_t)(length + (length < most)), false, FROM);
        }
    }
    return strncmp(a, b, most);
}

HOOK void __tsan_init(void)
{
}

HOOK void __tsan_func_entry(void *from)
{
    (void)from;
}

HOOK void __tsan_func_exit(void)
{
}
