/* SPDX-License-Identifier: ISC */
/* test_gdb.c: gdb's protocol over a socket pair, two vCPUs of the software engine behind it. Each runs
 * inc [rdi]; mov rax, [rsi]; jmp to the start; the first one with RDI = DATA, the second DATA2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl/gdb.h"
#include "tests/lib/soft_rig.h"

#define DATA2 (RIG_DATA + 0x3000)
#define CODE2 (RIG_CODE + 0x2000)
#define WAIT  5000 /* ms until a test fails */

struct session {
	struct rig rig;
	struct gdb gdb;
	int fd;
	char reply[2 * GDB_PACKET_MAX];
	char last_note[128];
	unsigned killed;
};

static const uint8_t prog[] = {
	0x48, 0xff, 0x07, /* inc qword [rdi] */
	0x48, 0x8b, 0x06, /* mov rax, [rsi] */
	0xeb, 0xf8,       /* jmp to the start */
};

static void on_note(void *ctx, const char *text)
{
	snprintf(((struct session *)ctx)->last_note, 128, "%s", text);
}

static void on_kill(void *ctx)
{
	((struct session *)ctx)->killed++;
	vm_stop(((struct session *)ctx)->rig.vm, VM_STOPPED, 0);
}

static const struct gdb_ops ops = {on_note, on_kill};

static void connect_client(struct session *s)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	s->fd = pair[0];
	gdb_take_client(&s->gdb, pair[1]);
}

static void setup(struct session *s, unsigned cpus, bool interp)
{
	const struct soft_config cfg = {.interp = interp};
	struct vm *vm;

	memset(s, 0, sizeof(*s));
	assert_int_equal(rig_open_cpus(&s->rig, &cfg, cpus), 0);
	vm = s->rig.vm;
	memcpy(s->rig.ram + RIG_CODE, prog, sizeof(prog));
	memcpy(s->rig.ram + CODE2, prog, sizeof(prog));
	s->rig.s->gpr[RDI] = RIG_DATA;
	s->rig.s->gpr[RSI] = RIG_DATA + 8;
	if (cpus > 1) {
		struct x86_state *s2 = vm->vcpu[1]->state;

		*s2 = *s->rig.s;
		s2->rip = CODE2;
		s2->gpr[RDI] = DATA2;
		s2->gpr[RSI] = DATA2 + 8;
		vm->engine->set_state(vm->vcpu[1]);
	}
	assert_int_equal(gdb_init(&s->gdb, vm, &ops, s), 0);
	connect_client(s);
}

static void teardown(struct session *s)
{
	close(s->fd);
	vm_stop(s->rig.vm, VM_STOPPED, 0);
	vm_wait(s->rig.vm);
	gdb_close(&s->gdb);
	rig_close(&s->rig);
}

static uint64_t counter(struct session *s, unsigned vcpu)
{
	return *(volatile uint64_t *)(void *)(s->rig.ram + (vcpu ? DATA2 : RIG_DATA));
}

/* Serves until the client has something to read. */
static bool serve(struct session *s, int ms)
{
	struct pollfd pfd[GDB_POLL_MAX + 1];

	for (;;) {
		unsigned n = gdb_poll(&s->gdb, pfd);

		pfd[n] = (struct pollfd){.fd = s->fd, .events = POLLIN};
		if (poll(pfd, n + 1, ms) <= 0)
			return false;
		if (pfd[n].revents)
			return true;
		gdb_serve(&s->gdb, pfd, n);
	}
}

/* Waits until a counter is another than it was. */
static bool moves(struct session *s, unsigned vcpu, uint64_t was)
{
	for (unsigned ms = 0; ms < WAIT && counter(s, vcpu) == was; ms++)
		usleep(1000);
	return counter(s, vcpu) != was;
}

static char next_byte(struct session *s)
{
	char c;

	assert_true(serve(s, WAIT));
	assert_int_equal(recv(s->fd, &c, 1, 0), 1);
	return c;
}

/* Nothing but acknowledgements comes for that long. */
static bool quiet(struct session *s, int ms)
{
	while (serve(s, ms))
		if (next_byte(s) != '+')
			return false;
	return true;
}

