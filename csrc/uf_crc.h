/* uf_crc.h -- the checksum of what leaves the region: CRC-32C (Castagnoli).
 *
 * It finds every error of one run of up to 32 bits, and every odd number of flipped bits; both
 * machines that we build for have an instruction for it, so that checking costs less than copying.
 */
#ifndef UF_CRC_H
#define UF_CRC_H

#include "uf_line.h"

/* The checksum of `before`'s bytes followed by these; `before` is 0 to begin with. */
UF_API uint32_t uf_crc(uint32_t before, const void *data, uint64_t bytes);
/* The same without the machine's instruction: for machines that have none, and for comparison. */
UF_API uint32_t uf_crc_plain(uint32_t before, const void *data, uint64_t bytes);

#endif
