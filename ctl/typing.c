/* SPDX-License-Identifier: ISC */
/* typing.c: what vigia type, key and mouse ask of a running VM becomes events for ui/typist.c. Called
 * by the main thread; nothing here waits for the guest. */
#include "ctl/typing.h"

#include <string.h>

#include "ui/keys.h"

#define TEXT_MAX  2048
#define COMBO_MAX 64
#define MOVE_MAX  20000
#define HOME      (-MOVE_MAX) /* past the upper left corner of every screen */

/* The events of one request. */
struct events {
	struct typist_event ev[TEXT_MAX * 4];
	unsigned n;
};

static void add(struct events *e, struct typist_event ev)
{
	e->ev[e->n++] = ev;
}

static void add_key(struct events *e, unsigned key, bool down)
{
	add(e, (struct typist_event){TYPE_KEY, (int32_t)key, down, 0});
}

/* Takes e. */
static int submit(struct backends *be, struct events *e, int err, struct msg *msg)
{
	if (!err && typist_add(&be->typist, e->ev, e->n))
		err = msg_fail(msg, ERR_BUSY,
			       "it has not taken yet what was typed before: try again later");
	plat_free(e);
	return err;
}

static int need_keyboard(struct backends *be, struct msg *msg)
{
	return input_has(&be->input, INPUT_KEYBOARD)
		       ? 0
		       : msg_fail(msg, ERR_NOENT, "it has no keyboard: a VM with --board pc has");
}

static struct events *events_new(struct msg *msg)
{
	struct events *e = plat_alloc(sizeof(*e));

	if (!e)
		(void)msg_fail(msg, ERR_NOMEM, "out of memory");
	return e;
}

static void add_char(struct events *e, unsigned key, bool shift)
{
	if (shift)
		add_key(e, KEY_LSHIFT, true);
	add_key(e, key, true);
	add_key(e, key, false);
	if (shift)
		add_key(e, KEY_LSHIFT, false);
}

int typing_text(struct backends *be, json_t *args, struct msg *msg)
{
	const char *text = json_string_value(json_object_get(args, "text"));
	size_t n = text ? strlen(text) : 0;
	struct events *e;
	int err = need_keyboard(be, msg);

	if (err)
		return err;
	if (!text || n > TEXT_MAX)
		return msg_fail(msg, ERR_INVAL, "type: give text of at most %u bytes", TEXT_MAX);
	e = events_new(msg);
	if (!e)
		return ERR_NOMEM;
	for (size_t i = 0; i < n && !err; i++) {
		bool shift = false;
		unsigned key = keys_of_char((unsigned char)text[i], &shift);

		if (key)
			add_char(e, key, shift);
		else
			err = msg_fail(msg, ERR_INVAL,
				       "character %zu of the text is not on a US keyboard", i + 1);
	}
	json_object_set_new(args, "text", json_sprintf("%zu characters", n));
	return submit(be, e, err, msg);
}

int typing_keys(struct backends *be, json_t *args, struct msg *msg)
{
	json_t *keys = json_object_get(args, "keys"), *v;
	struct events *e;
	size_t i;
	int err = need_keyboard(be, msg);

	if (err)
		return err;
	if (!json_is_array(keys) || !json_array_size(keys) || json_array_size(keys) > COMBO_MAX)
		return msg_fail(msg, ERR_INVAL, "key: give 1 to %u combinations of keys",
				COMBO_MAX);
	e = events_new(msg);
	if (!e)
		return ERR_NOMEM;
	json_array_foreach(keys, i, v)
	{
		unsigned key[KEYS_COMBO_MAX];
		const char *bad = "";
		size_t len = 0;
		int n = keys_combo(json_is_string(v) ? json_string_value(v) : "", key, &bad, &len);

		if (n < 0) {
			err = msg_fail(msg, n,
				       "key: %.*s is no key: there are a, 1, enter, esc, tab, f1 … "
				       "f12, up, home, ctrl, alt, shift, win and so on; at most %u "
				       "of them with dashes between them, as in ctrl-alt-del",
				       (int)MIN(len, (size_t)40), bad, KEYS_COMBO_MAX);
			break;
		}
		for (int k = 0; k < n; k++)
			add_key(e, key[k], true);
		for (int k = n; k-- > 0;)
			add_key(e, key[k], false);
	}
	return submit(be, e, err, msg);
}