/* The next packet's text. */
static const char *receive(struct session *s)
{
	size_t n = 0;
	char c;

	while (next_byte(s) != '$')
		;
	while ((c = next_byte(s)) != '#') {
		assert_true(n < sizeof(s->reply) - 1);
		s->reply[n++] = c;
	}
	s->reply[n] = 0;
	next_byte(s);
	next_byte(s);
	return s->reply;
}

static void send_bytes(struct session *s, const void *p, size_t n)
{
	assert_int_equal(send(s->fd, p, n, 0), n);
}

static void send_packet(struct session *s, const char *text)
{
	uint8_t sum = 0;
	char tail[4];

	for (const char *p = text; *p; p++)
		sum = (uint8_t)(sum + (uint8_t)*p);
	send_bytes(s, "$", 1);
	send_bytes(s, text, strlen(text));
	snprintf(tail, sizeof(tail), "#%02x", sum);
	send_bytes(s, tail, 3);
}

static const char *ask(struct session *s, const char *text)
{
	send_packet(s, text);
	return receive(s);
}

static const char *askf(struct session *s, const char *fmt, ...) attr_printf(2, 3);
static const char *askf(struct session *s, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return ask(s, text);
}

#define expect(s, question, answer) assert_string_equal(ask(s, question), answer)

/* A number in the guest's byte order */
static uint64_t number(const char *hex)
{
	uint64_t v = 0;

	for (unsigned i = 0; hex[2 * i] && i < 8; i++) {
		unsigned byte;

		assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
		v |= (uint64_t)byte << (8 * i);
	}
	return v;
}

/* Numbers of registers, by name, from the description */
static unsigned reg(struct session *s, const char *name)
{
	char want[48];
	unsigned n = 0;
	const char *p = s->gdb.xml;

	snprintf(want, sizeof(want), "<reg name=\"%s\"", name);
	for (; (p = strstr(p, "<reg name=")); p++, n++)
		if (!strncmp(p, want, strlen(want)))
			return n;
	fail_msg("no register %s", name);
	return 0;
}

static uint64_t get(struct session *s, const char *name)
{
	return number(askf(s, "p%x", reg(s, name)));
}

static const char *set(struct session *s, const char *name, const char *hex)
{
	return askf(s, "P%x=%s", reg(s, name), hex);
}

static void start(struct session *s)
{
	assert_int_equal(vm_start(s->rig.vm), 0);
	for (unsigned i = 0; i < s->rig.vm->n_vcpus; i++)
		while (counter(s, i) < 1000)
			usleep(1000);
}

/* ---- the tests -------------------------------------------------------------------------------- */

static void stops_and_goes(void **state)
{
	static struct session s;
	uint64_t was;

	setup(&s, 2, false);
	start(&s);
	/* connected, but it has said nothing */
	was = counter(&s, 0);
	assert_true(quiet(&s, 20));
	assert_true(moves(&s, 0, was));
	assert_false(s.gdb.attached);

	expect(&s, "?", "T05thread:1;");
	assert_string_equal(s.last_note, "a debugger has attached");
	was = counter(&s, 0);
	usleep(20000);
	assert_int_equal(counter(&s, 0), was);
	send_packet(&s, "c");
	assert_true(quiet(&s, 20));
	assert_true(moves(&s, 0, was));
	send_bytes(&s, "\3", 1);
	assert_string_equal(receive(&s), "T02thread:1;");
	expect(&s, "D", "OK");
	assert_string_equal(s.last_note, "the debugger has detached");
	was = counter(&s, 1);
	assert_true(moves(&s, 1, was));

	/* once more, and the connection breaks while it runs */
	close(s.fd);
	connect_client(&s);
	expect(&s, "?", "T05thread:1;");
	expect(&s, "Z0,100000,1", "OK");
	send_packet(&s, "vCont;c");
	receive(&s);
	expect(&s, "z0,100000,1", "OK");
	send_packet(&s, "c");
	assert_true(quiet(&s, 10));
	close(s.fd);
	s.fd = -1;
	serve(&s, 20);
	was = counter(&s, 0);
	assert_true(moves(&s, 0, was));

	/* a stopped guest that is left stays stopped */
	connect_client(&s);
	expect(&s, "?", "T05thread:1;");
	close(s.fd);
	s.fd = -1;
	serve(&s, 20);
	was = counter(&s, 0);
	usleep(20000);
	assert_int_equal(counter(&s, 0), was);
	assert_true(gdb_release(&s.gdb));
	assert_false(gdb_release(&s.gdb));
	assert_true(moves(&s, 0, was));
	assert_int_equal(s.gdb.stats.sessions, 3);
	assert_int_equal(s.gdb.stats.malformed, 0);
	teardown(&s);
}

