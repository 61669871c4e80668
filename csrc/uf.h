/* uf.h -- the whole core, bottom up.
 *
 *   uf_line     cache lines                    uf_ring    handles, many to many
 *   uf_status   how a call can end             uf_bell    sleep and wake
 *   uf_step     marks for tests                uf_queue   lanes, names, takeover of messages
 *   uf_region   one file, areas                uf_table   the store's index
 *   uf_owner    process slots, the dead        uf_agents  records of agents
 *   uf_bits     hints at free things           uf_hist    counters and histograms
 *   uf_pool     blocks and who has them        uf_system  all of it
 *   uf_share    a payload for many receivers   uf_crc     checksums of what leaves
 *   uf_hold     values kept by views         uf_clock   room in a full store
 *   uf_declared what is said of namespaces     uf_deliver to an agent, wherever it lives
 *   uf_counts   counts that deaths leave true  uf_census  how many agents there are
 *
 *   one region:
 *   0      64          4096
 *   [ head | directory | OWNERS | TABLE | QUEUES | MESSAGES | AGENTS | METRICS | VALUES | DECLARED | SETTINGS ]
 */
#ifndef UF_H
#define UF_H

#include "uf_line.h"
#include "uf_status.h"
#include "uf_step.h"
#include "uf_crc.h"
#include "uf_region.h"
#include "uf_owner.h"
#include "uf_bits.h"
#include "uf_pool.h"
#include "uf_share.h"
#include "uf_hold.h"
#include "uf_declared.h"
#include "uf_ring.h"
#include "uf_bell.h"
#include "uf_queue.h"
#include "uf_table.h"
#include "uf_clock.h"
#include "uf_counts.h"
#include "uf_agents.h"
#include "uf_census.h"
#include "uf_deliver.h"
#include "uf_hist.h"
#include "uf_system.h"

#endif
