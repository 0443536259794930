#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The boot test with the pages of each process that runs mapped directly, whether that pays or not: with one processor at each
change of processes, with two now and then. Then what a shell computes is what it should be."""
import hashlib

import t_shell
import vigia_test as vt

for cpus in (1, 2):
    t_shell.boot(cpus, env={"VIGIA_SOFT_DIRECT": "1"}, timeout=400, slack=20)

want = hashlib.sha256(bytes(20 << 20)).hexdigest()
with vt.VM("--name", "direct", "--cpus", "2", "--net", "none", *vt.busybox("quiet vigia.end=shell"), env={"VIGIA_SOFT_DIRECT": "1"}) as vm:
    vm.expect(r"VIGIA shell", 120)
    # two at once: each takes the place from the other
    _, out = vm.shell("for i in 1 2; do dd if=/dev/zero bs=1M count=20 2>/dev/null | sha256sum & done; wait", 300)
    vt.check(out.count(want) == 2, "two sums at once")
    _, out = vm.shell("seq 1 20000 | sort -rn | head -n 1; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo $i", 300)
    vt.check("20000\r\n20000" in out, "what is sorted and counted")
    status, out, err = vt.vigia("stats", "direct")
    vt.check(any(l.split()[0] == "direct_pages" and int(l.split()[1]) > 100 for l in out.splitlines()), f"pages were mapped {err}")
    vm.send("poweroff -f\n")
    vm.wait(60)
