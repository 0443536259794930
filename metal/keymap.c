/* SPDX-License-Identifier: ISC */
/* keymap.c: scan codes of set 1, to which keyboard controllers translate, into what terminals send (ECMA-48's cursor keys). Pure
 * functions. */
#include "metal/keyboard.h"

#include "base/str.h"

#define RELEASED 0x80
#define PREFIX   0xe0

enum {
	K_CTRL = 0x1d,
	K_SHIFT = 0x2a,
	K_SHIFT_R = 0x36,
	K_ALT = 0x38,
	K_CAPS = 0x3a,
	K_F1 = 0x3b,
	K_F10 = 0x44
};

static const char plain[] =
	"\0\0331234567890-=\177\tqwertyuiop[]\r\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 ";
static const char shifted[] =
	"\0\033!@#$%^&*()_+\177\tQWERTYUIOP{}\r\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 ";
_Static_assert(sizeof(plain) == 0x3b && sizeof(shifted) == 0x3b, "codes 0 to 39H, and an end");

/* Keys behind the prefix */
static const struct {
	uint8_t code;
	char text[KEYBOARD_MAX + 1];
} cursor[] = {
	{0x48, "\033[A"},  {0x50, "\033[B"},  {0x4d, "\033[C"},  {0x4b, "\033[D"},
	{0x47, "\033[H"},  {0x4f, "\033[F"},  {0x1c, "\r"},      {0x35, "/"},
	{0x53, "\033[3~"}, {0x52, "\033[2~"}, {0x49, "\033[5~"}, {0x51, "\033[6~"},
};

/* False: it is no such key. */
static bool modifier(struct keyboard *k, uint8_t key, bool down)
{
	switch (key) {
	case K_CTRL:
		k->ctrl = down;
		return true;
	case K_SHIFT:
	case K_SHIFT_R:
		k->shift = down;
		return true;
	case K_ALT:
		k->alt = down;
		return true;
	case K_CAPS:
		k->caps ^= down;
		return true;
	default:
		return false;
	}
}

static unsigned extended_key(uint8_t key, char *out)
{
	for (unsigned i = 0; i < ARRAY_SIZE(cursor); i++)
		if (cursor[i].code == key) {
			memcpy(out, cursor[i].text, str_len(cursor[i].text));
			return (unsigned)str_len(cursor[i].text);
		}
	return 0;
}

static char letter(const struct keyboard *k, uint8_t key)
{
	char c = k->shift ? shifted[key] : plain[key];

	if (k->caps && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')))
		c ^= ' ';
	if (k->ctrl && c == ' ')
		return 0;
	if (k->ctrl && c >= '@' && c < 127)
		c &= 31;
	return c;
}

unsigned keyboard_decode(struct keyboard *k, uint8_t code, char out[KEYBOARD_MAX], unsigned *focus)
{
	bool down = !(code & RELEASED), extended = k->extended;
	uint8_t key = code & (uint8_t)~RELEASED;

	*focus = 0;
	k->extended = code == PREFIX;
	/* The shifts that some keyboards send around cursor keys are none. */
	if (k->extended || (extended && (key == K_SHIFT || key == K_SHIFT_R)))
		return 0;
	if (modifier(k, key, down) || !down)
		return 0;
	if (extended)
		return extended_key(key, out);
	if (k->alt && key >= K_F1 && key <= K_F10)
		*focus = key - K_F1 + 1u;
	if (key >= sizeof(plain) - 1)
		return 0;
	*out = letter(k, key);
	return *out ? 1 : 0;
}