static void describes(void **state)
{
	static const char *const names[] = {">i386:x86-64<", ">i386<", ">i8086<"};
	static struct session s;

	for (enum gdb_arch arch = 0; arch < GDB_ARCHES; arch++) {
		size_t bytes = 0;
		char *xml;

		setup(&s, 1, false);
		s.gdb.want_arch = arch;
		start(&s);
		assert_non_null(strstr(ask(&s, "qSupported:xmlRegisters=i386"), "swbreak+"));
		assert_int_equal(*ask(&s, "qXfer:features:read:target.xml:0,1000"), 'm');
		assert_non_null(strstr(s.gdb.xml, names[arch]));
		assert_memory_equal(s.reply + 1, s.gdb.xml, 2048);
		assert_int_equal(s.gdb.xml_len, strlen(s.gdb.xml));
		xml = s.gdb.xml;
		for (unsigned n = 0; (xml = strstr(xml, "bitsize=\"")); n++, xml++) {
			assert_int_equal(atoi(xml + 9), 8 * gdb_reg_size(s.gdb.form, n));
			bytes += gdb_reg_size(s.gdb.form, n);
		}
		assert_int_equal(strlen(ask(&s, "g")), 2 * bytes);
		expect(&s, "qfThreadInfo", "m1");
		expect(&s, "qsThreadInfo", "l");
		expect(&s, "qC", "QC1");
		expect(&s, "qAttached", "1");
		expect(&s, "vMustReplyEmpty", "");
		expect(&s, "qThreadExtraInfo,1",
		       "435055233020"
		       "5b72756e6e696e675d");
		teardown(&s);
	}
}

/* A guest that has not run yet, and which description it gets by its mode */
static void holds(void **state)
{
	static const struct {
		uint64_t cr0, efer;
		enum gdb_arch arch;
	} tests[] = {
		{CR0_PE | CR0_PG, EFER_LMA | EFER_LME, GDB_X86_64},
		{CR0_PE | CR0_PG, 0, GDB_I386},
		{CR0_PE, 0, GDB_X86_64},
		{0, 0, GDB_X86_64},
	};
	static struct session s;

	for (unsigned i = 0; i < ARRAY_SIZE(tests); i++) {
		setup(&s, 2, false);
		s.rig.s->cr0 = tests[i].cr0;
		s.rig.s->efer = tests[i].efer;
		gdb_hold(&s.gdb);
		assert_int_equal(vm_start(s.rig.vm), 0);
		expect(&s, "?", "T05thread:1;");
		assert_int_equal(s.gdb.form.arch, tests[i].arch);
		assert_int_equal(get(&s, tests[i].arch == GDB_I386 ? "eip" : "rip"), RIG_CODE);
		assert_int_equal(counter(&s, 0) + counter(&s, 1), 0);
		teardown(&s);
	}
}

