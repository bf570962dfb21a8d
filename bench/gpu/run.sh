#!/bin/sh
# Builds, tests and times everything on this machine's CUDA device, and writes one JSON result. See README.md.
#
#   bench/gpu/run.sh [options]
#     --build FOLDER   the build folder (build-gpu)
#     --out FILE       the result (result.json in that folder)
#     --python PYTHON  an interpreter with torch and transformers, which runs the same training and decoding
#     --sections LIST  of: tests rows products training profile decoding sanitizer torch (all of them, in this order)
#     --only TEXT      times only names that contain TEXT, over more shapes: --sections rows --only edit_add_norm_forward
#     --rehearse       the whole program at tiny sizes on an emulated device; needs neither a GPU nor nvcc
set -u
cd "$(dirname "$0")/../.." || exit 1

out= build=build-gpu python= only= rehearse=
sections="tests rows products training profile decoding sanitizer torch"
while [ $# -gt 0 ]; do
  case $1 in
    --rehearse) rehearse=--rehearse; shift; continue ;;
    --out | --build | --python | --sections | --only) [ $# -ge 2 ] || { echo "Expected a value after $1" >&2; exit 2; } ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  case $1 in
    --out) out=$2 ;;
    --build) build=$2 ;;
    --python) python=$2 ;;
    --sections) sections=$2 ;;
    --only) only=$2 ;;
  esac
  shift 2
done

for section in $sections; do
  case $section in
    tests | rows | products | training | profile | decoding | sanitizer | torch) ;;
    *) echo "Expected a section but received $section" >&2; exit 2 ;;
  esac
done
if [ -z "$rehearse" ]; then
  architecture=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2> /dev/null | head -n 1 | tr -d ' .')
  case $architecture in
    '' | *[!0-9]*) echo "No CUDA device can be used here: nvidia-smi, which comes with the driver, lists none." >&2; exit 1 ;;
  esac
fi
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
    for part in machine nvidia_smi tests rows products training profile decoding sanitizer torch; do
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

title build
if [ -n "$rehearse" ]; then
  target=rubricate_cuda_emulated plugin=$build/native/device/cuda/emulated/librubricate_cuda_emulated.so
  set -- -DRUBRICATE_CUDA_EMULATED=ON
else
  target=rubricate_cuda plugin=$build/native/device/cuda/librubricate_cuda.so
  set -- -DRUBRICATE_CUDA=ON "-DRUBRICATE_CUDA_ARCHITECTURES=$architecture"
fi
targets="bench_gpu $target"
case " $sections " in *" tests "* | *" sanitizer "*) targets="$targets rubricate_tests" ;; esac
jobs=${RUBRICATE_JOBS:-$(nproc)}
cmake -S . -B "$build" -DRUBRICATE_TESTS=ON -DRUBRICATE_GPU_BENCH=ON "$@" > "$parts/build.log" 2>&1 &&
  cmake --build "$build" --target $targets --parallel "$jobs" >> "$parts/build.log" 2>&1 ||
  { tail -n 40 "$parts/build.log" >&2; exit 1; }
RUBRICATE_CUDA_LIBRARY=$PWD/$plugin
case $plugin in /*) RUBRICATE_CUDA_LIBRARY=$plugin ;; esac
export RUBRICATE_CUDA_LIBRARY
if [ -n "$rehearse" ]; then # the fake cuBLASLt of the tests
  RUBRICATE_CUBLASLT_LIBRARY=${RUBRICATE_CUDA_LIBRARY%/*}/libfake_cublaslt.so
  export RUBRICATE_CUBLASLT_LIBRARY
fi

bench() { # section, further options; without a device the program prints the reason
  section=$1
  shift
  "$build/bench_gpu" "$section" $rehearse --only "$only" --out "$parts/$section.json" "$@"
}

truth() { [ "$1" -eq "$2" ] && echo true || echo false; }
# Runs a command, shows its end, and writes a row with its status.
checked() { # part, command...
  part=$1
  shift
  "$@" > "$parts/log" 2>&1
  code=$?
  tail -n 12 "$parts/log"
  [ $code -eq 0 ] || [ $code -eq 124 ] || status=1
  { printf '{"passed": %s, "cutOff": %s, "last": ' "$(truth $code 0)" "$(truth $code 124)"
    tail -n 3 "$parts/log" | text
    printf '}\n'; } > "$parts/$part.json"
}

title machine
bench machine || exit 1
if [ -z "$rehearse" ]; then
  nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,power.limit,temperature.gpu \
    --format=csv | tee "$parts/smi"
  text < "$parts/smi" > "$parts/nvidia_smi.json"
fi

for section in $sections; do
  title "$section"
  case $section in
    tests)
      if [ -n "$rehearse" ]; then filter='-tc=swiglu*,AdamW*'; else filter='-sfe=*/base/*,*/files/*,*/runtime/*,*/cpu/*'; fi
      checked tests "$build/rubricate_tests" "$filter"
      ;;
    sanitizer)
      tool=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2> /dev/null)
      if [ -n "$rehearse" ] || [ -z "$tool" ]; then
        echo "skipped: no compute-sanitizer, or no device"
        continue
      fi
      : > "$parts/both"
      for kind in memcheck racecheck; do
        echo "$kind:"
        checked "$kind" timeout 90 "$tool" --tool "$kind" --error-exitcode 9 "$build/rubricate_tests" '-sf=*/ops/*' -d
        printf '%s"%s": %s' "$([ "$kind" = memcheck ] || echo ', ')" "$kind" "$(cat "$parts/$kind.json")" >> "$parts/both"
      done
      printf '{%s}\n' "$(cat "$parts/both")" > "$parts/sanitizer.json"
      ;;
    rows | products | training | profile | decoding) bench "$section" || status=1 ;;
    torch)
      [ -n "$python" ] || { echo "skipped: give --python, an interpreter with torch and transformers"; continue; }
      mkdir -p "$parts/handover"
      "$python" bench/gpu/torch_side.py --program "$build/bench_gpu" --handover "$parts/handover" \
        --out "$parts/torch.json" $rehearse || status=1
      ;;
  esac
  assemble
done
title "done: $out"
exit $status
