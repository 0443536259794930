/* SPDX-License-Identifier: ISC */
/* ps2mouse.c: the PS/2 mouse (IBM PS/2 Hardware Interface Technical Reference, Mouse) and the two
 * extensions that Microsoft's mice have made usual: sample rates 200, 100, 80 in a row turn on the
 * wheel, then 200, 200, 80 the fourth and fifth buttons. Under the lock of the controller. */
#include "dev/pc/ps2mouse.h"

#include "vm/stream.h"

#define FAR           100000 /* movement that waits is bounded */
#define DEFAULT_RATE  100
#define DEFAULT_COUNT 2 /* 4 counts a millimetre */

enum {
	CMD_SCALE_1 = 0xe6,
	CMD_SCALE_2 = 0xe7,
	CMD_RESOLUTION = 0xe8,
	CMD_STATUS = 0xe9,
	CMD_STREAM = 0xea,
	CMD_READ = 0xeb,
	CMD_UNWRAP = 0xec,
	CMD_WRAP = 0xee,
	CMD_REMOTE = 0xf0,
	CMD_ID = 0xf2,
	CMD_RATE = 0xf3,
	CMD_ENABLE = 0xf4,
	CMD_DISABLE = 0xf5,
	CMD_DEFAULT = 0xf6,
	CMD_RESEND = 0xfe,
	CMD_RESET = 0xff,
};

/* ---- movement --------------------------------------------------------------------------------------- */

static int clamp(int64_t v, int low, int high)
{
	return (int)(v < low ? low : v > high ? high : v);
}

static bool has_news(const struct ps2mouse *m)
{
	return m->dx || m->dy || (m->id && m->dz) || m->buttons != m->reported;
}

static bool streams(const struct ps2mouse *m)
{
	return m->reporting && !m->remote && !m->wrap;
}

static void forget(struct ps2mouse *m)
{
	m->dx = m->dy = m->dz = 0;
	m->reported = m->buttons;
	ps2_clear(&m->out);
}

/* 2:1: slow movements stay fine, quick ones double. */
static int scaled(const struct ps2mouse *m, int v)
{
	static const uint8_t small[] = {0, 1, 1, 3, 6, 9};
	int a = v < 0 ? -v : v;

	if (!m->scaling || m->remote)
		return v;
	a = a < (int)ARRAY_SIZE(small) ? small[a] : 2 * a;
	return v < 0 ? -a : a;
}

/* As much of the movement as fits goes into a packet; the rest waits. */
static void packet(struct ps2mouse *m, struct ps2_queue *q)
{
	int px = clamp(m->dx, -255, 255), py = clamp(m->dy, -255, 255);
	int x = clamp(scaled(m, px), -256, 255), y = clamp(scaled(m, py), -256, 255);
	int z = m->id ? clamp(m->dz, -8, 7) : m->dz;

	if (ps2_room(q) < 4)
		return;
	m->dx -= px;
	m->dy -= py;
	m->dz -= z;
	m->reported = m->buttons;
	ps2_put(q, (uint8_t)((m->buttons & 7) | 0x08 | (x < 0 ? 0x10 : 0) | (y < 0 ? 0x20 : 0)));
	ps2_put(q, (uint8_t)x);
	ps2_put(q, (uint8_t)y);
	if (m->id == 3)
		ps2_put(q, (uint8_t)z);
	else if (m->id == 4)
		ps2_put(q, (uint8_t)((z & 0x0f) | (m->buttons & 0x18) << 1));
}

/* The screen counts rows downwards, the mouse upwards. */
void ps2mouse_move(struct ps2mouse *m, int dx, int dy, int dz, unsigned buttons)
{
	buttons &= BUTTON_ALL;
	if (!m->reporting && !m->remote) {
		m->buttons = m->reported = (uint8_t)buttons;
		return;
	}
	/* A click shorter than a sample is not lost. */
	if (streams(m) && m->buttons != m->reported && m->buttons != buttons)
		packet(m, &m->out);
	m->dx = clamp((int64_t)m->dx + dx, -FAR, FAR);
	m->dy = clamp((int64_t)m->dy - dy, -FAR, FAR);
	m->dz = clamp((int64_t)m->dz + dz, -FAR, FAR);
	m->buttons = (uint8_t)buttons;
}

uint64_t ps2mouse_due(const struct ps2mouse *m)
{
	return streams(m) && has_news(m) && !m->out.len ? m->next_at : PLAT_FOREVER;
}

void ps2mouse_tick(struct ps2mouse *m, uint64_t now)
{
	if (now < ps2mouse_due(m))
		return;
	packet(m, &m->out);
	m->next_at = now + NS_PER_SEC / m->rate;
}

/* ---- commands ---------------------------------------------------------------------------------------- */

static void set_defaults(struct ps2mouse *m)
{
	m->rate = DEFAULT_RATE;
	m->resolution = DEFAULT_COUNT;
	m->scaling = m->remote = m->wrap = m->reporting = false;
	m->next_at = 0;
	forget(m);
}

