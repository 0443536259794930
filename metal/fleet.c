/* SPDX-License-Identifier: ISC */
/* fleet.c: the boot module that `vigia pack` makes: a cpio archive, format "newc", as Linux takes for
 * its initial RAM disk. Its file fleet.conf is lines of a keyword and a value:
 *
 *	poweroff-when-idle
 *	vm alpha
 *	memory 64M
 *	kernel alpha/kernel
 *	append console=ttyS0
 *
 * Keywords behind "vm" are that VM's; values are what the options of `vigia run` take, and file names
 * are names in the archive. Pure functions of the bytes given. */
#include "metal/fleet.h"

#include "base/str.h"

/* ---- the archive ---- */

#define CPIO_HEADER 110u

static bool hex8(const uint8_t *p, uint32_t *v)
{
	*v = 0;
	for (unsigned i = 0; i < 8; i++) {
		unsigned c = p[i] | 0x20u, d = c - '0' < 10 ? c - '0' : c - 'a' + 10;

		if (d > 15)
			return false;
		*v = *v << 4 | d;
	}
	return true;
}

static bool cpio_find(const uint8_t *a, size_t size, const char *want, struct fleet_file *out)
{
	size_t at = 0;

	while (size - at >= CPIO_HEADER) {
		uint32_t len, name_len;
		size_t name = at + CPIO_HEADER, data;

		if (memcmp(a + at, "070701", 6) || !hex8(a + at + 54, &len) ||
		    !hex8(a + at + 94, &name_len))
			return false;
		if (!name_len || name_len > size - name || a[name + name_len - 1])
			return false;
		data = ALIGN_UP(name + name_len, (size_t)4);
		if (data > size || len > size - data)
			return false;
		if (str_eq((const char *)a + name, want)) {
			*out = (struct fleet_file){a + data, len};
			return true;
		}
		at = ALIGN_UP(data + len, (size_t)4);
		if (at > size)
			return false;
	}
	return false;
}

/* ---- lines ---- */

struct parse {
	const uint8_t *module;
	size_t size;
	struct fleet *fleet;
	struct fleet_vm *vm; /* NULL: before the first */
	char *err;
	size_t err_size;
};

static int wrong(struct parse *p, const char *what, const char *value)
{
	str_format(p->err, p->err_size, "%s: %s", what, value);
	return err_here(ERR_FORMAT);
}

/* Digits and at the end perhaps K, M or G. */
static bool number(const char *s, uint64_t *v)
{
	*v = 0;
	if (*s < '0' || *s > '9')
		return false;
	for (; *s >= '0' && *s <= '9'; s++) {
		if (*v > UINT64_MAX / 16)
			return false;
		*v = *v * 10 + (uint64_t)(*s - '0');
	}
	if (*s) {
		unsigned shift = *s == 'K' ? 10 : *s == 'M' ? 20 : *s == 'G' ? 30 : 0;

		if (!shift || s[1] || *v >> (63 - shift))
			return false;
		*v <<= shift;
	}
	return true;
}

static int take_vm(struct parse *p, char *value)
{
	if (p->fleet->n == FLEET_MAX_VMS)
		return wrong(p, "more VMs than 16", value);
	if (!*value)
		return wrong(p, "a VM needs a name", value);
	for (unsigned i = 0; i < p->fleet->n; i++)
		if (str_eq(p->fleet->vm[i].name, value))
			return wrong(p, "two VMs of one name", value);
	p->vm = &p->fleet->vm[p->fleet->n];
	*p->vm = (struct fleet_vm){
		.memory = 256 * MIB, .cpus = 1, .weight = 1024, .cap = 100, .pin = UINT64_MAX};
	if (!str_copy(p->vm->name, sizeof(p->vm->name), value))
		return wrong(p, "the name is too long", value);
	p->fleet->n++;
	return 0;
}

static int take_memory(struct parse *p, char *value)
{
	if (!number(value, &p->vm->memory) || !p->vm->memory || !IS_ALIGNED(p->vm->memory, MIB))
		return wrong(p, "memory must be whole MiB", value);
	return 0;
}

static int take_cpus(struct parse *p, char *value)
{
	uint64_t v;

	if (!number(value, &v) || !v || v > 32)
		return wrong(p, "cpus must be 1 to 32", value);
	p->vm->cpus = (unsigned)v;
	return 0;
}

static int take_weight(struct parse *p, char *value)
{
	uint64_t v;

	if (!number(value, &v) || !v || v > 65536)
		return wrong(p, "weight must be 1 to 65536", value);
	p->vm->weight = (unsigned)v;
	return 0;
}

