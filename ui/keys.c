/* SPDX-License-Identifier: ISC */
/* keys.c: one table of a US keyboard's keys: code, what is printed on it, its name, its keysym. Any
 * thread; nothing is kept. */
#include "ui/keys.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* clang-format off */
static const struct {
	uint16_t key;
	char plain, shifted; /* 0: no character */
} chars[] = {
	{0x02, '1', '!'}, {0x03, '2', '@'}, {0x04, '3', '#'}, {0x05, '4', '$'}, {0x06, '5', '%'},
	{0x07, '6', '^'}, {0x08, '7', '&'}, {0x09, '8', '*'}, {0x0a, '9', '('}, {0x0b, '0', ')'},
	{0x0c, '-', '_'}, {0x0d, '=', '+'}, {0x10, 'q', 'Q'}, {0x11, 'w', 'W'}, {0x12, 'e', 'E'},
	{0x13, 'r', 'R'}, {0x14, 't', 'T'}, {0x15, 'y', 'Y'}, {0x16, 'u', 'U'}, {0x17, 'i', 'I'},
	{0x18, 'o', 'O'}, {0x19, 'p', 'P'}, {0x1a, '[', '{'}, {0x1b, ']', '}'}, {0x1e, 'a', 'A'},
	{0x1f, 's', 'S'}, {0x20, 'd', 'D'}, {0x21, 'f', 'F'}, {0x22, 'g', 'G'}, {0x23, 'h', 'H'},
	{0x24, 'j', 'J'}, {0x25, 'k', 'K'}, {0x26, 'l', 'L'}, {0x27, ';', ':'}, {0x28, '\'', '"'},
	{0x29, '`', '~'}, {0x2b, '\\', '|'}, {0x2c, 'z', 'Z'}, {0x2d, 'x', 'X'}, {0x2e, 'c', 'C'},
	{0x2f, 'v', 'V'}, {0x30, 'b', 'B'}, {0x31, 'n', 'N'}, {0x32, 'm', 'M'}, {0x33, ',', '<'},
	{0x34, '.', '>'}, {0x35, '/', '?'}, {0x39, ' ', ' '}, {0x1c, '\n', 0}, {0x0f, '\t', 0},
	{0x0e, '\b', 0}, {0x01, 0x1b, 0},
};

