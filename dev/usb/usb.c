/* SPDX-License-Identifier: ISC */
/* usb.c: endpoint 0 of all USB devices: control transfers (USB 1.1, 8.5.2) and the requests of chapter 9.
 * Requests are carried out when their SETUP packet comes, but for a new address, which holds from the end
 * of the transfer on (9.4.6). Under the controller's lock. */
#include "dev/usb/usb.h"

#include "base/str.h"
#include "vm/stream.h"

/* bmRequestType: direction, type, recipient */
#define TO_HOST   0x80
#define STANDARD  0x00
#define TYPE_MASK 0x60
#define DEVICE    0
#define INTERFACE 1
#define ENDPOINT  2

enum {
	GET_STATUS = 0,
	CLEAR_FEATURE = 1,
	SET_FEATURE = 3,
	SET_ADDRESS = 5,
	GET_DESCRIPTOR = 6,
	GET_CONFIGURATION = 8,
	SET_CONFIGURATION = 9,
	GET_INTERFACE = 10,
	SET_INTERFACE = 11,
};

enum { DESC_DEVICE = 1, DESC_CONFIG = 2, DESC_STRING = 3 };
enum { FEATURE_HALT = 0, FEATURE_WAKEUP = 1 };

#define CONFIG_VALUE      5 /* bytes of a configuration descriptor */
#define CONFIG_ATTRIBUTES 7
#define SELF_POWERED      0x40
#define ENGLISH           0x0409

/* ---- descriptors ---------------------------------------------------------------------------------- */

static int give(uint8_t *buf, const uint8_t *from, unsigned len)
{
	len = MIN(len, USB_CONTROL_MAX);
	memcpy(buf, from, len);
	return (int)len;
}

static int string_descriptor(const struct usb_dev *d, unsigned n, uint8_t *buf)
{
	unsigned len = 2;

	if (n > d->ops->n_strings)
		return USB_STALL;
	if (n == 0) {
		buf[len++] = ENGLISH & 0xff;
		buf[len++] = ENGLISH >> 8;
	} else {
		for (const char *s = d->ops->string[n - 1]; *s && len + 2 <= USB_CONTROL_MAX; s++) {
			buf[len++] = (uint8_t)*s;
			buf[len++] = 0;
		}
	}
	buf[0] = (uint8_t)len;
	buf[1] = DESC_STRING;
	return (int)len;
}

static int descriptor(struct usb_dev *d, const struct usb_setup *s, uint8_t *buf)
{
	const uint8_t *config = d->ops->config;

	switch (s->value >> 8) {
	case DESC_DEVICE:
		return give(buf, d->ops->device, d->ops->device[0]);
	case DESC_CONFIG:
		return s->value & 0xff ? USB_STALL
				       : give(buf, config, config[2] | (unsigned)config[3] << 8);
	case DESC_STRING:
		return string_descriptor(d, s->value & 0xff, buf);
	default:
		return USB_STALL;
	}
}

/* ---- requests --------------------------------------------------------------------------------------- */

static int status(const struct usb_dev *d, const struct usb_setup *s, uint8_t *buf)
{
	buf[0] = buf[1] = 0;
	if ((s->type & 0x1f) == DEVICE)
		buf[0] = (uint8_t)((d->ops->config[CONFIG_ATTRIBUTES] & SELF_POWERED ? 1 : 0) |
				   (d->remote_wakeup ? 2 : 0));
	else if ((s->type & 0x1f) == ENDPOINT && (s->index & 0x0f) == 1)
		buf[0] = d->halted;
	return 2;
}

static int feature(struct usb_dev *d, const struct usb_setup *s, bool on)
{
	if ((s->type & 0x1f) == DEVICE && s->value == FEATURE_WAKEUP)
		d->remote_wakeup = on;
	else if ((s->type & 0x1f) == ENDPOINT && s->value == FEATURE_HALT)
		d->halted = (s->index & 0x0f) == 1 ? on : d->halted;
	else
		return USB_STALL;
	return 0;
}

static int configure(struct usb_dev *d, const struct usb_setup *s)
{
	uint8_t value = (uint8_t)s->value;

	if (value && value != d->ops->config[CONFIG_VALUE])
		return USB_STALL;
	d->config = value;
	d->halted = false;
	return 0;
}

