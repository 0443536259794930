# SPDX-License-Identifier: ISC
"""statefile: saved states as files of a test's: other folders in them, and the packed ones of tests/boot/states.

A program, too: statefile.py VIGIA OUT.xz [OPTIONS...] (--cpu x86-64-v2 since version 9) saves the guest of cpuid.asm by that vigia, whatever its version."""
import lzma
import os
import re
import struct
import subprocess
import sys
import tempfile
import time

HEAD = struct.Struct("<4s3I48s")
TABLE = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (0x82f63b78 if n & 1 else 0)
    TABLE.append(n)


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xff] ^ crc >> 8
    return crc ^ 0xffffffff


def sections(data):
    """(name, version, body), in their order."""
    at = 16
    while at + HEAD.size <= len(data) and data[at:at + 4] == b"SECT":
        _, version, length, _, name = HEAD.unpack_from(data, at)
        yield name.rstrip(b"\0").decode(), version, data[at + HEAD.size:at + HEAD.size + length]
        at += HEAD.size + length


def section(name, version, body):
    name = name.encode().ljust(48, b"\0")
    numbers = struct.pack("<2I", version, len(body))
    return b"SECT" + numbers + struct.pack("<I", crc32c(name + numbers + body)) + name + body


def put_folder(body, folder):
    """The section "definition" with another folder."""
    mark = b"\x06\x01\x06folder"
    at = body.index(mark) + len(mark)
    length, = struct.unpack_from("<I", body, at)
    return body[:at] + struct.pack("<I", len(folder)) + folder.encode() + body[at + 4 + length:]


def put_feature(body, leaf, bit):
    """The section "machine" with one more bit in ECX of a leaf, of which there is a word."""
    word = re.compile(rb"\x07\x00\x04word....\x01\x04\x04leaf\x01\x00\x00\x00" + re.escape(struct.pack("<I", leaf)) +
                      rb"\x01\x04\x03sub\x01\x00\x00\x00\x00\x00\x00\x00\x01\x04\x03reg\x01\x00\x00\x00\x02\x00\x00\x00"
                      rb"\x01\x04\x05value\x01\x00\x00\x00", re.DOTALL)
    at = word.search(body).end()
    value, = struct.unpack_from("<I", body, at)
    return body[:at] + struct.pack("<I", value | 1 << bit) + body[at + 4:]


def put_tsc_hz(body, factor):
    """The section "machine" of a host whose TSC has another frequency, and that one."""
    mark = b"\x01\x08\x06tsc_hz\x01\x00\x00\x00"
    at = body.index(mark) + len(mark)
    hz = int(struct.unpack_from("<Q", body, at)[0] * factor)
    return body[:at] + struct.pack("<Q", hz) + body[at + 8:], hz


def change(path, name, fn):
    """Puts fn(body) in the place of a section's body, which is as long."""
    with open(path, "r+b") as f:
        data = f.read(4 << 20)
        f.seek(0)
        f.write(data[:16] + b"".join(section(n, v, fn(b) if n == name else b) for n, v, b in sections(data)))


def other_rate(path, factor):
    """As if the state came from a host whose TSC is so many times as fast. Gives its frequency."""
    told = []

    def put(body):
        body, hz = put_tsc_hz(body, factor)
        told.append(hz)
        return body
    change(path, "machine", put)
    return told[0]


def move(path, folder):
    """As if the VM had been started in another folder. What is in the file behind its sections stays where it is."""
    with open(path, "r+b") as f:
        data = f.read(4 << 20)
        new = data[:16] + b"".join(section(n, v, put_folder(b, folder) if n == "definition" else b) for n, v, b in sections(data))
        f.seek(0)
        f.write(new)
        f.write(bytes(max(0, len(data.rstrip(b"\0")) - len(new))))


def unpack(packed, path, folder):
    with lzma.open(packed) as src, open(path, "wb") as dst:
        while True:
            block = src.read(1 << 20)
            if not block:
                break
            if any(block):
                dst.write(block)
            else:
                dst.seek(len(block), 1)
        dst.truncate(dst.tell())
    move(path, folder)


def assemble(folder):
    here = os.path.dirname(os.path.abspath(__file__))
    subprocess.run(["nasm", "-f", "bin", "-i", os.path.join(here, "../guest") + "/", "-o", os.path.join(folder, "cpuid.elf"),
                    os.path.join(here, "../boot/cpuid.asm")], check=True)


def make(vigia, packed, options):
    with tempfile.TemporaryDirectory() as folder:
        assemble(folder)
        env = {**os.environ, "XDG_RUNTIME_DIR": folder, "XDG_STATE_HOME": folder}
        vm = subprocess.Popen([vigia, "run", "--name", "old", "--net", "none", "--memory", "16M", "--kernel", "cpuid.elf", *options],
                              cwd=folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        while b"ready" not in vm.stdout.readline():
            pass
        time.sleep(0.5)
        path = os.path.join(folder, "state")
        subprocess.run([vigia, "save", "old", path], env=env, check=True)
        vm.wait(20)
        move(path, "/")
        with open(path, "rb") as src, lzma.open(packed, "wb", preset=9) as dst:
            dst.write(src.read())


if __name__ == "__main__":
    make(os.path.abspath(sys.argv[1]), sys.argv[2], sys.argv[3:])