static int take_cap(struct parse *p, char *value)
{
	uint64_t v;

	if (!number(value, &v) || !v || v > 100)
		return wrong(p, "cap must be 1 to 100", value);
	p->vm->cap = (unsigned)v;
	return 0;
}

/* A mask: 16 hexadecimal digits */
static int take_pin(struct parse *p, char *value)
{
	uint32_t hi = 0, lo = 0;

	if (str_len(value) != 16 || !hex8((const uint8_t *)value, &hi) ||
	    !hex8((const uint8_t *)value + 8, &lo) || !(hi | lo))
		return wrong(p, "pin is a mask of processors", value);
	p->vm->pin = (uint64_t)hi << 32 | lo;
	return 0;
}

static int find_file(struct parse *p, const char *name, struct fleet_file *out)
{
	return cpio_find(p->module, p->size, name, out)
		       ? 0
		       : wrong(p, "no such file in the module", name);
}

static int take_kernel(struct parse *p, char *value)
{
	return find_file(p, value, &p->vm->kernel);
}

/* FILE or FILE TEXT */
static int take_initrd(struct parse *p, char *value)
{
	struct fleet_vm *vm = p->vm;
	char *text = value;

	while (*text && *text != ' ')
		text++;
	if (*text)
		*text++ = 0;
	if (vm->n_initrds == FLEET_MAX_INITRDS)
		return wrong(p, "more initrds than 16", value);
	if (!str_copy(vm->text + vm->text_len, sizeof(vm->text) - vm->text_len, text))
		return wrong(p, "the texts of initrds are longer than 512", text);
	vm->text_len += str_len(text) + 1;
	return find_file(p, value, &vm->initrd[vm->n_initrds++]);
}

static int take_policy(struct parse *p, char *value)
{
	return find_file(p, value, &p->vm->policy);
}

static int take_state(struct parse *p, char *value)
{
	return find_file(p, value, &p->vm->state);
}

static int take_contents(struct parse *p, char *value)
{
	return find_file(p, value, &p->vm->contents);
}

static int take_cpu(struct parse *p, char *value)
{
	return str_copy(p->vm->cpu, sizeof(p->vm->cpu), value)
		       ? 0
		       : wrong(p, "the processor's name is too long", value);
}

static int take_append(struct parse *p, char *value)
{
	if (!str_copy(p->vm->append, sizeof(p->vm->append), value))
		return wrong(p, "append is too long", value);
	return 0;
}

static int take_storage(struct parse *p, char *value, struct fleet_disk *d)
{
	size_t len = str_len(value);

	if (len > 3 && str_eq(value + len - 3, ",ro")) {
		d->read_only = true;
		value[len - 3] = 0;
	}
	if (!memcmp(value, "host:", MIN(len, 5u)) && len > 5)
		return str_copy(d->host, sizeof(d->host), value + 5)
			       ? 0
			       : wrong(p, "the disk's name is too long", value);
	return find_file(p, value, &d->image);
}

static int take_disk(struct parse *p, char *value)
{
	if (p->vm->n_disks == FLEET_MAX_DISKS)
		return wrong(p, "more disks than 8", value);
	return take_storage(p, value, &p->vm->disk[p->vm->n_disks++]);
}

static int take_target(struct parse *p, char *value)
{
	if (p->vm->n_targets == FLEET_MAX_TARGETS)
		return wrong(p, "more targets than 4", value);
	return take_storage(p, value, &p->vm->target[p->vm->n_targets++]);
}

/* The network of that name, which need not have been spoken of before. */
static int find_net(struct parse *p, const char *name, unsigned *out)
{
	unsigned n = 0;

	while (n < p->fleet->n_nets && !str_eq(p->fleet->net[n], name))
		n++;
	*out = n;
	if (n < p->fleet->n_nets)
		return 0;
	if (n == FLEET_MAX_NETS)
		return wrong(p, "more networks than 16", name);
	if (!*name || !str_copy(p->fleet->net[n], sizeof(p->fleet->net[n]), name))
		return wrong(p, "a network's name has 1 to 15 characters", name);
	p->fleet->n_nets++;
	return 0;
}

static int take_uplink(struct parse *p, char *value)
{
	unsigned n = p->fleet->n_uplinks;

	if (n == FLEET_MAX_NETS)
		return wrong(p, "more uplinks than 16", value);
	p->fleet->n_uplinks++;
	return find_net(p, value, &p->fleet->uplink[n]);
}

