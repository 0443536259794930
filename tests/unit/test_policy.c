/* SPDX-License-Identifier: ISC */
/* test_policy.c: each verb and class decides as its rule says; errors say where; limits hold. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* order matters */
#include <cmocka.h>

#include "monitor/rules.h"
#include "plat/plat.h"

static int include(void *arg, const char *from, const char *name, const char **text, size_t *len)
{
	*text = strcmp(name, "loop") ? arg : "include loop";
	*len = *text ? strlen(*text) : 0;
	return *text ? 0 : ERR_NOENT;
}

static struct policy *make(const char *text)
{
	struct policy_source src = {"rules", text, strlen(text), include, NULL, NULL};
	struct policy_error e;
	struct policy *p = NULL;

	if (policy_compile(&src, &p, &e))
		fail_msg("%s:%u:%u: %s", e.file, e.line, e.column, e.text);
	return p;
}

static enum mon_verdict ask(struct policy *p, enum mon_class cls, uint8_t op, uint64_t addr,
			    uint64_t *value)
{
	struct mon_event ev = {.cls = (uint8_t)cls,
			       .op = op,
			       .size = 1,
			       .addr = addr,
			       .value = value ? *value : 1};
	enum mon_verdict v = policy_decide(p, &ev);

	if (value)
		*value = ev.value;
	return v;
}

static void test_registers(void **state)
{
	struct policy *p = make("# a comment\n"
				"provide port write 0x80\n"
				"deny port { 0x60-0x64, 0x80 } notify\n"
				"redirect port read 0x70 -> 0x5a record full\n"
				"deny msr 0x10-0x20\n"
				"redirect cpuid ebx 0x40000000 -> 0x41424344\n"
				"deny mmio write 0xfee00000-0xfee00fff\n");
	uint64_t v = 0;

	assert_int_equal(policy_mask(p),
			 BIT(MON_PORT) | BIT(MON_MSR) | BIT(MON_CPUID) | BIT(MON_MMIO));
	assert_int_equal(policy_count(p), 7);
	assert_int_equal(ask(p, MON_PORT, 1, 0x80, NULL), MON_PROVIDE);
	assert_int_equal(ask(p, MON_PORT, 0, 0x80, NULL), MON_DENY);
	assert_int_equal(ask(p, MON_PORT, 0, 0x5f, NULL), MON_PROVIDE);
	assert_int_equal(ask(p, MON_PORT, 0, 0x60, NULL), MON_DENY);
	assert_int_equal(ask(p, MON_PORT, 1, 0x64, NULL), MON_DENY);
	assert_int_equal(ask(p, MON_PORT, 1, 0x65, NULL), MON_PROVIDE);
	assert_int_equal(ask(p, MON_PORT, 0, 0x70, &v), MON_REDIRECT);
	assert_int_equal(v, 0x5a);
	assert_int_equal(ask(p, MON_MSR, 1, 0x20, NULL), MON_DENY);
	assert_int_equal(ask(p, MON_CPUID, 1, 0x40000000, &v), MON_REDIRECT);
	assert_int_equal(v, 0x41424344);
	assert_int_equal(ask(p, MON_CPUID, 0, 0x40000000, &v), MON_PROVIDE);
	assert_int_equal(ask(p, MON_MMIO, 0, 0xfee00010, NULL), MON_PROVIDE);
	assert_int_equal(ask(p, MON_MMIO, 1, 0xfee00010, NULL), MON_DENY);
	assert_int_equal(ask(p, MON_DISK, 1, 0, NULL), MON_PROVIDE);
	policy_free(p);
}

/* The registers of a leaf are asked for in turn with one event: no rule is about the second. */
static void test_asked_again(void **state)
{
	struct policy *p = make("provide cpuid eax 1 record full notify\n");
	struct mon_event ev = {.cls = MON_CPUID, .op = 0, .addr = 1};

	policy_decide(p, &ev);
	assert_int_equal(ev.rule, 1);
	assert_int_equal(ev.flags, MON_F_FULL | MON_F_NOTIFY);
	ev.op = 1;
	policy_decide(p, &ev);
	assert_int_equal(ev.rule, 0);
	assert_int_equal(ev.flags, 0);
	policy_free(p);
}

