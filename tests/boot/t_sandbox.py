#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The sandbox: every thread of a running VM is filtered and without capabilities, and new ones are too; all
back ends work inside (other tests run in it as well); --sandbox off goes without."""
import glob
import re
import subprocess

import vigia_test as vt


def statuses(pid):
    for path in glob.glob(f"/proc/{pid}/task/*/status"):
        with open(path, encoding="ascii") as f:
            yield dict(re.findall(r"^(\w+):\s*(.*)$", f.read(), re.M))


with vt.Workdir() as d:
    q = d.file("disk.qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", q, "64M"], check=True)
    server = vt.WebServer(b"x" * 100000)
    with vt.VM("--cpus", "2", "--disk", q, "--net", "user", "--console", "pty",
               *vt.busybox(f"vigia.run=disk,net,smp vigia.url={server.guest_url} vigia.end=shell")) as vm:
        vm.expect(r"VIGIA disk ok", 120)
        vm.expect(r"VIGIA fetched [0-9a-f]{32}", 120)
        vm.expect(r"VIGIA shell", 120)
        threads = list(statuses(vm.process.pid))
        vt.check(len(threads) >= 4, f"{len(threads)} threads")
        for s in threads:
            vt.check(s["Seccomp"] == "2" and s["NoNewPrivs"] == "1", f"{s['Name']} is filtered")
            vt.check(not int(s["CapEff"], 16) and not int(s["CapPrm"], 16) and not int(s["CapInh"], 16),
                     f"{s['Name']} has no capabilities")
        vm.send("poweroff -f\n")
        vm.wait(60)

with vt.VM("--net", "none", "--sandbox", "off", *vt.busybox("vigia.end=shell")) as vm:
    vm.expect(r"VIGIA shell", 120)
    vt.check(all(s["Seccomp"] == "0" for s in statuses(vm.process.pid)), "--sandbox off")
    vm.send("poweroff -f\n")
    vm.wait(60)
