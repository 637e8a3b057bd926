#!/bin/sh
# Writes deploy/prometheus/rules as the Prometheus operator takes them: ./rules.sh > rules.yaml. A test compares them.
set -eu
cd "$(dirname "$0")"
echo '# Made of deploy/prometheus/rules by rules.sh: change them there, and run it again.'
for rules in recording alerts; do
  cat <<END
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: employee-incidents-$rules
spec:
END
  sed '/./ s/^/  /' "../../prometheus/rules/$rules.yml"
done