/* A wide access that overlaps a denied register falls under the rule. */
static void test_overlap(void **state)
{
	struct policy *p = make("deny port 0x61\n");
	struct mon_event ev = {.cls = MON_PORT, .size = 2, .addr = 0x60};

	assert_int_equal(policy_decide(p, &ev), MON_DENY);
	assert_int_equal(ev.rule, 1);
	policy_free(p);
}

static void test_disk(void **state)
{
	struct policy *p = make("provide disk write sectors 2048-4095\ndeny disk write any\n");
	struct mon_event ev = {.cls = MON_DISK, .op = 1, .addr = 2048 * 512, .value = 4096};

	assert_int_equal(policy_decide(p, &ev), MON_PROVIDE);
	ev.addr = 0;
	assert_int_equal(policy_decide(p, &ev), MON_DENY);
	ev.op = 0;
	assert_int_equal(policy_decide(p, &ev), MON_PROVIDE);
	policy_free(p);
}

static enum mon_verdict flow(struct policy *p, uint8_t proto, bool out, const uint8_t ip[4],
			     uint16_t port, const char *name)
{
	struct policy_flow f = {.proto = proto, .outward = out, .port = port, .name = name};
	uint32_t line;

	f.remote.b[10] = f.remote.b[11] = 0xff;
	memcpy(f.remote.b + 12, ip, 4);
	return policy_decide_flow(p, &f, &line);
}

static void test_net(void **state)
{
	static const uint8_t in_net[4] = {10, 1, 2, 3}, outside[4] = {11, 1, 2, 3};
	struct policy *p = make("let web = {80, 443}\n"
				"provide net out tcp 10.0.0.0/8 port $web\n"
				"provide net name *.example.com\n"
				"provide net in tcp port 22\n"
				"deny net fe80::1/64\n"
				"deny net any\n");

	assert_int_equal(policy_count(p), 6);
	assert_int_equal(flow(p, 6, true, in_net, 443, NULL), MON_PROVIDE);
	assert_int_equal(flow(p, 6, true, in_net, 81, NULL), MON_DENY);
	assert_int_equal(flow(p, 17, true, in_net, 80, NULL), MON_DENY);
	assert_int_equal(flow(p, 6, true, outside, 80, NULL), MON_DENY);
	assert_int_equal(flow(p, 6, false, in_net, 80, NULL), MON_DENY);
	assert_int_equal(flow(p, 6, false, outside, 22, NULL), MON_PROVIDE);
	assert_int_equal(flow(p, 17, true, in_net, 53, "a.example.com"), MON_PROVIDE);
	assert_int_equal(flow(p, 17, true, in_net, 53, "example.com.evil.org"), MON_DENY);
	policy_free(p);
}

/* Of several cards one, or a list of them; a flow of the same addresses by another card is another. */
static void test_cards(void **state)
{
	static const struct {
		uint8_t unit;
		uint16_t port;
		enum mon_verdict v;
		uint32_t line;
	} rows[] = {
		{0, 22, MON_DENY, 5},    {1, 22, MON_PROVIDE, 1}, {1, 23, MON_DENY, 2},
		{0, 80, MON_PROVIDE, 3}, {2, 80, MON_PROVIDE, 3}, {3, 80, MON_DENY, 5},
		{3, 81, MON_PROVIDE, 4}, {15, 9, MON_DENY, 5},
	};
	struct policy *p = make("provide net net1 tcp port 22\n"
				"deny net net1 any\n"
				"provide net {net0 net2} tcp port 80\n"
				"provide net net3 tcp port 81\n"
				"deny net any\n");
	uint8_t frame[60] = {[12] = 8, [14] = 0x45, [23] = 6, [26] = 10, [30] = 10};

	for (unsigned i = 0; i < 2 * ARRAY_SIZE(rows); i++) {
		unsigned k = i % ARRAY_SIZE(rows);
		struct policy_flow f = {
			.proto = 6, .unit = rows[k].unit, .port = rows[k].port, .outward = true};
		struct frame_info fi;
		struct mon_event ev;
		uint32_t line;

		assert_int_equal(policy_decide_flow(p, &f, &line), rows[k].v);
		assert_int_equal(line, rows[k].line);
		frame[37] = (uint8_t)rows[k].port;
		ev = frame_event(NET_SEND, rows[k].unit, frame, sizeof(frame), sizeof(frame), &fi);
		assert_int_equal(policy_decide(p, &ev), rows[k].v);
		assert_int_equal(ev.rule, rows[k].line);
	}
	policy_free(p);
}

