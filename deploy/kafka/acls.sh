#!/bin/sh
# Grants acls.tsv on a cluster by Kafka's own command.
#
#   deploy/kafka/acls.sh BROKER:PORT [CLIENT.PROPERTIES]            prints the commands
#   deploy/kafka/acls.sh BROKER:PORT [CLIENT.PROPERTIES] --apply    runs them (KAFKA_ACLS names the tool: kafka-acls.sh)
set -eu
usage() {
	sed -n '2,/^set/{s/^# \{0,1\}//p;}' "$0" >&2
	exit 2
}
[ $# -ge 1 ] || usage
broker=$1 properties="" apply=no
shift
for a in "$@"; do
	case "$a" in
	--apply) apply=yes ;;
	-*) usage ;;
	*) properties=$a ;;
	esac
done
tool="${KAFKA_ACLS:-kafka-acls.sh}"
tab=$(printf '\t')
grep -v '^#' "$(dirname "$0")/acls.tsv" | while IFS="$tab" read -r role operations resource pattern name; do
	[ -n "$role" ] || continue
	set -- --bootstrap-server "$broker"
	[ -z "$properties" ] || set -- "$@" --command-config "$properties"
	set -- "$@" --add --allow-principal "User:$role"
	old=$IFS IFS=,
	for op in $operations; do set -- "$@" --operation "$op"; done
	IFS=$old
	set -- "$@" "--$resource" "$name" --resource-pattern-type "$pattern"
	if [ "$apply" = yes ]; then
		"$tool" "$@" </dev/null
	else
		echo "$tool $*"
	fi
done
