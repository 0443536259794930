#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The boot test with a code cache that is emptied after every 300 translations."""
import t_shell

t_shell.boot(1, env={"VIGIA_SOFT_FLUSH": "300"}, timeout=300)
t_shell.boot(2, env={"VIGIA_SOFT_FLUSH": "1000"}, timeout=300)