static void registers(void **state)
{
	static struct session s;
	char all[2 * GDB_PACKET_MAX + 1];

	setup(&s, 1, false);
	start(&s);
	ask(&s, "?");
	assert_int_equal(get(&s, "rdi"), RIG_DATA);
	assert_int_equal(get(&s, "cs"), 8);
	assert_int_equal(get(&s, "cr3"), RIG_PML4);
	assert_int_equal(get(&s, "fctrl"), 0x37f);
	assert_int_equal(get(&s, "ftag"), 0xffff);
	assert_int_equal(get(&s, "mxcsr"), 0x1f80);
	assert_string_equal(set(&s, "r9", "efcdab8967452301"), "OK");
	assert_int_equal(s.rig.s->gpr[R9], 0x0123456789abcdef);
	assert_string_equal(set(&s, "xmm3", "000102030405060708090a0b0c0d0e0f"), "OK");
	assert_string_equal(askf(&s, "p%x", reg(&s, "xmm3")), "000102030405060708090a0b0c0d0e0f");
	assert_string_equal(set(&s, "st0", "00000000000000c0ff3f"), "OK");
	assert_string_equal(set(&s, "ftag", "fcff0000"), "OK");
	assert_int_equal(get(&s, "ftag"), 0xfffc);
	assert_string_equal(set(&s, "fs_base", "0000000000100000"), "OK");
	assert_int_equal(s.rig.s->seg[FS].base, 0x100000000000);
	/* what the processor would refuse */
	assert_string_equal(set(&s, "fs_base", "0000000000000080"), "E16");
	assert_string_equal(set(&s, "cr0", "0000008000000000"), "E16");
	assert_string_equal(set(&s, "efer", "0000000000000001"), "E16");
	assert_string_equal(set(&s, "cs", "10000000"), "E16");
	assert_string_equal(set(&s, "xcr0", "0100000000000000"), "E16");
	assert_string_equal(set(&s, "mxcsr", "00000100"), "E16");
	/* flags that are not to be written stay: VM, and bit 1 */
	assert_string_equal(set(&s, "eflags", "01000200"), "OK");
	assert_int_equal(get(&s, "eflags"), 3);
	/* all of them written back, one changed */
	snprintf(all, sizeof(all), "G%s", ask(&s, "g"));
	memcpy(all + 1, "1122334455667788", 16);
	expect(&s, all, "OK");
	assert_int_equal(s.rig.s->gpr[RAX], 0x8877665544332211);
	assert_int_equal(s.rig.s->cr3, RIG_PML4);
	teardown(&s);
}

static void memory(void **state)
{
	static struct session s;
	uint64_t was, pte;

	setup(&s, 1, false);
	*rig_pte(&s.rig, 0x400000) = 0x400000 | 7; /* neither A nor D */
	*rig_pte(&s.rig, 0x401000) = 0;
	*rig_pte(&s.rig, 0x402000) = 0x500000 | 5; /* elsewhere, read-only */
	memcpy(s.rig.ram + 0x400ffe, "\x11\x22", 2);
	start(&s);
	ask(&s, "?");
	pte = *rig_pte(&s.rig, 0x400000);
	expect(&s, "m400ffe,2", "1122");
	expect(&s, "m400ffe,4", "1122"); /* as far as there is something */
	expect(&s, "m401000,4", "E0e");
	expect(&s, "mfffff00000000000,4", "E0e");
	expect(&s, "M400ffe,1:33", "OK");
	expect(&s, "M400fff,2:3344", "E0e");
	assert_int_equal(*rig_pte(&s.rig, 0x400000), pte);
	expect(&s, "M402010,2:abcd", "OK");
	assert_memory_equal(s.rig.ram + 0x500010, "\xab\xcd", 2);
	expect(&s, "X402020,3:a}]}\3", "OK"); /* } and # escaped */
	assert_memory_equal(s.rig.ram + 0x500020, "a}#", 3);
	expect(&s, "m402010,2", "abcd");
	expect(&s, "qqemu.PhyMemMode", "0");
	expect(&s, "Qqemu.PhyMemMode:1", "OK");
	expect(&s, "m500010,2", "abcd");
	expect(&s, "m401000,1", "00");
	expect(&s, "mfee00000,4", "E0e"); /* no device is touched */
	expect(&s, "Qqemu.PhyMemMode:0", "OK");
	/* code that was translated: inc becomes dec */
	expect(&s, "M100002,1:0f", "OK");
	was = counter(&s, 0);
	send_packet(&s, "c");
	assert_true(quiet(&s, 20));
	assert_true(moves(&s, 0, was) && (int64_t)(counter(&s, 0) - was) < 0);
	teardown(&s);
}

