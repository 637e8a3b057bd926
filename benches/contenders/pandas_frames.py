"""pandas: one frame of all rows, attributed, sorted and grouped by it."""

import json

import pandas as pd

from common import TYPES, compact, compete, empty_groups


def make(_, answers):
    identities = pd.Series(json.loads(answers["identities"]))
    frames = []
    for kind, field, _ in TYPES:
        rows = json.loads(answers[kind])["results"]
        frame = pd.DataFrame(
            {
                "identity": pd.Series([row[field] for row in rows], dtype=object),
                "priority": [row["priority"] for row in rows],
                "timestamp": [row["timestamp"] for row in rows],
                "incident": [{"type": kind, **row} for row in rows],
            }
        )
        is_address = frame["identity"].map(lambda identity: isinstance(identity, str))
        found = frame["identity"].where(~is_address, frame["identity"].map(identities))
        frame["employee"] = pd.to_numeric(found).astype("Int64")
        frames.append(frame.dropna(subset=["employee"]))
    rows = pd.concat(frames).sort_values("timestamp", kind="stable")
    report = {}
    for (employee, priority), group in rows.groupby(["employee", "priority"], sort=True):
        groups = report.setdefault(str(employee), empty_groups())
        incidents = group["incident"].tolist()
        groups[priority] = {"count": len(incidents), "incidents": incidents}
    return compact(report)


compete(make)