static void reply(struct ps2mouse *m, uint8_t v)
{
	ps2_put(&m->reply, v);
}

static void reply_status(struct ps2mouse *m)
{
	unsigned b = m->buttons;

	reply(m, (uint8_t)((m->remote ? 0x40 : 0) | (m->reporting ? 0x20 : 0) |
			   (m->scaling ? 0x10 : 0) | (b & BUTTON_LEFT ? 4 : 0) |
			   (b & BUTTON_MIDDLE ? 2 : 0) | (b & BUTTON_RIGHT ? 1 : 0)));
	reply(m, m->resolution);
	reply(m, m->rate);
}

static void refuse(struct ps2mouse *m)
{
	ps2_clear(&m->reply);
	reply(m, PS2_RESEND);
}

static void parameter(struct ps2mouse *m, uint8_t v)
{
	static const uint8_t rates[] = {10, 20, 40, 60, 80, 100, 200};
	uint8_t cmd = m->command;
	unsigned i = 0;

	m->command = 0;
	reply(m, PS2_ACK);
	if (cmd == CMD_RESOLUTION) {
		if (v <= 3)
			m->resolution = v;
		else
			refuse(m);
		return;
	}
	while (i < sizeof(rates) && rates[i] != v)
		i++;
	if (i == sizeof(rates)) {
		refuse(m);
		return;
	}
	m->rate = v;
	m->knock[0] = m->knock[1];
	m->knock[1] = m->knock[2];
	m->knock[2] = v;
	if (m->knock[0] == 200 && m->knock[1] == 100 && v == 80 && !m->id)
		m->id = 3;
	else if (m->knock[0] == 200 && m->knock[1] == 200 && v == 80)
		m->id = 4;
}

static void command(struct ps2mouse *m, uint8_t cmd)
{
	reply(m, PS2_ACK);
	switch (cmd) {
	case CMD_SCALE_1:
	case CMD_SCALE_2:
		m->scaling = cmd == CMD_SCALE_2;
		break;
	case CMD_RESOLUTION:
	case CMD_RATE:
		m->command = cmd;
		break;
	case CMD_STATUS:
		reply_status(m);
		break;
	case CMD_STREAM:
	case CMD_REMOTE:
		m->remote = cmd == CMD_REMOTE;
		forget(m);
		break;
	case CMD_READ:
		packet(m, &m->reply);
		break;
	case CMD_UNWRAP:
		break;
	case CMD_WRAP:
		m->wrap = true;
		break;
	case CMD_ID:
		reply(m, m->id);
		break;
	case CMD_ENABLE:
	case CMD_DISABLE:
		m->reporting = cmd == CMD_ENABLE;
		forget(m);
		break;
	case CMD_DEFAULT:
		set_defaults(m);
		break;
	case CMD_RESEND:
		ps2_clear(&m->reply);
		reply(m, m->last);
		break;
	case CMD_RESET:
		ps2mouse_reset(m);
		reply(m, PS2_ACK);
		reply(m, PS2_BAT_OK);
		reply(m, 0);
		break;
	default:
		refuse(m);
	}
}

void ps2mouse_write(struct ps2mouse *m, uint8_t v)
{
	ps2_clear(&m->reply);
	ps2_clear(&m->out); /* a packet ends where a command comes */
	if (m->wrap && v != CMD_RESET && v != CMD_UNWRAP) {
		reply(m, v);
		return;
	}
	m->wrap = false;
	if (m->command)
		parameter(m, v);
	else
		command(m, v);
}

uint8_t ps2mouse_read(struct ps2mouse *m)
{
	m->last = ps2_get(m->reply.len ? &m->reply : &m->out);
	return m->last;
}

void ps2mouse_reset(struct ps2mouse *m)
{
	set_defaults(m);
	ps2_clear(&m->reply);
	m->command = 0;
	m->last = PS2_BAT_OK;
	m->id = 0;
	memset(m->knock, 0, sizeof(m->knock));
}

#define M struct ps2mouse
static const struct st_field fields[] = {
	ST_RAW(M, reply.buf),
	ST_UMAX(M, reply.head, PS2_QUEUE - 1),
	ST_UMAX(M, reply.len, PS2_QUEUE),
	ST_RAW(M, out.buf),
	ST_UMAX(M, out.head, PS2_QUEUE - 1),
	ST_UMAX(M, out.len, PS2_QUEUE),
	ST_U(M, command),
	ST_U(M, last),
	ST_UMAX(M, id, 4),
	ST_UMAX(M, rate, 200),
	ST_UMAX(M, resolution, 3),
	ST_B(M, scaling),
	ST_B(M, remote),
	ST_B(M, wrap),
	ST_B(M, reporting),
	ST_RAW(M, knock),
};
#undef M

int ps2mouse_state(struct ps2mouse *m, struct state_stream *st)
{
	int err = ST_SYNC(st, "ps2mouse", 0, fields, m);

	if (!err && st->loading && !m->rate)
		err = state_fail(st, err_here(ERR_FORMAT), "ps2mouse: a sample rate of 0");
	return err;
}
