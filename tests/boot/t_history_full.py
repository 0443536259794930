#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A history on a full disk: the guest goes on, and what is lost is counted; where a class is lossless the guest waits
instead, and nothing is. Wants a small file system: a tmpfs in a mount namespace of our own, for which root is needed."""
import json
import os
import re
import subprocess
import sys
import time

import vigia_test as vt

if os.environ.get("VIGIA_ENOSPC") != "inside":
    for unshare in (["unshare", "-m"], ["unshare", "-m", "--propagation", "unchanged"]):
        if subprocess.run([*unshare, "true"], check=False, stderr=subprocess.DEVNULL).returncode == 0:
            sys.exit(subprocess.run([*unshare, sys.executable, __file__], check=False,
                                    env={**os.environ, "VIGIA_ENOSPC": "inside"}).returncode)
    vt.skip("a mount namespace needs root")

# each echo is some hundred accesses to ports
TICKS = "n=0; while :; do echo tick $n; n=$((n+1)); done"


def ticks(vm, seconds):
    """How far the guest counts in that time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        vm._read(0.05)
    return int(re.findall(rb"tick (\d+)\r", vm.output)[-1])


def fill(path):
    with open(path, "wb", buffering=0) as f:
        for size in (65536, 512):
            try:
                while f.write(bytes(size)):
                    pass
            except OSError:
                pass


def run(small, name, tier, env):
    path, ballast = os.path.join(small, name), os.path.join(small, "ballast")
    with vt.VM("--net", "none", "--name", name, "--history", path, *vt.busybox("quiet vigia.end=shell"), env=env) as vm:
        vm.expect(r"VIGIA shell", 120)
        vt.check(vt.vigia("history", name, "--record", f"port={tier}", env=env)[0] == 0, f"ports are {tier}")
        vm.send(TICKS + "\n")
        ticks(vm, 1.5)
        fill(ballast)
        before = ticks(vm, 4)
        vt.check("cannot be written" in vm.stderr(), f"{tier}: it says that it cannot be written")
        after = ticks(vm, 2)
        if tier == "full":
            vt.check(after > before, f"{tier}: the guest goes on, from {before} to {after}")
        else:
            vt.check(after == before, f"{tier}: the guest waits at {after}")
        os.unlink(ballast)
        vt.check(ticks(vm, 3) > after, f"{tier}: it goes on when there is room")
        vt.check("written again" in vm.stderr(), "and so does the history")
        vt.vigia("kill", name, env=env)
        vm.wait(60)
    status, out, err = vt.vigia("history", path, "--verify")
    lost = int(re.search(r"(\d+) lost", out).group(1)) if status == 0 else -1
    vt.check(status == 0 and (lost > 0) == (tier == "full"), f"{tier}: intact, {lost} lost {err}")
    status, out, err = vt.vigia("history", path, "--json", "--sql", "SELECT sum(dropped) AS n, count(*) FILTER "
                                "(WHERE dropped>0) AS gaps FROM batch")
    vt.check(json.loads(out)["n"] == lost, f"{tier}: the gap is in the batch behind it: {out.strip()}")
    os.unlink(path)


with vt.Workdir() as d:
    small = os.path.join(d.path, "small")
    os.mkdir(small)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160M", "none", small], check=True)
    env = {"XDG_RUNTIME_DIR": d.path}
    run(small, "goes-on", "full", env)
    run(small, "waits", "lossless", env)
    subprocess.run(["umount", small], check=False)