static void test_limits(void **state)
{
	struct policy *p = make("provide entropy any limit 1000B\n"
				"provide port 0x80 limit 100/s burst 5\n"
				"provide disk any limit 3\n");
	uint64_t n = 600;
	unsigned passed = 0;

	assert_int_equal(ask(p, MON_ENTROPY, 0, 0, &n), MON_PROVIDE);
	n = 600;
	assert_int_equal(ask(p, MON_ENTROPY, 0, 0, &n), MON_DENY);
	for (unsigned i = 0; i < 100; i++)
		passed += ask(p, MON_PORT, 1, 0x80, NULL) == MON_PROVIDE;
	assert_in_range(passed, 5, 20);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(ask(p, MON_DISK, 0, 0, NULL), i < 3 ? MON_PROVIDE : MON_DENY);
	policy_free(p);
}

/* How many of 1000 requests come through, that many ns apart. */
static unsigned through(struct policy *p, enum mon_class cls, uint64_t *now, uint64_t apart)
{
	unsigned passed = 0;

	for (unsigned i = 0; i < 1000; i++) {
		*now += apart;
		policy_set_time(p, *now);
		passed += ask(p, cls, 0, 0, NULL) == MON_PROVIDE;
	}
	return passed;
}

/* A rate is what it says, however often somebody asks; a burst comes back while nobody does. */
static void test_rates(void **state)
{
	struct policy *p = make("provide port any limit 3/s burst 30\n"
				"provide msr any limit 1500000/s\n"
				"provide entropy any limit 1KB/s burst 4KB\n");
	uint64_t now = NS_PER_SEC, n;
	unsigned passed;

	/* 1000 requests in 400 s at 3 a second would be 1200: all; in 200 s 600, and 29 are left */
	assert_int_equal(through(p, MON_PORT, &now, 400000000), 1000);
	assert_int_equal(through(p, MON_PORT, &now, 200000000), 629);
	/* after a minute 30 at once */
	now += 60 * NS_PER_SEC;
	passed = through(p, MON_PORT, &now, 1);
	assert_int_equal(passed, 30);
	/* 1000 in half a millisecond are within 1500 a millisecond, but for the burst */
	assert_int_equal(through(p, MON_MSR, &now, 500), 1000);
	now += 10 * NS_PER_SEC;
	for (unsigned i = 0; i < 5; i++) {
		n = 1024;
		policy_set_time(p, now);
		assert_int_equal(ask(p, MON_ENTROPY, 0, 0, &n), i < 4 ? MON_PROVIDE : MON_DENY);
	}
	policy_free(p);
}

/* The past: its time of the day, and quotas of flows. */
static void test_past(void **state)
{
	static const uint8_t ip[4] = {10, 1, 2, 3};
	struct policy *p = make("deny port any during 22:00-06:00\nprovide net any limit 10KB\n");
	struct policy_flow f = {.proto = 6, .port = 80, .packets = 10, .bytes = 6000};
	uint32_t line;

	f.remote.b[10] = f.remote.b[11] = 0xff;
	memcpy(f.remote.b + 12, ip, 4);
	policy_set_time(p, UINT64_C(86400) * 20000 * NS_PER_SEC + 23 * 3600 * NS_PER_SEC);
	assert_int_equal(ask(p, MON_PORT, 0, 1, NULL), MON_DENY);
	policy_set_time(p, UINT64_C(86400) * 20000 * NS_PER_SEC + 12 * 3600 * NS_PER_SEC);
	assert_int_equal(ask(p, MON_PORT, 0, 1, NULL), MON_PROVIDE);
	assert_true(policy_limits(p, MON_NET));
	assert_false(policy_limits(p, MON_PORT));
	assert_int_equal(policy_decide_flow(p, &f, &line), MON_PROVIDE);
	assert_int_equal(policy_decide_flow(p, &f, &line), MON_DENY);
	assert_int_equal(line, 2);
	policy_free(p);
}

