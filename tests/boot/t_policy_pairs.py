#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Classes and verbs that verdicts.asm cannot try: entropy by the byte, a disk's flushes and discards, ICMP and ARP, what an
operator may ask for. A guest or an operator that tries, what it saw, and what the history has, with the rule's line."""
import json
import os
import re
import tempfile

import vigia_test as vt

os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="vigia-run-")
PROVIDE, REDIRECT, DENY = range(3)


def verdicts(name):
    status, out, err = vt.vigia("history", name, "--json", "--sql", "SELECT DISTINCT rule, class, op, verdict AS v FROM events WHERE rule!=0")
    vt.check(status == 0, f"history {err.strip()}")
    return {(r["rule"], r["class"], str(r["op"]), r["v"]) for r in map(json.loads, out.splitlines())}


def rules_file(d, name, lines):
    return d.file(name, "".join(line + "\n" for line in lines).encode())


def recorded(name, lines, want):
    found = verdicts(name)
    for line, cls, op, verdict in want:
        vt.check((line, cls, op, verdict) in found, f"{lines[line - 1]!r}: {cls} {op} {verdict} is recorded")


def devices(d):
    lines = ["provide entropy any limit 4096B", "deny disk flush", "deny disk discard", "deny net icmp"]
    disk = d.file("disk.img", size=8 << 20)
    with vt.VM("--name", "pairs", "--policy", rules_file(d, "pairs.rules", lines), "--disk", f"{disk},format=raw",
               *vt.busybox("vigia.run=modules,net vigia.end=shell")) as vm:
        vm.expect(r"VIGIA shell", 120)
        # the kernel's own pool has its share of the 4096 bytes, too
        _, out = vm.shell("timeout 5 dd if=/dev/hwrng bs=64 count=200 2>/dev/null | wc -c", 30)
        got = int(re.search(r"^(\d+)\r?$", out, re.M).group(1))
        vt.check(0 < got <= 4096, f"of 12800 bytes of entropy {got} came")
        status, out = vm.shell("dd if=/dev/zero of=/dev/vda bs=4096 count=1 seek=3 conv=fsync 2>&1", 30)
        vt.check(status != 0 and "rror" in out, "a flush that is denied fails")
        status, out = vm.shell("dd if=/dev/zero of=/dev/vda bs=4096 count=1 seek=4 oflag=direct 2>&1", 30)
        vt.check(status == 0, "a write without one does not")
        status, out = vm.shell("blkdiscard -o 1048576 -l 65536 /dev/vda 2>&1", 30)
        vt.check(status != 0, f"a discard that is denied fails: {out.strip()[-60:]!r}")
        status, out = vm.shell("ping -c 1 -W 2 10.0.2.2", 30)
        vt.check(status != 0 and "100% packet loss" in out, "a ping is lost")
        status, out = vm.shell("nslookup localhost 10.0.2.3 >/dev/null 2>&1; echo x | timeout 2 nc 10.0.2.2 9; grep -c 10.0.2.2 /proc/net/arp", 30)
        vt.check("1" in out, "and ARP is not")
        vt.vigia("kill", "pairs", "--wait")
    recorded("pairs", lines, [(1, "entropy", "0", PROVIDE), (1, "entropy", "0", DENY), (2, "disk", "flush", DENY),
                              (3, "disk", "discard", DENY), (4, "net", "flow", DENY)])


