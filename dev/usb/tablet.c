/* SPDX-License-Identifier: ISC */
/* tablet.c: a human interface device (HID 1.11; Usage Tables 1.12, 4): five buttons, an absolute position,
 * a wheel, in reports of six bytes. Full speed, asked every 8 ms.
 *
 * Reports wait in a short queue: a click that is over before the guest asks is not lost, while movements
 * become one. Entered by the controller under its lock, and by those who type; t->lock serialises. */
#include "dev/usb/tablet.h"

#include "base/str.h"
#include "dev/usb/usb.h"
#include "plat/plat.h"
#include "ui/input.h"
#include "vm/stream.h"

#define RANK      1 /* before PS/2 */
#define QUEUE     16
#define REPORT    6
#define WHEEL_MAX 127
/* A guest that has not asked for as long has no driver any more. */
#define ASKED_NS (2 * NS_PER_SEC)
#define IDLE_NS  (4 * (NS_PER_SEC / 1000)) /* unit of SET_IDLE */

/* Requests of HID 1.11, 7.2 */
enum {
	GET_DESCRIPTOR = 0x06, /* 7.1.1: to the interface */
	GET_REPORT = 0x01,
	GET_IDLE = 0x02,
	SET_IDLE = 0x0a,
};
enum { DESC_HID = 0x21, DESC_REPORT = 0x22 };

struct place {
	uint16_t x, y;
	uint8_t buttons;
	int8_t wheel; /* since the one before; away from the user */
};

struct tablet {
	struct usb_dev usb;
	struct input *input;
	struct plat_mutex lock; /* RANK_BACKEND: all below */
	struct place queue[QUEUE];
	uint8_t head, n;
	struct place told; /* what the guest knows */
	uint8_t idle;      /* in units of 4 ms; 0: it hears of changes only */
	uint64_t told_at, asked_at;
};

/* clang-format off */
static const uint8_t report_descriptor[] = {
	0x05, 0x01,       /* usage page: generic desktop */
	0x09, 0x02,       /* usage: mouse, which every system has a driver for */
	0xa1, 0x01,       /* collection: application */
	0x09, 0x01,       /*   usage: pointer */
	0xa1, 0x00,       /*   collection: physical */
	0x05, 0x09,       /*     usage page: buttons */
	0x19, 0x01,       /*     from 1 */
	0x29, 0x05,       /*     to 5 */
	0x15, 0x00, 0x25, 0x01,
	0x75, 0x01, 0x95, 0x05,
	0x81, 0x02,       /*     input: variable, absolute */
	0x75, 0x03, 0x95, 0x01,
	0x81, 0x03,       /*     input: constant */
	0x05, 0x01,       /*     usage page: generic desktop */
	0x09, 0x30, 0x09, 0x31, /* X, Y */
	0x15, 0x00, 0x26, 0xff, 0x7f, /* 0 to INPUT_ABS_MAX */
	0x35, 0x00, 0x46, 0xff, 0x7f,
	0x75, 0x10, 0x95, 0x02,
	0x81, 0x02,
	0x09, 0x38,       /*     wheel */
	0x15, 0x81, 0x25, 0x7f,
	0x35, 0x00, 0x45, 0x00,
	0x75, 0x08, 0x95, 0x01,
	0x81, 0x06,       /*     input: variable, relative */
	0xc0, 0xc0,
};

static const uint8_t device_descriptor[] = {
	18, 1, 0x10, 0x01, /* USB 1.1 */
	0, 0, 0,           /* class: its interface says */
	8,                 /* bytes a packet of endpoint 0 */
	0x27, 0x06, 0x01, 0x00, /* the numbers by which guests know virtual tablets */
	0x00, 0x01,
	1, 2, 0,           /* strings */
	1,                 /* configuration */
};

#define HID_AT 18 /* in the next */
static const uint8_t config_descriptor[] = {
	9, 2, 34, 0, 1, 1, 0, 0xa0, 50, /* powered by the bus, 100 mA; may wake the host */
	9, 4, 0, 0, 1, 3, 0, 0, 0,      /* interface: HID, not for BIOSes */
	9, DESC_HID, 0x11, 0x01, 0, 1, DESC_REPORT, sizeof(report_descriptor), 0,
	7, 5, 0x81, 3, 8, 0, 8,         /* endpoint 1 IN: interrupt, 8 bytes, every 8 ms */
};
/* clang-format on */

static const char *const strings[] = {"Vigia", "Vigia USB tablet"};

static struct tablet *to_tablet(struct usb_dev *d)
{
	return container_of(d, struct tablet, usb);
}

/* ---- what people do -------------------------------------------------------------------------------- */

static bool same(const struct place *a, const struct place *b)
{
	return a->x == b->x && a->y == b->y && a->buttons == b->buttons && !a->wheel;
}

/* Lock held. Movements under the same buttons are one report. */
static void enqueue(struct tablet *t, struct place p, int wheel)
{
	struct place *last = t->n ? &t->queue[(t->head + t->n - 1) % QUEUE] : NULL;

	if (last && (t->n == QUEUE || last->buttons == p.buttons)) {
		wheel += last->wheel;
	} else {
		last = &t->queue[(t->head + t->n++) % QUEUE];
	}
	p.wheel = (int8_t)MAX(-WHEEL_MAX, MIN(WHEEL_MAX, wheel));
	*last = p;
}

