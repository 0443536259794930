#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Reading a history: each filter against SQL, summaries and reports of a part, going on as things happen, pager and
colours; what lifecycle, interrupts and network have of a guest that does each; rules in several files, and rules
tried on the past with their times of the day and limits."""
import json
import os
import pty
import re
import subprocess
import time

import vigia_test as vt

NAME = "read"
os.environ["TZ"] = "XYZ-5:30"  # times are those of the machine's zone: five hours and a half ahead
time.tzset()


def history(*args, status=0):
    got, out, err = vt.vigia("history", NAME, *args)
    vt.check(got == status, f"history {' '.join(args)[:60]} {err.strip()}")
    return out


def rows(*args):
    return [json.loads(line) for line in history("--json", *args).splitlines()]


def sql(text, *args):
    return [json.loads(line) for line in history("--json", "--sql", text, *args).splitlines()]


def stamp(ns, utc=False):
    return time.strftime("%Y-%m-%d %H:%M:%S", (time.gmtime if utc else time.localtime)(ns // 10**9))


def follow(vm):
    """What happens is shown while it happens, in order, and only what was asked for."""
    with subprocess.Popen([vt.VIGIA, "history", NAME, "--follow", "--class", "console", "--text", "mark-"],
                          stdout=subprocess.PIPE, text=True) as p:
        for n in range(3):
            vm.shell(f"echo mark-''{n}")
            line = p.stdout.readline()
            while f"mark-{n}" not in line:
                vt.check("mark-" in line, f"it follows what has the text: {line.strip()}")
                line = p.stdout.readline()
        p.terminate()
    print("ok: it follows three lines")


def guest(d, rules):
    disk = d.file("disk.img", size=4 << 20)
    with vt.VM("--name", NAME, "--cpus", "2", "--policy", rules, "--disk", f"{disk},format=raw", "--net", "user",
               *vt.busybox("vigia.run=modules,net vigia.end=shell")) as vm:
        vm.expect(r"VIGIA shell", 120)
        vm.shell("dd if=/dev/vda of=/dev/null bs=4096 count=2 skip=8; dd if=/dev/vda of=/dev/null bs=4096 count=1 skip=768 iflag=direct; dd if=/dev/hwrng bs=64 count=1 of=/dev/null")
        vm.shell("nslookup some.example 10.0.2.3; timeout 2 wget -q -O - http://10.0.2.2:1/", 30)
        follow(vm)
        _, out, err = vt.vigia("policy", "show", NAME)
        vt.check(out == "deny msr 0x999\n# own\ndeny port 0x999\n", f"included rules stand in their place: {out!r} {err}")
        status, _, err = vt.vigia("policy", "set", NAME, rules)
        vt.check(status == 0, f"rules with an include can be set {err}")
        # somebody else has its address: another card says so
        vm.shell("ip link set eth0 down; ip link set eth0 address 52:54:00:12:34:99; ip link set eth0 up; "
                 "ip addr add 10.0.2.15/24 dev eth0; ping -c 1 -W 1 10.0.2.2", 30)
        vm.shell("sleep 1.2")
        vm.send("reboot -f\n")
        vm.expect(r"VIGIA shell", 120)
        vt.check(vt.vigia("pause", NAME)[0] == 0 and vt.vigia("resume", NAME)[0] == 0, "pause and resume")
        vm.send("poweroff -f\n")
        vm.wait(60)


def lifecycle():
    life = [(r["op"], r.get("text", ""), r["addr"]) for r in rows("--class", "lifecycle")]
    have = lambda op, pattern: any(o == op and re.search(pattern, t) for o, t, _ in life)
    vt.check(have("start", r"engine soft, 2 CPUs of model \S+, 512 MiB, kernel "), "start: engine and model of the CPU")
    vt.check(sum(o == "note" and re.search(r"begins at 0x[0-9a-f]+ in 64-bit mode", t) is not None for o, t, _ in life) == 2,
             "the kernel got the machine twice")
    vt.check(any(o == "mode" and a == 3 for o, _, a in life), "long mode")
    for op, pattern in (("rules", "deny port 0x999"), ("reset", "all devices"), ("pause", "by the operator"), ("resume", "goes on"),
                        ("end", "powered off")):
        vt.check(have(op, pattern), f"lifecycle {op}")
    order = [o for o, _, _ in life if o in ("start", "reset", "pause", "resume", "end")]
    vt.check(order == ["start", "reset", "pause", "resume", "end"], f"in their order: {order}")


def interrupts():
    """By each way: the serial port's line, the disk's messages, and what starts the second processor and wakes it."""
    lines = {r["addr"]: r["n"] for r in sql("SELECT addr, sum(count) AS n FROM events WHERE class='irq' AND op='line' GROUP BY 1")}
    vt.check(lines.get(4, 0) > 10, f"the serial port's interrupt was raised {lines.get(4)} times")
    messages = sql("SELECT addr, sum(count) AS n FROM events WHERE class='irq' AND op='msi' GROUP BY 1")
    vt.check(messages and all(r["addr"] >> 20 == 0xfee for r in messages) and sum(r["n"] for r in messages) > 3,
             f"messages to local APICs: {[(hex(r['addr']), r['n']) for r in messages]}")
    ipis = sql("SELECT addr, value, count FROM events WHERE class='irq' AND op='ipi' AND addr=1 ORDER BY seq")
    vt.check(ipis and ipis[0]["value"] & 0x700 == 0x500, "the second processor begins with an INIT")
    vt.check(any(r["value"] & 0x700 == 0 for r in ipis) and sum(r["count"] for r in ipis) > 10, f"and is interrupted by the first, {len(ipis)} records")


def network():
    text = " | ".join(r["text"] for r in rows("--class", "net") if r.get("text"))
    for what in ("dhcp discover", "dhcp ack client 0.0.0.0 yours 10.0.2.15", "ask A some.example", "tcp 10.0.2.15:",
                 "arp 10.0.2.15 is at 52:54", "arp anomaly: 10.0.2.15 is at 52:54:00:12:34:99"):
        vt.check(what in text, f"network: {what}")


def filters():
    everything = rows()
    first, last = everything[0]["t"], everything[-1]["t"]
    middle = stamp(first + (last - first) // 2)
    at = int(time.mktime(time.strptime(middle, "%Y-%m-%d %H:%M:%S")))
    utc = stamp(at * 10**9, utc=True)
    since = lambda r: r["t"] >= at * 10**9
    for args, want in (
            (("--since", middle), since), (("--since", utc, "--utc"), since), (("--since", utc + "Z"), since), (("--since", f"@{at}"), since),
            # of today, unless it was yesterday when the guest ran
            (("--since", middle.split()[1] if middle.startswith(stamp(time.time_ns())[:10]) else middle, "--class", "console"),
             lambda r: since(r) and r["class"] == "console"), (("--until", middle), lambda r: r["t"] <= at * 10**9),
            (("--class", "msr"), lambda r: r["class"] == "msr"), (("--class", "disk", "--op", "read"),
                                                                  lambda r: r["class"] == "disk" and r["op"] == "read"),
            (("--device", "0x3f8-0x3ff"), lambda r: r["class"] in ("port", "mmio", "msr", "cpuid") and 0x3f8 <= r["addr"] <= 0x3ff),
            (("--device", "serial"), lambda r: r["class"] == "port" and 0x3f8 <= r["addr"] <= 0x3ff),
            (("--device", "disk0"), lambda r: r["class"] == "disk" and r["size"] == 0), (("--device", "rng"), lambda r: r["class"] == "entropy"),
            (("--net", "10.0.2.3"), lambda r: r["class"] == "net" and re.search(r"\b10\.0\.2\.3\b", r.get("text", ""))),
            (("--net", "10.0.0.0/8"), lambda r: r["class"] == "net" and re.search(r"\b10\.\d", r.get("text", ""))),
            (("--text", "Mark-1"), lambda r: "mark-1" in r.get("text", "").lower())):
        got, expected = [r["seq"] for r in rows(*args)], [r["seq"] for r in everything if want(r)]
        vt.check(got == expected and 0 < len(got) < len(everything), f"{' '.join(args)}: {len(got)} of {len(everything)} records")
        n = sql("SELECT count(*) AS n FROM events", *args)[0]["n"]
        vt.check(n == len(expected), f"{' '.join(args)}: and as many by SQL: {n}")
    both = rows("--class", "console", "--text", "mark-", "--limit", "2")
    vt.check([r["seq"] for r in both] == [r["seq"] for r in everything if r["class"] == "console" and "mark-" in r["text"]][-2:],
             "the last two of them")
    for args, n in ((("--since", "yesterday"), len(everything)), (("--since", "1 hour ago"), len(everything)), (("--until", "yesterday 18:00"), 0),
                    (("--since", "tomorrow"), 0)):
        vt.check(len(rows(*args)) == n, f"{' '.join(args)}: {n} records")
    vt.check(rows("--limit", "1")[0]["time"].startswith(stamp(last, utc=True)), "JSON has UTC")
    for args, said in (((), stamp(last)), (("--utc",), stamp(last, utc=True))):
        vt.check(history("--limit", "1", *args).startswith(said), f"the timeline has the zone's time {' '.join(args)}")
        t = sql("SELECT max(t) AS t FROM events WHERE class='operator'")[0]["t"]
        vt.check(stamp(t, utc=bool(args)) in history("--summary", *args).split("\noperator\n")[1], f"and so has a summary {' '.join(args)}")
    for args in (("--class", "nonsense"), ("--device", "disk9x"), ("--since", "whenever"), ("--net", "10.0.0.0/33"), ("--process", "x")):
        history(*args, status=1)


def parts(d):
    """Summaries and reports of a part."""
    out = history("--summary", "--class", "net")
    vt.check(re.search(r"^net +\d+", out, re.M) and not re.search(r"^port ", out, re.M), "a summary of one class")
    vt.check("▁" in history("--summary") or "█" in history("--summary"), "with its course over time")
    page = d.file("part.html")
    history("--html", page, "--class", "disk")
    with open(page, encoding="utf-8") as f:
        data = json.loads(f.read().split('id="data">')[1].split("</script>")[0])
    vt.check([c["name"] for c in data["classes"]] == ["disk"], "a report of one class")


def terminal():
    """On a terminal: through the pager, in colours unless somebody does not want them."""
    paged = {"PAGER": "sed s/^/paged:/"}
    for env, colours in ((paged, True), ({**paged, "NO_COLOR": "1"}, False), ({"PATH": "/nonexistent"}, True)):
        master, slave = pty.openpty()
        with subprocess.Popen([vt.VIGIA, "history", NAME, "--class", "lifecycle"], stdout=slave, stdin=slave,
                              env={**{k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "PAGER")}, **env}) as p:
            os.close(slave)
            out = b""
            try:
                while more := os.read(master, 65536):
                    out += more
            except OSError:
                pass
            p.wait()
        os.close(master)
        vt.check(out.startswith(b"paged:") == ("PAGER" in env) and b"lifecycle" in out and (b"\033[1m" in out) == colours,
                 f"{env.get('PAGER', 'no pager')}, colours {colours}")
    vt.check("\033" not in history("--class", "lifecycle"), "no colours in a pipe")


def past(d):
    """The rules' day is that of the record, and so are their seconds."""
    t = rows("--class", "port", "--limit", "1")[0]["t"] // 10**9
    clock = lambda s: time.strftime("%H:%M", time.gmtime(s))
    writes = sql("SELECT sum(count) AS n, max(t)-min(t) AS t FROM events WHERE class='port' AND op='write' AND addr=0x3f8")[0]
    for window, denied in ((f"{clock(t - 1800)}-{clock(t + 1800)}", True), (f"{clock(t + 3600)}-{clock(t + 7200)}", False)):
        rules = d.file("past.rules", f"deny port write 0x3f8 during {window}\n".encode())
        _, out, err = vt.vigia("policy", "test", rules, "--history", NAME)
        vt.check(f"denied {writes['n'] if denied else 0}," in out, f"during {window}: {out.splitlines()[-1]} {err}")
    rules = d.file("limit.rules", b"provide port write 0x3f8 limit 100\nprovide disk read limit 5KB\nprovide net tcp limit 50B\n")
    _, out, err = vt.vigia("policy", "test", rules, "--history", NAME)
    n = int(re.search(r"denied (\d+)", out).group(1))
    vt.check(writes["n"] - 100 <= n <= writes["n"] - 100 + 20 and "line 2 denies  disk read" in out and
             "line 3 denies  net flow end tcp" in out, f"totals: {n} of {writes['n']} writes are denied, and more: {err}")
    rules = d.file("rate.rules", b"provide port write 0x3f8 limit 500/s burst 50\n")
    _, out, err = vt.vigia("policy", "test", rules, "--history", NAME)
    passed = writes["n"] - int(re.search(r"denied (\d+)", out).group(1))
    vt.check(50 < passed <= 50 + 500 * (writes["t"] / 1e9 + 2), f"a rate: {passed} of {writes['n']} in {writes['t'] / 1e9:.1f} s")


def suggested(d):
    """The tightest rules: they would have denied nothing, and what lies between far parts of a disk is denied."""
    status, out, err = vt.vigia("policy", "suggest", NAME)
    vt.check(status == 0, f"suggest {err}")
    tight = d.file("tight.rules", out.encode())
    _, said, err = vt.vigia("policy", "test", tight, "--history", NAME)
    denied = [line for line in said.splitlines() if " denies " in line]
    vt.check("denied 0," in said, f"they would have denied nothing: {denied[:3]} {err}")
    parts = re.findall(r"^provide disk read sectors (\d+)-(\d+)$", out, re.M)
    vt.check(len(parts) == 2 and int(parts[1][0]) == 6144, f"two parts of the disk: {parts}")


with vt.Workdir() as work:
    work.file("common.rules", b"deny msr 0x999\n")
    guest(work, work.file("own.rules", b"include common.rules\n# own\ndeny port 0x999\n"))
    lifecycle()
    interrupts()
    network()
    filters()
    parts(work)
    terminal()
    past(work)
    suggested(work)
