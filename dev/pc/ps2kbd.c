/* SPDX-License-Identifier: ISC */
/* ps2kbd.c: the PS/2 keyboard (IBM PS/2 Hardware Interface Technical Reference, Keyboards): scan code
 * sets 1 to 3, typematic, commands. Under the lock of the controller (i8042.c).
 *
 * Example: the up arrow in set 2, as it leaves the keyboard: E0 75, then, when it is released, E0 F0
 * 75. The controller translates that to E0 48 and E0 C8, the codes of set 1. */
#include "dev/pc/ps2kbd.h"

#include "vm/stream.h"

#define OVERRUN_SET1 0xff
#define OVERRUN      0x00
#define RELEASE      0xf0
#define SYSRQ        0x54 /* Alt and Print Screen */
#define SCROLL_LOCK  0x46

#define DEFAULT_RATE 0x2b /* 10.9 a second after half a second */

/* Keys of set 3 */
#define REPEATS  BIT(0)
#define RELEASES BIT(1)

enum {
	CMD_LEDS = 0xed,
	CMD_ECHO = 0xee,
	CMD_SET = 0xf0,
	CMD_ID = 0xf2,
	CMD_RATE = 0xf3,
	CMD_ENABLE = 0xf4,
	CMD_DISABLE = 0xf5,
	CMD_DEFAULT = 0xf6,
	CMD_ALL = 0xf7, /* …FAH: all keys of set 3 are of a type */
	CMD_KEY = 0xfb, /* …FDH: the named ones */
	CMD_RESEND = 0xfe,
	CMD_RESET = 0xff,
};

/* clang-format off */
static const uint8_t set2_to_1[0x85] = {
	0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
	0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
	0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
	0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
	0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
	0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
	0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
	0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
	0x80, 0x81, 0x82, 0x41, 0x54,
};

/* By the code of set 1, those with E0H behind; 0: no such key. */
static const uint8_t set3[0x59] = {
	0x00, 0x08, 0x16, 0x1e, 0x26, 0x25, 0x2e, 0x36, 0x3d, 0x3e, 0x46, 0x45, 0x4e, 0x55, 0x66, 0x0d,
	0x15, 0x1d, 0x24, 0x2d, 0x2c, 0x35, 0x3c, 0x43, 0x44, 0x4d, 0x54, 0x5b, 0x5a, 0x11, 0x1c, 0x1b,
	0x23, 0x2b, 0x34, 0x33, 0x3b, 0x42, 0x4b, 0x4c, 0x52, 0x0e, 0x12, 0x5c, 0x1a, 0x22, 0x21, 0x2a,
	0x32, 0x31, 0x3a, 0x41, 0x49, 0x4a, 0x59, 0x7e, 0x19, 0x29, 0x14, 0x07, 0x0f, 0x17, 0x1f, 0x27,
	0x2f, 0x37, 0x3f, 0x47, 0x4f, 0x76, 0x5f, 0x6c, 0x75, 0x7d, 0x84, 0x6b, 0x73, 0x74, 0x7c, 0x69,
	0x72, 0x7a, 0x70, 0x71, 0x57, 0x00, 0x13, 0x56, 0x5e,
};
static const struct {
	uint8_t key, code;
} set3_e0[] = {
	{0x1c, 0x79}, {0x1d, 0x58}, {0x35, 0x77}, {0x37, 0x57}, {0x38, 0x39}, {0x47, 0x6e}, {0x48, 0x63},
	{0x49, 0x6f}, {0x4b, 0x61}, {0x4d, 0x6a}, {0x4f, 0x65}, {0x50, 0x60}, {0x51, 0x6d}, {0x52, 0x67},
	{0x53, 0x64}, {0x5b, 0x8b}, {0x5c, 0x8c}, {0x5d, 0x8d},
};
/* What does not simply repeat there: modifiers say make and break, the others only make. */
static const uint8_t set3_break[] = {0x11, 0x12, 0x14, 0x19, 0x59};
static const uint8_t set3_make[] = {
	0x07, 0x08, 0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x39, 0x3f, 0x47, 0x4f, 0x56, 0x57, 0x58, 0x5e,
	0x5f, 0x62, 0x65, 0x67, 0x69, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f, 0x70, 0x71, 0x72, 0x73, 0x74, 0x75,
	0x76, 0x77, 0x79, 0x7a, 0x7d, 0x7e, 0x84, 0x8b, 0x8c, 0x8d,
};
/* clang-format on */

