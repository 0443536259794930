# SPDX-License-Identifier: ISC
"""guestprofile.py: where Vigia's time goes between two moments of a guest, by vigia stats --json of a VM that is
run with --profile. Without profile nothing is asked."""
import json
import subprocess

from machine import note


class Profile:
    def __init__(self, hosts, host):
        self.hosts, self.name = hosts, hosts.last_name if hosts.profile and host == "vigia" else None
        self.before = self.ask()

    def ask(self):
        if not self.name:
            return None
        out = subprocess.run([self.hosts.vigia, "stats", "--json", self.name], check=True, text=True,
                             stdout=subprocess.PIPE).stdout
        return json.loads(out)

    def show(self, workload):
        after = self.ask()
        if not after:
            return
        since = {key: {k: v - self.before.get(key, {}).get(k, 0) for k, v in after[key].items()}
                 for key in ("profile", "profile_interpreted", "soft", "interpreted")}
        whole = max(1, sum(since["profile"].values()))
        note(f"profile: {workload}: {whole} samples")
        for key in ("profile", "profile_interpreted"):
            for what, n in sorted(since[key].items(), key=lambda kv: -kv[1]):
                if n * 1000 >= whole:
                    note(f"  {100 * n / whole:5.1f} %  {'' if key == 'profile' else 'interpreter: '}{what}")
        note("  " + ", ".join(f"{k} {n}" for k, n in since["soft"].items() if n > 0))
        note("  interpreted: " + ", ".join(f"{k} {n}" for k, n in since["interpreted"].items() if n > 0))
