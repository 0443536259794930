/* SPDX-License-Identifier: ISC */
/* cpuid.c: tells KVM what CPUID answers: our model with the machine's own leaves, not the host's. On
 * the vCPU's thread, before it first runs. */
#include "engine/kvm/kvm.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "x86/cpuid.h"

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

/* Feature words, and the bits in them that are ours to give, whatever KVM says: what stands on our
 * local APICs and tables, and OSXSAVE, which follows CR4 by KVM's own doing. */
static const struct {
	uint32_t leaf, sub, ours[4];
} feature_words[] = {
	{1, 0, {UINT32_MAX, UINT32_MAX, BIT(21) | BIT(24) | BIT(27) | BIT(31), BIT(9) | BIT(28)}},
	{7, 0, {UINT32_MAX, 0, 0, 0}},
	{7, 1, {0, 0, 0, 0}},
	{0xd, 0, {0, UINT32_MAX, UINT32_MAX, 0}},
	{0xd, 1, {0, UINT32_MAX, UINT32_MAX, UINT32_MAX}},
	{0x80000001, 0, {UINT32_MAX, UINT32_MAX, BIT(1), 0}},
};

void kvm_cpuid_mask(const struct kvm_vm *kv, uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	const union kvm_cpuid_list *host = &kv->host;

	for (unsigned i = 0; i < ARRAY_SIZE(feature_words); i++) {
		if (feature_words[i].leaf != leaf || feature_words[i].sub != sub)
			continue;
		for (unsigned k = 0; k < host->head.nent; k++) {
			const struct kvm_cpuid_entry2 *e = &host->head.entries[k];
			const uint32_t has[4] = {e->eax, e->ebx, e->ecx, e->edx};

			if (e->function != leaf || e->index != sub)
				continue;
			for (unsigned n = 0; n < 4; n++)
				r[n] &= has[n] | feature_words[i].ours[n];
			return;
		}
	}
}

static void add(struct kvm_vcpu *v, union kvm_cpuid_list *l, uint32_t leaf, uint32_t sub,
		bool indexed)
{
	uint32_t r[4];

	x86_cpuid(&v->cpu, leaf, sub, r); /* masked: kvm_cpu_ops */
	/* Absent subleaves read as zeros without an entry. */
	if (l->head.nent == KVM_CPUID_MAX || (indexed && sub && !(r[0] | r[1] | r[2] | r[3])))
		return;
	l->head.entries[l->head.nent++] = (struct kvm_cpuid_entry2){
		.function = leaf,
		.index = sub,
		.flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
		.eax = r[0],
		.ebx = r[1],
		.ecx = r[2],
		.edx = r[3],
	};
}

static void add_range(struct kvm_vcpu *v, union kvm_cpuid_list *l, uint32_t first)
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

static const struct {
	uint32_t leaf;
	uint8_t sub, reg, bit;
} places[X_FEAT_COUNT] = {
#define F(name, leaf, sub, reg, bit) [X_FEAT_##name] = {leaf, sub, CPUID_##reg, bit},
	X86_FEATURES(F)
#undef F
};

/* The interpreter is no other processor. */
static void limit_features(struct kvm_vcpu *v)
{
	for (unsigned f = 1; f < X_FEAT_COUNT; f++) {
		uint32_t r[4] = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};

		kvm_cpuid_mask(v->kv, places[f].leaf, places[f].sub, r);
		if (!(r[places[f].reg] & BIT(places[f].bit)))
			v->cpu.i.feat[f >> 6] &= ~BIT64(f & 63);
	}
}

int kvm_set_cpuid(struct kvm_vcpu *v)
{
	union kvm_cpuid_list l = {.head = {0}};

	if (v->cpuid_set)
		return 0;
	limit_features(v);
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
