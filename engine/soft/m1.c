/* SPDX-License-Identifier: ISC */
/* m1.c: placeholder until the translator is in: everything is interpreted. */
#include "engine/soft/block.h"
#include "engine/soft/enter.h"

int soft_cache_create(struct soft_vm *sv)
{
	return 0;
}
void soft_cache_destroy(struct soft_vm *sv)
{
}
bool soft_cache_has_pc(const struct soft_vm *sv, uint64_t pc)
{
	return false;
}
const uint8_t *soft_find(struct soft_vcpu *v)
{
	return NULL;
}
const uint8_t *soft_fault_site(struct soft_vcpu *v, uint64_t pc, uint32_t *site)
{
	return NULL;
}
void soft_jumps_init(struct soft_vcpu *v)
{
}
void soft_jumps_flush(struct soft_vcpu *v, bool all)
{
}
void soft_code_store(struct soft_vcpu *v, gpa_t gpa)
{
}
void soft_code_changed(struct soft_vm *sv, struct soft_vcpu *v, gpa_t gpa, uint64_t len)
{
}
void soft_enter(struct soft_vcpu *v, const uint8_t *code)
{
}
const uint8_t *soft_leave_code(struct soft_vcpu *v)
{
	return NULL;
}
