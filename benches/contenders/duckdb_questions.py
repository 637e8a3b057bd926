"""DuckDB: the same questions, of a table in memory that it makes of the report, on all cores.

Usage: duckdb_questions.py ROWS.ndjson QUESTIONS.json SECONDS

QUESTIONS.json has a list of [name, [statement, ...]]. Prints, as JSON: the seconds that reading took, and of each
question the seconds that an answer takes (the median, each statement in turn) and what the first one answers.
"""

import json
import statistics
import sys
import time

import duckdb

rows, questions, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
database = duckdb.connect()
start = time.perf_counter()
# What is said of a row is taken from its text, so that no digit changes.
database.execute(
    f"""CREATE TABLE incidents AS SELECT
        employee, incident->>'type' AS kind, incident->>'priority' AS priority,
        CAST(incident->>'timestamp' AS DOUBLE) AS time,
        '{{"employee":' || employee || ',"incident":' || CAST(incident AS VARCHAR) || '}}' AS item
    FROM read_ndjson('{rows}', columns = {{employee: 'BIGINT', incident: 'JSON'}})"""
)
loaded = time.perf_counter() - start
answers = {}
with open(questions, encoding="utf-8") as file:
    asked = json.load(file)
for name, statements in asked:
    first = [row[0] for row in database.execute(statements[0]).fetchall()]
    took, place, begun = [], 0, time.perf_counter()
    while not took or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        database.execute(statements[place % len(statements)]).fetchall()
        took.append(time.perf_counter() - start)
        place += 1
    answers[name] = {"seconds": statistics.median(took), "first": first}
print(json.dumps({"loaded": loaded, "answers": answers}))