static void breakpoints(void **state)
{
	static struct session s;
	uint64_t was;

	for (unsigned way = 0; way < 3; way++) {
		setup(&s, 2, way == 1);
		if (way == 2) { /* user code, whose translations do not know where they run */
			s.rig.s->seg[CS] = rig_seg(0x23, 0xa0fb);
			s.rig.s->seg[SS] = rig_seg(0x1b, 0xc0f3);
			s.rig.vm->engine->set_state(s.rig.vcpu);
		}
		start(&s);
		ask(&s, "?");
		for (unsigned i = 0; i < 3; i++) {
			expect(&s, "Z0,100003,1", "OK"); /* in the middle of a block */
			assert_string_equal(ask(&s, "c"), "T05thread:1;swbreak:;");
			assert_int_equal(get(&s, "rip"), RIG_CODE + 3);
			expect(&s, "m100000,8", "48ff07488b06ebf8");
			/* going on without taking it out: once around */
			was = counter(&s, 0);
			assert_string_equal(ask(&s, "c"), "T05thread:1;swbreak:;");
			assert_int_equal(counter(&s, 0), was + 1);
			expect(&s, "z0,100003,1", "OK");
			send_packet(&s, "c");
			assert_true(quiet(&s, 5));
			assert_true(moves(&s, 0, was + 1));
			send_bytes(&s, "\3", 1);
			receive(&s);
		}
		expect(&s, "Z1,102000,1", "OK");
		assert_string_equal(ask(&s, "c"), "T05thread:2;hwbreak:;");
		assert_int_equal(get(&s, "rip"), CODE2);
		expect(&s, "Z1,102000,1", "OK"); /* twice is once */
		expect(&s, "z1,102000,1", "OK");
		expect(&s, "z1,102000,1", "OK");
		/* the guest's own debug registers are its own */
		assert_int_equal(get(&s, "dr7"), 0x400);
		teardown(&s);
	}
}

static void steps(void **state)
{
	/* rep stosb; mov ss, eax; nop; ud2 */
	static const uint8_t code[] = {0xf3, 0xaa, 0x8e, 0xd0, 0x90, 0x0f, 0x0b};
	static struct session s;
	uint64_t was, was2;

	setup(&s, 2, false);
	start(&s);
	ask(&s, "?");
	expect(&s, "Hg1", "OK");
	for (unsigned i = 0; i < 2; i++) { /* to the start of the loop */
		if (get(&s, "rip") != RIG_CODE)
			ask(&s, "vCont;s:1");
	}
	assert_int_equal(get(&s, "rip"), RIG_CODE);
	was = counter(&s, 0);
	was2 = counter(&s, 1);
	assert_string_equal(ask(&s, "vCont;s:1"), "T05thread:1;");
	assert_int_equal(get(&s, "rip"), RIG_CODE + 3);
	assert_int_equal(counter(&s, 0), was + 1);
	usleep(10000);
	assert_int_equal(counter(&s, 1), was2); /* not asked to go on */
	/* in a range: a whole turn, while the other one runs */
	assert_string_equal(ask(&s, "vCont;r100003,100008:1;c"), "T05thread:1;");
	assert_int_equal(get(&s, "rip"), RIG_CODE);
	for (uint64_t end = plat_now() + 5 * NS_PER_SEC;
	     counter(&s, 1) == was2 && plat_now() < end;)
		ask(&s, "vCont;s:1;c");
	assert_true(counter(&s, 1) > was2);

	memcpy(s.rig.ram + 0x600000, code, sizeof(code));
	set(&s, "rip", "0000600000000000");
	set(&s, "rcx", "0200000000000000");
	set(&s, "rdi", "0000700000000000");
	set(&s, "rax", "1000000000000000");
	ask(&s, "vCont;s:1");
	assert_int_equal(get(&s, "rip"), 0x600000); /* an iteration at a time */
	assert_int_equal(get(&s, "rcx"), 1);
	ask(&s, "vCont;s:1");
	assert_int_equal(get(&s, "rip"), 0x600002);
	ask(&s, "vCont;s:1");
	assert_int_equal(get(&s, "rip"), 0x600004); /* behind MOV SS */
	ask(&s, "vCont;s:1");
	ask(&s, "vCont;s:1");
	assert_int_equal(get(&s, "rip"), RIG_HANDLER + 6 * 16); /* into the handler of #UD */
	ask(&s, "vCont;s:1");
	assert_int_equal(s.rig.s->activity, ACT_HLT);
	assert_string_equal(ask(&s, "qqemu.sstep"), "0x3");
	expect(&s, "Qqemu.sstep=1", "OK");
	teardown(&s);
}

