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


def rows(name, *args):
    status, out, err = vt.vigia("history", name, "--json", *args)
    vt.check(status == 0, f"vigia history {' '.join(args)} {err.strip()}")
    return [json.loads(line) for line in out.splitlines()]


with vt.VM("--name", "seen", *vt.busybox("vigia.end=shell")) as vm:
    vm.expect(r"VIGIA shell", 120)
    vm.shell("echo written-by-the-guest")
    vm.shell("sleep 1; echo up-$(cut -d' ' -f1 /proc/uptime)")
    vt.check(vt.vigia("pause", "seen")[0] == 0 and vt.vigia("resume", "seen")[0] == 0, "pause and resume")
    vt.check(vt.vigia("history", "seen", "--record", "port=full")[0] == 0, "a class in full")
    vm.shell("echo full")
    time.sleep(1.2)
    live = rows("seen", "--class", "console")
    vt.check(any("written-by-the-guest" in r["text"] for r in live), "the console, while the VM runs")
    vm.send("poweroff -f\n")
    vm.wait(60)

life = rows("seen", "--class", "lifecycle")
vt.check(life[0]["op"] == "start" and life[-1]["op"] == "end", "it begins with the start and ends with the end")
vt.check("the guest powered off" in life[-1]["text"], "the end says why")
operator = [r["text"] for r in rows("seen", "--class", "operator")]
vt.check(any(re.match(rf"pause by uid {os.getuid()} pid \d+", t) for t in operator), "the operator's pause")
ports = rows("seen", "--class", "port", "--device", "0x3f8-0x3ff")
vt.check(any(r["counted"] and r["count"] > 1 for r in ports), "ports are counted")
vt.check(any(not r["counted"] and r["rip"] for r in ports), "and in full, with the instruction's address")
for cls in ("msr", "cpuid", "cpu"):
    vt.check(rows("seen", "--class", cls, "--limit", "3"), f"{cls} events")
roots = {r["root"]: r["addr"] for r in rows("seen", "--class", "cpu", "--op", "space") if r["counted"]}
busiest = max((r for r in rows("seen", "--class", "port") if r["root"]), key=lambda r: r["count"])["root"]
of_one = rows("seen", "--process", hex(busiest))
vt.check({r["class"] for r in of_one} >= {"port", "cpu"} and
         all(busiest in (r["root"], r["addr"]) for r in of_one) and len(of_one) < len(rows("seen")),
         f"what one guest process did, of {len(roots)}")
vt.check(all(root == addr for root, addr in roots.items()), "a root's time is its own")
status, out, err = vt.vigia("history", "seen", "--json", "--sql", "SELECT t, tsc, guest, text FROM events WHERE class='console' AND "
                            "text LIKE 'up-%' ORDER BY seq")
said = json.loads(out.splitlines()[0])
up = float(said["text"].split("-")[1])
vt.check(abs(said["guest"] - up) < 2, f"each record has the guest's time: {said['guest']:.2f} s, of which the guest says {up} s")
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
    status, out, err = vt.vigia("history", "killed", "--json", "--sql", "SELECT text FROM console WHERE text LIKE 'tick %' AND "
                                "run=(SELECT max(id) FROM run) ORDER BY seq DESC LIMIT 1")
    last = int(json.loads(out)["text"].split()[1]) if out else -1
    vt.check(last >= must, f"of the console tick {last} is there, of {came[-1][1] if came else -1}; a second ago it was {must}")

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
