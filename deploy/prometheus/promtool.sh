#!/bin/sh
# Run promtool: the one in the PATH, or else the one of Debian's package, which is unpacked into a
# folder of its own and not installed. Needs no root. Exits with 69 where there is none to be had.
set -eu
if command -v promtool >/dev/null 2>&1; then
  exec promtool "$@"
fi
folder="${PROMTOOL_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/adgenx/promtool}"
if ! [ -x "$folder/usr/bin/promtool" ]; then
  if [ "${PROMTOOL_FETCH:-1}" = 0 ] || ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
    echo "promtool is not installed, and there is no Debian package to take it from" >&2
    exit 69
  fi
  part=$(mktemp -d)
  trap 'rm -rf "$part"' EXIT
  if ! (cd "$part" && apt-get -qq download prometheus) >&2; then
    # Fresh lists, kept beside the package: the machine's own may be missing, or not ours to write.
    mkdir -p "$part/lists/partial"
    (cd "$part" && apt-get -qq -o Dir::State::Lists="$part/lists" update &&
      apt-get -qq -o Dir::State::Lists="$part/lists" download prometheus) >&2 || {
      echo "promtool is not installed, and the package could not be fetched" >&2
      exit 69
    }
  fi
  mkdir -p "$part/root" "$folder"
  dpkg -x "$part"/prometheus_*.deb "$part/root"
  cp -r "$part/root/." "$folder/"
  rm -rf "$part"
  trap - EXIT
fi
exec "$folder/usr/bin/promtool" "$@"
