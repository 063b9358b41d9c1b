// What guests are asked to do in the experiments on translation: lines for busybox's shell, each long enough to settle in and of a
// working set of its own.

/** A shell that counts and forks, without another program. */
export const SHELL_LOOP = "i=0; while [ $i -lt 1500 ]; do i=$((i+1)); done; echo $i";
/** A change of phase: compression, sorting and text. */
export const TOOLS = "head -c 90000 /bin/busybox | gzip | wc -c; seq 600 | sort -rn | tail -1";

/** One session of many parts. */
export const SESSION = [
  "sha256sum /bin/busybox; cat /proc/cpuinfo | wc -l",
  TOOLS,
  "awk 'BEGIN{for(i=1;i<2000;i++)s+=sqrt(i)*sin(i);print s}'",
  "ls -lR /bin /dev | wc -l; find / -xdev | wc -l",
  "i=0; while [ $i -lt 30 ]; do (:); i=$((i+1)); done; echo $i",
  SHELL_LOOP,
];

/** Forks, exits and waits `count` times, in the shell's own process image. */
export function forks(count: number): string {
  return `i=0; while [ $i -lt ${count} ]; do (:); i=$((i+1)); done; echo $i`;
}
