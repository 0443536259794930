/* SPDX-License-Identifier: ISC */
/* def.c: a struct vm_def from its beginning to its end: by a command line and the definition file that it names. The options are
 * rows in def_opts.c, def_check.c says which do not go together. Called by the main thread. */
#include "ctl/def_impl.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/initrd.h"

bool vm_name_valid(const char *name)
{
	size_t n = strlen(name);

	if (!n || n > 63 || !isalnum((unsigned char)name[0]))
		return false;
	for (; *name; name++)
		if (!isalnum((unsigned char)*name) && !strchr("._-", *name))
			return false;
	return true;
}

void vm_def_init(struct vm_def *def)
{
	*def = (struct vm_def){.cpus = 1, .memory = 512 * MIB, .stop_timeout = 10};
	snprintf(def->name, sizeof(def->name), "vm-%d", (int)getpid());
}

void vm_def_fini(struct vm_def *def)
{
	char **strings[] = {&def->rtc,      &def->history, &def->policy,    &def->engine,
			    &def->board,    &def->cpu,     &def->kernel,    &def->append,
			    &def->vnc,      &def->serial,  &def->console,   &def->parallel,
			    &def->firmware, &def->vars,    &def->floppy[0], &def->floppy[1],
			    &def->gdb};

	for (unsigned i = 0; i < ARRAY_SIZE(strings); i++)
		free(*strings[i]);
	initrd_fini(def);
	for (unsigned i = 0; i < def->n_disks; i++)
		disk_def_fini(&def->disk[i]);
	for (unsigned i = 0; i < def->n_nets; i++)
		free(def->net[i]);
	*def = (struct vm_def){0};
}

/* FILE.yaml as it is; NAME from the user's folder of definitions. */
static int load_named(struct vm_def *def, const char *arg, struct msg *msg)
{
	const char *dot = strrchr(arg, '.'), *base = getenv("XDG_CONFIG_HOME"), *home;
	char path[4096];

	if (strchr(arg, '/') || (dot && (!strcmp(dot, ".yaml") || !strcmp(dot, ".yml"))))
		return vm_def_load(def, arg, msg);
	if (!vm_name_valid(arg))
		return msg_fail(msg, ERR_INVAL, "%s is neither a FILE.yaml nor a VM's name", arg);
	home = getenv("HOME");
	if (base && base[0] == '/')
		snprintf(path, sizeof(path), "%s/vigia/%s.yaml", base, arg);
	else
		snprintf(path, sizeof(path), "%s/.config/vigia/%s.yaml", home ? home : "", arg);
	if (access(path, F_OK))
		return msg_fail(msg, ERR_NOENT,
				"no VM %s is defined: write %s, or name a FILE.yaml", arg, path);
	strcpy(def->name, arg);
	strcpy(def->identity, arg); /* unless the file has a name of its own */
	return vm_def_load(def, path, msg);
}

int vm_def_parse(struct vm_def *def, int argc, char *const *argv, bool *help, struct msg *msg)
{
	struct opt_given given[64];
	struct opt_args args;
	unsigned n;
	int err = opt_scan(&cmd_run, argc, argv, given, ARRAY_SIZE(given), &n, &args, msg);

	*help = args.help;
	if (err || args.help)
		return err;
	/* The file first: options add to it or win over it. */
	if (args.n)
		err = load_named(def, args.arg[0], msg);
	for (unsigned i = 0; i < n && !err; i++)
		err = opt_set(given[i].opt, given[i].value, def, msg);
	return err ? err : vm_def_check(def, msg);
}

bool vm_def_is_pc(const struct vm_def *def)
{
	if (def->board)
		return !strcmp(def->board, "pc");
	return !def->kernel && (def->firmware || def->n_disks || def->n_floppies || def->boot[0]);
}

uint64_t vm_def_hash(const struct vm_def *def, uint64_t hash)
{
	for (const char *p = def->identity; *p; p++)
		hash = (hash ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
	return hash;
}

void vm_def_mac(const struct vm_def *def, unsigned n, uint8_t mac[6])
{
	uint64_t hash;
	uint32_t low;

	_Static_assert(DEF_MAX_NETS <= 4, "two bits tell cards apart");
	if (!def->identity[0]) {
		mac[5] = (uint8_t)(mac[5] + n);
		return;
	}
	hash = vm_def_hash(def, UINT64_C(0xcbf29ce484222325));
	low = (uint32_t)(hash >> 32 ^ hash) << 2 | n;
	mac[3] = (uint8_t)(low >> 16);
	mac[4] = (uint8_t)(low >> 8);
	mac[5] = (uint8_t)low;
}
