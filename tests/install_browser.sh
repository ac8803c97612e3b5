#!/bin/sh
# Installs the Chromium that the browser tests drive, with the system's own package manager.
set -eu
if ! command -v apt-get >/dev/null; then
  echo "install_browser: no Chromium found; install chromium or google-chrome and run again" >&2
  exit 1
fi
sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
$sudo apt-get update -qq
$sudo apt-get install -y -qq --no-install-recommends chromium-headless-shell
