#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""bench.py: Vigia beside QEMU's TCG and the host itself: same kernel, initramfs, disk, memory and
number of CPUs, runs interleaved, medians.

  ./bench [--only NAME,…] [--rows ROW,…] [--rounds N] [--quick] [--build DIR] [--json FILE] [--no-qemu] [--engine E] [--profile] [--record]

Workloads:
  size      the program, stripped, MiB
  start     process start to the guest's first instruction, ms
  init      process start to /init of a busybox initramfs, seconds
  memory    memory beyond guest RAM a second after the boot, 512 MiB and 1 CPU, MiB
  compute   kernels of computation (tests/bench/compute.c), ns an iteration
  events    what a kernel does for programs (tests/bench/events.c), ns an event
  programs  Debian's programs in a Debian guest (tests/bench/programs.sh), seconds of a run or time for a piece
  build     a small busybox, by its own makefiles, seconds
  scale     work of four threads (programs.sh): its time with four CPUs in that with one
  io        fio on a virtio disk, iperf3 through the user network and over a tap (tests/bench/io.sh), µs a request or a MiB
  storm     20 VMs of 128 MiB started at once, until the last is at /init, seconds
  debian    process start to Debian's login prompt, seconds
  monitor   Vigia beside itself without history or policy: what these cost (tests/bench/monitor.py)

--rows takes some rows of workloads that have several: --only events --rows getpid,signal; of programs: gzip xz sqlite3
python3 gcc openssl sysbench 7z apt; of io: fio iperf3 tap; of monitor: boot compute events fio iperf3 rules writer, and paired with rows
of paired.py (getpid, alu, send …), which says most in the least time. --profile says where
Vigia's time went in the workloads that run inside a guest (with few --rows: one profile for all). A chart of the ratios lies beside the JSON. --record writes figures and
chart into doc/, with the machine and the command. The status is 1 if something could not be measured or computed a wrong result.
"""
import argparse
import os
import sys

import boots
import inside
import monitor
import report
from machine import ROOT, Hosts, note

WORKLOADS = {
    "size": boots.size, "start": boots.start, "init": boots.init, "memory": boots.memory, "compute": inside.compute,
    "events": inside.events, "programs": inside.programs,
    "build": inside.build, "scale": inside.scale, "io": inside.io, "storm": boots.storm, "debian": boots.debian,
    "monitor": monitor.monitor,
}


class Bench:
    def __init__(self, args):
        self.build, self.rounds, self.quick = args.build, args.rounds, args.quick
        self.rows = args.rows.split(",") if args.rows else []
        self.hosts = Hosts(args.build, args.engine, not args.no_qemu, args.profile)
        self.results, self.classes, self.units = {}, {}, {}
        self.native, self.cpu_per = True, None
        self.monitor, self.paired = {}, []  # parts of monitor.py
        self.failed = False

    def add(self, row, cls, unit, host, value):
        self.classes[row], self.units[row] = cls, unit
        self.results.setdefault(row, {}).setdefault(host, []).append(value)

    def interleaved(self, name, fn, rounds):
        for i in range(rounds):
            # Who goes first changes, so that slow drifts hit all alike.
            for host in self.hosts.names if i % 2 == 0 else self.hosts.names[::-1]:
                note(f"bench: {name}: {host}, run {i + 1} of {rounds}")
                try:
                    fn(host)
                except RuntimeError as e:
                    note(f"bench: {name}: {host}: {e}")
                    self.failed = True


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", default=",".join(WORKLOADS))
    p.add_argument("--rows", default="")
    p.add_argument("--rounds", type=int, default=0)
    p.add_argument("--quick", action="store_true", help="one round, short measurements")
    p.add_argument("--build", default=os.path.join(ROOT, "build-release"))
    p.add_argument("--json", default="")
    p.add_argument("--no-qemu", action="store_true")
    p.add_argument("--engine", default="soft")
    p.add_argument("--profile", action="store_true", help="run Vigia's guests with --profile and show what it says")
    p.add_argument("--record", action="store_true")
    args = p.parse_args()
    args.build = os.path.abspath(args.build)
    args.rounds = args.rounds or (1 if args.quick else 3)
    only = args.only.split(",")
    for name in only:
        if name not in WORKLOADS:
            sys.exit(f"bench: no workload {name}: there are {', '.join(WORKLOADS)}")
    bench = Bench(args)
    for name, run in WORKLOADS.items():
        if name in only:
            run(bench)
    report.show(bench)
    path = args.json or os.path.join(args.build, "bench.json")
    report.save(bench, path)
    report.draw(bench, os.path.splitext(path)[0] + ".svg")
    if args.record:
        report.record(bench)
    return bench.failed


sys.exit(main())