static int standard(struct usb_dev *d, const struct usb_setup *s, uint8_t *buf)
{
	switch (s->request) {
	case GET_STATUS:
		return status(d, s, buf);
	case CLEAR_FEATURE:
	case SET_FEATURE:
		return feature(d, s, s->request == SET_FEATURE);
	case SET_ADDRESS:
		d->next_address = s->value & 0x7f;
		return 0;
	case GET_CONFIGURATION:
		buf[0] = d->config;
		return 1;
	case SET_CONFIGURATION:
		return configure(d, s);
	case GET_INTERFACE:
		buf[0] = 0;
		return d->config ? 1 : USB_STALL;
	case SET_INTERFACE:
		return d->config && !s->value && !s->index ? 0 : USB_STALL;
	default:
		return USB_STALL;
	}
}

static int request(struct usb_dev *d, const struct usb_setup *s)
{
	if (!(s->type & TO_HOST) && s->length) /* nothing here takes data */
		return USB_STALL;
	if ((s->type & TYPE_MASK) != STANDARD)
		return d->ops->request(d, s, d->data);
	if (s->request == GET_DESCRIPTOR)
		return (s->type & 0x1f) == DEVICE ? descriptor(d, s, d->data)
						  : d->ops->request(d, s, d->data);
	return standard(d, s, d->data);
}

/* ---- control transfers -------------------------------------------------------------------------------- */

static int setup(struct usb_dev *d, const uint8_t *p, unsigned len)
{
	struct usb_setup s;
	int n;

	d->control = USB_CTL_STALL;
	if (len != 8)
		return USB_STALL;
	s = (struct usb_setup){.type = p[0],
			       .request = p[1],
			       .value = (uint16_t)(p[2] | p[3] << 8),
			       .index = (uint16_t)(p[4] | p[5] << 8),
			       .length = (uint16_t)(p[6] | p[7] << 8)};
	d->next_address = d->address;
	n = request(d, &s);
	if (n >= 0) {
		d->len = (uint8_t)MIN((unsigned)n, s.length);
		d->pos = 0;
		d->control = s.type & TO_HOST ? USB_CTL_DATA : USB_CTL_STATUS;
	}
	return 8; /* is always acknowledged; the stall comes afterwards */
}

static int control_in(struct usb_dev *d, uint8_t *buf)
{
	unsigned most = d->ops->device[7], n; /* bMaxPacketSize0 */

	switch (d->control) {
	case USB_CTL_DATA:
		n = MIN((unsigned)(d->len - d->pos), most);
		memcpy(buf, d->data + d->pos, n);
		d->pos = (uint8_t)(d->pos + n);
		return (int)n;
	case USB_CTL_STATUS:
		d->control = USB_CTL_IDLE;
		d->address = d->next_address;
		return 0;
	default:
		return USB_STALL;
	}
}

static int control_out(struct usb_dev *d)
{
	if (d->control != USB_CTL_DATA)
		return USB_STALL;
	d->control = USB_CTL_IDLE;
	return 0;
}

int usb_packet(struct usb_dev *d, enum usb_pid pid, unsigned ep, uint8_t *buf, unsigned len)
{
	if (pid == USB_SETUP)
		return ep ? USB_STALL : setup(d, buf, len);
	if (ep == 0)
		return pid == USB_IN ? control_in(d, buf) : control_out(d);
	if (ep != 1 || pid != USB_IN || !d->config || d->halted)
		return USB_STALL;
	return d->ops->in(d, buf);
}

void usb_reset(struct usb_dev *d)
{
	d->address = d->next_address = d->config = 0;
	d->remote_wakeup = d->halted = false;
	d->control = USB_CTL_IDLE;
	d->len = d->pos = 0;
	d->ops->reset(d);
}

#define D struct usb_dev
static const struct st_field fields[] = {
	ST_UMAX(D, address, 127),
	ST_UMAX(D, next_address, 127),
	ST_UMAX(D, config, 1),
	ST_B(D, remote_wakeup),
	ST_B(D, halted),
	ST_UMAX(D, control, USB_CTL_STALL),
	ST_UMAX(D, len, USB_CONTROL_MAX),
	ST_UMAX(D, pos, USB_CONTROL_MAX),
	ST_RAW(D, data),
};
#undef D

void usb_state(struct usb_dev *d, struct state_stream *st, unsigned index)
{
	ST_SYNC(st, "usb", index, fields, d);
	if (st->loading && !st->err && d->pos > d->len)
		state_fail(st, err_here(ERR_FORMAT), "usb: an impossible transfer");
	d->ops->state(d, st);
}
