# SPDX-License-Identifier: ISC
"""boots.py: workloads that are over when the guest is up: how long that took, what it takes of the host."""
import os
import struct
import subprocess
import tempfile
import time

from machine import Machine, tool

STORM = 20
STORM_MEMORY = 128


def init(bench):
    kernel, initrd = tool("guest-kernel"), tool("guest-initramfs")

    def one(host):
        with Machine(bench.hosts.command(host, kernel, initrd, "console=ttyS0")) as m:
            bench.add("init", "system", "s", host, m.expect(rb"VIGIA init"))
    bench.interleaved("init", one, bench.rounds)


def debian(bench):
    disk = tool("guest-disk")
    base = disk.removesuffix(".qcow2")

    def one(host):
        with Machine(bench.hosts.command(host, base + ".vmlinuz", base + ".initrd",
                                         "root=/dev/vda rw console=ttyS0", [disk])) as m:
            bench.add("debian", "system", "s", host, m.expect(rb"login: "))
    bench.interleaved("debian", one, bench.rounds)


def storm(bench):
    """Small VMs started at once: until the last is at /init."""
    kernel, initrd = tool("guest-kernel"), tool("guest-initramfs")
    n = 4 if bench.quick else STORM

    def one(host):
        guests = []
        try:
            for _ in range(n):
                guests.append(Machine(bench.hosts.command(host, kernel, initrd, "console=ttyS0 vigia.end=halt",
                                                          memory=STORM_MEMORY)))
            for g in guests:
                g.expect(rb"VIGIA init", 300)
            bench.add(f"storm of {n}", "io", "s", host, time.monotonic() - guests[0].start)
        finally:
            for g in guests:
                g.close()
    bench.interleaved("storm", one, bench.rounds)


def memory(bench):
    kernel, initrd = tool("guest-kernel"), tool("guest-initramfs")

    def one(host):
        with Machine(bench.hosts.command(host, kernel, initrd,
                                         "console=ttyS0 vigia.run=modules,fork vigia.end=shell")) as m:
            m.expect(rb"VIGIA shell")
            time.sleep(1)
            bench.add("memory", "", "MiB", host, m.resident())
    bench.interleaved("memory", one, 1 if bench.quick else min(3, bench.rounds))


def size(bench):
    for host, path in (("vigia", bench.hosts.vigia), ("tcg", bench.hosts.qemu)):
        if path:
            with tempfile.NamedTemporaryFile() as f:
                subprocess.run(["strip", "-o", f.name, os.path.realpath(path)], check=True)
                bench.add("size", "", "MiB", host, os.path.getsize(f.name) / 2**20)


def start(bench):
    with tempfile.NamedTemporaryFile(suffix=".elf") as f:
        f.write(first_instruction_elf())
        f.flush()

        def one(host):
            with Machine(bench.hosts.command(host, f.name)) as m:
                bench.add("start", "", "ms", host, m.expect(rb"!") * 1000)
        bench.interleaved("start", one, 5 * bench.rounds)


def first_instruction_elf():
    """A PVH guest whose first instructions write '!' to the serial port, and which then halts."""
    code = bytes([0xb0, 0x21, 0x66, 0xba, 0xf8, 0x03, 0xee, 0xfa, 0xf4, 0xeb, 0xfd])
    base, note_at, code_at = 0x100000, 0x80, 0xa0
    pvh = struct.pack("<III4sI", 4, 4, 18, b"Xen\0", base + code_at)
    image = code_at + len(code)
    header = struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF\x01\x01\x01" + bytes(9), 2, 3, 1, base + code_at, 52, 0, 0,
                         52, 32, 2, 0, 0, 0)
    load = struct.pack("<IIIIIIII", 1, 0, base, base, image, image, 7, 0x1000)
    notes = struct.pack("<IIIIIIII", 4, note_at, base + note_at, base + note_at, len(pvh), len(pvh), 4, 4)
    out = bytearray(image)
    out[0:52] = header
    out[52:84], out[84:116] = load, notes
    out[note_at:note_at + len(pvh)] = pvh
    out[code_at:] = code
    return bytes(out)
