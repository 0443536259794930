/* SPDX-License-Identifier: ISC */
/* hugepages.h: huge pages that the host has reserved. */
#ifndef CTL_HUGEPAGES_H
#define CTL_HUGEPAGES_H

#include <stdint.h>

#include "ctl/msg.h"

/* Are there as many as that many bytes take? They may be gone when they are taken. */
int hugepages_check(uint64_t bytes, struct msg *msg);

#endif
