#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Saves, restores and snapshots in long rows: what tests/boot/t_save.py and t_snapshot.py do in a few rounds, in
so many (50), again and again for so long: tests/long/t_states.py [ROUNDS [SECONDS]]."""
import os
import random
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LIB = os.path.join(HERE, "..", "lib")
rounds = sys.argv[1] if len(sys.argv) > 1 else "50"
end = time.monotonic() + int(sys.argv[2] if len(sys.argv) > 2 else "0")
done = 0
while True:
    for test in ("t_save.py", "t_snapshot.py"):
        seed = str(random.randrange(1 << 30))
        r = subprocess.run([sys.executable, os.path.join(HERE, "..", "boot", test)], capture_output=True, text=True, check=False,
                           env={**os.environ, "VIGIA_SAVE_ROUNDS": rounds, "VIGIA_SNAPSHOT_ROUNDS": rounds,
                                "VIGIA_SAVE_SEED": seed, "PYTHONPATH": LIB})
        if r.returncode:
            print(r.stdout[-6000:], r.stderr[-2000:])
            sys.exit(f"FAILED: {test}, seed {seed}")
        done += r.stdout.count("\nok: ")
        print(f"{test}, seed {seed}: {r.stdout.count('ok: save ')} saves, {r.stdout.count('back at') + r.stdout.count('forth to')} "
              f"returns; {done} checks so far", flush=True)
    if time.monotonic() >= end:
        break
