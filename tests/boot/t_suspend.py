#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Suspend to RAM (ACPI S3) of Linux on the PC board, under SeaBIOS and OVMF: it wakes by its clock's alarm, by the power button
and by a key, with its memory, its disk at each interface and each network card as before; while it sleeps it takes no time,
can be saved and restored, and is woken to be stopped."""
import hashlib
import json
import os
import shutil
import subprocess
import time

import linuxdisk
import screen
import vigia_test as vt

BIOS = "/usr/share/seabios/bios-256k.bin"
OVMF = "/usr/share/OVMF/OVMF_CODE_4M.fd"
BAD = ("NETDEV WATCHDOG", "I/O error", "failed command", "exception Emask", "Call Trace", "BUG:")


def state(name):
    vms = json.loads(vt.vigia("list", "--json")[1])
    return next((v["state"] for v in vms if v["name"] == name), None)


def wait_state(name, want, seconds=60):
    until = time.monotonic() + seconds * vt.PATIENCE
    while state(name) != want:
        if time.monotonic() > until:
            vt.fail(f"{name} is {state(name)}, not {want}")
        time.sleep(0.1)


def cpu_seconds(vm):
    with open(f"/proc/{vm.process.pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def woke(vm, n, content, cpus):
    vm.expect(rf"VIGIA woke {n} uptime=\S+ cpus={cpus}", 120)
    vm.expect(rf"VIGIA kept {n}", 60)
    got = vm.expect("VIGIA fetched ([0-9a-f]{32})", 60).group(1).decode()
    vt.check(got == hashlib.md5(content).hexdigest(), f"{n}: memory, disk and network are as before")


def linux(w, image, server, content, interface, model, cpus):
    name = f"s3-{interface}-{os.getpid()}"
    dev = {"virtio": "vda", "nvme": "nvme0n1"}.get(interface, "sda")
    disk = linuxdisk.make(w, vt.kernel(), image, f"console=tty0 console=ttyS0 vigia.run=disk,net,suspend vigia.sleeps=3 "
                          f"vigia.disk={dev} vigia.url={server.guest_url}")
    print(f"{interface}, {model}, {cpus} CPUs")
    with vt.VM("--board", "pc", "--name", name, "--memory", "192M", "--cpus", cpus, "--display", "vnc:unix:" + w.file(f"{name}.sock"),
               "--boot", "disk", "--disk", f"{disk},if={interface},format=raw",
               "--net", f"user,model={model}") as vm:
        vm.expect("VIGIA sleeps 0", 180)
        woke(vm, 0, content, cpus)
        print("ok: woken by the alarm")
        vm.expect("VIGIA sleeps 1", 60)
        wait_state(name, "asleep")
        vt.check(vt.vigia("resume", name)[0] == 1, "resume is for what is paused")
        before = cpu_seconds(vm)
        time.sleep(3)
        vt.check(cpu_seconds(vm) - before < 0.2, f"asleep for 3 s it has used {cpu_seconds(vm) - before:.2f} s of CPU")
        vt.check(vt.vigia("wake", name)[0] == 0, "the button is pressed")
        woke(vm, 1, content, cpus)
        screen.expect(name, "Restarting tasks")
        print("ok: the text screen is back")
        vm.expect("VIGIA sleeps 2", 60)
        wait_state(name, "asleep")
        vt.check(vt.vigia("key", name, "a")[0] == 0, "a key is pressed")
        woke(vm, 2, content, cpus)
        vt.check(vt.vigia("wake", name)[0] == 1, "who is awake is not woken")
        vm.expect("VIGIA end", 60)
        for bad in BAD:
            vt.check(bad.encode() not in vm.output, f"no {bad}")
        vm.wait(60)


def uefi(w, image):
    """By the kernel's own EFI loader; two processors."""
    if not os.path.exists(OVMF):
        print("without UEFI: needs the package ovmf")
        return
    name = f"s3-uefi-{os.getpid()}"
    disk = w.file("efi.img", b"", 64 << 20)
    script = w.file("startup.nsh", b"fs0:\r\nvmlinuz.efi initrd=\\initrd console=ttyS0 vigia.run=disk,suspend "
                                   b"vigia.sleeps=2 vigia.disk=nvme0n1\r\n")
    subprocess.run(["mformat", "-i", disk, "-F", "::"], check=True)
    for path, to in ((vt.kernel(), "vmlinuz.efi"), (image, "initrd"), (script, "startup.nsh")):
        subprocess.run(["mcopy", "-i", disk, path, f"::{to}"], check=True)
    raw = w.file("nvme.img", b"", 8 << 20)
    with vt.VM("--firmware", "uefi", "--name", name, "--memory", "256M", "--cpus", "2", "--net", "none",
               "--disk", f"{disk},if=ahci,format=raw", "--disk", f"{raw},if=nvme,format=raw") as vm:
        vm.expect("VIGIA kept 0", 180)
        vm.expect("VIGIA sleeps 1", 60)
        wait_state(name, "asleep")
        vt.check(vt.vigia("wake", name)[0] == 0, "UEFI: the button is pressed")
        vm.expect("VIGIA woke 1 .* cpus=2", 60)
        vm.expect("VIGIA kept 1", 60)
        print("ok: UEFI: memory and disk are as before")
        vm.wait(60)


def saved(w, image):
    """A state of one that sleeps; stopped, it wakes first."""
    name = f"s3-saved-{os.getpid()}"
    disk = linuxdisk.make(w, vt.kernel(), image, "console=ttyS0 vigia.run=disk,suspend vigia.sleeps=2 vigia.disk=sda vigia.end=shell")
    with vt.VM("--board", "pc", "--name", name, "--memory", "192M", "--net", "none", "--boot", "disk",
               "--disk", f"{disk},if=ide,format=raw") as vm:
        vm.expect("VIGIA sleeps 1", 180)
        wait_state(name, "asleep")
        vt.check(vt.vigia("save", name, w.file("s3.state"))[0] == 0, "saved asleep")
        vm.wait(60)
    with vt.restored(w.file("s3.state")) as vm:
        wait_state(name, "asleep")
        vt.check(vt.vigia("pause", name)[0] == 0 and state(name) == "paused", "paused asleep")
        vt.check(vt.vigia("resume", name)[0] == 0 and state(name) == "asleep", "it sleeps on")
        vt.check(vt.vigia("wake", name)[0] == 0, "the button is pressed")
        vm.expect("VIGIA kept 1", 120)
        vm.expect("VIGIA shell", 60)
        print("ok: woken after it was restored")
        vm.send("echo mem >/sys/power/state\n")
        wait_state(name, "asleep")
        vt.check(vt.vigia("stop", name, "--timeout", "20")[0] == 0, "asked to stop asleep")
        vm.expect("Restarting tasks|PM: suspend exit", 60)
        print("ok: it wakes to be stopped")
        vm.wait(60, status=None)


def main():
    if not shutil.which("nasm") or not os.path.exists(BIOS):
        vt.skip("needs the packages nasm and seabios")
    image = vt.initramfs("--modules", "ata_piix,sd_mod,ahci,nvme,e1000,8139cp,ne2k-pci", "--name", "suspend")
    content = os.urandom(1 << 20)
    server = vt.WebServer(content)
    with vt.Workdir() as w:
        for interface, model, cpus in (("ide", "e1000", "2"), ("ahci", "rtl8139", "1"), ("nvme", "virtio", "1"),
                                       ("virtio", "ne2k_pci", "1")):
            linux(w, image, server, content, interface, model, cpus)
        saved(w, image)
        uefi(w, image)


if __name__ == "__main__":
    main()
