#!/usr/bin/env bash
# Starts the compose stack once, really, and looks at it from outside:
#
#   1. every service gets healthy, and every topic between the stages has records;
#   2. the demonstration runs on this host, and its alerts come out at the end of the chain;
#   3. kcat reads them from the published listener, committed records only;
#   4. a Python consumer of Confluent does the same with the Avro deserializer against our registry.
#
# Installs and builds what is missing, saying what and why: the Docker engine (as root), Docker Compose, an image of Kafka
# where none can be pulled, kcat, and a Python environment in .cache. KEEP=1 leaves the stack running.
set -euo pipefail
cd "$(dirname "$0")/../.."
. .ci/versions.sh

say() { echo "stack: $*"; }
die() { echo "stack: $*" >&2; exit 1; }

export COMPOSE_PROJECT_NAME="${COMPOSE_PROJECT_NAME:-amoskys-check}"
export KAFKA_PORT="${KAFKA_PORT:-19492}" REGISTRY_PORT="${REGISTRY_PORT:-19481}" AMOSKYS_NET="${AMOSKYS_NET:-172.30.98}"
export AMOSKYS_IMAGE="${AMOSKYS_IMAGE:-amoskys/amoskys:check}" KAFKA_HEAP_OPTS="${KAFKA_HEAP_OPTS:--Xmx512m -Xms128m}"
out=.cache/stack
rm -rf "$out"
mkdir -p "$out"

[ -x bin/amoskys ] || make --no-print-directory build
started=$(deploy/scripts/engine.sh)
compose=""
finish() {
	local status=$?
	set +e
	if [ -n "$compose" ]; then
		if [ "$status" != 0 ]; then
			$compose ps --all
			$compose logs --no-color --tail 40 >"$out/services.log" 2>&1
			tail -n 150 "$out/services.log"
		fi
		if [ -z "${KEEP:-}" ]; then $compose down --volumes --timeout 5 >/dev/null 2>&1; fi
	fi
	if [ -n "$started" ] && [ -z "${KEEP:-}" ]; then kill "$started"; fi
	exit "$status"
}
trap finish EXIT

kafka_image() { # what is here, else what can be pulled, else what can be built
	local want="${KAFKA_IMAGE:-apache/kafka:$KAFKA_VERSION}" own="amoskys/kafka:$KAFKA_VERSION"
	for i in "$want" "$own"; do
		if docker image inspect "$i" >/dev/null 2>&1; then echo "$i"; return; fi
	done
	if docker pull --quiet "$want" >/dev/null 2>&1; then echo "$want"; return; fi
	say "$want cannot be pulled: building $own from Maven Central's jars" >&2
	if ! command -v jlink >/dev/null || ! command -v busybox >/dev/null; then
		.ci/packages.sh openjdk-17-jdk-headless busybox-static maven >&2
	fi
	deploy/kafka/build-image.sh "$own" >&2
	echo "$own"
}
KAFKA_IMAGE=$(kafka_image)
export KAFKA_IMAGE
say "Kafka image: $KAFKA_IMAGE"
mkdir -p .cache
deploy/scripts/image.sh

compose=$(deploy/scripts/compose.sh --build)
command -v kcat >/dev/null || .ci/packages.sh kcat
python=.cache/venv/bin/python
if ! $python -c 'import confluent_kafka, fastavro, httpx' 2>/dev/null; then
	say "making a Python environment in .cache/venv: confluent-kafka $CONFLUENT_KAFKA_VERSION is the outside consumer"
	python3 -m venv .cache/venv 2>/dev/null || { .ci/packages.sh python3-venv && python3 -m venv .cache/venv; }
	$python -m pip install --quiet "confluent-kafka[avro,schemaregistry]==$CONFLUENT_KAFKA_VERSION"
fi

say "starting $($compose config --services | tr '\n' ' ')"
SECONDS=0
$compose up --detach --wait --wait-timeout 240 --no-build >"$out/up.log" 2>&1 || { cat "$out/up.log"; die "the stack did not get healthy"; }
say "all services are healthy after $SECONDS s"
$compose ps --format 'table {{.Service}}\t{{.Status}}'

say "running the demonstration on this host, whose processes the collector sees"
brokers="127.0.0.1:$KAFKA_PORT" registry="http://127.0.0.1:$REGISTRY_PORT"
bin/amoskys demo --yes --brokers "$brokers" --registry-url "$registry" --data-dir "$PWD/$out/demo" | tee "$out/demo.log" || die "the demonstration missed an alert"

say "records on every topic of the chain, by kcat:"
for topic in amoskys.telemetry.endpoint.v1 amoskys.lineage.process.v1 amoskys.features.endpoint.v1 amoskys.scores.endpoint.v1 amoskys.alerts.finding.v1; do
	n=$(kcat -b "$brokers" -C -t "$topic" -o beginning -e -q -X isolation.level=read_committed -f '%p %o %k %S\n' 2>"$out/kcat.err" | tee "$out/$topic.txt" | wc -l)
	echo "  $topic: $n records, e.g. $(tail -n 1 "$out/$topic.txt")"
	[ "$n" -gt 0 ] || die "nothing on $topic: $(cat "$out/kcat.err")"
done

say "alerts, by a Python consumer with the Avro deserializer:"
$python -W ignore deploy/scripts/stack_check.py --brokers "$brokers" --registry "$registry" --host "$(hostname)" | tee "$out/alerts.txt"

say "what the sink wrote:"
$compose cp sink:/data "$out/sink" >/dev/null 2>&1 || die "the sink's volume cannot be read"
find "$out/sink" -type f -size +0 | head -n 5
find "$out/sink" -type f -size +0 -print0 | xargs -0 cat 2>/dev/null | grep -aq techniques || die "the sink wrote no alert"
say "the stack works: from this host's processes to alerts read from outside, $SECONDS s in all"