/* What a redirection carries, and where a disk request is cut for it. */
/* "record" is what an operator asks for, and how a rule ends. */
static void test_requests(void **state)
{
	struct policy *p = make("deny operator record\n"
				"deny operator { wake, record } uid 7 record full\n"
				"provide operator any record full\n");
	struct mon_event ev = {.cls = MON_OPERATOR, .op = REQUEST_record, .addr = 9};

	assert_int_equal(policy_decide(p, &ev), MON_DENY);
	assert_int_equal(ev.rule, 1);
	assert_false(ev.flags & MON_F_FULL);
	ev = (struct mon_event){.cls = MON_OPERATOR, .op = REQUEST_wake, .addr = 7};
	assert_int_equal(policy_decide(p, &ev), MON_DENY);
	assert_int_equal(ev.rule, 2);
	assert_true(ev.flags & MON_F_FULL);
	ev = (struct mon_event){.cls = MON_OPERATOR, .op = REQUEST_stop, .addr = 9};
	assert_int_equal(policy_decide(p, &ev), MON_PROVIDE);
	assert_int_equal(ev.rule, 3);
	policy_free(p);
}

static void test_targets(void **state)
{
	struct policy *p = make("redirect disk write sectors 8-15 -> scratch\n"
				"redirect disk read sectors 0-7 -> image a.img\n"
				"redirect net tcp port 80 -> answer page\n"
				"redirect net tcp port 81 -> program /bin/x\n"
				"redirect net tcp port 82 -> 10.0.2.2:8080\n"
				"redirect entropy any -> seed 7\n"
				"redirect time any -> offset -2h\n"
				"deny device { disk1, net }\n"
				"deny operator { pause, save } uid 1000-1999\n"
				"provide cpu any limit 25%\n"
				"provide memory any limit 64MB\n");
	static const uint8_t slots[] = {5, 6, 7};
	struct mon_event ev = {.cls = MON_DISK, .op = 1, .addr = 0, .value = 32 * 512};
	uint32_t line;

	assert_int_equal(policy_n_files(p), 3);
	assert_string_equal(policy_file(p, 0)->path, "a.img");
	assert_string_equal(policy_file(p, 2)->path, "/bin/x");
	policy_bind(p, slots);
	assert_int_equal(policy_decide(p, &ev), MON_PROVIDE);
	assert_int_equal(ev.value, 8 * 512);
	ev.addr = 8 * 512;
	ev.value = 24 * 512;
	assert_int_equal(policy_decide(p, &ev), MON_REDIRECT);
	assert_int_equal(ev.target->kind, TARGET_SCRATCH);
	assert_int_equal(ev.value, 8 * 512);
	ev = (struct mon_event){.cls = MON_DISK, .op = 0, .addr = 512, .value = 512};
	assert_int_equal(policy_decide(p, &ev), MON_REDIRECT);
	assert_int_equal(ev.target->kind, TARGET_IMAGE);
	assert_int_equal(ev.target->slot, 5);
	assert_int_equal(ev.value, 512);
	ev = (struct mon_event){.cls = MON_ENTROPY, .value = 100};
	assert_int_equal(policy_decide(p, &ev), MON_REDIRECT);
	assert_int_equal(ev.value, 7);
	ev = (struct mon_event){.cls = MON_OPERATOR, .op = REQUEST_pause, .addr = 1500};
	assert_int_equal(policy_decide(p, &ev), MON_DENY);
	ev.addr = 999;
	assert_int_equal(policy_decide(p, &ev), MON_PROVIDE);
	assert_int_equal(policy_cpu_percent(p), 25);
	assert_true(policy_memory(p) == 64 * MIB);
	assert_true(policy_time_offset(p) == -7200 * (int64_t)NS_PER_SEC);
	assert_true(policy_device(p, "disk0", &line));
	assert_false(policy_device(p, "disk1", &line));
	assert_int_equal(line, 8);
	assert_true(policy_device(p, "disk11", &line));
	assert_false(policy_device(p, "net3", &line));
	policy_free(p);
	p = make("redirect net tcp any -> [fec0::2]:80\nredirect net udp any -> fec0::3\n");
	assert_int_equal(p->rule[0].to.v6[15], 2);
	assert_int_equal(p->rule[0].to.port, 80);
	assert_true(p->rule[1].to.is_v6 && p->rule[1].to.v6[15] == 3 && !p->rule[1].to.port);
	policy_free(p);
	p = make("deny port 1\n");
	assert_int_equal(policy_time_rate(p), 100);
	assert_int_equal(policy_cpu_weight(p), 100);
	policy_free(p);
	p = make("redirect time any -> rate 250% offset 1h\nprovide cpu any weight 20%\n");
	assert_int_equal(policy_time_rate(p), 250);
	assert_true(policy_time_offset(p) == 3600 * (int64_t)NS_PER_SEC);
	assert_int_equal(policy_cpu_weight(p), 20);
	assert_int_equal(policy_cpu_percent(p), 100);
	policy_free(p);
}

