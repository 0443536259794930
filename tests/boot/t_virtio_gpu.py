#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The virtio graphics device (--graphics virtio): Linux' virtio_gpu draws a picture dot by dot, which vigia screenshot
shows, also after a save and a restore; its text console; OVMF's driver shows the UEFI shell."""
import os
import shutil
import struct
import time

import linuxdisk
import screen
import t_pc_uefi
import vigia_test as vt

BIOS = "/usr/share/seabios/bios-256k.bin"
W, H = 1024, 768  # what the monitor likes


def pattern(salt):
    """Dots of a picture as a frame buffer has them: each another."""
    return b"".join(struct.pack("<I", (x * 3 + salt & 255) << 16 | (y * 5 & 255) << 8 | (x ^ y) & 255)
                    for y in range(H) for x in range(W))


def is_shown(name, dots):
    w, h, rows = screen.shot(name)
    if (w, h) != (W, H):
        return False
    data = b"".join(rows)
    return data[0::3] == dots[2::4] and data[1::3] == dots[1::4] and data[2::3] == dots[0::4]


def wait_until(true, what):
    deadline = time.monotonic() + 30 * vt.PATIENCE
    while not true():
        if time.monotonic() > deadline:
            vt.fail(what)
        time.sleep(0.3)
    print(f"ok: {what}")


def draw(vm, name, number, dots):
    """From the disk of that size, as names of disks are given in no order."""
    status, out = vm.shell("disk=$(grep -lx %d /sys/block/sd*/size | cut -d/ -f4); dd if=/dev/$disk of=/dev/fb0 bs=1M count=3 "
                           "skip=%d 2>/dev/null" % (2 * len(dots) // 512, 3 * number), 60)
    vt.check(status == 0, f"written to the frame buffer {out.strip()}")
    wait_until(lambda: is_shown(name, dots), "the picture is on the screen")


def linux(w):
    image = vt.initramfs("--modules", "ata_piix,sd_mod,virtio-gpu", "--name", "gpu")
    name = f"gpu-{os.getpid()}"
    boot = linuxdisk.make(w, vt.kernel(), image, "console=ttyS0 quiet vigia.end=shell consoleblank=0 vt.global_cursor_default=0")
    one, two = pattern(0), pattern(100)
    pictures = w.file("pictures", one + two)
    with vt.VM("--board", "pc", "--memory", "192M", "--net", "none", "--display", "vga", "--graphics", "virtio", "--name", name,
               "--disk", f"{boot},if=ide,format=raw,ro", "--disk", f"{pictures},if=ide,format=raw") as vm:
        vm.expect(r"VIGIA shell", 120)
        vm.send("stty -echo; PS1=; export TERM=dumb\n")
        vm.shell("true", 60)
        vm.shell("cd /lib/modules/$(uname -r); for ko in $(cat /etc/modules); do insmod $ko 2>/dev/null; done; true", 120)
        _, out = vm.shell("cat /proc/fb; cat /sys/class/drm/*/status; cat /sys/class/drm/*/modes | head -1; dmesg | grep -i -c '\\*ERROR'")
        vt.check("virtio_gpu" in out and "connected" in out and f"{W}x{H}" in out and "\n0" in out, f"the driver: {out.split()}")
        vm.shell("printf '\\033[2J\\033[HPorthole' >/dev/tty1")
        wait_until(lambda: screen.text_of(screen.shot(name)[2], W, H, cell=8)[0].startswith("Porthole"), "the text console")
        draw(vm, name, 0, one)
        draw(vm, name, 1, two)
        status, _, err = vt.vigia("save", name, w.file("state"))
        vt.check(status == 0, f"saved {err.strip()}")
        vm.wait(60)
    with vt.restored(w.file("state")) as vm:
        vm.send("\n")
        vm.shell("true", 60)
        vt.check(is_shown(name, two), "the restored picture")
        draw(vm, name, 0, one)
        vm.send("poweroff -f\n")
        vm.wait(60)


def uefi():
    name = f"gpuefi-{os.getpid()}"
    with t_pc_uefi.shell("--display", "vga", "--graphics", "virtio", "--name", name) as vm:
        w, h, rows = screen.shot(name)
        lit = sum(any(row[x:x + 3]) for row in rows for x in range(0, 3 * w, 3))
        vt.check(w >= 640 and h >= 480 and 500 < lit < w * h // 2, f"OVMF draws its shell: {w} by {h}, {lit} dots")
        t_pc_uefi.power_off(vm)


def main():
    if not shutil.which("nasm") or not os.path.exists(BIOS):
        vt.skip("needs the packages nasm and seabios")
    status, _, err = vt.vigia("run", "--board", "micro", "--kernel", "/dev/null", "--graphics", "virtio")
    vt.check(status == 1 and "needs a PC" in err, f"refused: {err.strip()}")
    with vt.Workdir() as w:
        linux(w)
    if any(map(os.path.exists, t_pc_uefi.OVMF)):
        uefi()


if __name__ == "__main__":
    main()
