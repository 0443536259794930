/* SPDX-License-Identifier: ISC */
/* fuzz_policy_image.c: any bytes as compiled rules; those that are taken decide requests made of the bytes. Input:
 * bytes of rules, behind a header that is made to fit. */
#include <stdlib.h>
#include <string.h>

#include "monitor/policy_image.h"
#include "monitor/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint32_t n = (uint32_t)(size / sizeof(struct rule));
	const uint32_t head[6] = {0, 0, 1, sizeof(struct rule), n, 1};
	uint8_t *image = malloc(sizeof(head) + size);
	struct policy *p;
	uint32_t line;

	if (!policy_image_load(data, size, &p))
		policy_free(p);
	memcpy(image, head, sizeof(head));
	memcpy(image, "VGPOLICY", 8);
	memcpy(image + sizeof(head), data, size);
	if (!policy_image_load(image, sizeof(head) + n * sizeof(struct rule), &p)) {
		for (unsigned cls = 0; cls < MON_CLASSES * 2; cls++) {
			struct mon_event ev = {.cls = (uint8_t)(cls % MON_CLASSES),
					       .op = data[0] & 7,
					       .size = 4,
					       .addr = size * 16,
					       .value = 4096};
			struct frame_info fi;

			if (ev.cls == MON_NET)
				ev = frame_event(NET_SEND, cls & 3, data, size, size, &fi);

			if (policy_decide(p, &ev) > MON_DENY)
				abort();
		}
		if (policy_cpu_percent(p) > 100 || policy_cpu_weight(p) > 100)
			abort();
		policy_device(p, "disk0", &line);
		policy_free(p);
	}
	free(image);
	return 0;
}
