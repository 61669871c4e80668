#include "uf_table.h"

#include <string.h>

static inline uint64_t mixed(uint64_t a, uint64_t b)
{
    /* Multiply to 128 bits and fold: the mixing step of Wang Yi's wyhash. */
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t word_at(const uint8_t *from)
{
    uint64_t word;
    memcpy(&word, from, 8);
    return word;
}

/* The 1 to 7 bytes at `from` as a word. By loads alone: words put together in memory and read again at
 * once wait for the stores. */
static inline uint64_t short_word(const uint8_t *from, uint64_t bytes)
{
    uint32_t first, last;
    if (bytes >= 4) {
        memcpy(&first, from, 4);
        memcpy(&last, from + bytes - 4, 4);
        return first | (uint64_t)last << (bytes - 4) * 8;
    }
    return from[0] | (uint64_t)from[bytes / 2] << bytes / 2 * 8 |
           (uint64_t)from[bytes - 1] << (bytes - 1) * 8;
}

/* One multiplication for each 16 bytes, the last of which may be read twice. The length goes into the
 * seed: a name is not the same name with zeros behind it, nor with its end doubled. */
static inline uint64_t hash_of(uint64_t seed, const uint8_t *name, uint64_t bytes)
{
    uint64_t hash = seed ^ (bytes + 1) * 0x9e3779b97f4a7c15ull;
    uint64_t first = 0, last = 0;
    for (; UF_UNLIKELY(bytes > 16); bytes -= 16, name += 16) {
        hash = mixed(word_at(name) ^ 0xa0761d6478bd642full, word_at(name + 8) ^ hash);
    }
    if (UF_LIKELY(bytes >= 8)) {
        first = word_at(name);
        last = word_at(name + bytes - 8);
    } else if (bytes > 0) {
        first = short_word(name, bytes);
    }
    return mixed(first ^ 0xe7037ed1a0b428dbull, last ^ hash);
}

/* memcpy of what is short, without the call. */
static inline void copy_short(uint8_t *to, const uint8_t *from, uint64_t bytes)
{
    uint64_t first, last;
    if (UF_UNLIKELY(bytes > 16)) {
        memcpy(to, from, bytes);
    } else if (bytes >= 8) {
        first = word_at(from);
        last = word_at(from + bytes - 8);
        memcpy(to, &first, 8);
        memcpy(to + bytes - 8, &last, 8);
    } else if (bytes > 0) {
        first = short_word(from, bytes);
        memcpy(to, &first, 8); /* the buffer has a word more than the longest name */
    }
}

int uf_space_make(struct uf_space *space, uint64_t seed, const void *text, uint64_t bytes)
{
    if (bytes > UF_KEY_BYTES_MAX) {
        return UF_INVALID;
    }
    space->hash = hash_of(seed, text, bytes) ^ 0x8ebc6af09c88c6e3ull;
    space->seed = ~seed;
    space->text = text;
    space->bytes = bytes;
    return UF_OK;
}

static inline int begin(struct uf_key *key, const struct uf_space *space, const void *name,
                        uint64_t name_bytes)
{
    if (UF_UNLIKELY(name_bytes > UF_KEY_BYTES_MAX - space->bytes)) {
        return UF_INVALID;
    }
    /* Two chains, so that neither waits for the other: "ab", "c" is not "a", "bc". */
    key->hash = mixed(space->hash, hash_of(space->seed, name, name_bytes) ^ 0x589965cc75374cc3ull);
    key->words_count = (uint32_t)((space->bytes + name_bytes + 7) / 8);
    key->space_bytes = (uint16_t)space->bytes;
    key->key_bytes = (uint16_t)name_bytes;
    return UF_OK;
}

static inline void end(struct uf_key *key, const struct uf_space *space, uint64_t *buffer,
                       const void *name)
{
    if (UF_LIKELY(key->words_count > 0)) {
        buffer[key->words_count - 1] = 0;
        copy_short((uint8_t *)buffer, space->text, space->bytes);
        copy_short((uint8_t *)buffer + space->bytes, name, key->key_bytes);
    }
    key->words = buffer;
}

int uf_key_begin(struct uf_key *key, const struct uf_space *space, const void *name,
                 uint64_t name_bytes)
{
    return begin(key, space, name, name_bytes);
}

void uf_key_end(struct uf_key *key, const struct uf_space *space, uint64_t *buffer,
                const void *name)
{
    end(key, space, buffer, name);
}

int uf_key_in(struct uf_key *key, const struct uf_space *space, uint64_t *buffer, const void *name,
              uint64_t name_bytes)
{
    int status = begin(key, space, name, name_bytes);
    if (UF_LIKELY(status == UF_OK)) {
        end(key, space, buffer, name);
    }
    return status;
}

int uf_key_make(struct uf_key *key, uint64_t seed, uint64_t *buffer, const void *space,
                uint64_t space_bytes, const void *name, uint64_t name_bytes)
{
    struct uf_space made;
    int status = uf_space_make(&made, seed, space, space_bytes);
    return status != UF_OK ? status : uf_key_in(key, &made, buffer, name, name_bytes);
}
