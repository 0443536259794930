#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""What rules redirect on the bare-metal hypervisor, under QEMU's SVM: sectors of a Debian guest's disk are another image's, in the
module or on a disk of the machine's; connections to one guest go to another, or to another port. What cannot be had there
vigia pack refuses, with its place and why."""
import vigia_test as vt
from baremetal import QEMU, Machine, linux, need, pack

REFUSED = (("deny port 1\nredirect net out tcp port 80 -> answer page\n", ":2:33: a bare machine has no files or programs to answer with"),
           ("redirect net out tcp port 80 -> program cat\n", ":1:33: a bare machine has no files or programs"),
           ("redirect net out udp name a.b -> 10.9.0.2\n", ":1:34: a bare machine redirects addresses and ports, not names"),
           ("redirect net tcp fec0::1 -> fec0::2\n", ":1:29: a bare machine redirects to no IPv6 address"),
           ("redirect disk any -> image nowhere.img\n", "nowhere.img"),
           ("".join(f"redirect disk read sectors {n} -> image {n}.img\n" for n in range(5)), "at most 4 images"))


def marked(text, sectors):
    """A disk of which each sector says which it is."""
    return b"".join(f"{text} {n:06}".encode().ljust(512, b".") for n in range(sectors))


need(QEMU)

with vt.Workdir() as work:
    for text, why in REFUSED:
        fleet = linux("alpha", "", f"policy: {work.file('bad', text.encode())}")
        status, _, errors = vt.vigia("pack", work.file("bad.yaml", fleet.encode()), "-o", work.file("bad.cpio"))
        vt.check(status == 1 and why in errors, f"vigia pack: {errors.strip()}")
    disk, image = work.file("disk.raw", marked("disk", 2048)), work.file("image.raw", marked("image", 256))
    host = work.file("host.raw", marked("host", 2048))
    rules = f"""redirect disk any sectors 100-107 -> image {image}
redirect disk any sectors 200-207 -> image host:virtio0
redirect disk any sectors 300-307 -> image {image}
redirect net out tcp 10.9.0.3 port 8080 -> 10.9.0.2:80
redirect net out tcp 10.9.0.2 port 81 -> :80
""".encode()
    fleet = ""
    for name, n, run in (("alpha", 1, "lan"), ("bravo", 2, "lan,serve"), ("carol", 3, "lan")):
        keys = (f"policy: {work.file('rules', rules)}", f'disk: ["{disk}"]') if name == "alpha" else ()
        fleet += linux(name, f"vigia.run={run} vigia.ip=10.9.0.{n} vigia.sleep=100000", *keys, net="switch:lan")
    drive = ["-drive", f"if=none,id=d,format=raw,file={host}", "-device", "virtio-blk-pci,drive=d,disable-legacy=on"]
    with Machine(pack(work.file("fleet.cpio"), fleet), *drive, memory=512, smp=2) as vm:
        md5 = vm.said(r"bravo\| VIGIA serves ([0-9a-f]{32})", 400)[1].decode()
        for name in ("alpha", "carol"):
            vm.said(rf"{name}\| VIGIA shell", 400)
        vm.to("alpha")

        def ask(command):
            return vm.shell(command, 120)[1]

        def read(sector):
            return ask(f"echo is=$(dd if=/dev/vda bs=512 count=1 skip={sector} iflag=direct 2>/dev/null | head -c 12)").split("is=")[-1].split(".")[0].strip()

        def write(sector):
            return ask(f"printf 'mine%508d' {sector} >/tmp/m; dd if=/tmp/m of=/dev/vda bs=512 count=1 seek={sector} oflag=direct conv=fsync 2>/dev/null; "
                       "echo got=$?").split("got=")[-1][0]

        got = [read(n) for n in (99, 100, 107, 108, 200, 300)]
        vt.check(got == ["disk 000099", "image 000100", "image 000107", "disk 000108", "host 000200", ""],
                 f"sectors are another image's, and beyond its end an error: {got}")
        vt.check([write(n) for n in (101, 201, 301, 109)] == ["0", "0", "1", "0"], "they are written there")
        got = [read(n) for n in (101, 201, 109)]
        vt.check(all(g.startswith("mine") for g in got), f"and read back: {got}")

        def fetched(url):
            return md5 in ask(f"timeout 60 wget -q -O - {url} | md5sum")

        vt.check(fetched("http://10.9.0.3:8080/file"), "a connection to one neighbour is another's")
        vt.check(fetched("http://10.9.0.2:81/file"), "one to another port is the usual one's")
        vt.check(fetched("http://10.9.0.2/file"), "and what no rule is about goes where it should")
        vt.check("3 packets received" in ask("ping -c 3 -w 60 10.9.0.3"), "so it does to the other neighbour")
        vt.check("got=0" not in ask("timeout 8 wget -q -O /tmp/file http://10.9.0.3/file; echo got=$?"), "who has nothing to fetch")
        vm.to()
        vm.send("policy\n")
        m = vm.expect(r"alpha +5 rules: denied (\d+), redirected (\d+);", 30)
        vt.check(int(m[2]) > 10, f"policy counts: {m[0].decode()}")
        vm.send("history alpha\n")
        for line in (1, 2, 3, 4, 5):
            vm.said(rf"redirected by line {line}", 30)
        print("ok: history has what was redirected")
        vm.poweroff()
    with open(host, "rb") as f:
        after = f.read()
    before = marked("host", 2048)
    changed = [n for n in range(2048) if after[n * 512:n * 512 + 512] != before[n * 512:n * 512 + 512]]
    vt.check(changed == [201], f"of the machine's disk the sector that was written to has changed: {changed}")
