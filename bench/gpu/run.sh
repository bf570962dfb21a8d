#!/bin/sh
# Builds, tests and times everything on this machine's CUDA device, and writes one JSON result. See README.md.
#
#   bench/gpu/run.sh [options]
#     --build FOLDER   the build folder (build-gpu)
#     --built          compiles nothing: the folder has what another machine built
#     --out FILE       the result (result.json in that folder)
#     --python PYTHON  an interpreter with torch and transformers, which runs the same training and decoding (python3, if it has both)
#     --sections LIST  of: tests training rows profile decoding products torch sanitizer (all of them, in this order)
#     --seconds N      limit of each section (280); what it has found by then is kept
#     --own-matmul     goes on without cuBLASLt, whose absence otherwise ends the script
#     --only TEXT      times only names that contain TEXT, over more shapes: --sections rows --only edit_add_norm_forward
#     --rehearse       the whole program at tiny sizes on an emulated device; needs neither a GPU nor nvcc
set -u
cd "$(dirname "$0")/../.." || exit 1

out= build=build-gpu built= python= only= rehearse= own= seconds=280
all="tests training rows profile decoding products torch sanitizer"
sections=$all
while [ $# -gt 0 ]; do
  case $1 in
    --rehearse) rehearse=--rehearse; shift; continue ;;
    --built) built=yes; shift; continue ;;
    --own-matmul) own=yes; shift; continue ;;
    --out | --build | --python | --sections | --seconds | --only) [ $# -ge 2 ] || { echo "Expected a value after $1" >&2; exit 2; } ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  case $1 in
    --out) out=$2 ;;
    --build) build=$2 ;;
    --python) python=$2 ;;
    --sections) sections=$2 ;;
    --seconds) seconds=$2 ;;
    --only) only=$2 ;;
  esac
  shift 2
done

for section in $sections; do
  case " $all " in
    *" $section "*) ;;
    *) echo "Expected sections of $all but received $section" >&2; exit 2 ;;
  esac
done
case $seconds in
  '' | *[!0-9]* | 0) echo "Expected a number of seconds for --seconds but received $seconds" >&2; exit 2 ;;
esac
if [ -z "$rehearse" ]; then
  architecture=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2> /dev/null | head -n 1 | tr -d ' .')
  case $architecture in
    '' | *[!0-9]*) echo "No CUDA device can be used here: nvidia-smi, which comes with the driver, lists none." >&2; exit 1 ;;
  esac
fi
if [ -z "$python" ] && python3 -c 'import torch, transformers' 2> /dev/null; then python=python3; fi
mkdir -p "$build" && parts=$(mktemp -d) || exit 1
out=${out:-$build/result.json}
status=0

text() { # a JSON string of standard input
  printf '"%s"' "$(tr '\n\t"\\' "  ''" | sed 's/ *$//')"
}

# The checkout's commit, marked if files have changed since; RUBRICATE_COMMIT without git.
commit() {
  git rev-parse HEAD 2> /dev/null || { echo "${RUBRICATE_COMMIT:-unknown}"; return; }
  [ -z "$(git status --porcelain --untracked-files=no)" ] || echo changed
}

# All results so far as one document, also if the script is stopped.
assemble() {
  {
    printf '{\n  "date": "%s",\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
    printf '  "commit": %s,\n' "$(commit | text)"
    printf '  "rehearsal": %s' "$([ -n "$rehearse" ] && echo true || echo false)"
    for part in machine nvidia_smi $all; do
      [ -s "$parts/$part.json" ] && { printf ',\n  "%s": ' "$part"; sed -e '$ s/[[:space:]]*$//' "$parts/$part.json"; }
    done
    printf '\n}\n'
  } > "$out"
}
finish() {
  assemble
  rm -rf "$parts"
}
trap 'finish' EXIT
trap 'exit 130' INT TERM HUP

title() { printf '\n=== %s (at %s s)\n' "$1" "$(($(date +%s) - started))"; }
started=$(date +%s)

