/* SPDX-License-Identifier: ISC */
/* fuzz_fleet.c: any bytes as the bare-metal hypervisor's boot module. What is accepted lies inside. */
#include <stdlib.h>
#include <string.h>

#include "metal/fleet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(const struct fleet_file *f, const uint8_t *data, size_t size)
{
	if (f->data &&
	    (f->data < data || f->size > size || (size_t)(f->data - data) > size - f->size))
		abort();
}

static void runs(const struct fleet_vm *vm)
{
	struct fleet_run run;
	size_t at = 0;
	int err;

	while (fleet_run_next(&vm->contents, &at, vm->memory, &run, &err))
		if (run.offset + run.size > vm->memory ||
		    run.data + run.size > vm->contents.data + vm->contents.size)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fleet f;
	char err[128];

	if (fleet_parse(data, size, &f, err, sizeof(err)))
		return 0;
	for (unsigned i = 0; i < f.n_uplinks; i++)
		if (f.n_uplinks > FLEET_MAX_NETS || f.uplink[i] >= f.n_nets)
			abort();
	for (unsigned i = 0; i < f.n; i++) {
		inside(&f.vm[i].kernel, data, size);
		for (unsigned j = 0; j < f.vm[i].n_initrds; j++)
			inside(&f.vm[i].initrd[j], data, size);
		if (f.vm[i].text_len > sizeof(f.vm[i].text))
			abort();
		inside(&f.vm[i].state, data, size);
		runs(&f.vm[i]);
		for (unsigned k = 0; k < f.vm[i].n_disks; k++)
			inside(&f.vm[i].disk[k].image, data, size);
		for (unsigned k = 0; k < f.vm[i].n_targets; k++)
			inside(&f.vm[i].target[k].image, data, size);
		if (f.vm[i].n_nics > FLEET_MAX_NICS || f.n_nets > FLEET_MAX_NETS)
			abort();
		for (unsigned k = 0; k < f.vm[i].n_nics; k++)
			if (f.vm[i].nic[k].net >= f.n_nets || f.vm[i].nic[k].mac[0] & 1)
				abort();
		if (!strlen(f.vm[i].name) || !f.vm[i].cpus || f.vm[i].memory % MIB)
			abort();
	}
	return 0;
}