/* Names for people; keysyms of what is no character. Several rows for one key are its other names. */
static const struct {
	uint16_t key, sym;
	const char *name;
} named[] = {
	{0x01, 0xff1b, "esc"}, {0x01, 0, "escape"}, {0x0e, 0xff08, "backspace"}, {0x0f, 0xff09, "tab"},
	{0x0f, 0xfe20, NULL} /* ISO_Left_Tab */, {0x1c, 0xff0d, "enter"}, {0x1c, 0xff0a, "return"},
	{0x1c, 0, "ret"}, {0x39, 0, "space"}, {0x0c, 0, "minus"}, {0x3a, 0xffe5, "capslock"},
	{KEY_LCTRL, 0xffe3, "ctrl"}, {KEY_LCTRL, 0, "control"}, {KEY_LSHIFT, 0xffe1, "shift"},
	{KEY_LALT, 0xffe9, "alt"}, {KEY_LALT, 0xffe7, NULL} /* Meta_L */,
	{KEY_RCTRL, 0xffe4, "rctrl"}, {KEY_RSHIFT, 0xffe2, "rshift"}, {KEY_RALT, 0xffea, "ralt"},
	{KEY_RALT, 0xfe03, "altgr"} /* ISO_Level3_Shift */, {KEY_RALT, 0xff7e, NULL} /* Mode_switch */,
	{KEY_RALT, 0xffe8, NULL} /* Meta_R */,
	{KEY_E0 | 0x5b, 0xffeb, "win"}, {KEY_E0 | 0x5b, 0, "super"}, {KEY_E0 | 0x5c, 0xffec, "rwin"},
	{KEY_E0 | 0x5d, 0xff67, "menu"},
	{0x3b, 0xffbe, "f1"}, {0x3c, 0xffbf, "f2"}, {0x3d, 0xffc0, "f3"}, {0x3e, 0xffc1, "f4"},
	{0x3f, 0xffc2, "f5"}, {0x40, 0xffc3, "f6"}, {0x41, 0xffc4, "f7"}, {0x42, 0xffc5, "f8"},
	{0x43, 0xffc6, "f9"}, {0x44, 0xffc7, "f10"}, {0x57, 0xffc8, "f11"}, {0x58, 0xffc9, "f12"},
	{KEY_PRINT, 0xff61, "print"}, {KEY_PRINT, 0xff15, "sysrq"}, {0x46, 0xff14, "scrolllock"},
	{KEY_PAUSE, 0xff13, "pause"}, {KEY_PAUSE, 0xff6b, "break"}, {0x45, 0xff7f, "numlock"},
	{KEY_E0 | 0x52, 0xff63, "insert"}, {KEY_E0 | 0x52, 0, "ins"}, {KEY_E0 | 0x53, 0xffff, "delete"},
	{KEY_E0 | 0x53, 0, "del"}, {KEY_E0 | 0x47, 0xff50, "home"}, {KEY_E0 | 0x4f, 0xff57, "end"},
	{KEY_E0 | 0x49, 0xff55, "pageup"}, {KEY_E0 | 0x49, 0, "pgup"}, {KEY_E0 | 0x51, 0xff56, "pagedown"},
	{KEY_E0 | 0x51, 0, "pgdn"}, {KEY_E0 | 0x48, 0xff52, "up"}, {KEY_E0 | 0x50, 0xff54, "down"},
	{KEY_E0 | 0x4b, 0xff51, "left"}, {KEY_E0 | 0x4d, 0xff53, "right"}, {0x56, 0, "102nd"},
	{0x37, 0xffaa, "kp*"}, {0x4a, 0xffad, "kpminus"}, {0x4e, 0xffab, "kp+"},
	{KEY_E0 | 0x35, 0xffaf, "kp/"}, {KEY_E0 | 0x1c, 0xff8d, "kpenter"}, {0x53, 0xffae, "kp."},
	{0x52, 0xffb0, "kp0"}, {0x4f, 0xffb1, "kp1"}, {0x50, 0xffb2, "kp2"}, {0x51, 0xffb3, "kp3"},
	{0x4b, 0xffb4, "kp4"}, {0x4c, 0xffb5, "kp5"}, {0x4d, 0xffb6, "kp6"}, {0x47, 0xffb7, "kp7"},
	{0x48, 0xffb8, "kp8"}, {0x49, 0xffb9, "kp9"},
	/* the keypad without Num Lock */
	{0x53, 0xff9f, NULL}, {0x52, 0xff9e, NULL}, {0x4f, 0xff9c, NULL}, {0x50, 0xff99, NULL},
	{0x51, 0xff9b, NULL}, {0x4b, 0xff96, NULL}, {0x4c, 0xff9d, NULL}, {0x4d, 0xff98, NULL},
	{0x47, 0xff95, NULL}, {0x48, 0xff97, NULL}, {0x49, 0xff9a, NULL},
};
/* clang-format on */

unsigned keys_of_char(unsigned char c, bool *shift)
{
	for (size_t i = 0; i < ARRAY_SIZE(chars) && c; i++) {
		if ((unsigned char)chars[i].plain != c && (unsigned char)chars[i].shifted != c)
			continue;
		*shift = (unsigned char)chars[i].plain != c;
		return chars[i].key;
	}
	return KEYS_NONE;
}

unsigned keys_of_keysym(uint32_t sym, int *shift)
{
	bool upper;
	unsigned key;

	*shift = -1;
	if (sym >= 0x20 && sym < 0x7f) {
		key = keys_of_char((unsigned char)sym, &upper);
		/* Letters: Caps Lock is the guest's to know. */
		if (!isalpha((int)sym) && sym != ' ')
			*shift = upper;
		return key;
	}
	for (size_t i = 0; i < ARRAY_SIZE(named); i++)
		if (sym && named[i].sym == sym)
			return named[i].key;
	return KEYS_NONE;
}

static unsigned by_name(const char *s, size_t n)
{
	bool shift;
	unsigned key = KEYS_NONE;

	if (n == 1)
		key = keys_of_char((unsigned char)tolower((unsigned char)*s), &shift);
	if (key && !shift)
		return key;
	for (size_t i = 0; i < ARRAY_SIZE(named); i++)
		if (named[i].name && strlen(named[i].name) == n &&
		    !strncasecmp(named[i].name, s, n))
			return named[i].key;
	return KEYS_NONE;
}

int keys_combo(const char *text, unsigned key[KEYS_COMBO_MAX], const char **bad, size_t *bad_len)
{
	int n = 0;

	do {
		size_t len =
			strcspn(text + (*text != 0), "-") + (*text != 0); /* "-" is a key too */
		unsigned k = by_name(text, len);

		*bad = text;
		*bad_len = len;
		if (!k || n == KEYS_COMBO_MAX)
			return err_here(ERR_INVAL);
		key[n++] = k;
		text += len;
	} while (*text++);
	return n;
}
