# Sourced by the set-up scripts: Debian packages, in two ways.
#
#   want_packages PACKAGE...      ordinary tools, installed on this machine unless they are there
#   debian_open                   packages from Debian 12 into the current folder: read the lists,
#   debian_unpack PACKAGE...      unpack some,
#   debian_close                  remove the lists and downloads
#
# The second way leaves the machine's own packages alone: no foreign architecture, no source list, no upgrade from
# backports, no root. It works on Ubuntu as well, where QEMU 10.0 and Debian's Rust are not to be had otherwise.

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  else
    command -v sudo > /dev/null || fail "needs root for: $* (no sudo here: run that yourself, then try again)"
    sudo "$@"
  fi
}

want_packages() {
  local missing
  missing=$(missing_packages "$@")
  [ -n "$missing" ] || return 0
  say "installing" $missing
  local apt="as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600"
  $apt update
  without_daemons $apt install -y --no-install-recommends $missing > /dev/null \
    || fail "could not install" $missing "(apt's own message is above)"
}

# dpkg-query names what it does not know on stderr and goes on; what it knows may still be only half installed.
missing_packages() {
  comm -23 <(printf '%s\n' "$@" | sort -u) \
    <(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "$@" 2> /dev/null | sed -n 's/ installed$//p' | sort -u)
}

# Some of these packages bring services that a build machine has no use for. A policy of the administrator's stays.
without_daemons() (
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'as_root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" > /dev/null
    as_root chmod 755 "$policy"
  fi
  "$@"
)

debian_open() {
  private_apt
  apt-get "${PRIVATE_APT[@]}" -qq update || fail "cannot read Debian's package lists (apt's own message is above)"
}

debian_close() { rm -rf .apt; }

# debian_unpack [-t SUITE] PACKAGE[:arm64]...: packages of this machine's architecture come with all that they depend
# on, those of another one alone.
debian_unpack() {
  local suite=() own=() foreign=() package
  if [ "$1" = -t ]; then suite=(-t "$2"); shift 2; fi
  for package in "$@"; do
    case $package in *:*) foreign+=("$package");; *) own+=("$package");; esac
  done
  [ ${#own[@]} = 0 ] \
    || apt-get "${PRIVATE_APT[@]}" -qq install -y --download-only --no-install-recommends "${suite[@]}" "${own[@]}" \
    || fail "cannot download ${own[*]} from Debian"
  [ ${#foreign[@]} = 0 ] \
    || (cd .apt/cache/archives && apt-get "${PRIVATE_APT[@]}" -qq download "${foreign[@]}") \
    || fail "cannot download ${foreign[*]} from Debian"
  for package in .apt/cache/archives/*.deb; do dpkg -x "$package" .; done
  rm -f .apt/cache/archives/*.deb
}

# The packages that PACKAGE[:arm64] depends on, one a line.
debian_depends() {
  apt-cache "${PRIVATE_APT[@]}" depends "$1" | sed -n 's/^ *Depends: *\([^: ]*\).*/\1/p'
}

# Sets PRIVATE_APT to the options of an apt that has its own sources, lists and downloads below ./.apt.
private_apt() {
  local keyring=/usr/share/keyrings/debian-archive-keyring.gpg mirror security package arch
  read -r mirror security < <(debian_mirror)
  want_packages debian-archive-keyring ca-certificates
  mkdir -p .apt/lists/partial .apt/cache/archives/partial
  cat > .apt/sources.list <<END
deb [signed-by=$keyring] $mirror bookworm main
deb [signed-by=$keyring] $mirror bookworm-backports main
deb [signed-by=$keyring] $security bookworm-security main
END
  # What the machine itself provides: its C library must be the one of the programs that it starts, and its compiler
  # is installed anyway.
  for package in libc6 libc-dev libgcc-s1 gcc binutils; do
    for arch in amd64 arm64; do
      printf '%s\n' "Package: $package" "Architecture: $arch" "Version: 99" "Status: install ok installed" \
        "Multi-Arch: same" "Maintainer: none" "Description: comes with the machine" ""
    done
  done > .apt/status
  PRIVATE_APT=(
    -o Dir::Etc::SourceList="$PWD/.apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
    -o Dir::State="$PWD/.apt" -o Dir::State::Lists="$PWD/.apt/lists" -o Dir::State::status="$PWD/.apt/status"
    -o Dir::Cache="$PWD/.apt/cache" -o Dir::Log="$PWD/.apt"
    -o APT::Architecture=amd64 -o APT::Architectures=amd64,arm64 -o APT::Sandbox::User=root
    -o Debug::NoLocking=true -o Acquire::Languages=none
  )
}

# The mirror that this machine uses for Debian already, and its security archive.
debian_mirror() {
  local mirror=${MAGPIE_DEBIAN_MIRROR:-}
  if [ -z "$mirror" ]; then
    mirror=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' 2> /dev/null \
      | sed -n 's,^Debian|Debian|\(.*[^/]\)/*$,\1,p' | sort -u | head -n 1)
  fi
  [ -n "$mirror" ] || fail "set MAGPIE_DEBIAN_MIRROR to a Debian mirror (a list: https://www.debian.org/mirror/list)," \
    "for apt knows none here"
  echo "$mirror" "$mirror-security"
}
