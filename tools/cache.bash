# Sourced by the set-up scripts: where downloaded things are kept, and how they get there.
#
# Everything lies in $MAGPIE_CACHE (~/.cache/magpie), in one folder a thing, named with its version. A folder that
# exists is complete: it is filled under another name and renamed at the end. So a warm set-up only looks at names,
# an interrupted one starts again cleanly, and deleting a folder is how to have it made anew.

MAGPIE_CACHE=${MAGPIE_CACHE:-${XDG_CACHE_HOME:-${HOME:?HOME is not set: set it, or MAGPIE_CACHE}/.cache}/magpie}

say() { echo "${0##*/}: $*" >&2; }
fail() { say "$*"; exit 1; }

# make_once NAME FUNCTION: unless $MAGPIE_CACHE/NAME exists, run FUNCTION in an empty folder and put the folder there.
# The lock makes a second set-up on the same machine wait for the first instead of doing its work again.
make_once() {
  local done=$MAGPIE_CACHE/$1 new=$MAGPIE_CACHE/.$1.new
  [ ! -d "$done" ] || return 0
  mkdir -p "$MAGPIE_CACHE"
  (
    flock 9
    [ ! -d "$done" ] || exit 0
    rm -rf "$new"
    mkdir "$new"
    cd "$new"
    "$2"
    mv "$new" "$done"
  ) 9> "$MAGPIE_CACHE/.lock"
}