static void watchpoints(void **state)
{
	static struct session s;
	static const struct {
		const char *set, *clear, *stop;
		gva_t rip;
	} tests[] = {
		{"Z2,200000,8", "z2,200000,8", "T05thread:1;watch:200000;", RIG_CODE + 3},
		{"Z2,200007,1", "z2,200007,1", "T05thread:1;watch:200007;", RIG_CODE + 3},
		{"Z3,200008,8", "z3,200008,8", "T05thread:1;rwatch:200008;", RIG_CODE + 6},
		{"Z4,20000c,2", "z4,20000c,2", "T05thread:1;awatch:20000c;", RIG_CODE + 6},
		{"Z4,1ffff0,12", "z4,1ffff0,12", "T05thread:1;awatch:200000;", RIG_CODE + 3},
	};

	for (unsigned interp = 0; interp < 2; interp++) {
		setup(&s, 2, interp);
		start(&s);
		ask(&s, "?");
		for (unsigned i = 0; i < ARRAY_SIZE(tests); i++) {
			expect(&s, tests[i].set, "OK");
			for (unsigned k = 0; k < 2; k++) {
				assert_string_equal(ask(&s, "c"), tests[i].stop);
				assert_int_equal(get(&s, "rip"), tests[i].rip);
			}
			expect(&s, tests[i].clear, "OK");
		}
		/* in what FXSAVE writes */
		memcpy(s.rig.ram + 0x600000, "\x0f\xae\x07\xeb\xfe", 5);
		expect(&s, "Z2,200190,1", "OK");
		assert_string_equal(ask(&s, "c600000"), "T05thread:1;watch:200190;");
		assert_int_equal(get(&s, "rip"), 0x600003);
		expect(&s, "z2,200190,1", "OK");
		set(&s, "rip", "0000100000000000");
		/* beside it, and of the other kind: nothing */
		expect(&s, "Z2,200008,8", "OK");
		expect(&s, "Z3,200010,100", "OK");
		send_packet(&s, "c");
		assert_true(quiet(&s, 20));
		teardown(&s);
	}
}

static void crashes(void **state)
{
	static struct session s;

	setup(&s, 1, false);
	start(&s);
	ask(&s, "?");
	s.rig.s->idtr.limit = 0;
	memcpy(s.rig.ram + 0x600000, "\x0f\x0b", 2);
	assert_string_equal(ask(&s, "c600000"), "T0bthread:1;");
	assert_int_equal(get(&s, "rip"), 0x600000);
	assert_int_equal(s.rig.vm->end, VM_RUNNING);
	send_packet(&s, "c");
	serve(&s, 50);
	assert_int_equal(vm_wait(s.rig.vm), VM_CRASHED);
	gdb_ended(&s.gdb, 2);
	assert_string_equal(receive(&s), "W02");
	teardown(&s);

	setup(&s, 1, false);
	start(&s);
	expect(&s, "vKill;1", "OK");
	assert_int_equal(s.killed, 1);
	teardown(&s);
}