/* ---- pointer -------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	uint8_t button, times;
} presses[] = {
	{"", 0, 0},
	{"click", BUTTON_LEFT, 1},
	{"double", BUTTON_LEFT, 2},
	{"middle", BUTTON_MIDDLE, 1},
	{"right", BUTTON_RIGHT, 1},
};

/* From dots of the screen to a tablet's area. */
static int to_tablet(struct backends *be, int *x, int *y, struct msg *msg)
{
	struct display *d = &be->display;
	unsigned w, h;

	if (!display_begin(d))
		return msg_fail(msg, ERR_NOENT, "it has no screen: start it with --display vga");
	w = d->width;
	h = d->height;
	display_done(d);
	if (*x < 0 || *y < 0 || (unsigned)*x >= w || (unsigned)*y >= h)
		return msg_fail(msg, ERR_INVAL, "mouse: the screen has %u by %u dots", w, h);
	*x = (int)((uint64_t)*x * INPUT_ABS_MAX / MAX(w - 1, 1u));
	*y = (int)((uint64_t)*y * INPUT_ABS_MAX / MAX(h - 1, 1u));
	return 0;
}

int typing_mouse(struct backends *be, json_t *args, struct msg *msg)
{
	json_t *jx = json_object_get(args, "x"), *jy = json_object_get(args, "y");
	const char *press = json_string_value(json_object_get(args, "press"));
	bool relative = json_is_true(json_object_get(args, "relative"));
	bool tablet = !relative && input_has(&be->input, INPUT_TABLET);
	int64_t lx = json_integer_value(jx), ly = json_integer_value(jy);
	struct events *e;
	unsigned i = 0;
	int x, y;

	if (!tablet && !input_has(&be->input, INPUT_MOUSE))
		return msg_fail(msg, ERR_NOENT, "it has no mouse: a VM with --board pc has");
	if (!json_is_integer(jx) || !json_is_integer(jy) || lx < -MOVE_MAX || lx > MOVE_MAX ||
	    ly < -MOVE_MAX || ly > MOVE_MAX)
		return msg_fail(msg, ERR_INVAL, "mouse: give X and Y as numbers");
	while (i < ARRAY_SIZE(presses) && strcmp(press ? press : "", presses[i].name))
		i++;
	if (i == ARRAY_SIZE(presses))
		return msg_fail(msg, ERR_INVAL,
				"mouse: %s: there is click, double, middle and right", press);
	x = (int)lx;
	y = (int)ly;
	if (tablet && to_tablet(be, &x, &y, msg))
		return ERR_INVAL;
	e = events_new(msg);
	if (!e)
		return ERR_NOMEM;
	if (tablet) {
		add(e, (struct typist_event){TYPE_POINT, x, y, 0});
	} else {
		if (!relative)
			add(e, (struct typist_event){TYPE_MOVE, HOME, HOME, 0});
		add(e, (struct typist_event){TYPE_MOVE, x, y, 0});
		x = y = 0;
	}
	for (unsigned k = 0; k < 2u * presses[i].times; k++)
		add(e, (struct typist_event){tablet ? TYPE_POINT : TYPE_MOVE, x, y,
					     k & 1 ? 0 : presses[i].button});
	return submit(be, e, 0, msg);
}

int typing_left(struct backends *be, json_t *answer)
{
	json_object_set_new(answer, "left", json_integer(typist_left(&be->typist)));
	return 0;
}
