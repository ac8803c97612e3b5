#!/bin/sh
# Installs what the tests drive, a browser or node, with the system's own package manager: sh install_packages.sh NAME...
set -eu
if ! command -v apt-get >/dev/null; then
  echo "install_packages: no apt-get here; install $* (or chromium or google-chrome for the browser) and run again" >&2
  exit 1
fi
sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
$sudo apt-get update -qq
$sudo apt-get install -y -qq --no-install-recommends "$@"
