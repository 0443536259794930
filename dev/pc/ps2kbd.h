/* SPDX-License-Identifier: ISC */
/* ps2kbd.h: the PS/2 keyboard (IBM enhanced keyboard, 101 and 102 keys). The controller's lock is
 * held in all calls. */
#ifndef DEV_PC_PS2KBD_H
#define DEV_PC_PS2KBD_H

#include "dev/pc/ps2.h"
#include "plat/plat.h"
#include "ui/input.h"

struct state_stream;

#define PS2KBD_SET3_CODES 0x90u

struct ps2kbd {
	struct ps2_queue reply; /* goes before out */
	struct ps2_queue out;
	uint8_t command;                   /* that waits for its byte; 0: none */
	uint8_t last;                      /* sent, for RESEND */
	uint8_t set;                       /* scan code set, 1 … 3 */
	uint8_t leds;                      /* bit 0 Scroll Lock, 1 Num Lock, 2 Caps Lock */
	uint8_t rate;                      /* typematic rate and delay */
	bool scanning;                     /* keys are reported */
	bool sysrq;                        /* Print Screen went down with Alt */
	uint8_t type[PS2KBD_SET3_CODES];   /* of keys in set 3, by code */
	uint8_t down[(KEY_COUNT + 7) / 8]; /* keys that are held */
	uint16_t repeat;                   /* key that repeats; 0: none */
	uint64_t repeat_at;                /* PLAT_FOREVER: it does not */
};

void ps2kbd_reset(struct ps2kbd *k);
/* A byte from the controller. */
void ps2kbd_write(struct ps2kbd *k, uint8_t v);
/* The next byte for the controller; ps2kbd_pending() said that there is one. */
uint8_t ps2kbd_read(struct ps2kbd *k);
static inline bool ps2kbd_pending(const struct ps2kbd *k)
{
	return k->reply.len || k->out.len;
}
void ps2kbd_key(struct ps2kbd *k, unsigned key, bool down);
/* To be called at repeat_at. */
void ps2kbd_tick(struct ps2kbd *k, uint64_t now);
int ps2kbd_state(struct ps2kbd *k, struct state_stream *st);

/* What the controller makes of a code of set 2: the code of set 1; those above 84H stay. */
uint8_t ps2_set2_to_1(uint8_t code);

#endif