static void on_point(void *dev, unsigned x, unsigned y, int dz, unsigned buttons)
{
	struct tablet *t = dev;
	const struct place p = {(uint16_t)x, (uint16_t)y, (uint8_t)(buttons & BUTTON_ALL), 0};
	bool news;

	plat_mutex_lock(&t->lock);
	dz = MAX(-WHEEL_MAX, MIN(WHEEL_MAX, dz));
	news = t->n || dz || !same(&p, &t->told);
	if (news)
		enqueue(t, p, -dz);
	plat_mutex_unlock(&t->lock);
	if (news && t->usb.wake)
		t->usb.wake(t->usb.host);
}

static bool on_listens(void *dev)
{
	struct tablet *t = dev;
	bool listens;

	plat_mutex_lock(&t->lock);
	listens = t->asked_at && plat_now() - t->asked_at < ASKED_NS;
	plat_mutex_unlock(&t->lock);
	return listens;
}

static bool on_busy(void *dev)
{
	struct tablet *t = dev;
	bool busy;

	plat_mutex_lock(&t->lock);
	busy = t->n;
	plat_mutex_unlock(&t->lock);
	return busy;
}

/* ---- what the guest asks ------------------------------------------------------------------------------ */

static int report(const struct place *p, uint8_t *buf)
{
	buf[0] = p->buttons;
	buf[1] = (uint8_t)p->x;
	buf[2] = (uint8_t)(p->x >> 8);
	buf[3] = (uint8_t)p->y;
	buf[4] = (uint8_t)(p->y >> 8);
	buf[5] = (uint8_t)p->wheel;
	return REPORT;
}

static int tablet_in(struct usb_dev *d, uint8_t *buf)
{
	struct tablet *t = to_tablet(d);
	int n = USB_NAK;

	plat_mutex_lock(&t->lock);
	t->asked_at = plat_now();
	if (t->n) {
		t->told = t->queue[t->head];
		t->head = (uint8_t)((t->head + 1) % QUEUE);
		t->n--;
		n = report(&t->told, buf);
		t->told.wheel = 0;
	} else if (t->idle && t->asked_at - t->told_at >= t->idle * IDLE_NS) {
		n = report(&t->told, buf);
	}
	if (n > 0)
		t->told_at = t->asked_at;
	plat_mutex_unlock(&t->lock);
	return n;
}

/* type and request together: no two mean different things. */
static int tablet_request(struct usb_dev *d, const struct usb_setup *s, uint8_t *buf)
{
	struct tablet *t = to_tablet(d);
	int n = USB_STALL;

	plat_mutex_lock(&t->lock);
	switch (s->type << 8 | s->request) {
	case 0x8100 | GET_DESCRIPTOR:
		if (s->value >> 8 == DESC_HID) {
			n = config_descriptor[HID_AT];
			memcpy(buf, config_descriptor + HID_AT, (size_t)n);
		} else if (s->value >> 8 == DESC_REPORT) {
			n = sizeof(report_descriptor);
			memcpy(buf, report_descriptor, (size_t)n);
		}
		break;
	case 0xa100 | GET_REPORT:
		if (s->value >> 8 == 1) /* input */
			n = report(&t->told, buf);
		break;
	case 0xa100 | GET_IDLE:
		buf[0] = t->idle;
		n = 1;
		break;
	case 0x2100 | SET_IDLE:
		t->idle = (uint8_t)(s->value >> 8);
		n = 0;
		break;
	default:
		break;
	}
	plat_mutex_unlock(&t->lock);
	return n;
}

static void tablet_reset(struct usb_dev *d)
{
	struct tablet *t = to_tablet(d);

	plat_mutex_lock(&t->lock);
	t->head = t->n = t->idle = 0;
	t->asked_at = 0;
	t->told = (struct place){0};
	plat_mutex_unlock(&t->lock);
}

#define T struct tablet
static const struct st_field fields[] = {
	ST_U(T, told.x), ST_U(T, told.y),  ST_UMAX(T, told.buttons, BUTTON_ALL),
	ST_U(T, idle),   ST_T(T, told_at), ST_T(T, asked_at),
};
#undef T

/* Reports that have not been fetched are forgotten, as is who held a button. */
static void tablet_state(struct usb_dev *d, struct state_stream *st)
{
	struct tablet *t = to_tablet(d);

	plat_mutex_lock(&t->lock);
	ST_SYNC(st, "tablet", 0, fields, t);
	plat_mutex_unlock(&t->lock);
}

static void tablet_destroy(struct usb_dev *d)
{
	struct tablet *t = to_tablet(d);

	input_remove(t->input, t);
	plat_free(t);
}

static const struct usb_ops tablet_ops = {
	.device = device_descriptor,
	.config = config_descriptor,
	.string = strings,
	.n_strings = ARRAY_SIZE(strings),
	.request = tablet_request,
	.in = tablet_in,
	.reset = tablet_reset,
	.state = tablet_state,
	.destroy = tablet_destroy,
};

int usb_tablet_create(struct input *input, struct usb_dev **out)
{
	struct tablet *t = plat_alloc(sizeof(*t));
	struct input_device dev = {.kind = INPUT_TABLET,
				   .rank = RANK,
				   .dev = t,
				   .listens = on_listens,
				   .busy = on_busy,
				   .point = on_point};

	if (!t)
		return err_here(ERR_NOMEM);
	t->usb.ops = &tablet_ops;
	t->input = input;
	plat_mutex_init(&t->lock, RANK_BACKEND);
	usb_reset(&t->usb);
	input_add(input, &dev);
	*out = &t->usb;
	return 0;
}