# What another machine built is found by the names that a build gives it.
if [ -n "$rehearse" ]; then
  target=rubricate_cuda_emulated plugin=$build/native/device/cuda/emulated/librubricate_cuda_emulated.so
  set -- -DRUBRICATE_CUDA_EMULATED=ON
else
  target=rubricate_cuda plugin=$build/native/device/cuda/librubricate_cuda.so
  set -- -DRUBRICATE_CUDA=ON "-DRUBRICATE_CUDA_ARCHITECTURES=$architecture"
fi
if [ -z "$built" ]; then
  title build
  targets="bench_gpu $target"
  case " $sections " in *" tests "* | *" sanitizer "*) targets="$targets rubricate_tests" ;; esac
  if [ ! -f "$build/CMakeCache.txt" ] && command -v ninja > /dev/null; then set -- -G Ninja "$@"; fi
  jobs=${RUBRICATE_JOBS:-$(nproc)}
  cmake -S . -B "$build" -DRUBRICATE_TESTS=ON -DRUBRICATE_GPU_BENCH=ON "$@" > "$parts/build.log" 2>&1 &&
    cmake --build "$build" --target $targets --parallel "$jobs" >> "$parts/build.log" 2>&1 ||
    { tail -n 40 "$parts/build.log" >&2; exit 1; }
fi
for file in "$build/bench_gpu" "$plugin"; do
  [ -f "$file" ] || { echo "Expected $file: build it here without --built, or bring the folder of a machine that did" >&2; exit 1; }
done
RUBRICATE_CUDA_LIBRARY=$PWD/$plugin
case $plugin in /*) RUBRICATE_CUDA_LIBRARY=$plugin ;; esac
export RUBRICATE_CUDA_LIBRARY

# Where cuBLASLt can be that the dynamic loader does not know: beside PyTorch, in toolkits and in conda environments.
cublaslt_files() {
  [ -z "$python" ] || "$python" - << 'PYTHON'
import glob, sys
for folder in sys.path:
    for version in (13, 12):
        for file in sorted(glob.glob(f"{folder}/nvidia/*/lib/libcublasLt.so.{version}")):
            print(file)
