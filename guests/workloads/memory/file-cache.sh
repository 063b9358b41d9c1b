#!/bin/sh
# file-cache DEVICE MIB ROUNDS: reads the first MIB of a disk ROUNDS times. The kernel keeps what it reads in its page
# cache, for as long as nobody wants the memory for something better, a balloon among others. Every round must read the same.
[ $# -eq 3 ] || { echo "usage: file-cache DEVICE MIB ROUNDS"; exit 2; }
sum() { dd if="$1" bs=65536 count=$(($2 * 16)) 2>/dev/null | md5sum; }
first=$(sum "$1" "$2")
round=0
while [ $round -lt "$3" ]; do
  [ "$(sum "$1" "$2")" = "$first" ] || { echo "file-cache: round $round reads something else"; exit 1; }
  round=$((round + 1))
done
echo "file-cache: $3 rounds of $2 MiB the same"
