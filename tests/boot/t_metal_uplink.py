#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The machine's network card as the uplink of a network between VMs, under QEMU's SVM: a Debian kernel gets an address from
outside and fetches a file, another on a network without uplink gets none; without a card the hypervisor says so."""
import hashlib
import os
import sys

import vigia_test as vt
from baremetal import QEMU, Machine, linux, need, pack

need(QEMU)

# QEMU's names; all of them with --all, else one of each driver
CARDS = ("virtio-net-pci", "e1000e", "e1000") if "--all" in sys.argv else ("virtio-net-pci", "e1000e")
content = os.urandom(3 << 20)
server = vt.WebServer(content)

with vt.Workdir() as work:
    fleet = "".join(linux(name, f"vigia.run=net {url}", net="switch:" + net)
                    for name, net, url in (("inside", "lan", f"vigia.url={server.guest_url}"), ("alone", "closed", "")))
    module = pack(work.file("fleet.cpio"), fleet, "--uplink", "lan", "--uplink", "closed")
    for card in CARDS:
        with Machine(module, "-netdev", "user,id=n0", "-device", f"{card},netdev=n0,mac=52:54:00:aa:bb:cc", smp=2) as vm:
            vm.said(r"lan: uplink 52:54:00:aa:bb:cc", 60)
            vm.said(r"closed: no network card for an uplink", 60)
            print(f"ok: {card}: the card is found; a network for which there is none hears of it")
            vm.said(r"inside\| VIGIA net address=10\.0\.2\.\d+", 300)
            print("ok: an address by DHCP through the uplink")
            fetched = vm.said(r"inside\| VIGIA fetched ([0-9a-f]{32})", 300)[1].decode()
            vt.check(fetched == hashlib.md5(content).hexdigest(), "a file of 3 MiB from outside, as it is")
            vm.said(r"alone\| VIGIA net address=\r?\n?[^0-9]", 300)
            print("ok: the other network has no way out")
            vm.position = len(vm.output)
            vm.send("net\n")
            m = vm.expect(r"\(uplink\) +lan +\S+ +(\d+) +(\d+) +(\d+)\s", 30)
            vt.check(int(m[1]) > 1000 and int(m[2]) > 20, f"frames in and out: {m[1].decode()}, {m[2].decode()}, lost {m[3].decode()}")
            vm.poweroff()