/* Devices that are denied while the VM has them get nothing; what has no unit of its own is one. */
static void test_unplug(void **state)
{
	static const struct {
		uint8_t cls, unit;
		bool there;
	} row[] = {
		{MON_DISK, 0, true},    {MON_DISK, 1, false},   {MON_DISK, 11, true},
		{MON_NET, 0, false},    {MON_NET, 7, false},    {MON_PORT, 0, true},
		{MON_ENTROPY, 0, true}, {MON_CONSOLE, 0, true},
	};
	struct policy *p = make("deny device disk1\nprovide disk any\ndeny device net\n");

	for (unsigned once = 0; once < 2; once++) {
		for (unsigned i = 0; i < ARRAY_SIZE(row); i++) {
			struct mon_event ev = {
				.cls = row[i].cls, .unit = row[i].unit, .value = 512};
			bool there = !once || row[i].there;

			assert_int_equal(policy_decide(p, &ev), there ? MON_PROVIDE : MON_DENY);
			assert_int_equal(ev.verdict, there ? MON_PROVIDE : MON_DENY);
			if (!there)
				assert_int_equal(ev.rule, row[i].cls == MON_DISK ? 1 : 3);
		}
		policy_unplug(p);
	}
	policy_free(p);
	p = make("deny port 1\nprovide device any\n");
	policy_unplug(p);
	assert_int_equal(policy_mask(p) & (BIT(MON_DISK) | BIT(MON_NET) | BIT(MON_ENTROPY)), 0);
	policy_free(p);
}

/* The time of the day decides whether a rule is there. */
static void test_windows(void **state)
{
	unsigned m = (unsigned)(plat_realtime() / NS_PER_SEC / 60 % 1440);
	char text[200];
	struct policy *p;

	snprintf(text, sizeof(text),
		 "deny port 1 during %02u:%02u-%02u:%02u\ndeny port 2 during "
		 "%02u:%02u-%02u:%02u\n",
		 (m + 1430) % 1440 / 60, (m + 1430) % 60, (m + 30) % 1440 / 60, (m + 30) % 60,
		 (m + 60) % 1440 / 60, (m + 60) % 60, (m + 90) % 1440 / 60, (m + 90) % 60);
	p = make(text);
	assert_int_equal(ask(p, MON_PORT, 0, 1, NULL), MON_DENY);
	assert_int_equal(ask(p, MON_PORT, 0, 2, NULL), MON_PROVIDE);
	policy_free(p);
}

static char flat_text[200];

static void flat(void *arg, const char *text, size_t len)
{
	snprintf(flat_text + strlen(flat_text), sizeof(flat_text) - strlen(flat_text), "%.*s\n",
		 (int)len, text);
}

