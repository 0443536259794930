/* SPDX-License-Identifier: ISC */
/* typing.h: requests of the control socket that type and point. */
#ifndef CTL_TYPING_H
#define CTL_TYPING_H

#include <jansson.h>

#include "ctl/backends.h"
#include "ctl/msg.h"

/* {"text":"ls\n"}: characters of a US keyboard. args is changed: what was typed may be a password,
 * which is nobody's business afterwards. */
int typing_text(struct backends *be, json_t *args, struct msg *msg);
/* {"keys":["ctrl-alt-del","f2"]} */
int typing_keys(struct backends *be, json_t *args, struct msg *msg);
/* {"x":10,"y":20,"relative":true,"press":"click"}: dots of the screen. */
int typing_mouse(struct backends *be, json_t *args, struct msg *msg);
/* How much has not been taken yet: {"left":12}. */
int typing_left(struct backends *be, json_t *answer);

#endif
