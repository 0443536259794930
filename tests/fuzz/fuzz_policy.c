/* SPDX-License-Identifier: ISC */
/* fuzz_policy.c: any text to the compiler of rules; what compiles decides requests made of the bytes behind it,
 * frames and flows included. Input: rules, a byte of zero, a frame. */
#include <string.h>

#include "monitor/policy.h"

static int include(void *arg, const char *from, const char *name, const char **text, size_t *len)
{
	*text = "deny port 1\ninclude again\n";
	*len = strlen(*text);
	return 0;
}

/* A flow whose address and name are the text's last bytes. */
static void decide_flow(struct policy *p, const uint8_t *data, size_t size)
{
	char name[64] = "";
	struct policy_flow f = {.proto = 17, .port = 53, .outward = true, .packets = size};
	uint32_t line;

	for (size_t i = 0; i < size && i < sizeof(name) - 1; i++)
		name[i] = (char)data[size - 1 - i];
	memcpy(f.remote.b, data + (size < 16 ? 0 : size - 16), size < 16 ? size : 16);
	f.bytes = size * 100;
	f.unit = size ? data[0] & 3 : 0;
	policy_decide_flow(p, &f, &line);
	f.name = name;
	policy_decide_flow(p, &f, &line);
}

static void decide_frame(struct policy *p, const uint8_t *data, size_t size)
{
	struct frame_info fi;
	struct mon_event ev;

	if (size < 14)
		return;
	for (unsigned i = 0; i < 4; i++) {
		ev = frame_event(i & 1 ? NET_SEND : NET_RECEIVE, i >> 1, data, size, size, &fi);
		policy_decide(p, &ev);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = size ? memchr(data, 0, size) : NULL;
	struct policy_source src = {
		"fuzz", (const char *)data, end ? (size_t)(end - data) : size, include, NULL, NULL,
		false};
	struct policy_error e;
	struct policy *p;

	if (policy_compile(&src, &p, &e))
		return 0;
	if (end) {
		size -= (size_t)(end + 1 - data);
		data = end + 1;
	}
	for (unsigned cls = 0; cls < MON_CLASSES; cls++) {
		struct mon_event ev = {.cls = (uint8_t)cls,
				       .op = size ? data[0] & 7 : 0,
				       .size = 4,
				       .addr = size * 16,
				       .value = 4096};

		policy_decide(p, &ev);
		policy_decide(p, &ev);
	}
	decide_frame(p, data, size);
	decide_flow(p, data, size);
	policy_free(p);
	return 0;
}
