#!/bin/sh
# Prints running, success or failed for a submitted job. A deleted job has failed; if the cluster does not answer, the
# status is unknown.
found=$(kubectl get job "$1" --ignore-not-found \
    -o jsonpath='{.metadata.name} {range .status.conditions[?(@.status=="True")]}{.type} {end}') || { echo running; exit; }
case $found in
    *" Complete "*) echo success ;;
    "" | *" Failed "*) echo failed ;;
    *) echo running ;;
esac