uint8_t ps2_set2_to_1(uint8_t code)
{
	return code < sizeof(set2_to_1) ? set2_to_1[code] : code;
}

/* The way back. F7 and SysRq stand twice in the table; theirs are the last ones. */
static uint8_t set1_to_2(uint8_t code)
{
	uint8_t i = sizeof(set2_to_1) - 1;

	while (i && set2_to_1[i] != code)
		i--;
	return i;
}

static uint8_t set3_of(unsigned key)
{
	if (key == KEY_PAUSE)
		return 0x62;
	if (!(key & KEY_E0))
		return key < sizeof(set3) ? set3[key] : 0;
	for (unsigned i = 0; i < ARRAY_SIZE(set3_e0); i++)
		if (set3_e0[i].key == (key & ~KEY_E0))
			return set3_e0[i].code;
	return 0;
}

/* ---- codes ---------------------------------------------------------------------------------------- */

struct codes {
	uint8_t b[12];
	unsigned n;
};

static void code_put(const struct ps2kbd *k, struct codes *c, uint8_t prefix, uint8_t set1,
		     bool release)
{
	if (prefix)
		c->b[c->n++] = prefix;
	if (k->set == 1) {
		c->b[c->n++] = release ? set1 | 0x80 : set1;
		return;
	}
	if (release)
		c->b[c->n++] = RELEASE;
	c->b[c->n++] = set1_to_2(set1);
}

/* All of it, or the sign that something is missing. */
static void emit(struct ps2kbd *k, const struct codes *c)
{
	if (c->n > ps2_room(&k->out)) {
		if (!ps2_put(&k->out, k->set == 1 ? OVERRUN_SET1 : OVERRUN))
			ps2_spoil(&k->out, k->set == 1 ? OVERRUN_SET1 : OVERRUN);
		return;
	}
	for (unsigned i = 0; i < c->n; i++)
		ps2_put(&k->out, c->b[i]);
}

static bool is_down(const struct ps2kbd *k, unsigned key)
{
	return k->down[key / 8] >> (key % 8) & 1;
}

/* Print Screen was made of * on the keypad with Shift, and with Alt is SysRq. */
static void print_codes(struct ps2kbd *k, struct codes *c, bool down)
{
	if (down)
		k->sysrq = is_down(k, KEY_LALT) || is_down(k, KEY_RALT);
	if (k->sysrq) {
		code_put(k, c, 0, SYSRQ, !down);
		return;
	}
	if (is_down(k, KEY_LSHIFT) || is_down(k, KEY_RSHIFT) || is_down(k, KEY_LCTRL) ||
	    is_down(k, KEY_RCTRL)) {
		code_put(k, c, 0xe0, 0x37, !down);
	} else if (down) {
		code_put(k, c, 0xe0, KEY_LSHIFT, false);
		code_put(k, c, 0xe0, 0x37, false);
	} else {
		code_put(k, c, 0xe0, 0x37, true);
		code_put(k, c, 0xe0, KEY_LSHIFT, true);
	}
}

/* Pause is Ctrl and Num Lock, pressed and released at once; with Ctrl it is Break. */
static void pause_codes(struct ps2kbd *k, struct codes *c)
{
	if (is_down(k, KEY_LCTRL) || is_down(k, KEY_RCTRL)) {
		code_put(k, c, 0xe0, SCROLL_LOCK, false);
		code_put(k, c, 0xe0, SCROLL_LOCK, true);
		return;
	}
	code_put(k, c, 0xe1, 0x1d, false);
	code_put(k, c, 0, 0x45, false);
	code_put(k, c, 0xe1, 0x1d, true);
	code_put(k, c, 0, 0x45, true);
}

