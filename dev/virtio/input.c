/* SPDX-License-Identifier: ISC */
/* input.c: virtio keyboard and tablet (virtio 1.2, 5.8): events as Linux' evdev has them.
 *
 * The device keeps what is the case (keys and buttons that are held, the pointer's place) and what the
 * guest has been told; the difference goes out as soon as there are buffers, so that a guest that is
 * slow misses movements but no release. Entered by those who type and by vCPU threads that give
 * buffers; vd.lock serialises. */
#include "dev/virtio/input.h"

#include "base/str.h"
#include "dev/virtio/virtio.h"
#include "ui/input.h"
#include "vm/stream.h"
#include "vm/vm.h"

#define QUEUE_SIZE  64
#define SEGS        4
#define CONFIG_LEN  136
#define CONFIG_HEAD 8 /* select, subsel, size, reserved */
#define RANK        1 /* before PS/2 */

enum { EVENT_QUEUE, STATUS_QUEUE };

/* select */
enum {
	CFG_NAME = 0x01,
	CFG_SERIAL = 0x02,
	CFG_IDS = 0x03,
	CFG_BITS = 0x11,
	CFG_ABS = 0x12,
};

/* linux/input-event-codes.h */
enum { EV_SYN, EV_KEY, EV_REL, EV_ABS, EV_LED = 0x11, EV_REP = 0x14 };
#define REL_WHEEL  8
#define BTN_LEFT   0x110 /* and RIGHT, MIDDLE, SIDE, EXTRA: in the order of BUTTON_* */
#define KEY_BYTES  ((KEY_COUNT + 7) / 8)
#define WHEEL_MAX  100
#define REPORT_MAX 10 /* events of one report of the tablet, with its end */

struct vinput {
	struct virtio_dev vd;
	struct input *input;
	bool tablet;
	struct virtq_chain chain; /* by who runs the status queue */
	struct virtq_chain event;
	/* under vd.lock */
	uint8_t select, subsel;
	uint8_t down[KEY_BYTES], told[KEY_BYTES]; /* keys by their names of ui/input.h */
	struct place {
		uint32_t x, y, buttons;
	} now, last;
	int32_t wheel; /* not told yet; towards the user */
};

struct report {
	struct {
		uint16_t type, code;
		uint32_t value;
	} ev[REPORT_MAX];
	unsigned n;
};

/* clang-format off */
/* Codes 1 to 88 are those of scan code set 1. */
static const struct {
	uint8_t set1, code;
} e0_codes[] = {
	{0x1c, 96}, {0x1d, 97}, {0x35, 98}, {0x37, 99}, {0x38, 100}, {0x47, 102}, {0x48, 103},
	{0x49, 104}, {0x4b, 105}, {0x4d, 106}, {0x4f, 107}, {0x50, 108}, {0x51, 109}, {0x52, 110},
	{0x53, 111}, {0x5b, 125}, {0x5c, 126}, {0x5d, 127},
};
/* clang-format on */
#define CODE_PAUSE 119
#define CODE_LAST  88

static struct vinput *to_vinput(struct virtio_dev *vd)
{
	return container_of(vd, struct vinput, vd);
}

/* 0: there is none. */
static uint16_t evdev_code(unsigned key)
{
	if (key == KEY_PAUSE)
		return CODE_PAUSE;
	if (!(key & KEY_E0))
		return key <= CODE_LAST ? (uint16_t)key : 0;
	for (unsigned i = 0; i < ARRAY_SIZE(e0_codes); i++)
		if (e0_codes[i].set1 == (key & ~KEY_E0))
			return e0_codes[i].code;
	return 0;
}

/* ---- events; lock held --------------------------------------------------------------------------- */

static void add(struct report *r, uint16_t type, uint16_t code, uint32_t value)
{
	r->ev[r->n].type = type;
	r->ev[r->n].code = code;
	r->ev[r->n++].value = value;
}

/* All of the report, or nothing where the guest gave too few buffers. */
static bool send(struct vinput *v, struct report *r)
{
	struct virtq *q = &v->vd.vq[EVENT_QUEUE];
	unsigned n = 0, rounds = 0;
	int got = 0;

	if (!virtio_live(&v->vd) || !q->enabled)
		return false;
	add(r, EV_SYN, 0, 0);
	do {
		while (n < r->n && (got = virtq_pop(q, &v->event)) > 0) {
			uint8_t b[8];

			virtio_put(b + 0, 2, r->ev[n].type);
			virtio_put(b + 2, 2, r->ev[n].code);
			virtio_put(b + 4, 4, r->ev[n].value);
			virtq_fill(q, n++, v->event.head,
				   (uint32_t)virtq_write(q, &v->event, 0, b, sizeof(b)));
		}
	} while (n < r->n && got == 0 && virtq_listen(q) && rounds++ < QUEUE_SIZE);
	if (got < 0) {
		virtio_broken(&v->vd, "bad event buffer");
		return false;
	}
	if (n < r->n) {
		virtq_unpop(q, n);
		return false;
	}
	virtio_publish(&v->vd, q, n);
	return true;
}

