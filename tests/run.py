#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""run.py: runs all tests and prints one line each, failures with their output, and at the end
`N passed, N failed, N skipped`.

  tests/run.py [--build DIR] [--fuzz-build DIR] [--only SUITE,…] [--match TEXT] [--fuzz-seconds N]
               [--jobs N] [--list]

Suites: layers, size, hardening, format, meson (unit and differential tests), fuzz, boot."""
import argparse
import concurrent.futures
import glob
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COLOUR = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
PAINT = {"passed": "\033[32m", "FAILED": "\033[31m", "skipped": "\033[33m"}

lock = threading.Lock()
totals = {"passed": 0, "FAILED": 0, "skipped": 0}
failed_names = []


def telling(text):
    """The lines of a failed test that say why: its last, without what went well long before."""
    lines = text.strip().splitlines()
    return [line for n, line in enumerate(lines) if n > len(lines) - 6 or not line.startswith("ok: ")][-80:]


def report(name, result, seconds, text=""):
    with lock:
        totals[result] += 1
        shown = f"{PAINT[result]}{result}\033[0m" if COLOUR else result
        reason = ""
        if result == "skipped":
            lines = [l for l in text.strip().splitlines() if l.strip()]
            reason = "  (" + (lines[-1].removeprefix("skipped: ") if lines else "no reason given") + ")"
        print(f"{shown:8} {name}  {seconds:.1f} s{reason}", flush=True)
        if result == "FAILED":
            failed_names.append(name)
            print("\n".join("    | " + line for line in telling(text)), flush=True)


def run_program(name, command, timeout, env=None):
    start = time.monotonic()
    # Output goes to a file: a grandchild that outlives a timeout would keep a pipe open.
    with tempfile.TemporaryFile() as out:
        p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                             cwd=ROOT, env=env, start_new_session=True)
        try:
            status = p.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, 9)
            p.wait()
            status = None
        out.seek(0)
        text = out.read().decode(errors="replace")
    seconds = time.monotonic() - start
    if status is None:
        report(name, "FAILED", seconds, text + f"\nno end after {timeout} s")
    elif status == 0:
        report(name, "passed", seconds)
    elif status == 77:
        report(name, "skipped", seconds, text)
    else:
        report(name, "FAILED", seconds, text + f"\nexit status {status}")


def tool_tasks(args):
    yield "layers", [f"{ROOT}/tools/check-layers", args.build], 120, None
    yield "size", [f"{ROOT}/tools/check-size", args.build], 60, None
    yield "hardening", [f"{ROOT}/tools/check-hardening", args.build], 60, None
    yield "format", [f"{ROOT}/tools/check-format"], 120, None


def run_meson(args):
    """Unit and differential tests: meson knows their list and limits."""
    log = os.path.join(args.build, "meson-logs", "testlog.json")
    if os.path.exists(log):
        os.unlink(log)
    # The limits are for what hangs; on a loaded machine all takes several times as long.
    command = ["meson", "test", "-C", args.build, "--no-rebuild", "--num-processes", str(args.jobs), "--timeout-multiplier", "4"]
    if args.match:
        listed = subprocess.run(["meson", "test", "-C", args.build, "--list"], capture_output=True,
                                text=True, check=False).stdout.splitlines()
        names = [n.split(" / ")[-1] for n in listed if args.match in n]
        if not names:
            return
        command += names
    r = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if not os.path.exists(log):
        report("meson test", "FAILED", 0, r.stdout)
        return
    with open(log, encoding="utf-8") as f:
        for line in f:
            t = json.loads(line)
            result = {"OK": "passed", "EXPECTEDFAIL": "passed", "SKIP": "skipped"}.get(t["result"], "FAILED")
            text = (t.get("stdout") or "") + (t.get("stderr") or "")
            report("unit " + t["name"].split(" / ")[-1], result, t["duration"], text)


def fuzz_tasks(args):
    programs = sorted(p for p in glob.glob(f"{args.fuzz_build}/tests/fuzz/fuzz_*") if os.access(p, os.X_OK)
                      and os.path.isfile(p))
    if not programs:
        report("fuzz", "skipped", 0, f"no fuzz targets in {args.fuzz_build}: clang builds them")
    for source in sorted(glob.glob(f"{ROOT}/tests/fuzz/fuzz_*.c")) if programs else []:
        name = os.path.basename(source)[:-2]
        if f"{args.fuzz_build}/tests/fuzz/{name}" not in programs:
            report(name.replace("_", " ", 1), "FAILED", 0, "nothing builds it: see tests/fuzz/meson.build")
    for p in programs:
        name = os.path.basename(p)
        corpus = os.path.join(args.fuzz_build, "corpus", name)
        os.makedirs(corpus, exist_ok=True)
        seeds = os.path.join(ROOT, "tests/fuzz/seeds", name)
        command = [p, f"-max_total_time={args.fuzz_seconds}", "-timeout=10", "-rss_limit_mb=1024",
                   "-len_control=0",  # else inputs stay short for most of so short a run
                   "-error_exitcode=1", "-timeout_exitcode=1",  # not 77: that says skipped
                   "-print_final_stats=1", f"-artifact_prefix={corpus}/crash-", corpus]
        if os.path.isdir(seeds):
            command.append(seeds)
        yield name.replace("_", " ", 1), command, args.fuzz_seconds + 60, {**os.environ, "UBSAN_OPTIONS": "halt_on_error=1"}


def boot_tasks(args):
    env = {**os.environ, "VIGIA": os.path.join(args.build, "cmd/vigia"),
           "PYTHONPATH": f"{ROOT}/tests/lib", "PYTHONDONTWRITEBYTECODE": "1"}
    for p in sorted(glob.glob(f"{ROOT}/tests/boot/t_*")):
        yield "boot " + os.path.basename(p)[2:].rsplit(".", 1)[0], [p], 900, env


def prepare_guests():
    """Made before the tests start, so that two of them do not make it at once."""
    for tool in ("guest-kernel", "guest-initramfs", "guest-disk"):
        r = subprocess.run([f"{ROOT}/tools/{tool}"], stdout=subprocess.DEVNULL, check=False)
        if r.returncode:
            report(tool, "FAILED", 0, "see above")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", default=f"{ROOT}/build")
    p.add_argument("--fuzz-build", default=f"{ROOT}/build-fuzz")
    p.add_argument("--only", default="layers,format,meson,fuzz,boot")
    p.add_argument("--match", default="")
    p.add_argument("--fuzz-seconds", type=int, default=6)
    p.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    p.add_argument("--list", action="store_true")
    args = p.parse_args()
    args.build, args.fuzz_build = os.path.abspath(args.build), os.path.abspath(args.fuzz_build)
    suites = args.only.split(",")

    tasks = [t for t in tool_tasks(args) if t[0] in suites]
    if "boot" in suites:
        tasks += boot_tasks(args)
    if "fuzz" in suites and (args.list is False):
        tasks += fuzz_tasks(args)
    tasks = [t for t in tasks if args.match in t[0]]
    if args.list:
        for t in tasks:
            print(t[0])
        return 0
    prepare = threading.Thread(target=prepare_guests if any(t[0].startswith("boot ") for t in tasks) else lambda: None)
    prepare.start()  # mostly it waits for the network
    if "meson" in suites:
        run_meson(args)
    prepare.join()
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(lambda t: run_program(*t), tasks))
    if failed_names:
        print("failed: " + ", ".join(failed_names))
    print(f"{totals['passed']} passed, {totals['FAILED']} failed, {totals['skipped']} skipped")
    return 1 if totals["FAILED"] or not totals["passed"] else 0


sys.exit(main())
