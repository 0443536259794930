/* SPDX-License-Identifier: ISC */
/* engines.c: the list of engines. "auto" takes the first that is usable; KVM comes before
 * translation, but only where probing has shown that it really executes (some hosts' /dev/kvm
 * emulates a million instructions a second). Main thread. */
#include "ctl/engines.h"

#include <stdlib.h>
#include <string.h>

#include "ctl/opt.h"
#include "engine/kvm/kvm.h"
#include "engine/soft/soft.h"
#include "vm/vm.h"

static int probe_kvm(struct engine_probe *out)
{
	return engine_kvm.probe(out);
}

static int probe_soft(struct engine_probe *out)
{
	return engine_soft.probe(out);
}

const struct engine_row engine_table[] = {
	{"kvm", &engine_kvm, probe_kvm, "hardware virtualization through /dev/kvm"},
	{"soft", &engine_soft, probe_soft, "binary translation, on any x86-64"},
};
const unsigned engine_count = ARRAY_SIZE(engine_table);

int engine_choose(const char *name, const struct engine_ops **out, struct msg *msg)
{
	bool any = !name || !strcmp(name, "auto");

	for (unsigned i = 0; i < engine_count; i++) {
		const struct engine_row *row = &engine_table[i];
		struct engine_probe probe = {.usable = false};

		if (!any && strcmp(row->name, name))
			continue;
		if (!row->ops && !any)
			return msg_fail(msg, ERR_NOSYS,
					"the engine %s is not in this version yet: use "
					"--engine soft",
					name);
		if (any && (row->probe(&probe) || !probe.usable))
			continue;
		if (row->ops) {
			*out = row->ops;
			return 0;
		}
	}
	return msg_fail(msg, ERR_INVAL, "there is no engine %s: see vigia doctor", name);
}

static int env_u64(const char *name, uint64_t max, uint64_t *out, struct msg *msg)
{
	const char *s = getenv(name);

	*out = 0;
	return s ? opt_u64(s, 0, max, name, out, msg) : 0;
}

int engine_tune(struct vm *vm, struct msg *msg)
{
	uint64_t cache, flush, hot, lines, interp, log, stats;
	int err = env_u64("VIGIA_SOFT_CACHE", GIB, &cache, msg);

	if (!err)
		err = env_u64("VIGIA_SOFT_FLUSH", UINT32_MAX, &flush, msg);
	if (!err)
		err = env_u64("VIGIA_SOFT_HOT", SOFT_HOT_NEVER, &hot, msg);
	if (!err)
		err = env_u64("VIGIA_SOFT_LINES", SOFT_LINES_NEVER, &lines, msg);
	if (!err)
		err = env_u64("VIGIA_SOFT_INTERP", 1, &interp, msg);
	if (!err)
		err = env_u64("VIGIA_SOFT_LOG", 1, &log, msg);
	if (!err)
		err = env_u64("VIGIA_SOFT_STATS", 1, &stats, msg);
	if (err || vm->engine != &engine_soft ||
	    !(cache || flush || hot || lines || interp || log || stats))
		return err;
	err = soft_configure(vm, &(struct soft_config){.cache_bytes = cache,
						       .flush_every = (uint32_t)flush,
						       .hot = (enum soft_hot)hot,
						       .lines = (enum soft_lines)lines,
						       .interp = interp,
						       .log_blocks = log,
						       .log_stats = stats});
	return err ? msg_fail(msg, err, "VIGIA_SOFT_*: %s", err_str(err)) : 0;
}
