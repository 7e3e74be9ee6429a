#!/bin/sh
# Installs what the tests need and this machine lacks, or says how to. Prints a line for each: what, and why.
# Everything that is not a Debian package goes to .cache/ of this folder and to the user's cache.
set -eu
cd "$(dirname "$0")/.."
. .ci/versions.sh

say() { echo "setup: $*"; }

# want COMMAND PACKAGE WHY
missing=""
want() {
	if command -v "$1" >/dev/null 2>&1; then return; fi
	say "$1 is missing: $3"
	missing="$missing $2"
}

java17() {
	java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | { read -r v && [ "$v" -ge 17 ]; }
}

want git git "generated code is compared with what is committed"
want gcc "gcc libc6-dev" "the race detector of Go links with it"
if ! java17; then
	say "no Java 17: Apache Kafka runs on it in the integration tests"
	missing="$missing default-jre-headless"
fi
want mvn maven "fetches Apache Kafka's jars from Maven Central"

if [ -n "$missing" ]; then
	# shellcheck disable=SC2086 # packages are words
	.ci/packages.sh $missing || say "going on without; what needs it is skipped or fails below"
fi

libs="${AMOSKYS_KAFKA_LIBS:-${XDG_CACHE_HOME:-$HOME/.cache}/amoskys/kafka-$KAFKA_VERSION/libs}"
if [ ! -d "$libs" ] && command -v mvn >/dev/null; then
	say "fetching Apache Kafka $KAFKA_VERSION from Maven Central to $libs (45 MB)"
	mkdir -p "$(dirname "$libs")"
	if mvn -q -B -f deploy/kafka/pom.xml dependency:copy-dependencies -DoutputDirectory="$libs.$$"; then
		mv "$libs.$$" "$libs"
	else
		rm -rf "$libs.$$"
		say "Maven could not fetch it"
	fi
fi

if ! command -v promtool >/dev/null 2>&1 && [ ! -x .cache/bin/promtool ] && command -v apt-get >/dev/null; then
	say "unpacking promtool from Debian's prometheus package: it checks the alert rules (no service is installed)"
	mkdir -p .cache/bin .cache/deb
	if (cd .cache/deb && { apt-get download -qq prometheus || { [ "$(id -u)" = 0 ] && apt-get update -qq && apt-get download -qq prometheus; }; } >/dev/null 2>&1 &&
		dpkg -x prometheus_*.deb . && cp usr/bin/promtool ../bin/); then :; else
		say "promtool could not be had"
	fi
	rm -rf .cache/deb
fi

if [ ! -x .cache/bin/staticcheck ] && [ -n "${GO:-}" ]; then
	say "building staticcheck $STATICCHECK_VERSION from the module proxy"
	GOBIN="$PWD/.cache/bin" "$GO" install "honnef.co/go/tools/cmd/staticcheck@$STATICCHECK_VERSION" || say "staticcheck could not be had"
fi
