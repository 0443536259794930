#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""vhost-net with all chips in the kernel, and moves to soft and back: the long form of tests/boot/t_vhost.py, in the rig."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
os.environ["VIGIA_VHOST_WAYS"] = "split:on full:off"
os.environ["PYTHONPATH"] = os.path.join(HERE, "..", "lib")
os.execv(sys.executable, [sys.executable, os.path.join(HERE, "..", "boot", "t_vhost.py")])
