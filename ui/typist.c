/* SPDX-License-Identifier: ISC */
/* typist.c: events from a queue, one by one, on a timer of the back ends' loop. The next one goes out
 * when the device has been emptied by the guest, so that a slow one loses nothing; a guest that does
 * not listen at all is not waited for for ever. */
#include "ui/typist.h"

#define STEP_NS   UINT64_C(4000000)   /* between events */
#define LISTEN_NS UINT64_C(500000000) /* at most, for one event */

static const enum input_kind kinds[] = {
	[TYPE_KEY] = INPUT_KEYBOARD, [TYPE_MOVE] = INPUT_MOUSE, [TYPE_POINT] = INPUT_TABLET};

static void play(struct typist *t, const struct typist_event *ev)
{
	switch (ev->kind) {
	case TYPE_KEY:
		input_key(t->input, (unsigned)ev->a, ev->b);
		break;
	case TYPE_MOVE:
		input_move(t->input, ev->a, ev->b, 0, ev->buttons);
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
	} else if (!input_busy(t->input, kinds[ev->kind]) || now - t->since > LISTEN_NS) {
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

int typist_add(struct typist *t, const struct typist_event *ev, unsigned n)
{
	int err = 0;

	plat_mutex_lock(&t->lock);
	if (n > TYPIST_MAX - t->n)
		err = err_here(ERR_NOMEM);
	for (unsigned i = 0; i < n && !err; i++)
		t->event[(t->head + t->n++) % TYPIST_MAX] = ev[i];
	if (t->n && !t->armed) {
		t->armed = true;
		plat_timer_arm(&t->timer, plat_now());
	}
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
	t->event = plat_alloc(TYPIST_MAX * sizeof(*t->event));
	return t->event ? 0 : err_here(ERR_NOMEM);
}

void typist_fini(struct typist *t)
{
	if (t->event)
		plat_timer_cancel(&t->timer);
	plat_free(t->event);
	t->event = NULL;
}
