#!/bin/sh
# idle SECONDS: holds what memory the guest has taken by now, and uses none of it.
[ $# -eq 1 ] || { echo "usage: idle SECONDS"; exit 2; }
sleep "$1"
echo "idle: $1 seconds"
