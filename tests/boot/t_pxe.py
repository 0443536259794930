#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""PXE: each network card starts a program from the user network, by TFTP and by HTTP, through iPXE's ROM for it; under
UEFI GRUB is started by TFTP, by OVMF's own driver for virtio and by the EFI driver on the others' ROMs."""
import os
import shutil
import subprocess

import vigia_test as vt

BIOS = "/usr/share/seabios/bios-256k.bin"
ROMS = "/usr/lib/ipxe/qemu/efi-e1000.rom"
OVMF = "/usr/share/OVMF/OVMF_CODE.fd"
GRUB = "/usr/lib/grub/x86_64-efi"
HERE = os.path.dirname(os.path.abspath(__file__))


def uefi(w):
    """The program is GRUB, which finds the network that the firmware has set up."""
    if not os.path.exists(OVMF) or not os.path.isdir(GRUB):
        print("without UEFI: needs the packages ovmf and grub-efi-amd64-bin")
        return
    config = w.file("grub.cfg", b"echo STARTED by $net_default_server for $net_efinet0_ip\nhalt\n")
    subprocess.run(["grub-mkimage", "-O", "x86_64-efi", "-o", w.file("boot.efi"), "-p", "/", "-c", config,
                    "tftp", "efinet", "net", "echo", "halt"], check=True)
    for model in ("virtio", "e1000", "rtl8139", "ne2k_pci"):
        with vt.VM("--firmware", "uefi", "--memory", "256M", "--boot", "net", "--sandbox", "off", "--net",
                   f"user,model={model},tftp={w.path},bootfile=boot.efi") as vm:
            vm.expect(r"STARTED by 10\.0\.2\.\d+ for 10\.0\.2\.15", 120)
            vm.wait(30)
            print(f"ok: UEFI, {model}: started by tftp")


def main():
    if not shutil.which("nasm") or not os.path.exists(BIOS) or not os.path.exists(ROMS):
        vt.skip("needs the packages nasm, seabios and ipxe-qemu")
    with vt.Workdir() as w:
        nbp = w.file("nbp.bin")
        subprocess.run(["nasm", "-f", "bin", "-o", nbp, os.path.join(HERE, "nbp.asm")], check=True)
        with open(nbp, "rb") as f:
            server = vt.WebServer(f.read())
        tftp = (f"tftp={w.path},bootfile=nbp.bin", "off")
        http = (f"bootfile={server.guest_url}", "on")
        for model, (how, sandbox) in (("virtio", tftp), ("e1000", http), ("rtl8139", tftp), ("ne2k_pci", tftp)):
            with vt.VM("--board", "pc", "--memory", "64M", "--boot", "net", "--exit-port", "0xf4", "--sandbox",
                       sandbox, "--net", f"user,model={model},{how}") as vm:
                vm.wait(60, status=33)
            vt.check(b"iPXE" in vm.output, f"{model}: started by {how.split('=')[0]}")
        uefi(w)
        status, _, err = vt.vigia("run", "--board", "pc", "--boot", "net", "--net", f"user,tftp={w.path}")
        vt.check(status == 1 and "--sandbox off" in err, "TFTP opens files, which the sandbox forbids")


if __name__ == "__main__":
    main()
