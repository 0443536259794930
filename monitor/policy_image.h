/* SPDX-License-Identifier: ISC */
/* policy_image.h: compiled rules as bytes, for a hypervisor that has no compiler. */
#ifndef MONITOR_POLICY_IMAGE_H
#define MONITOR_POLICY_IMAGE_H

#include "monitor/policy.h"

/* The line of the first rule that cannot be in an image, as it needs a host: a redirection to an
 * image, address, file or program. 0: there is none. */
uint32_t policy_image_refuses(const struct policy *p);
size_t policy_image_size(const struct policy *p);
void policy_image_write(const struct policy *p, void *out);
/* Any bytes: ERR_FORMAT, or rules that are as if they had been compiled here. */
int policy_image_load(const void *data, size_t size, struct policy **out) attr_must_check;

#endif