static void refuses(void **state)
{
	static const char *const bad[] = {
		"H",
		"Hx1",
		"Hg9",
		"Hg-",
		"T0x",
		"Tffffffffffffffffff",
		"p",
		"pffff",
		"p0;",
		"P0",
		"P0=12",
		"Pzz=00",
		"G12",
		"m",
		"m100000",
		"m100000,",
		"m1,2,3",
		"mxyz,1",
		"M0,2:12",
		"M0,1:1x",
		"M0,ffff:00",
		"X0,5:abc",
		"Z0",
		"Z0,1",
		"Z9",
		"z0,,1",
		"Z2,0,0",
		"Z2,ffffffffffffffff,2",
		"vCont;",
		"vCont;x",
		"vCont;s:99",
		"vCont;r1",
		"vCont;t",
		"cxyz",
		"C",
		"qRcmd,1",
		"qRcmd,zz",
		"qRcmd,00",
		"qXfer:features:read:target.xml:0",
		"Qqemu.sstep=9",
		"Qqemu.PhyMemMode:7",
		"qThreadExtraInfo,7",
	};
	static const char *const sums[] = {"$g#00", "$g#zz", "abc", "$$?#3f"};
	static struct session s;
	uint64_t was = 0;

	setup(&s, 1, false);
	start(&s);
	expect(&s, "?", "T05thread:1;");
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *reply = ask(&s, bad[i]);

		if (!strncmp(bad[i], "Z2", 2)) /* understood, but no */
			continue;
		if (strcmp(reply, "E16"))
			fail_msg("%s: %s", bad[i], reply);
		assert_int_equal(s.gdb.stats.malformed, ++was);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(sums); i++) {
		was = s.gdb.stats.malformed;
		send_bytes(&s, sums[i], strlen(sums[i]));
		while (next_byte(&s) != '-')
			;
		while (serve(&s, 5))
			next_byte(&s);
		assert_true(s.gdb.stats.malformed > was);
	}
	/* longer than it may be */
	was = s.gdb.stats.malformed;
	send_bytes(&s, "$m", 2);
	for (unsigned i = 0; i < 20; i++) {
		char zeros[1024];

		memset(zeros, '0', sizeof(zeros));
		send_bytes(&s, zeros, sizeof(zeros));
		serve(&s, 1);
	}
	send_bytes(&s, "#6d", 3);
	while (next_byte(&s) != '-')
		;
	assert_int_equal(s.gdb.stats.malformed, was + 1);
	/* and all is as before; a lost reply comes again */
	expect(&s, "qC", "QC1");
	send_bytes(&s, "-", 1);
	assert_string_equal(receive(&s), "QC1");
	expect(&s, "QStartNoAckMode", "OK");
	send_packet(&s, "qC");
	assert_int_equal(next_byte(&s), '$');
	teardown(&s);
}

static void monitors(void **state)
{
	static const struct {
		const char *line, *answer;
	} tests[] = {
		{"xlate 0x402010", "0x402010 is at physical 0x500010\n"},
		{"xlate 0x401000", "0x401000 is not mapped\n"},
		{"msr 0xc0000080", "0xd01\n"},
		{"msr 0xdead", "there is no MSR 0xdead\n"},
		{"phys on", "gdb's addresses are physical\n"},
		{"phys off", "gdb's addresses are virtual\n"},
		{"cpu", "CPU 0\n"},
		{"cpu 7", "not understood: monitor help lists what there is\n"},
		{"system_reset", "reset; gdb sees it after \"maintenance flush register-cache\"\n"},
		{"nmi", "CPU 0 gets an NMI when it goes on\n"},
		{"arch i386", "i386, from the next connection on\n"},
		{"nonsense", "not understood: monitor help lists what there is\n"},
		{"xlate", "not understood: monitor help lists what there is\n"},
	};
	static struct session s;
	char hex[600];

	setup(&s, 1, false);
	*rig_pte(&s.rig, 0x401000) = 0;
	*rig_pte(&s.rig, 0x402000) = 0x500000 | 5;
	start(&s);
	ask(&s, "qRcmd,6e6d69"); /* nmi: steps hold it back, then it leads to its handler, a HLT */
	ask(&s, "s");
	assert_true(get(&s, "rip") < RIG_CODE + sizeof(prog));
	ask(&s, "Z0,100003,1");
	ask(&s, "Z0,20020,1");
	assert_string_equal(ask(&s, "c"), "T05thread:1;swbreak:;");
	assert_int_equal(get(&s, "rip"), RIG_HANDLER + 2 * 16);
	for (unsigned i = 0; i < ARRAY_SIZE(tests); i++) {
		const char *p;
		char text[256];
		unsigned n = 0;

		for (p = tests[i].line; *p; p++)
			snprintf(hex + 2 * (p - tests[i].line), 3, "%02x", (uint8_t)*p);
		for (p = askf(&s, "qRcmd,%s", hex); p[0] && p[1]; p += 2)
			text[n++] = (char)number((char[]){p[0], p[1], 0});
		text[n] = 0;
		assert_string_equal(text, tests[i].answer);
	}
	teardown(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stops_and_goes), cmocka_unit_test(describes),
		cmocka_unit_test(holds),          cmocka_unit_test(registers),
		cmocka_unit_test(memory),         cmocka_unit_test(breakpoints),
		cmocka_unit_test(steps),          cmocka_unit_test(watchpoints),
		cmocka_unit_test(crashes),        cmocka_unit_test(refuses),
		cmocka_unit_test(monitors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
