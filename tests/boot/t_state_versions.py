#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Saved states of all versions: they restore, save and restore again. A guest's processor is the one that it was saved
with: what it says now is what it said at the start (cpuid.asm), whatever "--cpu host" means by now; a state that asks
for what is not here is refused."""
import glob
import os
import re
import shutil
import tempfile

import statefile
import vigia_test as vt

os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="vigia-run-")
if not shutil.which("nasm"):
    vt.skip("nasm is missing: apt-get install nasm")

WORDS = ["1.eax", "1.ecx", "1.edx", "7.ebx", "7.ecx", "7.edx", "d.1", "81.ecx", "81.edx", "88.eax"]
PKU, XSAVES = ("7.ecx", 3), ("d.1", 3)
AVX512 = [("7.ebx", bit) for bit in (16, 17, 21, 28, 30, 31)] + [("7.ecx", bit) for bit in (1, 6, 11, 12, 14)]
# What "host" had not yet in the builds that wrote these.
LACKED = {1: [PKU, XSAVES], 2: [XSAVES]}


def ask(vm):
    """What CPUID says, and what it said: two dictionaries; and the brand."""
    vm.send("x")
    words = r"((?: [0-9a-f]{8}){%d});\r\n" % len(WORDS)
    m = vm.expect(rf"now{words}was{words}([^;]*);", 60)
    return *(dict(zip(WORDS, (int(x, 16) for x in m.group(i).split()))) for i in (1, 2)), m.group(3)


def has(words, feature):
    return words[feature[0]] >> feature[1] & 1


def without(words, features):
    words = dict(words)
    for leaf, bit in features:
        words[leaf] &= ~(1 << bit)
    return words


def signature_then(words):
    """AMD's family was 0FH, and is 13H."""
    return {**words, "1.eax": 0x60fb1} if words["1.eax"] == 0x460fb1 else words


def run(folder, name, *args):
    return vt.VM("--name", name, "--net", "none", "--memory", "16M", "--kernel", os.path.join(folder, "cpuid.elf"), *args)


def ask_new(folder, *args):
    with run(folder, "new", *args) as vm:
        vm.expect("ready", 60)
        return ask(vm)[0]


def save(name, state):
    status, _, err = vt.vigia("save", name, state)
    vt.check(status == 0, f"saved {err.strip()}")


with vt.Workdir() as work:
    statefile.assemble(work.path)
    state, again = work.file("vm.state"), work.file("again.state")
    avx2, host = ask_new(work.path, "--cpu", "host-avx2"), ask_new(work.path, "--cpu", "host")
    packed = sorted(glob.glob(os.path.join(os.path.dirname(os.path.abspath(__file__)), "states/v*.state.xz")))
    versions = [int(re.search(r"v(\d+)\.state", p).group(1)) for p in packed]
    source = open(os.path.join(vt.ROOT, "vm/save.c"), encoding="utf-8").read()
    current = int(re.search(r"#define SECTION_VERSION (\d+)", source).group(1))
    vt.check(sorted(versions) == list(range(1, current + 1)), f"there is a state of each version up to {current}")
    for version, path in zip(versions, packed):
        statefile.unpack(path, state, work.path)
        vt.check(dict((n, v) for n, v, _ in statefile.sections(open(state, "rb").read(4 << 20)))["machine"] == version,
                 f"a state of version {version}")
        for round in ("restored", "saved again and restored"):
            with vt.restored(state, "--force", "--name", "old") as vm:
                now, was, brand = ask(vm)
                if version < 9:
                    vt.check(without(now, [("88.eax", b) for b in range(8)]) ==
                             without(signature_then(avx2), LACKED.get(version, []) + [("88.eax", b) for b in range(8)]),
                             f"version {version}, {round}: what \"host\" was then")
                    vt.check(not any(has(now, f) for f in AVX512), f"version {version}, {round}: no AVX-512")
                else:
                    vt.check(now == was and brand == b"Vigia x86-64-v2", f"version {version}, {round}: the processor is the same")
                vt.check(now["88.eax"] == was["88.eax"], f"version {version}, {round}: as many bits of addresses")
                save("old", again)
                vm.process.wait(20)
            os.rename(again, state)

    # States of today.
    for cpu in ("host", "host-avx2", "host-la57", "x86-64-v2"):
        with run(work.path, "vm", "--cpu", cpu) as vm:
            vm.expect("ready", 60)
            save("vm", state)
            vm.process.wait(20)
        with vt.restored(state, "--name", "vm") as vm:
            now, was, _ = ask(vm)
            vt.check(now == was, f"--cpu {cpu}: the processor is the same")
    # A processor that nobody has here: bits of the saved features that this host or this Vigia does not have.
    data = open(state, "rb").read()
    for what, leaf, bit in (("has", 1, 5), ("know", 7, 31)):
        parts = list(statefile.sections(data))
        end = 16 + sum(statefile.HEAD.size + len(b) for _, _, b in parts)
        new = data[:16] + b"".join(statefile.section(n, v, statefile.put_feature(b, leaf, bit) if n == "machine" else b)
                                   for n, v, b in parts)
        vt.check(len(new) == end, "the file keeps its shape")
        with open(again, "wb") as f:
            f.write(new + data[end:])
        status, _, err = vt.vigia("restore", again, "--name", "vm")
        vt.check(status == 1 and what in err and "its processors have" in err, f"refused: {err.strip()}")

    # In place, too, a VM takes no snapshot of another processor's.
    with run(work.path, "snap", "--cpu", "host") as vm:
        vm.expect("ready", 60)
        status, _, err = vt.vigia("snapshot", "save", "snap", "one")
        vt.check(status == 0, f"snapshot {err.strip()}")
        status, _, err = vt.vigia("snapshot", "restore", "snap", "one")
        vt.check(status == 0, f"back to it {err.strip()}")
        now, was, _ = ask(vm)
        vt.check(now == was == host, "the processor is the same")
    shutil.rmtree(os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)