static void flush_keys(struct vinput *v)
{
	for (unsigned key = 0; key < KEY_COUNT; key++) {
		uint8_t bit = (uint8_t)(1u << key % 8);
		struct report r = {.n = 0};

		if (!((v->down[key / 8] ^ v->told[key / 8]) & bit))
			continue;
		if (evdev_code(key)) {
			add(&r, EV_KEY, evdev_code(key), !!(v->down[key / 8] & bit));
			if (!send(v, &r))
				return;
		}
		v->told[key / 8] ^= bit;
	}
}

static bool pointer_news(const struct vinput *v)
{
	return memcmp(&v->now, &v->last, sizeof(v->now)) || v->wheel;
}

static void flush_pointer(struct vinput *v)
{
	struct report r = {.n = 0};

	if (!pointer_news(v))
		return;
	if (v->now.x != v->last.x)
		add(&r, EV_ABS, 0, v->now.x);
	if (v->now.y != v->last.y)
		add(&r, EV_ABS, 1, v->now.y);
	for (unsigned i = 0; BIT(i) <= BUTTON_ALL; i++)
		if ((v->now.buttons ^ v->last.buttons) & BIT(i))
			add(&r, EV_KEY, (uint16_t)(BTN_LEFT + i), v->now.buttons >> i & 1);
	if (v->wheel)
		add(&r, EV_REL, REL_WHEEL, (uint32_t)-v->wheel);
	if (!send(v, &r))
		return;
	v->last = v->now;
	v->wheel = 0;
}

static void filled(struct virtio_dev *vd, struct virtq *q)
{
	struct vinput *v = to_vinput(vd);

	plat_mutex_lock(&vd->lock);
	flush_keys(v);
	flush_pointer(v);
	plat_mutex_unlock(&vd->lock);
}

static bool on_listens(void *dev)
{
	struct vinput *v = dev;
	bool live;

	plat_mutex_lock(&v->vd.lock);
	live = virtio_live(&v->vd) && v->vd.vq[EVENT_QUEUE].enabled;
	plat_mutex_unlock(&v->vd.lock);
	return live;
}

static bool on_busy(void *dev)
{
	struct vinput *v = dev;
	bool busy;

	plat_mutex_lock(&v->vd.lock);
	busy = pointer_news(v) || memcmp(v->down, v->told, sizeof(v->down));
	plat_mutex_unlock(&v->vd.lock);
	return busy;
}

static void on_key(void *dev, unsigned key, bool down)
{
	struct vinput *v = dev;
	uint8_t bit = (uint8_t)(1u << key % 8);

	plat_mutex_lock(&v->vd.lock);
	if (down)
		v->down[key / 8] |= bit;
	else
		v->down[key / 8] &= (uint8_t)~bit;
	flush_keys(v);
	plat_mutex_unlock(&v->vd.lock);
}

static void on_point(void *dev, unsigned x, unsigned y, int dz, unsigned buttons)
{
	struct vinput *v = dev;

	plat_mutex_lock(&v->vd.lock);
	v->now = (struct place){x, y, buttons & BUTTON_ALL};
	v->wheel = MAX(-WHEEL_MAX, MIN(WHEEL_MAX, v->wheel + MAX(-WHEEL_MAX, MIN(WHEEL_MAX, dz))));
	flush_pointer(v);
	plat_mutex_unlock(&v->vd.lock);
}

/* ---- configuration: what is selected, its size, and the thing itself ------------------------------ */

static unsigned bits_set(uint8_t *p, unsigned size, unsigned bit)
{
	p[bit / 8] |= (uint8_t)(1u << bit % 8);
	return MAX(size, bit / 8 + 1);
}

static unsigned event_bits(const struct vinput *v, uint8_t *p)
{
	unsigned size = 0;

	switch (v->subsel) {
	case EV_KEY:
		for (unsigned key = 0; key < KEY_COUNT && !v->tablet; key++)
			if (evdev_code(key))
				size = bits_set(p, size, evdev_code(key));
		for (unsigned i = 0; BIT(i) <= BUTTON_ALL && v->tablet; i++)
			size = bits_set(p, size, BTN_LEFT + i);
		break;
	case EV_REL:
		return v->tablet ? bits_set(p, 0, REL_WHEEL) : 0;
	case EV_ABS:
		p[0] = 3;
		return v->tablet;
	case EV_LED:
		p[0] = 7;
		return !v->tablet;
	case EV_REP: /* no bits: the guest is to repeat keys by itself */
		return !v->tablet;
	default:
		break;
	}
	return size;
}

static unsigned selected(const struct vinput *v, uint8_t *p)
{
	const char *name = v->tablet ? "Vigia tablet" : "Vigia keyboard";

	switch (v->select) {
	case CFG_NAME:
		memcpy(p, name, str_len(name));
		return (unsigned)str_len(name);
	case CFG_IDS:
		virtio_put(p + 0, 2, 6); /* BUS_VIRTUAL */
		virtio_put(p + 2, 2, 0x1af4);
		virtio_put(p + 4, 2, v->tablet ? 2 : 1);
		virtio_put(p + 6, 2, 1);
		return 8;
	case CFG_BITS:
		return event_bits(v, p);
	case CFG_ABS:
		virtio_put(p + 4, 4, INPUT_ABS_MAX);
		return v->tablet && v->subsel < 2 ? 20 : 0;
	default:
		return 0;
	}
}