static bool parse_mac(const char *s, uint8_t mac[6])
{
	for (unsigned i = 0; i < 6; i++, s += 3) {
		int hi = hex_digit(s[0]), lo = hi < 0 ? -1 : hex_digit(s[1]);

		if (lo < 0 || s[2] != (i < 5 ? ':' : 0))
			return false;
		mac[i] = (uint8_t)(hi << 4 | lo);
	}
	return !(mac[0] & 1);
}

/* NAME MAC */
static int take_net(struct parse *p, char *value)
{
	unsigned n = p->vm->n_nics;
	char *mac = value;

	while (*mac && *mac != ' ')
		mac++;
	if (*mac)
		*mac++ = 0;
	if (n == FLEET_MAX_NICS)
		return wrong(p, "more network cards than 4", value);
	if (!parse_mac(mac, p->vm->nic[n].mac))
		return wrong(p, "not a card's address", mac);
	p->vm->n_nics++;
	return find_net(p, value, &p->vm->nic[n].net);
}

static int take_may_lack(struct parse *p, char *value)
{
	p->vm->may_lack = true;
	return 0;
}

static int take_manual(struct parse *p, char *value)
{
	p->vm->manual = true;
	return 0;
}

static int take_poweroff(struct parse *p, char *value)
{
	p->fleet->poweroff = true;
	return 0;
}

static int take_history(struct parse *p, char *value)
{
	if (memcmp(value, "host:", MIN(str_len(value), (size_t)5)) || str_len(value) <= 5 ||
	    !str_copy(p->fleet->history, sizeof(p->fleet->history), value + 5))
		return wrong(p, "not a disk of the machine", value);
	return 0;
}

static const struct {
	const char *key;
	int (*take)(struct parse *p, char *value);
	bool global;
} keys[] = {
	{"poweroff-when-idle", take_poweroff, true},
	{"history", take_history, true},
	{"uplink", take_uplink, true},
	{"vm", take_vm, true},
	{"memory", take_memory},
	{"cpus", take_cpus},
	{"cpu", take_cpu},
	{"weight", take_weight},
	{"cap", take_cap},
	{"pin", take_pin},
	{"kernel", take_kernel},
	{"initrd", take_initrd},
	{"policy", take_policy},
	{"state", take_state},
	{"contents", take_contents},
	{"may-lack", take_may_lack},
	{"append", take_append},
	{"disk", take_disk},
	{"target", take_target},
	{"net", take_net},
	{"manual", take_manual},
};

static int take_line(struct parse *p, char *line)
{
	char *value = line;

	if (!*line || *line == '#')
		return 0;
	while (*value && *value != ' ')
		value++;
	if (*value)
		*value++ = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
		if (!str_eq(keys[i].key, line))
			continue;
		if (!p->vm && !keys[i].global)
			return wrong(p, "stands before the first vm", line);
		return keys[i].take(p, value);
	}
	return wrong(p, "unknown keyword", line);
}

bool fleet_run_next(const struct fleet_file *f, size_t *at, uint64_t memory, struct fleet_run *out,
		    int *err)
{
	uint64_t head[2];

	*err = 0;
	if (*at == f->size)
		return false;
	*err = ERR_FORMAT;
	if (f->size - *at < sizeof(head))
		return false;
	memcpy(head, f->data + *at, sizeof(head));
	*at += sizeof(head);
	if (!head[1] || (head[0] | head[1]) & PAGE_MASK || head[0] > memory ||
	    head[1] > memory - head[0] || head[1] > f->size - *at)
		return false;
	*out = (struct fleet_run){head[0], head[1], f->data + *at};
	*at += head[1];
	*err = 0;
	return true;
}

int fleet_parse(const uint8_t *module, size_t size, struct fleet *out, char *err, size_t err_size)
{
	struct parse p = {module, size, out, NULL, err, err_size};
	struct fleet_file conf;
	char line[1100];
	size_t n = 0;
	int r = 0;

	memset(out, 0, sizeof(*out));
	if (!cpio_find(module, size, "fleet.conf", &conf))
		return wrong(&p, "not a fleet", "a cpio archive with a file fleet.conf is wanted");
	for (size_t i = 0; i <= conf.size && !r; i++) {
		char c = i < conf.size ? (char)conf.data[i] : '\n';

		if (c != '\n') {
			if (n + 1 == sizeof(line))
				return wrong(&p, "a line is too long", "1099 characters at most");
			line[n++] = c;
			continue;
		}
		line[n] = 0;
		n = 0;
		r = take_line(&p, line);
	}
	for (unsigned i = 0; i < out->n && !r; i++)
		if (!out->vm[i].kernel.data)
			r = wrong(&p, "no kernel is given for", out->vm[i].name);
	return r;
}
