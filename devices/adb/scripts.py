"""What runs on the phone: POSIX shell, with no more than Android's toybox has.

The texts are fixed; all that varies comes as arguments. Together with them they stay below the
4,000 bytes that the oldest phones take as one command.
"""

from __future__ import annotations

__all__ = [
    "CLAIM",
    "DROP",
    "END_OLD_RUNS",
    "FACTS",
    "FIND",
    "RELEASE",
    "ROOM",
    "RUN",
    "RUN_APK",
]

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

# Arguments: the work folder, who asks, a token of this process, seconds. Makes the folder and notes
# there who uses it until when, by the phone's clock, unless somebody else does. The last line is
# `claimed`, `readonly`, or `taken WHO SECONDS`.
CLAIM = """
mkdir -p "$1" 2>&1
[ -w "$1" ] || { echo readonly; exit 0; }
f=$1/owner n=$(date +%s) w= e=
[ -f "$f" ] && read -r w e t <"$f"
case $e in '' | *[!0-9]*) e=0;; esac
if [ "$w" != "$2" ] && [ "$e" -gt "$n" ]; then echo "taken $w $((e - n))"; exit 0; fi
echo "$2 $((n + $4)) $3" >"$f"
echo claimed
"""

# Arguments: the work folder, the token.
RELEASE = """
[ -f "$1/owner" ] && read -r w e t <"$1/owner"
[ "$t" = "$2" ] && rm -f "$1/owner"
"""

# Arguments: a file, its hash, its size. The exit status tells whether it is there and whole.
FIND = """
[ "$(stat -c %s "$1" 2>/dev/null)" = "$3" ] || exit 1
x=$(sha256sum "$1")
[ "${x%% *}" = "$2" ]
"""

# Only files that are named by a hash are removed: the folder may hold files of the user's.
_MODELS = """
models() { ls -tr | grep -E '^[0-9a-f]{64}[.]tflite$'; }
"""

# Argument: the work folder. Removes what lost links left half pushed; writes df's line, then size
# and name of each model, the longest unused first.
ROOM = f"""{_MODELS}
cd "$1" || exit 1
x='[0-9a-f][0-9a-f][0-9a-f][0-9a-f]'
find . -maxdepth 1 -name "$x$x$x$x*.part" -mmin +60 -exec rm -f {{}} + 2>/dev/null
df -k . | tail -n 1
models | xargs stat -c '%s %n' 2>/dev/null
"""

# Arguments: the work folder, how many of the longest unused models to remove.
DROP = f"""{_MODELS}
cd "$1" && models | head -n "$2" | xargs rm -f
"""

# Arguments: heading mark, path and size of the model, a core that is measured on, then the command.
# Writes sections under headings.
RUN = """
t=$1 f=$2 s=$3 c=$4
shift 4
[ "$(stat -c %s "$f" 2>/dev/null)" = "$s" ] || { echo "$t absent"; exit 0; }
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

# Arguments: the app's package, seconds to wait, its flags, a mark that is in no log yet. Writes
# lines of the log. Clearing it may fail, or not reach all of it; so only what follows the mark
# counts. A long run may push the mark out of the log; that is no harm where it was cleared.
RUN_APK = """
am force-stop "$1"
logcat -c 2>/dev/null && k=1 || k=
log -t tflite "$4"
a=$(am start -S -n "$1/.BenchmarkModelActivity" --es args "$3" 2>&1)
case $a in *Error*) echo "E/tflite: $(echo "$a" | tr '\\n' ' ')"; exit 1;; esac
e=$(($(date +%s) + $2))
while :; do
  sleep 0.5
  o=$(logcat -d -v tag -s tflite)
  case $o in
    *"$4"*) o=${o##*"$4"};;
    *) [ "$k" ] || { o='E/tflite: the log can be neither cleared nor marked'; r=1; break; };;
  esac
  case $o in *'nference timings in us'*) r=0; break;; esac
  case $o in *'Benchmarking failed'* | *'Failed to run'*) r=1; break;; esac
  if [ "$(date +%s)" -ge "$e" ]; then r=124; break; fi
done
am force-stop "$1"
echo "$o"
exit $r
"""
