#!/bin/sh
# Makes sure that a Docker engine runs: the one of this machine, or as root on a machine without an init system one that
# is started by hand. Prints the process id to stop when it started one, else nothing.
set -eu
cd "$(dirname "$0")/../.."
if docker info >/dev/null 2>&1; then exit 0; fi
if [ "$(id -u)" != 0 ]; then
	echo "stack: no Docker engine can be reached, and starting one needs root" >&2
	exit 1
fi
if ! command -v dockerd >/dev/null; then
	echo "stack: installing the Docker engine: the compose stack runs on it" >&2
	.ci/packages.sh docker.io iptables >&2
fi
if [ -d /run/systemd/system ] && systemctl start docker 2>/dev/null && docker info >/dev/null 2>&1; then exit 0; fi
mkdir -p .cache/docker
echo "stack: starting dockerd for this run (log: .cache/docker/dockerd.log)" >&2
dockerd >.cache/docker/dockerd.log 2>&1 &
pid=$!
tries=60
until docker info >/dev/null 2>&1; do
	tries=$((tries - 1))
	if [ "$tries" = 0 ] || ! kill -0 "$pid" 2>/dev/null; then
		tail -n 20 .cache/docker/dockerd.log >&2
		kill "$pid" 2>/dev/null || true
		exit 1
	fi
	sleep 1
done
echo "$pid"