def cards(d):
    """Rules about one of two cards, which lie in networks alike; a flow of the one is not the other's, nor is it an anomaly."""
    lines = ["deny net net1 icmp", "deny net net0 tcp port 9", "provide net any"]
    with vt.VM("--name", "cards", "--policy", rules_file(d, "cards.rules", lines), "--net", "user", "--net", "user",
               *vt.busybox("vigia.run=modules vigia.end=shell")) as vm:
        vm.expect(r"VIGIA shell", 120)
        vm.shell("for i in 0 1; do ip link set eth$i up; done; ip addr add 10.0.2.15/24 dev eth0", 30)
        status, _ = vm.shell("ping -c 1 -W 5 10.0.2.2", 30)
        vt.check(status == 0, "the first card may ping")
        vm.shell("echo x | timeout 2 nc 10.0.2.2 9; echo x | timeout 2 nc 10.0.2.2 10", 30)
        vm.shell("ip addr flush dev eth0; ip addr add 10.0.2.15/24 dev eth1", 30)
        status, out = vm.shell("ping -c 1 -W 2 10.0.2.2", 30)
        vt.check(status != 0 and "100% packet loss" in out, "the second one may not")
        vm.shell("echo x | timeout 2 nc 10.0.2.2 9", 30)
        vt.check(vt.vigia("history", "cards", "--record", "net=full")[0] == 0, "frames in full")
        vm.shell("echo x | timeout 2 nc 10.0.2.2 11", 30)
        vm.send("poweroff -f\n")
        vm.wait(60)
    recorded("cards", lines, [(1, "net", "flow", DENY), (2, "net", "flow", DENY), (3, "net", "flow", PROVIDE)])
    _, out, _ = vt.vigia("history", "cards", "--json", "--class", "net", "--op", "flow")
    flows = [(r["size"], r["text"].split()[0], r["text"].rpartition(":")[2], r["rule"]) for r in map(json.loads, out.splitlines())]
    for card, port, rule in ((0, "9", 2), (0, "10", 3), (1, "9", 3)):
        vt.check((card, "tcp", port, rule) in flows, f"net{card} to port {port} by line {rule}")
    _, out, _ = vt.vigia("history", "cards", "--json", "--class", "net")
    every = [json.loads(line) for line in out.splitlines()]
    card_of = lambda r: r["sum"] if r["op"].startswith("frame") else r["size"]
    for card in (0, 1):
        _, out, _ = vt.vigia("history", "cards", "--json", "--device", f"net{card}")
        got = [json.loads(line)["seq"] for line in out.splitlines()]
        want = [r["seq"] for r in every if card_of(r) == card and not r["counted"]]
        vt.check(got == want and got, f"--device net{card}: {len(got)} records")
    vt.check(any(r["op"] == "frame out" and r["sum"] == 1 and r["size"] > 40 for r in every), "a frame in full has its card and its length")
    _, out, _ = vt.vigia("history", "cards", "--class", "net")
    vt.check(re.search(r"flow +net1  tcp 10\.0\.2\.15:\d+ > 10\.0\.2\.2:9  ?", out) and "anomaly" not in out, "the timeline says which card, and no anomaly")
    status, out, err = vt.vigia("policy", "suggest", "cards")
    vt.check(status == 0 and "provide net net1 out tcp 10.0.2.2 port 9\n" in out and "provide net net0 out tcp 10.0.2.2 port 10\n" in out and
             "net0 out tcp 10.0.2.2 port 9\n" not in out, f"rules for each card are suggested {err}")
    tight = d.file("tight.rules", out.encode())
    for rules, denied in ((tight, 0), (rules_file(d, "other.rules", ["deny net net0 icmp"]), 1), (rules_file(d, "third.rules", ["deny net net2 any"]), 0)):
        _, out, err = vt.vigia("policy", "test", rules, "--history", "cards")
        n = int(re.search(r"denied (\d+)", out).group(1))
        if rules == tight:  # what was denied then is denied now, too
            vt.check({line.split()[3] + line.split()[4] for line in out.splitlines() if " denies " in line} <= {"netflow"}, f"tried on the past: {out[-300:]} {err}")
        else:
            vt.check(n == denied, f"tried on the past: {n} denied {err}")


