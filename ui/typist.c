/* SPDX-License-Identifier: ISC */
/* typist.c: events from a queue, one by one, on a timer of the back ends' loop. The next one goes out
 * when the device has been emptied by the guest, so that a slow one loses nothing; a guest that does
 * not listen at all is not waited for for ever. */
#include "ui/typist.h"

#define STEP_NS   UINT64_C(4000000)   /* between events */
#define LISTEN_NS UINT64_C(500000000) /* at most, for one event */

#define TYPIST_BYTES (TYPIST_MAX * sizeof(struct typist_event))

/* Who is to have taken it. */
static enum input_kind kind_of(struct typist *t, const struct typist_event *ev)
{
	static const enum input_kind kinds[] = {[TYPE_KEY] = INPUT_KEYBOARD,
						[TYPE_MOVE] = INPUT_MOUSE,
						[TYPE_POINT] = INPUT_TABLET};

	if (ev->kind == TYPE_AIM)
		return input_has(t->input, INPUT_TABLET) ? INPUT_TABLET : INPUT_MOUSE;
	return kinds[ev->kind];
}

static void play(struct typist *t, const struct typist_event *ev)
{
	switch (ev->kind) {
	case TYPE_KEY:
		input_key(t->input, (unsigned)ev->a, ev->b);
		break;
	case TYPE_MOVE:
		input_move(t->input, ev->a, ev->b, 0, ev->buttons);
		break;
	case TYPE_AIM:
		if (!input_point(t->input, (unsigned)ev->a, (unsigned)ev->b, ev->dz, ev->buttons))
			input_move(t->input, ev->dx, ev->dy, ev->dz, ev->buttons);
		break;
	default:
		(void)input_point(t->input, (unsigned)ev->a, (unsigned)ev->b, 0, ev->buttons);
	}
}

/* Lock held. The event stays in front until it has been taken. */
static void step(struct typist *t)
{
	const struct typist_event *ev = &t->event[t->head];
	uint64_t now = plat_now();

	if (t->since == 0) {
		play(t, ev);
		t->since = now;
	} else if (!input_busy(t->input, kind_of(t, ev)) || now - t->since > LISTEN_NS) {
		t->since = 0;
		t->head = (t->head + 1) % TYPIST_MAX;
		t->n--;
	}
	t->armed = t->n;
	if (t->n)
		plat_timer_arm(&t->timer, now + (t->since ? STEP_NS : 0));
}

static void on_timer(void *arg)
{
	struct typist *t = arg;

	plat_mutex_lock(&t->lock);
	if (t->n)
		step(t);
	plat_mutex_unlock(&t->lock);
}

/* Lock held. */
static int add(struct typist *t, const struct typist_event *ev, unsigned n)
{
	if (n > TYPIST_MAX - t->n)
		return err_here(ERR_NOMEM);
	for (unsigned i = 0; i < n; i++)
		t->event[(t->head + t->n++) % TYPIST_MAX] = ev[i];
	if (t->n && !t->armed) {
		t->armed = true;
		plat_timer_arm(&t->timer, plat_now());
	}
	return 0;
}

int typist_add(struct typist *t, const struct typist_event *ev, unsigned n)
{
	int err;

	plat_mutex_lock(&t->lock);
	err = add(t, ev, n);
	plat_mutex_unlock(&t->lock);
	return err;
}

/* Lock held: a movement that waits behind others, NULL. The one in front is being taken already. */
static struct typist_event *last_aim(struct typist *t)
{
	struct typist_event *last = &t->event[(t->head + t->n - 1) % TYPIST_MAX];

	return t->n > (t->since ? 1u : 0u) && last->kind == TYPE_AIM && !last->pressed ? last
										       : NULL;
}

int typist_aim(struct typist *t, const struct typist_event *ev)
{
	struct typist_event *last, new = *ev;
	int err = 0;

	plat_mutex_lock(&t->lock);
	last = last_aim(t);
	new.pressed = ev->buttons != t->buttons;
	if (!new.pressed && !t->n) {
		play(t, &new);
	} else if (!new.pressed && last) {
		last->a = ev->a;
		last->b = ev->b;
		last->dx += ev->dx;
		last->dy += ev->dy;
		last->dz += ev->dz;
	} else {
		err = add(t, &new, 1);
	}
	if (!err)
		t->buttons = ev->buttons;
	plat_mutex_unlock(&t->lock);
	return err;
}

unsigned typist_left(struct typist *t)
{
	unsigned n;

	plat_mutex_lock(&t->lock);
	n = t->n;
	plat_mutex_unlock(&t->lock);
	return n;
}

int typist_init(struct typist *t, struct input *input, struct plat_loop *loop)
{
	*t = (struct typist){.input = input};
	plat_mutex_init(&t->lock, RANK_VM);
	plat_timer_init(&t->timer, loop, on_timer, t);
	t->event = plat_pages_alloc(TYPIST_BYTES); /* most of it is never touched */
	return t->event ? 0 : err_here(ERR_NOMEM);
}

void typist_fini(struct typist *t)
{
	if (!t->event)
		return;
	plat_timer_cancel(&t->timer);
	plat_pages_free(t->event, TYPIST_BYTES);
	t->event = NULL;
}
