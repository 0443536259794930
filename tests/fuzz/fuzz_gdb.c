/* SPDX-License-Identifier: ISC */
/* fuzz_gdb.c: a client of the server for gdb sends anything: frames as the input has them, or, where it
 * begins with an even byte, packets with right sums from its lines. Behind it is a VM whose vCPUs never
 * run: its engine only keeps state. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl/gdb.h"
#include "x86/cpuid.h"

#define CPUS 3u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int vm_init(struct vm *vm)
{
	return 0;
}

static void vm_fini(struct vm *vm)
{
}

static int vcpu_init(struct vcpu *vcpu)
{
	vcpu->state = calloc(1, sizeof(*vcpu->state));
	return vcpu->state ? 0 : ERR_NOMEM;
}

static void vcpu_fini(struct vcpu *vcpu)
{
	free(vcpu->state);
}

static void debug_changed(struct vm *vm, bool breaks, bool watches)
{
	if (vm->debug_set && vm->debug_set->n_breaks > DEBUG_BREAKS)
		abort();
}

static const struct engine_ops engine = {
	.name = "none",
	.vm_init = vm_init,
	.vm_fini = vm_fini,
	.vcpu_init = vcpu_init,
	.vcpu_fini = vcpu_fini,
	.debug_changed = debug_changed,
};

static void on_note(void *ctx, const char *text)
{
}

static void on_kill(void *ctx)
{
}

static const struct gdb_ops ops = {on_note, on_kill};

struct session {
	struct vm *vm;
	struct gdb gdb;
	int fd;
};

/* Long mode, pages of 2 MiB */
static void prepare(struct vm *vm)
{
	struct x86_state *s = vm->vcpu[0]->state;
	uint64_t pte[3] = {0x2000 | 7, 0x3000 | 7, 0x87};

	for (unsigned i = 0; i < 3; i++)
		memcpy(vm->ram.hva + 0x1000 * (i + 1), &pte[i], 8);
	s->cr0 |= CR0_PE | CR0_PG;
	s->cr4 |= CR4_PAE;
	s->cr3 = 0x1000;
	s->efer |= EFER_LME | EFER_LMA;
	s->seg[CS].attr |= SEG_L;
}

static bool open_session(struct session *s, bool wide, bool avx512)
{
	struct vm_config cfg = {.name = "fuzz",
				.engine = &engine,
				.model = avx512 ? x86_model_find("x86-64-v4") : x86_model_default(),
				.cpus = CPUS,
				.memory = MIB,
				.low_end = MIB};
	int pair[2];

	if (vm_create(&cfg, &s->vm) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair))
		return false;
	if (wide)
		prepare(s->vm);
	atomic_store(&s->vm->n_parked, CPUS);
	if (gdb_init(&s->gdb, s->vm, &ops, s))
		return false;
	s->fd = pair[0];
	gdb_take_client(&s->gdb, pair[1]);
	return true;
}

static void serve(struct session *s)
{
	struct pollfd pfd[GDB_POLL_MAX];
	char sink[4096];

	for (unsigned k = 0; k < 8; k++) {
		unsigned n = gdb_poll(&s->gdb, pfd);

		if (poll(pfd, n, 0) <= 0)
			break;
		gdb_serve(&s->gdb, pfd, n);
		while (recv(s->fd, sink, sizeof(sink), 0) > 0)
			;
	}
}

/* What is said while the guest "runs" is not heard: it is stopped again before each piece. */
static void say(struct session *s, const void *p, size_t n)
{
	if (s->gdb.running && send(s->fd, "\3", 1, MSG_NOSIGNAL) == 1)
		serve(s);
	if (send(s->fd, p, n, MSG_NOSIGNAL) == (ssize_t)n)
		serve(s);
}

static void say_packet(struct session *s, const uint8_t *line, size_t n)
{
	static char buf[4096 + 8];
	uint8_t sum = 0;

	n = MIN(n, (size_t)4096);
	buf[0] = '$';
	memcpy(buf + 1, line, n);
	for (size_t i = 0; i < n; i++)
		sum = (uint8_t)(sum + line[i]);
	buf[n + 1] = '#';
	buf[n + 2] = "0123456789abcdef"[sum >> 4];
	buf[n + 3] = "0123456789abcdef"[sum & 15];
	say(s, buf, n + 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = data + size, *p = data + 1;
	struct session *s;

	if (!size)
		return 0;
	s = calloc(1, sizeof(*s));
	if (!s || !open_session(s, data[0] & 2, data[0] & 16))
		abort();
	s->gdb.want_arch = (int)(data[0] >> 2 & 3) - 1;
	while (p < end && s->gdb.fd >= 0) {
		const uint8_t *nl = memchr(p, '\n', (size_t)(end - p));
		size_t n = (size_t)((nl ? nl : end) - p);

		/* "monitor system_reset" waits for a vCPU's thread, which is not there */
		if (memmem(p, n, "qRcmd,73", 8))
			break;
		if (data[0] & 1)
			say(s, p, n);
		else
			say_packet(s, p, n);
		p += n + 1;
	}
	close(s->fd);
	gdb_close(&s->gdb);
	vm_destroy(s->vm);
	free(s);
	return 0;
}
