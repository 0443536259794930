#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""start.py: what the VMM itself spends: from the start of the program to a guest's first instructions, and memory beside the guest's.

  tests/bench/start.py [--rounds N] [--engine kvm] [--no-history] [OPTIONS of vigia run …]

The guest says a character with its first instructions (first.asm): the time is until that has come, the least and the median of all
rounds; beside it what the program's threads ran for, as a busy machine makes it wait. Memory is the process's resident set without the mapping of
the guest's RAM; of it what is the process's alone, as programs and libraries are shared by VMs. The folder for sockets is in memory, as
login sessions have it. Status 1 where a goal is missed: 10 ms, 5 MiB."""
import argparse
import os
import re
import select
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/lib"))
import vigia_test as vt  # noqa: E402

TIME_GOAL = 0.010
MEMORY_GOAL = 5 << 10  # KiB
MIB = 128


def ran(pid):
    """Seconds that its threads have run."""
    return sum(int(open(f"/proc/{pid}/task/{t}/schedstat", encoding="ascii").read().split()[0]) for t in os.listdir(f"/proc/{pid}/task")) / 1e9


def memory(pid):
    """KiB resident, and of them private, in all mappings but the guest's RAM."""
    rss = private = 0
    with open(f"/proc/{pid}/smaps", encoding="ascii") as f:
        mappings = re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", f.read())
    ram = [int(n, 16) for m in mappings for n in re.findall(r"^([0-9a-f]+)-", m) if f"Size:  {(MIB - 2) << 10:14} kB" in m]
    for mapping in mappings:
        sizes = {key: int(n) for key, n in re.findall(r"(?m)^(\w+): +(\d+) kB$", mapping)}
        begin, end = (int(n, 16) for n in re.match(r"([0-9a-f]+)-([0-9a-f]+)", mapping).groups()) if sizes else (0, 0)
        # all of it is one mapping, or its first 2 MiB are one of their own
        if sizes and sizes["Size"] not in (MIB << 10, (MIB - 2) << 10) and end not in ram:
            rss += sizes["Rss"]
            private += sizes["Private_Clean"] + sizes["Private_Dirty"]
    return rss, private


def once(elf, runtime, options):
    env = {**os.environ, "XDG_RUNTIME_DIR": runtime}
    begun = time.monotonic()
    p = subprocess.Popen([vt.VIGIA, "run", "--net", "none", "--memory", f"{MIB}M", "--kernel", elf, *options],
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    try:
        if not select.select([p.stdout], [], [], 30)[0] or os.read(p.stdout.fileno(), 1) != b"!":
            p.kill()
            sys.exit(f"start.py: the guest says nothing: {p.communicate()[1].decode().strip()}")
        took = time.monotonic() - begun
        cpu = ran(p.pid)
        time.sleep(0.2)
        return (took, cpu, *memory(p.pid))
    finally:
        p.kill()
        p.wait()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=30)
    p.add_argument("--engine", default="kvm")
    p.add_argument("--no-history", action="store_true")
    args, options = p.parse_known_args()
    options += ["--engine", args.engine] + (["--history", "none"] if args.no_history else [])
    with vt.Workdir() as w:
        elf = w.file("first.elf")
        subprocess.run(["nasm", "-f", "bin", "-i", os.path.join(ROOT, "tests/guest") + "/", "-o", elf,
                        os.path.join(ROOT, "tests/bench/first.asm")], check=True)
        with tempfile.TemporaryDirectory(dir="/dev/shm") as runtime:
            rows = [once(elf, runtime, options) for _ in range(args.rounds)]
    took, cpu, rss, private = zip(*rows)
    print("| start to first entry | least | median | its threads ran | resident beside RAM | private |\n|---|---|---|---|---|---|")
    print(f"| {' '.join(options)} | {min(took) * 1000:.1f} ms | {statistics.median(took) * 1000:.1f} ms | {min(cpu) * 1000:.1f} ms | "
          f"{min(rss)} KiB | {min(private)} KiB |")
    met = min(took) <= TIME_GOAL and min(rss) <= MEMORY_GOAL
    print(f"at most {TIME_GOAL * 1000:.0f} ms and {MEMORY_GOAL >> 10} MiB: {'met' if met else 'NOT met'}")
    sys.exit(not met)


if __name__ == "__main__":
    main()
