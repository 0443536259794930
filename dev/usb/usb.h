/* SPDX-License-Identifier: ISC */
/* usb.h: USB devices as a host controller sees them: packet for packet (USB 1.1, chapters 8 and 9).
 * usb.c answers what all devices are asked on endpoint 0; what a device is, its descriptors and a few
 * functions say.
 *
 * Entered under the lock of the controller that the device is plugged into. */
#ifndef DEV_USB_USB_H
#define DEV_USB_USB_H

#include "base/def.h"
#include "base/err.h"

struct state_stream;
struct usb_dev;

enum usb_pid { USB_OUT = 0xe1, USB_IN = 0x69, USB_SETUP = 0x2d };

/* Answers to a packet that are no length */
#define USB_NAK   (-1)
#define USB_STALL (-2)

#define USB_PACKET_MAX  64  /* bytes that a device sends in one */
#define USB_CONTROL_MAX 128 /* bytes of an answer on endpoint 0 */

struct usb_setup {
	uint8_t type, request; /* bmRequestType, bRequest */
	uint16_t value, index, length;
};

struct usb_ops {
	const uint8_t *device, *config; /* descriptors; the second with all that belongs to it */
	const char *const *string;      /* from number 1 on */
	unsigned n_strings;
	/* A request that is not of chapter 9, or for a descriptor of a class: length of the answer in
	 * buf, at most USB_CONTROL_MAX; or USB_STALL. Those that come with data do not get here. */
	int (*request)(struct usb_dev *d, const struct usb_setup *s, uint8_t *buf);
	/* The next packet of endpoint 1: its length in buf; USB_NAK: there is nothing new. */
	int (*in)(struct usb_dev *d, uint8_t *buf);
	void (*reset)(struct usb_dev *d);
	void (*state)(struct usb_dev *d, struct state_stream *st);
	void (*destroy)(struct usb_dev *d);
};

enum usb_control { USB_CTL_IDLE, USB_CTL_DATA, USB_CTL_STATUS, USB_CTL_STALL };

struct usb_dev {
	const struct usb_ops *ops;
	/* Set by the controller: the device has something to say. Without its lock. */
	void (*wake)(void *host);
	void *host;

	uint8_t address, next_address, config;
	bool remote_wakeup; /* it may wake a sleeping bus */
	bool halted;        /* endpoint 1 */
	/* control transfer in progress */
	uint8_t control; /* enum usb_control */
	uint8_t len, pos;
	uint8_t data[USB_CONTROL_MAX];
};

/* As after a reset of the bus. */
void usb_reset(struct usb_dev *d);
/* A packet to endpoint ep: len bytes of buf from the host, or at most USB_PACKET_MAX for it. Gives
 * their number, USB_NAK or USB_STALL. */
int usb_packet(struct usb_dev *d, enum usb_pid pid, unsigned ep, uint8_t *buf, unsigned len);
/* Saved state, both directions. */
void usb_state(struct usb_dev *d, struct state_stream *st, unsigned index);

#endif
