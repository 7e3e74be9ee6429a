#!/bin/sh
# Entry point of the image made by build-image.sh: settings from the environment, storage formatted on first start, then
# the broker. The wrapper is Kafka's own: it is what apache/kafka runs too.
set -eu
export CLUSTER_ID="${CLUSTER_ID:-5L6g3nShT-eMCtK--X86sw}" # as the official image's default
heap="${KAFKA_HEAP_OPTS:--Xmx1G -Xms256m}"
log="-Dorg.slf4j.simpleLogger.showDateTime=true -Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS"
said=$(/opt/java/bin/java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp '/opt/kafka/libs/*' \
	kafka.docker.KafkaDockerWrapper setup --default-configs-dir /etc/kafka/docker \
	--mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config 2>&1) ||
	case "$said" in
	*"already formatted"*) ;; # a container that starts again
	*)
		echo "$said" >&2
		exit 1
		;;
	esac
# shellcheck disable=SC2086 # options are words
exec /opt/java/bin/java $heap -XX:+UseSerialGC -Djava.awt.headless=true $log ${KAFKA_OPTS:-} -cp '/opt/kafka/libs/*' \
	kafka.Kafka /opt/kafka/config/server.properties