static void config_read(struct virtio_dev *vd, unsigned off, uint8_t *buf, unsigned len)
{
	struct vinput *v = to_vinput(vd);
	uint8_t c[CONFIG_LEN] = {v->select, v->subsel};
	unsigned size = selected(v, c + CONFIG_HEAD);

	c[2] = (uint8_t)size;
	if (!size)
		memset(c + CONFIG_HEAD, 0, CONFIG_LEN - CONFIG_HEAD);
	memcpy(buf, c + off, len);
}

static void config_write(struct virtio_dev *vd, unsigned off, const uint8_t *buf, unsigned len)
{
	struct vinput *v = to_vinput(vd);

	for (unsigned i = 0; i < len; i++) {
		if (off + i == 0)
			v->select = buf[i];
		else if (off + i == 1)
			v->subsel = buf[i];
	}
}

/* ---- status queue, life ---------------------------------------------------------------------------- */

static struct virtq_chain *status_get(struct virtio_dev *vd)
{
	return &to_vinput(vd)->chain;
}

/* Lamps, which nobody sees. */
static int64_t status_handle(struct virtio_dev *vd, struct virtq *q, struct virtq_chain *c)
{
	return 0;
}

static void vinput_reset(struct virtio_dev *vd)
{
	struct vinput *v = to_vinput(vd);

	v->select = v->subsel = 0;
	memset(v->down, 0, sizeof(v->down));
	memset(v->told, 0, sizeof(v->told));
	v->now = v->last = (struct place){0};
	v->wheel = 0;
}

static const struct st_field vinput_fields[] = {
	ST_U(struct vinput, select),       ST_U(struct vinput, subsel), ST_RAW(struct vinput, down),
	ST_RAW(struct vinput, told),       ST_U(struct vinput, now.x),  ST_U(struct vinput, now.y),
	ST_U(struct vinput, now.buttons),  ST_U(struct vinput, last.x), ST_U(struct vinput, last.y),
	ST_U(struct vinput, last.buttons),
};

static void vinput_state(struct virtio_dev *vd, struct state_stream *st)
{
	struct vinput *v = to_vinput(vd);

	ST_SYNC(st, "input", 0, vinput_fields, v);
	if (!st->loading)
		return;
	v->now.buttons &= BUTTON_ALL;
	v->last.buttons &= BUTTON_ALL;
	memset(v->down, 0, sizeof(v->down)); /* nobody holds a key now */
}

static void vinput_destroy(struct virtio_dev *vd)
{
	struct vinput *v = to_vinput(vd);

	input_remove(v->input, v);
	virtq_chain_fini(&v->chain);
	virtq_chain_fini(&v->event);
}

static const struct virtio_queue_ops vinput_queues[] = {
	[EVENT_QUEUE] = {.size = QUEUE_SIZE, .filled = filled},
	[STATUS_QUEUE] = {.size = QUEUE_SIZE, .get = status_get, .handle = status_handle},
};

#define VINPUT_OPS(class)                                                                         \
	{                                                                                         \
		.id = VIRTIO_ID_INPUT, .pci_class = class, .n_queues = ARRAY_SIZE(vinput_queues), \
		.queue = vinput_queues, .config_len = CONFIG_LEN, .config_read = config_read,     \
		.config_write = config_write, .reset = vinput_reset, .state = vinput_state,       \
		.destroy = vinput_destroy,                                                        \
	}
static const struct virtio_ops keyboard_ops = VINPUT_OPS(0x090000);
static const struct virtio_ops tablet_ops = VINPUT_OPS(0x098000);

static const struct dev_class vinput_class = {
	.name = "virtio-input",
	.reset = virtio_machine_reset,
	.state = virtio_state,
	.freeze = virtio_freeze,
	.destroy = virtio_destroy,
};

int virtio_input_create(struct vm *vm, struct pci_host *host, const struct virtio_input_wiring *w,
			struct virtio_dev **out)
{
	struct vinput *v = plat_alloc(sizeof(*v));
	struct input_device dev = {.kind = w->tablet ? INPUT_TABLET : INPUT_KEYBOARD,
				   .rank = RANK,
				   .dev = v,
				   .listens = on_listens,
				   .busy = on_busy,
				   .key = w->tablet ? NULL : on_key,
				   .point = w->tablet ? on_point : NULL};
	int err;

	if (!v)
		return err_here(ERR_NOMEM);
	v->input = w->input;
	v->tablet = w->tablet;
	virtio_init(&v->vd, vm, &vinput_class, w->tablet ? &tablet_ops : &keyboard_ops, 0);
	if (virtq_chain_init(&v->chain, SEGS) || virtq_chain_init(&v->event, SEGS)) {
		virtio_destroy(&v->vd.dev);
		return err_here(ERR_NOMEM);
	}
	err = virtio_plug(&v->vd, host, w->slot);
	if (err)
		return err;
	input_add(w->input, &dev);
	*out = &v->vd;
	return 0;
}
