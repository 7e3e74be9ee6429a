#!/usr/bin/env bash
# Runs the steps that are named, or all of them in order of speed. A step that fails does not keep the later ones from
# running: one run shows everything that is wrong. The last line says how many tests passed and failed.
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/versions.sh
: "${GO:=go}" "${FUZZTIME:=3s}"
export GO FUZZTIME
out=.cache/test
gate=.cache/bin/gate
export PATH="$PWD/.cache/bin:$PATH"

all="setup build format vet staticcheck generate rules unit integration cover fuzz compose stack"
steps="${*:-$all}"

rm -rf "$out"
mkdir -p "$out" .cache/bin
"$GO" build -o "$gate" ./internal/gate

race=-race
if [ "$("$GO" env CGO_ENABLED)" != 1 ] || ! command -v gcc >/dev/null; then
	race="" # said in the summary
fi

# skip WHY: ends a step that cannot run here.
skip() {
	echo "$*" >"$out/skip"
	return 0
}

# files PATTERN...: what is or would be in the repository, ended by NULs.
files() { git ls-files -z --cached --others --exclude-standard -- "$@" | while IFS= read -rd '' f; do [ ! -f "$f" ] || printf '%s\0' "$f"; done; }

step_setup() { .ci/setup.sh; }

step_build() { "$GO" build ./... && make --no-print-directory build; }

step_format() {
	local bad
	bad=$(files '*.go' | xargs -0 "$("$GO" env GOROOT)/bin/gofmt" -l)
	[ -z "$bad" ] || { echo "not as gofmt writes it (make format):"; echo "$bad"; return 1; }
}

step_vet() { "$GO" vet ./...; }

step_staticcheck() {
	command -v staticcheck >/dev/null || { skip "staticcheck is not here and could not be built"; return; }
	staticcheck ./...
}

# The files are compared with themselves and not with git, so that the check works on a tree with changes.
step_generate() {
	local before after
	before=$(generated)
	"$GO" generate ./...
	after=$(generated)
	[ "$before" = "$after" ] || { echo "generated code is not what the generators write (go generate ./...):"; diff <(echo "$before") <(echo "$after") | sed -n 's/^> //p'; return 1; }
}

generated() { files . | xargs -0 grep -lZ --binary-files=without-match '^// Code generated .* DO NOT EDIT\.$' -- | sort -z | xargs -0 sha256sum; }

step_rules() {
	command -v promtool >/dev/null || { skip "promtool is not here (Debian: apt-get install prometheus)"; return; }
	promtool check config --syntax-only deploy/observability/prometheus.yml &&
		promtool check rules deploy/observability/rules.yml &&
		promtool test rules deploy/observability/rules_test.yml
}

# gotest NAME FLAG...: runs tests, keeps counts and coverage under NAME.
gotest() {
	local name=$1
	shift
	"$GO" test -json -shuffle=on -p 2 -timeout 25m $race -coverpkg=./... -coverprofile="$out/$name.cover" "$@" 2>&1 |
		"$gate" tests -counts "$out/$name.counts"
}

# Packages with a real broker in their tests.
broker_packages() {
	"$GO" list -f '{{.ImportPath}} {{join .TestImports " "}} {{join .XTestImports " "}}' ./... |
		awk '/internal\/testbroker/ || $1 ~ /\/integration(\/|$)/ {print $1}'
}

step_unit() {
	# shellcheck disable=SC2046 # packages are words
	gotest unit -short $("$GO" list ./... | grep -v '/integration\(/\|$\)')
}

step_integration() {
	# With a promise to run on Apache Kafka: a test that finds none fails instead of being skipped.
	[ -n "${AMOSKYS_REQUIRE_KAFKA+set}" ] || export AMOSKYS_REQUIRE_KAFKA=1
	# shellcheck disable=SC2046
	gotest integration $(broker_packages)
}

step_cover() {
	local profiles=("$out"/*.cover)
	[ -e "${profiles[0]}" ] || { echo "no tests were run before"; return 1; }
	"$gate" cover -min 80 "${profiles[@]}"
}

# Each package's test program is linked once, with the fuzzer's instrumentation, and run once for each of its targets.
step_fuzz() {
	local dir targets target n=0 failed=0 program="$PWD/$out/fuzz.test"
	while read -r dir; do
		targets=$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*\*testing\.F).*/\1/p' "$dir"/*_test.go | sort)
		[ -n "$targets" ] || continue
		"$GO" test -c -fuzz=. -o "$program" "$dir"
		for target in $targets; do
			n=$((n + 1))
			if ! (cd "$dir" && "$program" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "$FUZZTIME" \
				-test.fuzzcachedir "$OLDPWD/.cache/fuzz/$target" -test.parallel 2) >"$out/fuzz.log" 2>&1; then
				echo "FAILED $dir $target"
				tail -n 30 "$out/fuzz.log"
				failed=$((failed + 1))
			fi
		done
	done < <("$GO" list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.Dir}}{{end}}' ./...)
	echo "$n fuzz tests for $FUZZTIME each, $failed failed"
	printf '{"passed":%d,"failed":%d,"skipped":0}' $((n - failed)) "$failed" >"$out/fuzz.counts"
	[ "$failed" = 0 ]
}

step_compose() {
	"$GO" test -count=1 ./integration/deploy/
	local compose
	compose=$(deploy/scripts/compose.sh) || { echo "docker compose is not here: only the Go checks were run"; return 0; }
	$compose --profile demo --profile observability config --quiet
}

# The stack is really started where an engine runs or, as root, can be installed and started for the time of the step.
step_stack() {
	local started status
	if ! docker info >/dev/null 2>&1 && [ "$(id -u)" != 0 ]; then
		skip "no Docker engine can be reached, and starting one needs root (make stack)"
		return
	fi
	if ! started=$(deploy/scripts/engine.sh); then
		skip "no Docker engine can be had here"
		return
	fi
	deploy/scripts/stack-check.sh && status=0 || status=$?
	[ -z "$started" ] || kill "$started"
	return "$status"
}

failed="" table=""
for s in $steps; do
	declare -F "step_$s" >/dev/null || { echo "no step is called $s; there are: $all" >&2; exit 2; }
	echo "== $s"
	rm -f "$out/skip"
	SECONDS=0
	set +e # not "if step": that would switch off -e inside of it too
	(set -e; "step_$s")
	status=$?
	set -e
	if [ "$status" = 0 ]; then result=done; else result=FAILED failed="$failed $s"; fi
	[ ! -e "$out/skip" ] || result="left out: $(cat "$out/skip")"
	table="$table$(printf '%-12s %5ds  %s' "$s" "$SECONDS" "$result")"$'\n'
done

echo "== summary"
printf '%s' "$table"
[ -n "$race" ] || echo "without the race detector: it needs cgo and gcc"
[ -z "$failed" ] || echo "failed:$failed"
status=0
counts=("$out"/*.counts)
if [ -e "${counts[0]}" ]; then "$gate" sum "${counts[@]}" || status=1; fi
[ -z "$failed" ] || status=1
exit $status
