/* SPDX-License-Identifier: ISC */
/* backends.c: opens and closes the host's side of a VM. Main thread. */
#include "ctl/backends.h"
