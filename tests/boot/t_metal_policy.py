#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Rules and history on the bare-metal hypervisor, under QEMU's SVM: what a Debian kernel is denied it does not get
(devices, CPUID, packets), the operator neither; the shell shows verdicts and what happened; broken rules start nothing."""
import vigia_test as vt
from baremetal import QEMU, Machine, assemble, linux, need, pack, small

need(QEMU, "nasm")

RULES = b"""deny device disk1
redirect cpuid 0x80000002 eax -> 0x41474956
deny net out tcp port 80
deny operator kill
deny port 0x4d0-0x4d1
deny disk write sectors 0-7
redirect disk write sectors 8-15 -> scratch
"""

with vt.Workdir() as work:
    disks = f"disk: [{work.file('a.raw', size=1 << 20)}, {work.file('b.raw', size=2 << 20)}]"
    text = ""
    for name, n, run in (("alpha", 1, "lan"), ("bravo", 2, "lan,serve")):
        keys = [f"policy: {work.file('rules', RULES)}", disks] if name == "alpha" else []
        text += linux(name, f"vigia.run={run} vigia.ip=10.9.0.{n} vigia.sleep=100000", *keys, net="switch:lan")
    text += small("small", assemble(work.file("metal"), "boot/metal.asm"), f"policy: {work.file('marked', b'deny port 0x80')}")
    out = pack(work.file("fleet.cpio"), text)
    # the last VM's rules: one that the hypervisor must not believe
    with open(out, "r+b") as f:
        data = f.read()
        f.seek(data.rindex(b"VGPOLICY") + 24)
        f.write(b"\xff")
    with Machine(out, memory=512, smp=2) as vm:
        vm.said(r"small: its rules are broken", 60)
        vm.said(r"bravo\| VIGIA serves", 400)
        vm.said(r"alpha\| VIGIA shell", 240)
        vm.send("list\n")
        vm.expect(r"small +not startable", 30)
        print("ok: a VM whose rules are broken does not start")
        vm.to("alpha")

        def ask(command):
            return vm.shell(command, 120)[1]

        vt.check("model name" in ask("grep -m1 'model name' /proc/cpuinfo") and ask("grep -m1 'model name' /proc/cpuinfo | grep -c VIGA").split()[-1] == "1",
                 "CPUID says what the rules say")
        vt.check(ask("ls /sys/block | grep -c vd").split()[-1] == "1", "of two disks the guest has one")
        write = "dd if=/tmp/m of=/dev/vda bs=512 count=1 seek={} oflag=direct conv=fsync 2>/dev/null; echo got=$?"
        ask("echo mark >/tmp/m; dd if=/dev/zero of=/tmp/m bs=512 count=1 seek=1 2>/dev/null")
        got = [ask(write.format(n)).split("got=")[-1][0] for n in (0, 8, 16)]
        vt.check(got[0] != "0" and got[1:] == ["0", "0"], f"it is denied some sectors of its disk: {got}")
        vt.check(all("mark" in ask(f"echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/vda bs=512 count=1 skip={n} iflag=direct 2>/dev/null | head -c 4")
                     for n in (8, 16)), "what is redirected is read back, as is the rest")
        vt.check("3 packets received" in ask("ping -c 3 -w 60 10.9.0.2"), "it may ping its neighbour")
        vt.check(ask("timeout 8 wget -q -O /tmp/file http://10.9.0.2/file; echo got=$?").split("got=")[-1][0] != "0", "but fetch nothing from it")
        vm.to()
        vm.send("kill alpha\n")
        vm.expect(r"alpha: its rules deny it", 30)
        print("ok: an operator does not kill what rules protect")
        vm.send("pause alpha\nresume alpha\npolicy\n")
        m = vm.expect(r"alpha +7 rules: denied (\d+), redirected (\d+);", 30)
        vt.check(int(m[1]) > 2 and int(m[2]) > 0, f"policy counts: {m[0].decode()}")
        vm.expect(r"bravo +no rules", 30)
        vm.send("history alpha\n")
        for pattern in (r"alpha +device +disk1: denied by line 1", r"lifecycle started", r"cpuid +eax 0x80000002 [^\n]*redirected by line 2",
                        r"console +VIGIA shell", r"net +out to 0x[0-9a-f]+ [^\n]*denied by line 3, \d+ times", r"operator +kill: denied by line 4",
                        r"operator +pause", r"operator +resume"):
            vm.expect(pattern, 30)
        print("ok: history has devices, life, verdicts, console and operators, in order")
        vm.poweroff()
