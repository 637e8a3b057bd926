# jq: jq -c --slurpfile identities identities.json --slurpfile denial denial.json ... -n -f report.jq
def rows($kind; $answer; field):
  $answer[0].results[]
  | . as $row
  | (field | if type == "string" then $identities[0][.] else . end) as $employee
  | select($employee != null)
  | {employee: $employee, incident: ({type: $kind} + $row)};
def group($rows): ($rows | map(.incident)) as $incidents
  | {count: ($incidents | length), incidents: $incidents};
[
  rows("denial"; $denial; .reported_by),
  rows("intrusion"; $intrusion; .internal_ip),
  rows("executable"; $executable; .machine_ip),
  rows("misuse"; $misuse; .employee_id),
  rows("unauthorized"; $unauthorized; .employee_id),
  rows("probing"; $probing; .ip),
  rows("other"; $other; .identifier)
]
| sort_by(.incident.timestamp)
| group_by(.employee)
| map({
    key: (.[0].employee | tostring),
    value: (. as $rows | {
      low: group($rows | map(select(.incident.priority == "low"))),
      medium: group($rows | map(select(.incident.priority == "medium"))),
      high: group($rows | map(select(.incident.priority == "high"))),
      critical: group($rows | map(select(.incident.priority == "critical")))
    })
  })
| from_entries
