#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Network cards under Linux' own drivers: a lease, a file from the host, a file to the host."""
import hashlib
import os
import shutil
import urllib.request

import linuxdisk
import vigia_test as vt

BIOS = "/usr/share/seabios/bios-256k.bin"
CARDS = (("e1000", "e1000"), ("rtl8139", "8139cp"), ("rtl8139d", "8139too"),
         ("ne2k_pci", "ne2k-pci"))


def card(w, image, server, content, model, driver):
    port = vt.free_port()
    disk = linuxdisk.make(w, vt.kernel(), image, f"console=ttyS0 quiet vigia.run=net,log,serve vigia.sleep=60 "
                          f"vigia.url={server.guest_url}")
    with vt.VM("--board", "pc", "--memory", "192M", "--boot", "disk", "--disk", f"{disk},if=ahci,format=raw,ro",
               "--net", f"user,model={model},forward=tcp:127.0.0.1:{port}:80") as vm:
        vt.check(vm.expect(r"VIGIA driver=(\S+)\s", 120).group(1).decode() == driver, f"{model}: the driver is {driver}")
        vm.expect(r"VIGIA net address=10\.0\.2\.15", 120)
        got = vm.expect("VIGIA fetched ([0-9a-f]{32})", 60).group(1).decode()
        vt.check(got == hashlib.md5(content).hexdigest(), f"{model}: {len(content) >> 20} MiB came unchanged")
        want = vm.expect("VIGIA serves ([0-9a-f]{32})", 60).group(1).decode()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/file", timeout=60) as r:
            vt.check(hashlib.md5(r.read()).hexdigest() == want, f"{model}: 4 MiB went unchanged")
        log = vm.output.decode(errors="replace")
        for bad in ("NETDEV WATCHDOG", "transmit timed out", "Tx Unit Hang", "Transmit timeout", "Transmit error"):
            vt.check(bad not in log, f"{model}: no {bad}")


def main():
    if not shutil.which("nasm") or not os.path.exists(BIOS):
        vt.skip("needs the packages nasm and seabios")
    image = vt.initramfs("--modules", "e1000,8139cp,8139too,ne2k-pci", "--name", "nics")
    content = os.urandom(4 << 20)
    server = vt.WebServer(content)
    with vt.Workdir() as w:
        for model, driver in CARDS:
            card(w, image, server, content, model, driver)


if __name__ == "__main__":
    main()
