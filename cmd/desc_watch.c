/* SPDX-License-Identifier: ISC */
/* desc_watch.c: what vigia history and vigia policy take. */
#include "cmd/cmd.h"
#include "cmd/watch_opts.h"

#define PLAIN(name)                                                             \
	static int set_##name(void *target, const char *value, struct msg *msg) \
	{                                                                       \
		((struct watch_opts *)target)->name = value;                    \
		return 0;                                                       \
	}
#define FLAG(name)                                                              \
	static int set_##name(void *target, const char *value, struct msg *msg) \
	{                                                                       \
		((struct watch_opts *)target)->name = true;                     \
		return 0;                                                       \
	}
PLAIN(since)
PLAIN(until)
PLAIN(cls)
PLAIN(op)
PLAIN(device)
PLAIN(process)
PLAIN(net)
PLAIN(text)
PLAIN(run)
PLAIN(limit)
PLAIN(sql)
PLAIN(record)
PLAIN(history)
PLAIN(html)
PLAIN(pcap)
PLAIN(screens)
FLAG(json)
FLAG(summary)
FLAG(verify)
FLAG(follow)
FLAG(utc)

/* clang-format off */
static const struct opt history_opts[] = {
	{"since", "TIME", "from then on: 10m, '2 hours ago', today, 'yesterday 18:00', 18:00, 2026-11-20, '2026-11-20 12:30' (in the "
	 "zone of this machine), 2026-11-20T12:30+01:00, …Z", NULL, 0, set_since},
	{"until", "TIME", "up to then", NULL, 0, set_until},
	{"utc", NULL, "show and take times in UTC, not in the zone of this machine (TZ)", NULL, 0, set_utc},
	{"class", "CLASS", "lifecycle, operator, cpu, port, mmio, msr, cpuid, irq, disk, net, console, "
	 "entropy", NULL, 0, set_cls},
	{"op", "NAME", "only that operation: read, write, flush, dns, 'flow end' …", NULL, 0, set_op},
	{"device", "ADDR[-ADDR]|NAME", "only that port, address, MSR or CPUID leaf, or of disk, disk0, net, net0, rng, "
	 "console, screen, serial", NULL, 0, set_device},
	{"process", "CR3", "only that page-table root (--summary shows them): its time, and what it did", NULL, 0, set_process},
	{"net", "NET", "only flows and names of an address or net: 10.0.0.0/8", NULL, 0, set_net},
	{"text", "TEXT", "only what has this text", NULL, 0, set_text},
	{"run", "N", "only the VM's N-th run in this file", NULL, 0, set_run},
	{"limit", "N", "only the last N", NULL, 0, set_limit},
	{"follow", NULL, "go on with what happens", NULL, 0, set_follow},
	{"json", NULL, "print JSON, one object a line", NULL, 0, set_json},
	{"sql", "SELECT", "ask by SQL: the views events, disk_requests, net_flows, dns, console, counters, "
	 "operator, verdicts, screens, spaces, exceptions", NULL, 0, set_sql},
	{"html", "FILE", "write a report for a browser, with charts: one file that needs no other", NULL, OPT_FILE,
	 set_html},
	{"pcap", "FILE", "write the frames that were recorded (--record net=full) as pcapng", NULL, OPT_FILE,
	 set_pcap},
	{"screens", "FOLDER", "write the pictures of its screen there, as PNG files named by number and time", NULL, OPT_FILE,
	 set_screens},
	{"summary", NULL, "who did what, most, when", NULL, 0, set_summary},
	{"verify", NULL, "check the chain of hashes: exit status 1 where it breaks", NULL, 0, set_verify},
	{"record", "CLASS=TIER,…", "of a running VM: record a class off, always, full or lossless", NULL, 0,
	 set_record},
};
static const struct opt policy_opts[] = {
	{"history", "NAME|FILE", "for test: the history to try the rules on", NULL, 0, set_history},
};

const struct command cmd_history = {
	"history", "NAME|FILE", "show what has happened in a VM",
	"Each VM has a history unless --history none was given. Hot classes are counted by the second;\n"
	"--record CLASS=full records each event. Views and columns: doc/history.md.",
	history_opts, ARRAY_SIZE(history_opts), 1, 1};
const struct command cmd_policy = {
	"policy", "show|set|test|suggest|check NAME|RULES", "show, change and try rules over what a guest may have",
	"show NAME          the rules in force in a running VM\n"
	"set NAME RULES     put other rules in force, all at once\n"
	"check RULES        say whether the rules are well formed\n"
	"test RULES --history NAME  what they would have provided, redirected or denied in the past\n"
	"suggest NAME       the tightest rules that would have allowed what the history has\n"
	"The language: doc/policy.md.",
	policy_opts, ARRAY_SIZE(policy_opts), 2, 3};
/* clang-format on */