static void key_set3(struct ps2kbd *k, unsigned key, bool down)
{
	struct codes c = {.n = 0};
	uint8_t code = set3_of(key);

	if (!code || (!down && !(k->type[code] & RELEASES)))
		return;
	if (!down)
		c.b[c.n++] = RELEASE;
	c.b[c.n++] = code;
	emit(k, &c);
}

static void key_codes(struct ps2kbd *k, unsigned key, bool down)
{
	struct codes c = {.n = 0};

	if (k->set == 3) {
		key_set3(k, key, down);
		return;
	}
	if (key == KEY_PAUSE && down)
		pause_codes(k, &c);
	else if (key == KEY_PRINT)
		print_codes(k, &c, down);
	else if (key != KEY_PAUSE)
		code_put(k, &c, key & KEY_E0 ? 0xe0 : 0, key & 0x7f, !down);
	emit(k, &c);
}

/* ---- keys ------------------------------------------------------------------------------------------- */

static bool repeats(const struct ps2kbd *k, unsigned key)
{
	return k->set == 3 ? k->type[set3_of(key)] & REPEATS : key != KEY_PAUSE;
}

static void repeat_stop(struct ps2kbd *k)
{
	k->repeat = 0;
	k->repeat_at = PLAT_FOREVER;
}

void ps2kbd_key(struct ps2kbd *k, unsigned key, bool down)
{
	uint8_t bit = (uint8_t)(1u << key % 8);

	if (down)
		k->down[key / 8] |= bit;
	else
		k->down[key / 8] &= (uint8_t)~bit;
	if (!k->scanning)
		return;
	key_codes(k, key, down);
	if (down && repeats(k, key)) {
		k->repeat = (uint16_t)key;
		k->repeat_at = plat_now() + ((k->rate >> 5 & 3u) + 1) * NS_PER_SEC / 4;
	} else if (down || key == k->repeat) {
		repeat_stop(k);
	}
}

void ps2kbd_tick(struct ps2kbd *k, uint64_t now)
{
	uint64_t period = (8 + (k->rate & 7u)) * (UINT64_C(1) << (k->rate >> 3 & 3)) * 4170000;

	if (now < k->repeat_at)
		return;
	k->repeat_at = now + period;
	if (ps2_room(&k->out) >= PS2_QUEUE / 2) /* the system keeps up */
		key_codes(k, k->repeat, true);
}

/* ---- commands ---------------------------------------------------------------------------------------- */

static void set_types(struct ps2kbd *k, uint8_t type)
{
	memset(k->type, type, sizeof(k->type));
}

static void set_defaults(struct ps2kbd *k)
{
	k->set = 2;
	k->rate = DEFAULT_RATE;
	set_types(k, REPEATS);
	for (unsigned i = 0; i < sizeof(set3_break); i++)
		k->type[set3_break[i]] = RELEASES;
	for (unsigned i = 0; i < sizeof(set3_make); i++)
		k->type[set3_make[i]] = 0;
	repeat_stop(k);
	ps2_clear(&k->out);
}

/* Typematic, make and break, only make, all of it: in the order of the commands. */
static uint8_t type_of(uint8_t nth)
{
	static const uint8_t types[] = {REPEATS, RELEASES, 0, REPEATS | RELEASES};

	return types[nth & 3];
}

static void reply(struct ps2kbd *k, uint8_t v)
{
	ps2_put(&k->reply, v);
}

