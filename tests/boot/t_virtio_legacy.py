#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Transitional virtio devices (--virtio transitional) under Linux: by its modern driver, then by its legacy one, also
over a save and a restore; and under firmware: SeaBIOS boots from such a disk, OVMF, whose driver for them is a legacy
one, reads its boot sector."""
import hashlib
import os
import shutil

import linuxdisk
import t_pc_uefi
import vigia_test as vt

BIOS = "/usr/share/seabios/bios-256k.bin"
MIB = 1 << 20
LOAD = "cd /lib/modules/$(uname -r); for ko in $(cat /etc/modules); do insmod $ko 2>/dev/null; done; true"
LEGACY = "rmmod virtio_pci && insmod $(grep virtio_pci.ko /etc/modules) force_legacy=1"
WAIT = "i=0; while [ ! -b /dev/vdb ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i + 1)); done; sleep 1"


def run(vm, command, seconds=120):
    status, out = vm.shell(command, seconds)
    vt.check(status == 0, f"{command[:60]}: {out.strip()[-200:]}")
    return out


def use(vm, server, content, data, mark):
    """Reads the disk, writes and reads a part of it, fetches a file."""
    out = run(vm, "dd if=/dev/vdb bs=1M count=8 2>/dev/null | md5sum")
    vt.check(hashlib.md5(data[:8 * MIB]).hexdigest() in out, "the disk has what it should")
    out = run(vm, f"yes {mark} | head -c 3000000 >/tmp/w; dd if=/tmp/w of=/dev/vdb bs=64k seek=160 2>/dev/null; sync; "
              "echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/vdb bs=64k skip=160 2>/dev/null | head -c 3000000 | cmp - /tmp/w && "
              "echo same")
    vt.check("same" in out, "and what is written")
    run(vm, "ip link set eth0 up; ip addr flush dev eth0; ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2 || true")
    out = run(vm, f"timeout 60 wget -q -O - {server.guest_url} | md5sum")
    vt.check(hashlib.md5(content).hexdigest() in out, f"{len(content) >> 20} MiB came by the network")
    out = run(vm, "head -c 64 /dev/hwrng | wc -c")
    vt.check("64" in out, "random numbers")


def bits(vm):
    """Which of the devices' drivers have agreed on VERSION_1: feature 32."""
    return run(vm, "for f in /sys/bus/virtio/devices/*/features; do cut -c33 $f; done").split()


def linux(w):
    image = vt.initramfs("--modules", "virtio_rng", "--name", "legacy")
    name, content, data = f"legacy-{os.getpid()}", os.urandom(2 * MIB), os.urandom(16 * MIB)
    server = vt.WebServer(content)
    boot = linuxdisk.make(w, vt.kernel(), image, "console=ttyS0 quiet vigia.end=shell")
    disk = w.file("data", data)
    with vt.VM("--board", "pc", "--memory", "192M", "--virtio", "transitional", "--net", "user", "--name", name, "--disk",
               f"{boot},if=virtio,format=raw,ro", "--disk", f"{disk},if=virtio,format=raw") as vm:
        vm.expect(r"VIGIA shell", 120)
        vm.send("stty -echo; PS1=; export TERM=dumb\n")
        run(vm, "true")
        run(vm, LOAD)
        run(vm, WAIT)
        out = run(vm, "cat /sys/bus/pci/devices/*/device")
        vt.check(out.count("0x1001") == 2 and "0x1000" in out and "0x1005" in out, "transitional devices")
        seen = bits(vm)
        vt.check(len(seen) >= 4 and set(seen) == {"1"}, f"modern drivers: {seen}")
        use(vm, server, content, data, "modern")
        run(vm, LEGACY)
        run(vm, WAIT)
        seen = bits(vm)
        vt.check(len(seen) >= 4 and set(seen) == {"0"}, f"legacy drivers: {seen}")
        use(vm, server, content, data, "legacy")
        status, _, err = vt.vigia("save", name, w.file("state"))
        vt.check(status == 0, f"saved {err.strip()}")
        vm.wait(60)
    with vt.restored(w.file("state")) as vm:
        vm.send("\n")
        run(vm, "true")
        use(vm, server, content, data, "restored")
        vm.send("poweroff -f\n")
        vm.wait(60)
    with open(disk, "rb") as f:
        f.seek(160 << 16)
        vt.check(f.read(18) == b"restored\nrestored\n", "it is in the image")


def uefi(w):
    """The shell's map has the disk, and its first sector is what it is."""
    disk = w.file("sector", b"Watchman\0porthole" + bytes(493) + b"\x55\xaa", MIB)
    with t_pc_uefi.shell("--virtio", "transitional", "--disk", f"{disk},if=virtio,format=raw") as vm:
        vm.send("dblk blk0 0 1\r")
        vm.expect(r"00000000: 57 61 74 63 68 6D 61 6E", 60)
        vm.expect(r"000001F0: .*55 AA\s", 60)
        print("ok: OVMF reads it")
        t_pc_uefi.power_off(vm)


def main():
    if not shutil.which("nasm") or not os.path.exists(BIOS):
        vt.skip("needs the packages nasm and seabios")
    status, _, err = vt.vigia("run", "--board", "micro", "--kernel", "/dev/null", "--virtio", "transitional")
    vt.check(status == 1 and "needs a PC" in err, f"refused: {err.strip()}")
    with vt.Workdir() as w:
        linux(w)
        if any(map(os.path.exists, t_pc_uefi.OVMF)):
            uefi(w)


if __name__ == "__main__":
    main()
