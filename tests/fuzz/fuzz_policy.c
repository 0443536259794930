/* SPDX-License-Identifier: ISC */
/* fuzz_policy.c: any text to the compiler of rules; what compiles decides requests made of its bytes,
 * frames included. */
#include <string.h>

#include "monitor/policy.h"

static int include(void *arg, const char *from, const char *name, const char **text, size_t *len)
{
	*text = "deny port 1\ninclude again\n";
	*len = strlen(*text);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct policy_source src = {"fuzz", (const char *)data, size, include, NULL, NULL};
	struct policy_error e;
	struct policy *p;

	if (policy_compile(&src, &p, &e))
		return 0;
	for (unsigned cls = 0; cls < MON_CLASSES; cls++) {
		struct mon_event ev = {.cls = (uint8_t)cls,
				       .op = size ? data[0] & 7 : 0,
				       .size = 4,
				       .addr = size * 16,
				       .value = 4096,
				       .data = data,
				       .len = (uint32_t)size};

		policy_decide(p, &ev);
		policy_decide(p, &ev);
	}
	policy_free(p);
	return 0;
}
