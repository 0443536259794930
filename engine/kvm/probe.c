/* SPDX-License-Identifier: ISC */
/* probe.c: does this host's KVM execute guests? Runs a loop in real mode and measures it: there are
 * hosts whose /dev/kvm opens, works, and emulates a million instructions a second. Any thread. */
#include "engine/kvm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* Below this it is emulation; the slowest processor with virtualization does far more. */
#define NATIVE_IPS 20000000
#define SHORT_RUN  2000u
#define LONG_RUN   5000000u

/* l: dec ecx; jnz l; hlt */
static const uint8_t code[] = {0x66, 0x49, 0x75, 0xfc, 0xf4};

struct probe {
	int dev, vm, vcpu;
	uint8_t *page;
	struct kvm_run *run;
	size_t run_size;
};

static int prepare(struct probe *p)
{
	struct kvm_userspace_memory_region r = {.memory_size = PAGE_SIZE};
	int size = ioctl(p->dev, KVM_GET_VCPU_MMAP_SIZE, 0);
	void *m;

	p->vm = ioctl(p->dev, KVM_CREATE_VM, 0);
	if (p->vm < 0 || size <= 0)
		return ERR_NOSYS;
	m = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED)
		return ERR_NOMEM;
	p->page = m;
	memcpy(p->page, code, sizeof(code));
	r.userspace_addr = (uint64_t)p->page;
	if (ioctl(p->vm, KVM_SET_TSS_ADDR, 0xfffbd000u) && errno != ENOTTY && errno != EINVAL)
		return ERR_NOSYS;
	if (ioctl(p->vm, KVM_SET_USER_MEMORY_REGION, &r))
		return ERR_NOSYS;
	p->vcpu = ioctl(p->vm, KVM_CREATE_VCPU, 0);
	if (p->vcpu < 0)
		return ERR_NOSYS;
	p->run_size = (size_t)size;
	m = mmap(NULL, p->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, p->vcpu, 0);
	if (m == MAP_FAILED)
		return ERR_NOMEM;
	p->run = m;
	return 0;
}

/* Nanoseconds for n rounds; 0: it does not work. */
static uint64_t measure(struct probe *p, uint32_t n)
{
	struct kvm_regs regs = {.rcx = n, .rflags = 2};
	struct kvm_sregs sregs;
	uint64_t start;

	if (ioctl(p->vcpu, KVM_GET_SREGS, &sregs))
		return 0;
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	if (ioctl(p->vcpu, KVM_SET_SREGS, &sregs) || ioctl(p->vcpu, KVM_SET_REGS, &regs))
		return 0;
	start = plat_now();
	while (ioctl(p->vcpu, KVM_RUN, 0))
		if (errno != EINTR)
			return 0;
	if (p->run->exit_reason != KVM_EXIT_HLT || ioctl(p->vcpu, KVM_GET_REGS, &regs) ||
	    (uint32_t)regs.rcx)
		return 0;
	return MAX(plat_now() - start, UINT64_C(1));
}

static void judge(struct probe *p, struct engine_probe *out)
{
	uint32_t n = SHORT_RUN;
	/* The first entry of all is slow: pages and tables are made. */
	uint64_t ns = prepare(p) || !measure(p, 1) ? 0 : measure(p, n);

	/* The first look costs a few milliseconds even where it emulates. */
	if (ns && 2ull * n * NS_PER_SEC / ns >= NATIVE_IPS / 4) {
		n = LONG_RUN;
		ns = measure(p, n);
	}
	if (!ns) {
		out->verdict = "does not run a guest";
		out->advice = "soft is used";
		return;
	}
	out->ips = 2ull * n * NS_PER_SEC / ns;
	out->usable = out->ips >= NATIVE_IPS;
	out->verdict = out->usable ? "executes natively" : "emulates";
	out->advice = out->usable ? NULL : "slower than translation: soft is used";
}

int kvm_probe(struct engine_probe *out)
{
	struct probe p = {.dev = open("/dev/kvm", O_RDWR | O_CLOEXEC), .vm = -1, .vcpu = -1};

	*out = (struct engine_probe){.usable = false};
	if (p.dev < 0) {
		out->verdict = errno == EACCES || errno == EPERM ? "no permission" : "absent";
		out->advice = errno == EACCES || errno == EPERM
				      ? "add yourself to the group kvm; until then soft is used"
				      : "not needed: soft is used";
		return 0;
	}
	if (ioctl(p.dev, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) {
		out->verdict = "speaks another version";
		out->advice = "soft is used";
	} else {
		judge(&p, out);
	}
	if (p.run)
		munmap(p.run, p.run_size);
	if (p.page)
		munmap(p.page, PAGE_SIZE);
	if (p.vcpu >= 0)
		close(p.vcpu);
	if (p.vm >= 0)
		close(p.vm);
	close(p.dev);
	return 0;
}
