"""What the contenders in Python have in common: the answers in, the times and the memory out.

Usage of each: CONTENDER FOLDER TIMES REPORT
"""

import json
import resource
import sys
import time

# Name, identity field, and the other fields, as upstream sends them.
TYPES = [
    ("denial", "reported_by", ["timestamp", "source_ip"]),
    ("intrusion", "internal_ip", ["timestamp", "source_ip"]),
    ("executable", "machine_ip", ["timestamp"]),
    ("misuse", "employee_id", ["timestamp"]),
    ("unauthorized", "employee_id", ["timestamp"]),
    ("probing", "ip", ["timestamp"]),
    ("other", "identifier", ["timestamp"]),
]
PRIORITIES = ["low", "medium", "high", "critical"]


def compete(make):
    """Calls make(folder, answers) TIMES times; it returns the report's bytes."""
    folder, times, report = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    answers = {}
    for name in ["identities"] + [kind[0] for kind in TYPES]:
        with open(f"{folder}/{name}.json", "rb") as file:
            answers[name] = file.read()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        result = make(folder, answers)
        seconds.append(time.perf_counter() - start)
    with open(report, "wb") as file:
        file.write(result)
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps({"seconds": seconds, "peak_bytes": 1024 * max(own_peak(), children)}))


def own_peak():
    # Not getrusage: it includes what the process was before it became this program.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def empty_groups():
    return {priority: {"count": 0, "incidents": []} for priority in PRIORITIES}


def compact(value):
    return json.dumps(value, separators=(",", ":")).encode()
