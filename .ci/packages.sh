#!/bin/sh
# Installs Debian packages where that is possible without asking, else says the command. Exit code 1: not installed.
set -eu
if ! command -v apt-get >/dev/null 2>&1; then
	echo "setup: install with your package manager what Debian calls: $*"
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "setup: this needs root, run: sudo apt-get install --no-install-recommends $*"
	exit 1
fi
echo "setup: apt-get install $*"
export DEBIAN_FRONTEND=noninteractive
install() { apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }
# The lists may be missing or old: they are fetched only when the first try finds that out.
install "$@" 2>/dev/null || { apt-get update -qq && install "$@"; }
