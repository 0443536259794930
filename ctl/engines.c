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

int engine_tune(struct vm *vm, bool profile, struct msg *msg)
{
	enum {
		CACHE,
		FLUSH,
		HOT,
		LINES,
		NOMIRRORS,
		NOAHEAD,
		NOMEMOS,
		NOLOOPS,
		NOSECOND,
		DIRECT,
		LIVEFLAGS,
		INTERP,
		LOG,
		STATS,
		VARS
	};
	static const struct {
		const char *name;
		uint64_t max;
	} var[VARS] = {
		[CACHE] = {"VIGIA_SOFT_CACHE", GIB},
		[FLUSH] = {"VIGIA_SOFT_FLUSH", UINT32_MAX},
		[HOT] = {"VIGIA_SOFT_HOT", SOFT_HOT_NEVER},
		[LINES] = {"VIGIA_SOFT_LINES", SOFT_LINES_NEVER},
		[NOMIRRORS] = {"VIGIA_SOFT_NOMIRRORS", 1},
		[NOAHEAD] = {"VIGIA_SOFT_NOAHEAD", 1},
		[NOMEMOS] = {"VIGIA_SOFT_NOMEMOS", 1},
		[NOLOOPS] = {"VIGIA_SOFT_NOLOOPS", 1},
		[NOSECOND] = {"VIGIA_SOFT_NOSECOND", 1},
		[DIRECT] = {"VIGIA_SOFT_DIRECT", SOFT_DIRECT_NEVER},
		[LIVEFLAGS] = {"VIGIA_SOFT_LIVEFLAGS", 1},
		[INTERP] = {"VIGIA_SOFT_INTERP", 1},
		[LOG] = {"VIGIA_SOFT_LOG", 1},
		[STATS] = {"VIGIA_SOFT_STATS", 1},
	};
	uint64_t x[VARS] = {0}, any = 0;
	int err = 0;

	for (unsigned i = 0; i < VARS && !err; i++) {
		const char *s = getenv(var[i].name);

		if (s)
			err = opt_u64(s, 0, var[i].max, var[i].name, &x[i], msg);
		any |= x[i];
	}
	if (!err && profile && vm->engine != &engine_soft)
		return msg_fail(msg, ERR_NOSYS,
				"--profile: the engine %s keeps none: add --engine soft",
				vm->engine->name);
	if (err || vm->engine != &engine_soft || !(any || profile))
		return err;
	err = soft_configure(vm, &(struct soft_config){.cache_bytes = x[CACHE],
						       .flush_every = (uint32_t)x[FLUSH],
						       .hot = (enum soft_hot)x[HOT],
						       .lines = (enum soft_lines)x[LINES],
						       .no_mirrors = x[NOMIRRORS],
						       .no_ahead = x[NOAHEAD],
						       .no_memos = x[NOMEMOS],
						       .no_loops = x[NOLOOPS],
						       .no_second = x[NOSECOND],
						       .directly = (enum soft_directly)x[DIRECT],
						       .live_flags = x[LIVEFLAGS],
						       .interp = x[INTERP],
						       .log_blocks = x[LOG],
						       .log_stats = x[STATS],
						       .profile = profile});
	return err ? msg_fail(msg, err, "--profile, VIGIA_SOFT_*: %s", err_str(err)) : 0;
}
