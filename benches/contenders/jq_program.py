"""jq: a program of its own, so that its start and its reading are part of it."""

import os
import subprocess

from common import TYPES, compete


def make(folder, _):
    command = ["jq", "-c", "-n", "-f", os.path.join(os.path.dirname(__file__), "report.jq")]
    for name in ["identities"] + [kind[0] for kind in TYPES]:
        command += ["--slurpfile", name, f"{folder}/{name}.json"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.rstrip(b"\n")


compete(make)
