#!/bin/sh
# Compiles a .cu file: `nvcc_with_report.sh nvcc ARGUMENTS -o OBJECT ...`. Keeps ptxas's report of the kernels (ptxas.txt), the PTX
# of each virtual architecture and the machine code of each real one (.cubin) in the folder OBJECT.report, for
# native/scripts/cuda_report.mjs. Prints the rest.
previous=
object=
for argument; do
  [ "$previous" = -o ] && object=$argument
  previous=$argument
done
[ -n "$object" ] || exec "$@"
folder=$object.report
rm -rf "$folder" && mkdir -p "$folder" || exit 1
"$@" -Xptxas -v --keep --keep-dir "$folder" 2> "$folder/ptxas.txt"
status=$?
grep -Ev '^ptxas info|bytes stack frame|^$' "$folder/ptxas.txt" >&2
find "$folder" -type f ! -name '*.ptx' ! -name '*.cubin' ! -name ptxas.txt -delete
exit $status
