#!/bin/sh
# Prints the command of Docker Compose v2: the plug-in, the program, or with --build one built from its Go module, which
# takes a few minutes once (plain "go install" cannot: the module replaces some of its own dependencies).
set -eu
cd "$(dirname "$0")/../.."
. .ci/versions.sh
own="${XDG_CACHE_HOME:-$HOME/.cache}/amoskys/bin/docker-compose-$COMPOSE_VERSION"
if docker compose version >/dev/null 2>&1; then
	echo docker compose
elif docker-compose version --short 2>/dev/null | grep -q '^v\{0,1\}[2-9]'; then
	echo docker-compose
elif [ -x "$own" ]; then
	echo "$own"
elif [ "${1:-}" = --build ]; then
	echo "compose: building Docker Compose $COMPOSE_VERSION from the module proxy, once: two to six minutes" >&2
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT INT TERM
	(
		cd "$work"
		"${GO:-go}" mod init compose-build 2>/dev/null
		"${GO:-go}" get -tool "github.com/docker/compose/v2/cmd@$COMPOSE_VERSION" >get.log 2>&1 || { cat get.log >&2; exit 1; }
		CGO_ENABLED=0 nice "${GO:-go}" build -trimpath -ldflags "-s -w -X github.com/docker/compose/v2/internal.Version=$COMPOSE_VERSION" \
			-o docker-compose github.com/docker/compose/v2/cmd
	)
	mkdir -p "$(dirname "$own")"
	mv "$work/docker-compose" "$own"
	echo "$own"
else
	exit 1
fi
