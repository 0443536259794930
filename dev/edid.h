/* SPDX-License-Identifier: ISC */
/* edid.h: what the monitor on a screen says of itself (VESA E-EDID 1.4). */
#ifndef DEV_EDID_H
#define DEV_EDID_H

#include "base/def.h"

#define EDID_SIZE   128u
#define EDID_WIDTH  1024u /* the mode that it prefers */
#define EDID_HEIGHT 768u

void edid_make(uint8_t edid[EDID_SIZE]);

#endif
