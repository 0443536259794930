#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The history of a VM: what its guest and its operator do is in it, it survives kill -9 and verifies, and
a changed one does not."""
import glob
import json
import lzma
import os
import random
import re
import signal
import sqlite3
import time

import vigia_test as vt


def console(name, run="(SELECT max(id) FROM run)"):
    """All that it has said, and which record has each of the characters: what a guest writes slowly comes in parts."""
    status, out, err = vt.vigia("history", name, "--json", "--sql", f"SELECT seq, t, tsc, guest, text FROM events WHERE class='console' AND "
                                f"op='out' AND text IS NOT NULL AND run={run} ORDER BY seq")
    vt.check(status == 0, f"the console {err.strip()}")
    parts = [json.loads(line) for line in out.splitlines()]
    return "".join(r["text"] for r in parts), [r for r in parts for _ in r["text"]]


def rows(name, *args):
    status, out, err = vt.vigia("history", name, "--json", *args)
    vt.check(status == 0, f"vigia history {' '.join(args)} {err.strip()}")
    return [json.loads(line) for line in out.splitlines()]


with vt.VM("--name", "seen", *vt.busybox("vigia.end=shell")) as vm:
    vm.expect(r"VIGIA shell", 120)
    vm.shell("echo written-by-the-guest")
    vm.shell("sleep 1; echo up-$(cut -d' ' -f1 /proc/uptime)")
    vm.shell("echo later-$(cut -d' ' -f1 /proc/uptime)")
    vt.check(vt.vigia("pause", "seen")[0] == 0 and vt.vigia("resume", "seen")[0] == 0, "pause and resume")
    vt.check(vt.vigia("history", "seen", "--record", "port=full")[0] == 0, "a class in full")
    status, _, err = vt.vigia("history", "seen", "--record", "prot=full")
    vt.check(status != 0 and "no class" in err, f"no class: {err.strip()}")
    vm.shell("echo full")
    end = time.monotonic() + 20
    while "\nwritten-by-the-guest" not in console("seen")[0] and time.monotonic() < end:
        time.sleep(0.2)
    vt.check("\nwritten-by-the-guest" in console("seen")[0], "the console, while the VM runs")
    vm.send("poweroff -f\n")
    vm.wait(60)

life = [r for r in rows("seen", "--class", "lifecycle") if not r["counted"]]
vt.check(life[0]["op"] == "start" and life[-1]["op"] == "end", "it begins with the start and ends with the end")
vt.check("the guest powered off" in life[-1]["text"], "the end says why")
operator = [r["text"] for r in rows("seen", "--class", "operator")]
vt.check(any(re.match(rf"pause by uid {os.getuid()} pid \d+", t) for t in operator), "the operator's pause")
ports = rows("seen", "--class", "port", "--device", "0x3f8-0x3ff")
vt.check(any(r["counted"] and r["count"] > 1 for r in ports), "ports are counted")
vt.check(any(not r["counted"] and r["rip"] for r in ports), "and in full, with the instruction's address")
for cls in ("msr", "cpuid", "cpu"):
    vt.check(rows("seen", "--class", cls, "--limit", "3"), f"{cls} events")
# beyond the addresses that a table has place for, times are nobody's (-1)
roots = [r for r in rows("seen", "--class", "cpu", "--op", "space") if r["counted"] and r["addr"] != -1]
busiest = max((r for r in rows("seen", "--class", "port") if r["root"]), key=lambda r: r["count"])["root"]
of_one = rows("seen", "--process", hex(busiest))
vt.check({r["class"] for r in of_one} >= {"port", "cpu"} and
         all(busiest & ~4095 in (r["root"] & ~4095, r["addr"] & ~4095) for r in of_one) and len(of_one) < len(rows("seen")),
         f"what one guest process did, of {len(roots)}")
wrong = [r for r in roots if r["root"] != r["addr"]]
vt.check(roots and not wrong, f"a root's time is its own: {wrong[:3]}")
vt.check(any(r["addr"] & ~4095 == busiest & ~4095 and r["sum"] > 0 for r in roots), "the busiest one's is there, too")
text, record = console("seen")
up, later = (re.search(rf"\n{word}-(\d+\.\d+)\r?\n", text) for word in ("up", "later"))
guest = record[up.end() - 1]["guest"]
# the guest counts from a little later on; it was read before it was said, and the next one after it
vt.check(float(up.group(1)) - 0.5 < guest < float(later.group(1)) + 2, f"each record has the guest's time: {guest:.2f} s, of which the guest "
         f"says {up.group(1)} s, and then {later.group(1)} s")
status, out, err = vt.vigia("history", "seen", "--json", "--sql", "SELECT count(*) AS n FROM events WHERE vcpu>=0 AND tsc IS NULL")
vt.check(json.loads(out)["n"] == 0, "no record of a vCPU is without")
seqs = [r["seq"] for r in rows("seen")]
vt.check(seqs == list(range(1, len(seqs) + 1)), "sequence numbers have no gaps")
status, out, err = vt.vigia("history", "seen", "--verify")
vt.check(status == 0 and out.startswith("intact"), f"it verifies: {out.strip()} {err}")
status, out, err = vt.vigia("history", "seen", "--summary")
vt.check(status == 0 and "devices most used" in out and "records lost" in out, f"summary {err}")
status, out, err = vt.vigia("history", "seen", "--sql", "SELECT count(*) AS n FROM events", "--json")
vt.check(status == 0 and json.loads(out)["n"] == len(seqs), f"SQL {err}")
vt.check(vt.vigia("history", "seen", "--sql", "DELETE FROM event")[0] == 1, "SQL cannot change it")
vt.check(vt.vigia("history", "seen", "--class", "nonsense")[0] == 1, "an unknown class is refused")
vt.check(vt.vigia("history", "nobody")[0] == 1, "no history, no timeline")

# kill -9 at random moments: intact, and at most the last second is missing. Records that a loaded host took a
# while to write are given half a second more.
seed = int(os.environ.get("VIGIA_SEED", str(int(time.time()))))
print(f"seed {seed}")
rng = random.Random(seed)
for n in range(int(os.environ.get("VIGIA_KILL_ROUNDS", "4"))):
    delay = rng.uniform(0.05, 4)
    with vt.VM("--name", "killed", "--net", "none", *vt.busybox("quiet vigia.end=shell")) as vm:
        if n % 2:  # while it starts
            time.sleep(delay)
        else:
            vm.expect(r"VIGIA shell", 120)
            vm.send("n=0; while :; do echo tick $n; n=$((n+1)); usleep 50000; done\n")
        came, end = [], time.monotonic() + delay
        while n % 2 == 0 and time.monotonic() < end:
            vm._read(0.02)
            seen = re.findall(rb"tick (\d+)\r", vm.output)
            if seen and (not came or came[-1][1] != int(seen[-1])):
                came.append((time.monotonic(), int(seen[-1])))
        vm.process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        vm.process.wait()
    status, out, err = vt.vigia("history", "killed", "--verify")
    vt.check(status == 0, f"intact after a kill at {delay:.2f} s: {out.split(chr(10))[0]} {err}")
    must = max((tick for t, tick in came if t < killed - 1.5), default=-1)
    last = max((int(n) for n in re.findall(r"\ntick (\d+)\r", console("killed")[0])), default=-1)
    vt.check(last >= must, f"of the console tick {last} is there, of {came[-1][1] if came else -1}; a second ago it was {must}")

# Histories of VMs that nobody has named go after a month; a folder of them is looked through once a day.
folder = os.path.join(os.environ["XDG_STATE_HOME"], "vigia")
names = ["vm-1.history", "vm-1.history-wal", "vm-2.history", "named.history"]
for due in (True, False):
    for name in names:
        with open(os.path.join(folder, name), "w", encoding="ascii"):
            pass
        if name != "vm-2.history":
            os.utime(os.path.join(folder, name), (1e9, 1e9))
    if due:
        os.utime(os.path.join(folder, "swept"), (time.time() - 90000,) * 2)
    with vt.VM(*vt.busybox("vigia.end=shell")) as vm:
        vm.expect(r"VIGIA shell", 120)
        vm.process.kill()
    left = [name for name in names if os.path.exists(os.path.join(folder, name))]
    vt.check(left == (names[2:] if due else names), f"of old ones are left, {'a day later' if due else 'the same day'}: {left}")
for name in names:
    os.unlink(os.path.join(folder, name))

# Somebody changes it.
path = os.path.join(os.environ["XDG_STATE_HOME"], "vigia", "seen.history")
with sqlite3.connect(path) as db:
    db.execute("UPDATE event SET text='nothing happened' WHERE seq=1")
status, _, err = vt.vigia("history", "seen", "--verify")
vt.check(status == 1 and "changed" in err, f"a change shows: {err.strip()}")

# Histories of older versions are read and verified as they are, and gone on with.
for packed in sorted(glob.glob(os.path.join(os.path.dirname(os.path.abspath(__file__)), "histories/*.xz"))):
    version = int(re.search(r"v(\d+)\.history", packed).group(1))
    path = os.path.join(os.environ["XDG_STATE_HOME"], "vigia", f"old{version}.history")
    with lzma.open(packed) as src, open(path, "wb") as dst:
        dst.write(src.read())
    for round in ("as it is", "gone on with"):
        with sqlite3.connect(path) as db:
            now = db.execute("PRAGMA user_version").fetchone()[0]
        vt.check((now == version) == (round == "as it is"), f"a history of version {version}, {round}: version {now}")
        status, out, err = vt.vigia("history", f"old{version}", "--verify")
        vt.check(status == 0 and out.startswith("intact"), f"it verifies: {out.strip()} {err}")
        seen = rows(f"old{version}")
        vt.check(seen[0]["op"] == "start" and any("ready" in r.get("text", "") for r in seen), "it can be read")
        for args in (("--summary",), ("--process", "0x1000"), ("--sql", "SELECT * FROM events LIMIT 3"),
                     ("--class", "cpuid"), ("--html", path + ".html")):
            vt.check(vt.vigia("history", f"old{version}", *args)[0] == 0, f"and asked: {args[0]}")
        if round == "as it is":
            with vt.VM("--name", f"old{version}", "--net", "none", *vt.busybox()) as vm:
                vm.wait(60)

# Without, and with a file that cannot be.
with vt.VM("--name", "silent", "--history", "none", "--net", "none", *vt.busybox()) as vm:
    vm.wait(60)
vt.check(vt.vigia("history", "silent")[0] == 1, "--history none keeps none")
status, _, err = vt.vigia("run", "--history", "/proc/no/file", "--net", "none", *vt.busybox())
vt.check(status == 1 and "/proc/no/file" in err, "a named history that cannot be written is an error")