def arp(d):
    lines = ["deny net arp"]
    with vt.VM("--name", "noarp", "--policy", rules_file(d, "arp.rules", lines),
               *vt.busybox("vigia.run=modules vigia.end=shell")) as vm:
        vm.expect(r"VIGIA shell", 120)
        vm.shell("ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0", 30)
        status, _ = vm.shell("ping -c 1 -W 2 10.0.2.2", 30)
        _, out = vm.shell("cat /proc/net/arp", 30)
        vt.check(status != 0 and re.search(r"10\.0\.2\.2 .* 0x0 ", out), "nobody answers who asks by ARP")
        vt.vigia("kill", "noarp", "--wait")
    recorded("noarp", lines, [(1, "net", "frame out", DENY)])


# what is denied; the command; words that the refusal has
OPERATOR = [
    ("stop", ("stop", "asked")), ("kill", ("kill", "asked")), ("pause", ("pause", "asked")), ("resume", ("resume", "asked")), ("wake", ("wake", "asked")),
    ("save", ("save", "asked", "FILE")), ("snapshot", ("snapshot", "save", "asked")), ("move", ("move", "asked", "--engine", "kvm")),
    ("record", ("history", "asked", "--record", "port=full")), ("policy", ("policy", "set", "asked", "RULES")),
    ("status", ("list",)), ("stats", ("stats", "asked")), ("rules", ("policy", "show", "asked")),
    ("screenshot", ("screenshot", "asked", "FILE")), ("type", ("type", "asked", "text")), ("key", ("key", "asked", "ret")),
    ("mouse", ("mouse", "asked", "1", "1")), ("insert", ("insert", "asked", "cd0", "DISC")), ("eject", ("eject", "asked", "cd0")),
]


def operator(d):
    """The console of a VM that nobody may do anything with, one request after another; then one that all may."""
    files = {"FILE": d.file("out"), "RULES": rules_file(d, "none.rules", ["# nothing"]), "DISC": d.file("disc.iso", size=1 << 20)}
    lines = [f"deny operator {what}" for what, _ in OPERATOR] + ["deny operator console"]
    with vt.VM("--name", "asked", "--policy", rules_file(d, "operator.rules", lines), "--net", "none",
               *vt.busybox("vigia.end=shell")) as vm:
        vm.expect(r"VIGIA shell", 120)
        for line, (what, command) in enumerate(OPERATOR, 1):
            status, out, err = vt.vigia(*(files.get(word, word) for word in command))
            if what == "status":  # a list of all VMs does not fail for one
                vt.check(status == 0 and re.search(r"^asked .*denies it", out, re.M), f"{what} is refused: {(out + err).strip()}")
            else:
                vt.check(status == 1 and f"denies it (line {line})" in err, f"{what} is refused: {err.strip()}")
        status, _, err = vt.vigia("console", "asked")
        vt.check(status == 1 and f"denies it (line {len(lines)})" in err, f"console is refused: {err.strip()}")
        status, out = vm.shell("echo still here", 30)
        vt.check("still here" in out, "and the VM has heard nothing of it")
        vm.send("poweroff -f\n")
        vm.wait(60)
    recorded("asked", lines, [(line, "operator", "request", DENY) for line in range(1, len(lines) + 1)])


def screen(d):
    """A screen that is not there."""
    lines = ["deny device screen"]
    if not os.path.exists("/usr/share/seabios/bios-256k.bin"):
        return
    with vt.VM("--name", "blind", "--board", "pc", "--display", "vga", "--memory", "64M", "--net", "none",
               "--policy", rules_file(d, "screen.rules", lines), "--boot", "disk", "--disk", d.file("empty.img", size=1 << 20) + ",format=raw"):
        for _ in range(100):
            if vt.vigia("stats", "blind")[0] == 0:
                break
        status, _, err = vt.vigia("screenshot", "blind", d.file("shot.png"))
        vt.check(status == 1 and "screen" in err, f"a VM without a screen: {err.strip()}")
        vt.vigia("kill", "blind", "--wait")
    recorded("blind", lines, [(1, "device", "0", DENY)])


with vt.Workdir() as work:
    devices(work)
    cards(work)
    arp(work)
    operator(work)
    screen(work)