static void test_include(void **state)
{
	struct mon_event ev;
	struct policy_source src = {"main",  "include other\ndeny port 2\n", 26,
				    include, (void *)"deny port 1\n",        NULL,
				    false};
	struct policy_error e;
	struct policy *p;

	assert_int_equal(policy_compile(&src, &p, &e), 0);
	assert_int_equal(policy_count(p), 2);
	policy_free(p);
	/* lines are counted as if all were in one text, which is handed out */
	src.text = "# first\ninclude other\ndeny port 2\n";
	src.len = strlen(src.text);
	src.arg = (void *)"let x = 1\ndeny port $x\n";
	src.line = flat;
	flat_text[0] = 0;
	assert_int_equal(policy_compile(&src, &p, &e), 0);
	assert_int_equal(policy_decide(p, &(struct mon_event){.cls = MON_PORT, .addr = 5}),
			 MON_PROVIDE);
	ev = (struct mon_event){.cls = MON_PORT, .addr = 2, .size = 1};
	assert_int_equal(policy_decide(p, &ev), MON_DENY);
	assert_int_equal(ev.rule, 4);
	assert_string_equal(flat_text, "# first\nlet x = 1\ndeny port $x\ndeny port 2\n");
	policy_free(p);
	src.line = NULL;
	src.text = "include loop";
	src.len = 12;
	assert_int_equal(policy_compile(&src, &p, &e), ERR_FORMAT);
}

