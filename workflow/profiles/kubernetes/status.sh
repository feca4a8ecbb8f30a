#!/bin/sh
# running, success or failed, as Snakemake asks of a submitted job. One that somebody has deleted has failed; a cluster
# that does not answer says nothing of its jobs.
found=$(kubectl get job "$1" --ignore-not-found \
    -o jsonpath='{.metadata.name} {range .status.conditions[?(@.status=="True")]}{.type} {end}') || { echo running; exit; }
case $found in
    *" Complete "*) echo success ;;
    "" | *" Failed "*) echo failed ;;
    *) echo running ;;
esac
