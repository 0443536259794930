#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The boot test with a code cache that is emptied after every few thousand translations, some hundred
times a boot."""
import t_shell

for cpus in (1, 2):
    t_shell.boot(cpus, env={"VIGIA_SOFT_FLUSH": "5000"}, timeout=400, slack=20)
