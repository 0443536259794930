/* SPDX-License-Identifier: ISC */
/* test_vmx_state.c: PAE's entries between the state and a VMCS that is an array here. MOV to CR3 loads them without an
 * exit, and the processor checks them by its own width of addresses, not by the guest's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/hw/vmx_impl.h"

#define GUEST_WIDTH 36
#define BEYOND      (BIT64(40) | 1) /* a page table that this guest's processor cannot have */

static uint64_t vmcs[0x10000];

uint64_t vmcs_read(uint32_t field)
{
	return vmcs[field & 0xffff];
}

void vmcs_write(uint32_t field, uint64_t value)
{
	vmcs[field & 0xffff] = value;
}

static struct vmx_vcpu *setup_vcpu(void)
{
	struct vmx_vcpu *x = aligned_alloc(64, ALIGN_UP(sizeof(*x), 64));
	struct x86_state *s;

	assert_non_null(x);
	*x = (struct vmx_vcpu){.msrs = calloc(1, sizeof(*x->msrs)), .fresh = true};
	x->v.where = IN_HW;
	s = &x->v.cpu.s;
	s->maxphy = GUEST_WIDTH;
	s->cr0 = CR0_PE | CR0_PG;
	s->cr4 = CR4_PAE;
	vmcs[VMCS_CR0] = s->cr0;
	return x;
}

static void teardown_vcpu(struct vmx_vcpu *x)
{
	free(x->msrs);
	free(x);
}

static void pull(struct vmx_vcpu *x, const uint64_t e[4])
{
	for (unsigned i = 0; i < 4; i++)
		vmcs[(VMCS_PDPTE + 2 * i) & 0xffff] = e[i];
	x->v.where = IN_HW;
	vmx_pull(&x->v);
}

/* What the state says that the processor has loaded its own checks would have passed: a saved state with anything else
 * is refused, as no guest could have come to it. */
static void test_pdptes(void **state)
{
	static const uint64_t good[4] = {0x1001, 0x2001, 0, BIT64(40)};
	static const uint64_t wide[4] = {0x1001, BEYOND, 0, 0}, bits[4] = {0x1001, 0x2003, 0, 0};
	struct vmx_vcpu *x = setup_vcpu();
	struct x86_state *s = &x->v.cpu.s;

	pull(x, good);
	assert_true(s->pdptes_loaded);
	assert_memory_equal(s->pdpte, good, sizeof(good));
	pull(x, wide);
	assert_false(s->pdptes_loaded);
	pull(x, bits);
	assert_false(s->pdptes_loaded);
	/* without PAE they are nobody's */
	s->cr4 = 0;
	pull(x, wide);
	assert_false(s->pdptes_loaded);
	teardown_vcpu(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pdptes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
