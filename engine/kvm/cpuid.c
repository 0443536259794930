/* SPDX-License-Identifier: ISC */
/* cpuid.c: tells KVM what CPUID answers: our model with the machine's own leaves, not the host's. On
 * the vCPU's thread, before it first runs. */
#include "engine/kvm/kvm.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "x86/cpuid.h"

#define ENTRIES_MAX 200

struct list {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entry[ENTRIES_MAX];
};

/* Leaves whose answer depends on ECX, and how many values of it are told. */
static unsigned subleaves(uint32_t leaf)
{
	switch (leaf) {
	case 0xd:
		return 64;
	case 4:
	case 0x8000001d:
		return 8;
	case 7:
	case 0xb:
	case 0x1f:
		return 3;
	default:
		return 0;
	}
}

static void add(struct kvm_vcpu *v, struct list *l, uint32_t leaf, uint32_t sub, bool indexed)
{
	uint32_t r[4];

	x86_cpuid(&v->cpu, leaf, sub, r);
	/* Absent subleaves read as zeros without an entry. */
	if (l->head.nent == ENTRIES_MAX || (indexed && sub && !(r[0] | r[1] | r[2] | r[3])))
		return;
	/* OSXSAVE follows CR4; KVM keeps it up to date. */
	l->entry[l->head.nent++] = (struct kvm_cpuid_entry2){
		.function = leaf,
		.index = sub,
		.flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
		.eax = r[0],
		.ebx = r[1],
		.ecx = r[2],
		.edx = r[3],
	};
}

static void add_range(struct kvm_vcpu *v, struct list *l, uint32_t first)
{
	uint32_t r[4], last;

	x86_cpuid(&v->cpu, first, 0, r);
	last = r[0];
	if (last < first || last > first + 0x40)
		return;
	for (uint32_t leaf = first; leaf <= last; leaf++) {
		unsigned n = subleaves(leaf);

		for (unsigned sub = 0; sub < MAX(n, 1u); sub++)
			add(v, l, leaf, sub, n);
	}
}

int kvm_set_cpuid(struct kvm_vcpu *v)
{
	struct list l = {.head = {0}};

	if (v->cpuid_set)
		return 0;
	add_range(v, &l, 0);
	add_range(v, &l, 0x40000000);
	add_range(v, &l, 0x80000000);
	if (ioctl(v->fd, KVM_SET_CPUID2, &l)) {
		plat_log(LOG_ERROR, "kvm: CPUID is refused: %s", strerror(errno));
		return err_here(ERR_NOSYS);
	}
	v->cpuid_set = true;
	return 0;
}