static void test_errors(void **state)
{
	static const struct {
		const char *text;
		unsigned line, column;
		const char *part;
	} bad[] = {
		{"allow port 1\n", 1, 1, "provide"},
		{"\n\ndeny prot 1\n", 3, 6, "class"},
		{"deny port\n", 1, 10, "any"},
		{"deny port 0x1-0x10000\n", 1, 11, "ports"},
		{"deny port 5-4\n", 1, 11, "ports"},
		{"deny port { 1, 2\n", 1, 11, "}"},
		{"deny port {}\n", 1, 12, "list"},
		{"redirect port 1\n", 1, 16, "->"},
		{"redirect port 1 -> x\n", 1, 20, "number"},
		{"redirect console any -> 1\n", 1, 1, "redirected"},
		{"redirect net any -> 1\n", 1, 21, "an address"},
		{"redirect net any -> 1.2.3.4:0\n", 1, 21, "an address"},
		{"redirect net icmp -> 1.2.3.4\n", 1, 22, "tcp and udp"},
		{"redirect net any -> answer\n", 1, 27, "file"},
		{"redirect disk any -> elsewhere\n", 1, 22, "scratch"},
		{"redirect time any -> offset 5\n", 1, 29, "time"},
		{"redirect time any -> rate 100%\n", 1, 27, "50%"},
		{"redirect time any -> rate\n", 1, 26, "50%"},
		{"redirect time any -> offset 1s offset 2s\n", 1, 32, "line's end"},
		{"redirect net tcp any -> [fec0::2:80\n", 1, 25, "ADDRESS"},
		{"redirect net tcp any -> [fec0::2]80\n", 1, 25, "ADDRESS"},
		{"redirect net tcp name a.b -> [fec0::2]:80\n", 1, 30, "IPv4"},
		{"redirect time any -> faster\n", 1, 22, "rate"},
		{"provide cpu any weight 101%\n", 1, 24, "1%"},
		{"provide memory any weight 5%\n", 1, 20, "expected"},
		{"redirect entropy any -> 5\n", 1, 25, "seed"},
		{"deny time any\n", 1, 1, "denied"},
		{"provide cpu any\n", 1, 16, "limit"},
		{"provide cpu any limit 101%\n", 1, 23, "1% to"},
		{"provide memory any limit 1MB\n", 1, 26, "16MB"},
		{"deny device toaster\n", 1, 13, "device"},
		{"deny operator dance\n", 1, 15, "request"},
		{"deny operator uid x\n", 1, 19, "user"},
		{"deny port 1 during 9-17\n", 1, 20, "09:00"},
		{"deny port 1 during 09:00-24:01\n", 1, 20, "09:00"},
		{"provide port 1 limit many\n", 1, 22, "amount"},
		{"deny port 1 limit 5\n", 1, 13, "no limit"},
		{"provide port 1 limit 5 burst 2\n", 1, 24, "no burst"},
		{"provide port 1 limit 5/s burst 2KB\n", 1, 32, "200"},
		{"provide disk any limit 5MB/s burst 2x\n", 1, 36, "20MB"},
		{"provide device disk limit 5\n", 1, 21, "no limit"},
		{"deny device net during 22:00-06:00\n", 1, 17, "as a whole"},
		{"provide cpu any limit 50% during 09:00-17:00\n", 1, 27, "as a whole"},
		{"deny net 1.2.3.4/33\n", 1, 10, "address"},
		{"deny net 1.2.3\n", 1, 10, "address"},
		{"deny net port 65536\n", 1, 15, "port"},
		{"deny net port\n", 1, 14, "port"},
		{"deny port $x\n", 1, 11, "variable"},
		{"let x = 1\nlet x = 2\n", 2, 5, "already"},
		{"include nowhere\n", 1, 9, "cannot read"},
		{"deny port 1 record some\n", 1, 20, "full"},
		{"deny msr 0x100000000\n", 1, 10, "MSR"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct policy_source src = {"f",  bad[i].text, strlen(bad[i].text), include, NULL,
					    NULL, false};
		struct policy_error e;
		struct policy *p;

		if (policy_compile(&src, &p, &e) != ERR_FORMAT)
			fail_msg("taken: %s", bad[i].text);
		if (e.line != bad[i].line || e.column != bad[i].column ||
		    !strstr(e.text, bad[i].part))
			fail_msg("%s -> %u:%u %s", bad[i].text, e.line, e.column, e.text);
	}
}

/* On a bare machine: what needs a host is refused where it stands. */
static void test_bare(void **state)
{
	static const struct {
		const char *text;
		unsigned line, column; /* 0: it is taken */
		const char *part;
	} rows[] = {
		{"deny port 1\nredirect net out tcp port 80 -> answer f\n", 2, 33, "no files"},
		{"redirect net out tcp port 80 -> program f\n", 1, 33, "programs"},
		{"redirect net out udp name a.b -> 1.2.3.4\n", 1, 34, "not names"},
		{"redirect net tcp fec0::1 -> fec0::2\n", 1, 29, "IPv6"},
		{"redirect net out tcp port 80 -> 10.0.0.1:8080\n"},
		{"redirect net tcp fec0::1 port 80 -> :8080\n"},
		{"redirect disk any -> image x.raw\nredirect disk any -> scratch\n"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct policy_source src = {.name = "f",
					    .text = rows[i].text,
					    .len = strlen(rows[i].text),
					    .bare = true};
		struct policy_error e = {0};
		struct policy *p = NULL;
		int err = policy_compile(&src, &p, &e);

		if (err != (rows[i].line ? ERR_FORMAT : 0) || e.line != rows[i].line ||
		    e.column != rows[i].column || (rows[i].line && !strstr(e.text, rows[i].part)))
			fail_msg("%s -> %u:%u %s", rows[i].text, e.line, e.column, e.text);
		policy_free(p);
		src.bare = false;
		assert_int_equal(policy_compile(&src, &p, &e), 0);
		policy_free(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bare),     cmocka_unit_test(test_registers),
		cmocka_unit_test(test_overlap),  cmocka_unit_test(test_disk),
		cmocka_unit_test(test_net),      cmocka_unit_test(test_limits),
		cmocka_unit_test(test_cards),    cmocka_unit_test(test_include),
		cmocka_unit_test(test_errors),   cmocka_unit_test(test_targets),
		cmocka_unit_test(test_requests), cmocka_unit_test(test_unplug),
		cmocka_unit_test(test_windows),  cmocka_unit_test(test_rates),
		cmocka_unit_test(test_past),     cmocka_unit_test(test_asked_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
