"""What runs on the phone: POSIX shell, with no more than Android's toybox has.

The texts are fixed; all that varies comes as arguments. Together with them they stay below the
4,000 bytes that the oldest phones take as one command.
"""

from __future__ import annotations

__all__ = ["END_OLD_RUNS", "FACTS", "RUN", "RUN_APK"]

# Arguments: "binary" or "apk", the binary's path, the app's package. Writes NAME=VALUE lines.
# A Linux machine that runs adbd has no getprop.
FACTS = """
if command -v getprop >/dev/null; then
  echo "serial=$(getprop ro.serialno)"
  echo "model=$(getprop ro.product.model)"
  echo "fingerprint=$(getprop ro.build.fingerprint)"
  soc=$(getprop ro.soc.model)
  echo "soc=${soc:-$(getprop ro.board.platform)}"
  echo "abi=$(getprop ro.product.cpu.abi)"
  echo "booted=$(getprop sys.boot_completed)"
else
  echo "serial=$(cat /etc/machine-id 2>/dev/null)"
  echo "model=$(tr -d '\\000' </proc/device-tree/model 2>/dev/null || hostname)"
  echo "fingerprint=$(uname -srv)"
  echo "soc=$(tr '\\000' ' ' </proc/device-tree/compatible 2>/dev/null)"
  echo "abi=$(uname -m)"
  echo booted=1
fi
f=$2
if [ "$1" = apk ]; then
  f=$(pm path "$3" 2>/dev/null | head -n 1)
  f=${f#package:}
fi
echo "program=$f"
if [ -f "$f" ] && { [ "$1" = apk ] || [ -x "$f" ]; }; then
  h=$(sha256sum "$f")
  echo "program_sha256=${h%% *}"
fi
"""

# Argument: the folder for models, as a pattern. Ends all processes whose arguments name a model of
# ours there: the program, and the `timeout` and shell around it.
END_OLD_RUNS = """
for f in $(grep -lsE -e "--graph=$1/[0-9a-f]{64}[.]tflite" /proc/[0-9]*/cmdline); do
  f=${f#/proc/}
  kill -9 "${f%/cmdline}" 2>/dev/null
done
"""

# Arguments: heading mark, folder, hash and size of the model, "hash" to check its content or
# "size", name it was just pushed under or nothing, size in KB above which old models are removed,
# a core that is measured on, then the command. Writes sections under headings.
# A model gets its name only when it has arrived whole. Only files that are named by a hash are
# removed: the folder may hold files of the user's.
RUN = """
t=$1 d=$2 h=$3 s=$4 v=$5 p=$6 k=$7 c=$8
shift 8
f=$d/$h.tflite
is() {
  [ "$(stat -c %s "$1" 2>/dev/null)" = "$s" ] || return 1
  [ "$2" = size ] && return 0
  x=$(sha256sum "$1")
  [ "${x%% *}" = "$h" ]
}
if [ -n "$p" ]; then
  if is "$p" hash; then mv -f "$p" "$f"; else rm -f "$p"; fi
  v=size
fi
if ! is "$f" "$v"; then
  echo "$t absent"
  mkdir -p "$d" 2>&1
  if ! [ -w "$d" ]; then echo "$t readonly"; exit 0; fi
  x='[0-9a-f][0-9a-f][0-9a-f][0-9a-f]'
  find "$d" -maxdepth 1 -name "$x$x$x$x*.part" -mmin +60 -exec rm -f {} + 2>/dev/null
  u=$(du -sk "$d")
  if [ "${u%%[!0-9]*}" -gt "$k" ]; then
    m='^[0-9a-f]{64}\\.tflite$'
    n=$(ls "$d" | grep -cE "$m")
    ls -tr "$d" | grep -E "$m" | head -n $(((n + 1) / 2)) | (cd "$d" && xargs rm -f)
  fi
  echo "$t df"
  df -k "$d" | tail -n 1
  exit 0
fi
echo "$t before"
look "$c"
b=$(date +%s)
echo "$t run"
"$@" 2>&1
r=$?
echo
echo "$t end"
echo $r $(($(date +%s) - b))
touch -c "$f"
echo "$t after"
look "$c"
"""

# Arguments: the app's package, seconds to wait, its flags. Writes lines of the log.
RUN_APK = """
logcat -c
a=$(am start -S -n "$1/.BenchmarkModelActivity" --es args "$3" 2>&1)
case $a in *Error*) echo "E/tflite: $(echo "$a" | tr '\\n' ' ')"; exit 1;; esac
e=$(($(date +%s) + $2))
while :; do
  sleep 0.5
  o=$(logcat -d -v tag -s tflite)
  case $o in *'Inference timings in us'*) r=0; break;; esac
  case $o in *'Benchmarking failed'* | *'Failed to run'*) r=1; break;; esac
  if [ "$(date +%s)" -ge "$e" ]; then r=124; break; fi
done
am force-stop "$1"
echo "$o"
exit $r
"""
