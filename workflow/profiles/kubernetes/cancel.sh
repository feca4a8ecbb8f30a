#!/bin/sh
# Ends the jobs of an interrupted Snakemake, which gives this program two seconds.
exec kubectl delete job --wait=false --ignore-not-found "$@"
