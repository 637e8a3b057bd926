"""Plain Python: dictionaries, lists and the standard library's json."""

import json

from common import TYPES, compact, compete, empty_groups


def make(_, answers):
    identities = json.loads(answers["identities"])
    employees = {}
    for kind, field, _ in TYPES:
        for row in json.loads(answers[kind])["results"]:
            identity = row[field]
            employee = identities.get(identity) if isinstance(identity, str) else identity
            if employee is None:
                continue
            incident = {"type": kind, **row}
            groups = employees.get(employee)
            if groups is None:
                groups = employees[employee] = empty_groups()
            groups[row["priority"]]["incidents"].append(incident)
    for groups in employees.values():
        for group in groups.values():
            group["incidents"].sort(key=lambda incident: incident["timestamp"])
            group["count"] = len(group["incidents"])
    return compact({str(employee): employees[employee] for employee in sorted(employees)})


compete(make)
