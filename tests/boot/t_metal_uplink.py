#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The machine's network card as the uplink of a network between VMs, under QEMU's SVM: a Debian kernel gets an address from
outside and fetches a file, another on a network without uplink gets none; without a card the hypervisor says so."""
import hashlib
import os
import subprocess
import sys

import vigia_test as vt
from baremetal import ELF, QEMU, need


need(QEMU)

# QEMU's names; all of them with --all, else one of each driver
CARDS = ("virtio-net-pci", "e1000e", "e1000") if "--all" in sys.argv else ("virtio-net-pci", "e1000e")
content = os.urandom(3 << 20)
server = vt.WebServer(content)

with vt.Workdir() as work:
    text = "".join(f"""
- name: {name}
  kernel: {vt.kernel()}
  initrd: {vt.initramfs()}
  append: console=ttyS0 quiet vigia.run=net {url} vigia.end=shell
  memory: 96M
  net: ["switch:{net}"]
""" for name, net, url in (("inside", "lan", f"vigia.url={server.guest_url}"), ("alone", "closed", "")))
    out = work.file("fleet.cpio")
    subprocess.run([vt.VIGIA, "pack", work.file("fleet.yaml", text.encode()), "-o", out, "--uplink", "lan", "--uplink", "closed"],
                   check=True, stdout=subprocess.DEVNULL)
    for card in CARDS:
        with vt.VM(command=[QEMU, "-accel", "tcg,thread=single", "-cpu", "EPYC", "-M", "q35", "-m", "384", "-smp", "2", "-display", "none",
                            "-serial", "stdio", "-monitor", "none", "-no-reboot", "-netdev", "user,id=n0", "-device",
                            f"{card},netdev=n0,mac=52:54:00:aa:bb:cc", "-kernel", ELF, "-initrd", out]) as vm:
            def said(pattern, timeout):
                vm.position = 0
                return vm.expect(pattern, timeout)

            said(r"lan: uplink 52:54:00:aa:bb:cc", 60)
            said(r"closed: no network card for an uplink", 60)
            print(f"ok: {card}: the card is found; a network for which there is none hears of it")
            said(r"inside\| VIGIA net address=10\.0\.2\.\d+", 300)
            print("ok: an address by DHCP through the uplink")
            fetched = said(r"inside\| VIGIA fetched ([0-9a-f]{32})", 300)[1].decode()
            vt.check(fetched == hashlib.md5(content).hexdigest(), "a file of 3 MiB from outside, as it is")
            said(r"alone\| VIGIA net address=\r?\n?[^0-9]", 300)
            print("ok: the other network has no way out")
            vm.position = len(vm.output)
            vm.send("net\n")
            m = vm.expect(r"\(uplink\) +lan +\S+ +(\d+) +(\d+) +(\d+)\s", 30)
            vt.check(int(m[1]) > 1000 and int(m[2]) > 20, f"frames in and out: {m[1].decode()}, {m[2].decode()}, lost {m[3].decode()}")
            vm.send("poweroff\n")
            vm.wait(60)