PYTHON
  for version in 13 12; do
    ls -d /usr/local/cuda/lib64/libcublasLt.so.$version /usr/local/cuda-$version*/lib64/libcublasLt.so.$version \
      /usr/local/cuda-$version*/targets/*/lib/libcublasLt.so.$version "${CONDA_PREFIX:-/none}/lib/libcublasLt.so.$version" 2> /dev/null
  done
}
if [ -n "$rehearse" ]; then # the fake cuBLASLt of the tests
  RUBRICATE_CUBLASLT_LIBRARY=${RUBRICATE_CUDA_LIBRARY%/*}/libfake_cublaslt.so
  export RUBRICATE_CUBLASLT_LIBRARY
elif [ -z "${RUBRICATE_CUBLASLT_LIBRARY:-}" ] && [ -z "$own" ]; then
  found=$(cublaslt_files | head -n 1)
  if [ -n "$found" ]; then
    RUBRICATE_CUBLASLT_LIBRARY=$found
    export RUBRICATE_CUBLASLT_LIBRARY
    echo "cuBLASLt: $found"
  fi
fi

bench() { # section, further options; without a device the program prints the reason
  section=$1
  shift
  timeout "$seconds" "$build/bench_gpu" "$section" $rehearse --only "$only" --out "$parts/$section.json" "$@"
}

truth() { [ "$1" -eq "$2" ] && echo true || echo false; }
# Runs a command, shows its end, and prints a row with its status into a file.
checked() { # file, fields of the row, limit in seconds, command...
  file=$1 fields=$2 limit=$3
  shift 3
  timeout "$limit" "$@" > "$parts/log" 2>&1
  code=$?
  [ $code -eq 0 ] || tail -n 12 "$parts/log"
  [ $code -eq 0 ] || [ $code -eq 124 ] || status=1
  { printf '{%s, "passed": %s, "timedOut": %s, "last": ' "$fields" "$(truth $code 0)" "$(truth $code 124)"
    tail -n 3 "$parts/log" | text
    printf '}'; } > "$file"
  printf '%s: %s\n' "$fields" "$([ $code -eq 0 ] && echo passed || { [ $code -eq 124 ] && echo "timed out after $limit s" || echo FAILED; })"
}

# Rows that come one after another, as a JSON list that is complete after each.
add_row() { # part, file of the row
  if [ -s "$parts/$1.rows" ]; then printf ',\n' >> "$parts/$1.rows"; fi
  cat "$2" >> "$parts/$1.rows"
  { printf '['; cat "$parts/$1.rows"; printf ']\n'; } > "$parts/$1.json"
  assemble
}

# RUBRICATE_TEST_SECONDS: limit of each. Each op's tests in a process of their own, so that one that hangs or ends the device loses no other; once as on a small device, since
# some kernels are chosen by the number of multiprocessors.
run_tests() {
  ends=$(($(date +%s) + seconds))
  for folder in native/ops/*/ native/adapter/ native/autograd/ native/model/ native/optimizer/ native/serve/ native/tests/ native/train/; do
    ls "$folder"*_test.cc > /dev/null 2>&1 || continue
    [ -z "$rehearse" ] || case $folder in */swiglu/ | */optimizer/ | */block_linear/) ;; *) continue ;; esac
    for multiprocessors in '' 4; do
      if [ "$(date +%s)" -ge "$ends" ]; then
        printf '{"folder": "%s", "passed": false, "timedOut": true, "last": "no time was left"}' "$folder" > "$parts/row"
      else
        if [ -n "$multiprocessors" ]; then export RUBRICATE_MULTIPROCESSORS=$multiprocessors; fi
        checked "$parts/row" "\"folder\": \"$folder\", \"multiprocessors\": \"${multiprocessors:-the device's}\"" "${RUBRICATE_TEST_SECONDS:-30}" \
          "$build/rubricate_tests" "-sf=*/${folder}*"
        unset RUBRICATE_MULTIPROCESSORS
      fi
      add_row tests "$parts/row"
    done
  done
}

run_sanitizer() {
  tool=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2> /dev/null)
  if [ -n "$rehearse" ] || [ -z "$tool" ]; then
    echo "skipped: no compute-sanitizer, or no device"
    return
  fi
  for kind in memcheck racecheck; do
    checked "$parts/row" "\"tool\": \"$kind\"" $((seconds / 2)) "$tool" --tool "$kind" --error-exitcode 9 "$build/rubricate_tests" '-sf=*/ops/*' -d
    add_row sanitizer "$parts/row"
  done
}

run_torch() {
  [ -n "$python" ] || { echo "skipped: give --python, an interpreter with torch and transformers"; return; }
  mkdir -p "$parts/handover"
  timeout $((seconds + 30)) "$python" bench/gpu/torch_side.py --program "$build/bench_gpu" --handover "$parts/handover" \
    --out "$parts/torch.json" --seconds "$seconds" $rehearse
}

ended() { # section, its exit status
  [ "$2" -ne 124 ] || echo "$1 was ended after $seconds s; its rows so far are kept"
  [ "$2" -eq 0 ] || status=1
}

title machine
bench machine || exit 1
if [ -z "$rehearse" ]; then
  nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,power.limit,temperature.gpu \
    --format=csv | tee "$parts/smi"
  text < "$parts/smi" > "$parts/nvidia_smi.json"
fi
if [ -z "$own" ] && ! grep -q '"noCublaslt": ""' "$parts/machine.json"; then
  echo "cuBLASLt cannot be used, so training would run at about half its speed. Name it with RUBRICATE_CUBLASLT_LIBRARY, or give --own-matmul." >&2
  exit 1
fi

for section in $sections; do
  title "$section"
  case $section in
    tests) run_tests ;;
    sanitizer) run_sanitizer ;;
    torch) run_torch; ended torch $? ;;
    *) bench "$section"; ended "$section" $? ;;
  esac
  assemble
done
title "done: $out"
exit $status
