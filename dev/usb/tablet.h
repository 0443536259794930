/* SPDX-License-Identifier: ISC */
/* tablet.h: a USB pointer with absolute positions, for systems that have no virtio drivers. */
#ifndef DEV_USB_TABLET_H
#define DEV_USB_TABLET_H

#include "base/def.h"
#include "base/err.h"

struct input;
struct usb_dev;

/* To be plugged into a controller, which owns it then. Used in place of the PS/2 mouse while the guest
 * asks it. ERR_NOMEM. */
int usb_tablet_create(struct input *input, struct usb_dev **out) attr_must_check;

#endif
