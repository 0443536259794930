#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The boot test with a code cache of a sixteenth of the usual size, which is full all the time."""
import t_shell

t_shell.boot(2, env={"VIGIA_SOFT_CACHE": "1048576"}, timeout=400, slack=20)
