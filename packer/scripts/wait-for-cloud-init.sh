#!/bin/sh
# Waits until cloud-init is done with the build seed: what it installs or
# configures must not run beside us.
set -eu
# Exit status 2 is "done, with recoverable errors", from 23.4 on.
status=0
cloud-init status --wait >/dev/null || status=$?
if [ "$status" -ne 0 ] && [ "$status" -ne 2 ]; then
    cloud-init status --long
    exit 1
fi
