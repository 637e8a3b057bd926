"""DuckDB: its own JSON reader and one SQL statement, on all cores."""

import duckdb

from common import PRIORITIES, TYPES, compete


def statement(folder):
    kinds = []
    for place, (kind, field, others) in enumerate(TYPES):
        # `other` has numbers and texts.
        identity = "JSON" if kind == "other" else "BIGINT" if field.endswith(("_by", "_id")) else "VARCHAR"
        fields = [("priority", "VARCHAR"), (field, identity)]
        fields += [(name, "DOUBLE" if name == "timestamp" else "VARCHAR") for name in others]
        shape = ", ".join(f'"{name}" {sort}' for name, sort in fields)
        packed = ", ".join(f'"{name}" := r."{name}"' for name, _ in fields)
        if identity == "BIGINT":
            employee, join = f'r."{field}"', ""
        else:
            text = f"r.\"{field}\"->>'$'" if identity == "JSON" else f'r."{field}"'
            join = f"LEFT JOIN identities ON identities.ip = {text}"
            own = f"TRY_CAST({text} AS BIGINT)" if identity == "JSON" else "NULL"
            employee = f"coalesce(identities.employee, {own})"
        kinds.append(
            f"""SELECT {employee} AS employee, r.priority AS priority, r."timestamp" AS time,
                {place} AS place, number,
                to_json(struct_pack(type := '{kind}', {packed}))::VARCHAR AS incident
            FROM (SELECT unnest(results) AS r, generate_subscripts(results, 1) AS number
                FROM read_json('{folder}/{kind}.json', maximum_object_size = 2000000000,
                    columns = {{results: 'STRUCT({shape})[]'}})) {join}"""
        )
    groups = " || ',' || ".join(
        f"""'"{priority}":{{"count":' || coalesce(max(count) FILTER (priority = '{priority}'), 0)
            || ',"incidents":[' || coalesce(max(incidents) FILTER (priority = '{priority}'), '') || ']}}'"""
        for priority in PRIORITIES
    )
    union = "\nUNION ALL\n".join(kinds)
    return f"""
        WITH identities AS (
            SELECT pair.key AS ip, pair.value AS employee FROM (
                SELECT unnest(map_entries(from_json(content, '"MAP(VARCHAR, BIGINT)"'))) AS pair
                FROM read_text('{folder}/identities.json'))),
        incidents AS ({union}),
        grouped AS (
            SELECT employee, priority, count(*) AS count,
                string_agg(incident, ',' ORDER BY time, place, number) AS incidents
            FROM incidents WHERE employee IS NOT NULL GROUP BY employee, priority),
        employees AS (
            SELECT employee, '"' || employee || '":{{' || {groups} || '}}' AS part
            FROM grouped GROUP BY employee)
        SELECT '{{' || string_agg(part, ',' ORDER BY employee) || '}}' FROM employees"""


def make(folder, _):
    return duckdb.connect().execute(statement(folder)).fetchone()[0].encode()


compete(make)
