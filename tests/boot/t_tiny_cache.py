#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The boot test again with a tiny code cache: what is translated must never change what the guest sees."""
import t_shell

t_shell.boot(1, env={"VIGIA_SOFT_CACHE": "131072"}, timeout=300)
t_shell.boot(2, env={"VIGIA_SOFT_CACHE": "262144"}, timeout=300)
