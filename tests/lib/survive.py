# SPDX-License-Identifier: ISC
"""A guest that says dots as it goes on, moved between engines and saved at any moment, while what a test is about is under way."""
import re
import time

import vigia_test as vt


def survives(w, vm, name, wrong, rounds):
    """vm is called name and starts on kvm, with --sandbox off; `wrong`: what it says when something was lost."""
    state, engine = w.file("state"), "kvm"
    for i in range(rounds):
        with vm:
            vm.expect(r"\.", 30)
            time.sleep(i % 7 / 100)
            if i % 3 == 0:
                engine = "soft" if engine == "kvm" else "kvm"
                status, _, err = vt.vigia("move", name, "--engine", engine)
                vt.check(status == 0, f"moved to {engine} at any moment {err.strip()}")
                vm.expect(r"\.", 30)
            status, _, err = vt.vigia("save", name, state)
            vt.check(status == 0, f"saved at any moment {i} {err.strip()}")
            vm.wait(30)
            vt.check(not re.search(wrong, vm.output), "none was lost")
        engine = "soft" if i % 4 == 3 else "kvm"
        vm = vt.restored(state, "--engine", engine)
    with vm:
        vm.expect(r"\.\.", 30)
        vt.check(not re.search(wrong, vm.output), "none was lost")
        vm.process.kill()
