#!/bin/sh
# churn ROUNDS KIB: memory that never rests. Writes a file of KIB into memory, checks the one that it wrote eight rounds
# before against its checksum and removes it; then all that are left.
[ $# -eq 2 ] || { echo "usage: churn ROUNDS KIB"; exit 2; }
folder=/tmp/churn.$$
mkdir "$folder"
check() {
  [ "$(md5sum < "$folder/$1")" = "$(cat "$folder/$1.sum")" ] || { echo "churn: file $1 is corrupt"; exit 1; }
  rm "$folder/$1" "$folder/$1.sum"
}
round=0
while [ $round -lt "$1" ]; do
  yes "$round $$" | head -c $(($2 * 1024)) > "$folder/$round"
  yes "$round $$" | head -c $(($2 * 1024)) | md5sum > "$folder/$round.sum"
  [ $round -lt 8 ] || check $((round - 8))
  round=$((round + 1))
done
for left in "$folder"/*.sum; do left=${left##*/}; check "${left%.sum}"; done
rmdir "$folder"
echo "churn: $1 files intact"