static void command(struct ps2kbd *k, uint8_t cmd)
{
	ps2_clear(&k->reply);
	k->command = 0;
	reply(k, cmd == CMD_ECHO ? CMD_ECHO : PS2_ACK);
	switch (cmd) {
	case CMD_LEDS:
	case CMD_SET:
	case CMD_RATE:
	case CMD_KEY ... CMD_KEY + 2:
		k->command = cmd;
		break;
	case CMD_ECHO:
		break;
	case CMD_ID:
		reply(k, 0xab);
		reply(k, 0x83);
		break;
	case CMD_ENABLE:
		ps2_clear(&k->out);
		k->scanning = true;
		break;
	case CMD_DISABLE:
	case CMD_DEFAULT:
		set_defaults(k);
		k->scanning = cmd == CMD_DEFAULT;
		break;
	case CMD_ALL ... CMD_ALL + 3:
		set_types(k, type_of((uint8_t)(cmd - CMD_ALL)));
		break;
	case CMD_RESEND:
		ps2_clear(&k->reply);
		reply(k, k->last);
		break;
	case CMD_RESET:
		ps2kbd_reset(k);
		reply(k, PS2_ACK);
		reply(k, PS2_BAT_OK);
		break;
	default:
		ps2_clear(&k->reply);
		reply(k, PS2_RESEND);
	}
}

static void parameter(struct ps2kbd *k, uint8_t v)
{
	uint8_t cmd = k->command;

	ps2_clear(&k->reply);
	k->command = 0;
	reply(k, PS2_ACK);
	switch (cmd) {
	case CMD_LEDS:
		k->leds = v & 7;
		break;
	case CMD_SET:
		if (v == 0) {
			reply(k, k->set);
		} else if (v <= 3) {
			k->set = v;
			ps2_clear(&k->out);
		} else {
			ps2_clear(&k->reply);
			reply(k, PS2_RESEND);
		}
		break;
	case CMD_RATE:
		k->rate = v & 0x7f;
		break;
	default: /* any number of keys of set 3 follow */
		if (v < PS2KBD_SET3_CODES)
			k->type[v] = type_of((uint8_t)(cmd - CMD_KEY));
		k->command = cmd;
	}
}

void ps2kbd_write(struct ps2kbd *k, uint8_t v)
{
	if (k->command && v < CMD_LEDS)
		parameter(k, v);
	else
		command(k, v);
}

uint8_t ps2kbd_read(struct ps2kbd *k)
{
	k->last = ps2_get(k->reply.len ? &k->reply : &k->out);
	return k->last;
}

void ps2kbd_reset(struct ps2kbd *k)
{
	set_defaults(k);
	ps2_clear(&k->reply);
	k->command = 0;
	k->last = PS2_BAT_OK;
	k->leds = 0;
	k->scanning = true;
	k->sysrq = false;
}

#define K struct ps2kbd
static const struct st_field fields[] = {
	ST_RAW(K, reply.buf),
	ST_UMAX(K, reply.head, PS2_QUEUE - 1),
	ST_UMAX(K, reply.len, PS2_QUEUE),
	ST_RAW(K, out.buf),
	ST_UMAX(K, out.head, PS2_QUEUE - 1),
	ST_UMAX(K, out.len, PS2_QUEUE),
	ST_U(K, command),
	ST_U(K, last),
	ST_UMAX(K, set, 3),
	ST_UMAX(K, leds, 7),
	ST_UMAX(K, rate, 0x7f),
	ST_B(K, scanning),
	ST_B(K, sysrq),
	ST_RAW(K, type),
	ST_RAW(K, down),
	ST_UMAX(K, repeat, KEY_COUNT - 1),
	ST_T(K, repeat_at),
};
#undef K

int ps2kbd_state(struct ps2kbd *k, struct state_stream *st)
{
	int err = ST_SYNC(st, "ps2kbd", 0, fields, k);

	if (!err && st->loading && !k->set)
		err = state_fail(st, err_here(ERR_FORMAT), "ps2kbd: there is no scan code set 0");
	/* Nobody holds a key of a machine that has just been restored. */
	if (!err && st->loading)
		repeat_stop(k);
	return err;
}
