/* SPDX-License-Identifier: ISC */
/* mux.h: one device, several outsides: a VM's console on stdio and for the clients of the control
 * socket at once. Output goes to all parts and is remembered, 64 KiB of it; input comes from all. */
#ifndef CHR_MUX_H
#define CHR_MUX_H

#include "chr/chr.h"
#include "plat/plat.h"

#define CHR_MUX_PARTS   16
#define CHR_MUX_HISTORY (64 * 1024)

int chr_mux_create(struct chr **out) attr_must_check; /* the device's side; chr_close() it */
/* Adds a part, which stays its owner's; detach it before closing it. replay: it first gets the
 * history. Any thread. ERR_NOMEM: there are CHR_MUX_PARTS already. */
int chr_mux_attach(struct chr *mux, struct chr *part, bool replay) attr_must_check;
/* After return the part gets no more output; for its input that holds on the loop's thread. */
void chr_mux_detach(struct chr *mux, struct chr *part);
/* Output that reaches the parts (and the history) but does not come from the guest. */
#define chr_mux_announce(mux, buf, len) chr_write((mux), (buf), (len))

#endif
