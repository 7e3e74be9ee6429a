#!/bin/sh
# Builds an image of Apache Kafka where none can be pulled: a Java runtime cut to size by jlink, the jars from Maven
# Central, and a static busybox as shell. 140 MB, ten seconds once the jars are there.
#
#   deploy/kafka/build-image.sh [TAG]        default: amoskys/kafka:4.3.0; for compose set KAFKA_IMAGE to it
#
# Needs: docker (a running engine), mvn, jlink (a JDK, 17 or later), busybox-static.
set -eu
cd "$(dirname "$0")"
version=$(sed -n 's|^  <version>\(.*\)</version>|\1|p' pom.xml)
tag="${1:-amoskys/kafka:$version}"
libs="${AMOSKYS_KAFKA_LIBS:-${XDG_CACHE_HOME:-$HOME/.cache}/amoskys/kafka-$version/libs}"

missing=""
for tool in docker mvn jlink ldd; do
	command -v "$tool" >/dev/null || missing="$missing $tool"
done
busybox=$(command -v busybox || true)
if [ -z "$busybox" ] || ldd "$busybox" >/dev/null 2>&1; then
	missing="$missing busybox-static"
fi
if [ -n "$missing" ]; then
	echo "build-image: not found:$missing (Debian: apt-get install docker.io maven openjdk-17-jdk-headless busybox-static)" >&2
	exit 1
fi
if [ ! -d "$libs" ]; then
	mkdir -p "$(dirname "$libs")"
	mvn -q -B -f pom.xml dependency:copy-dependencies -DoutputDirectory="$libs.$$" >&2
	mv "$libs.$$" "$libs"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
root="$work/rootfs" home="$work/home"
mkdir -p "$root/bin" "$root/opt/kafka/libs" "$root/opt/kafka/bin" "$root/etc/kafka/docker" "$root/mnt/shared/config" "$root/opt" \
	"$home/opt/kafka/config" "$home/var/lib/kafka/data" "$home/etc/kafka/secrets" "$home/tmp"

jlink --output "$root/opt/java" --strip-debug --no-header-files --no-man-pages --compress=0 --add-modules \
	java.base,java.management,java.naming,java.logging,java.security.jgss,java.security.sasl,java.sql,java.desktop,jdk.unsupported,jdk.management,jdk.crypto.ec
cp "$libs"/*.jar "$root/opt/kafka/libs/"

cp "$busybox" "$root/bin/busybox"
for applet in sh cat ls sleep test env kill; do ln -s busybox "$root/bin/$applet"; done

# What the runtime and the compression libraries in the jars link against, plus what glibc loads by name to resolve hosts.
find "$root/opt/java" -type f \( -name '*.so' -o -perm -u+x \) -exec ldd {} + 2>/dev/null |
	sed -n 's|.*=> \(/[^ ]*\) .*|\1|p; s|^[[:space:]]*\(/lib[^ ]*ld-[^ ]*\) .*|\1|p' | grep -v "^$root" | sort -u >"$work/needed"
for name in libnss_dns.so.2 libnss_files.so.2 libresolv.so.2 libstdc++.so.6 libgcc_s.so.1; do
	ldconfig -p 2>/dev/null | sed -n "s|.*$name .*=> ||p" | head -n 1 >>"$work/needed"
done
while read -r lib; do
	mkdir -p "$root$(dirname "$lib")"
	cp -L "$lib" "$root$lib"
done <"$work/needed"

echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
printf 'root:x:0:0:root:/:/bin/sh\nappuser:x:1000:1000:Kafka:/:/bin/sh\n' >"$root/etc/passwd"
cp run.sh "$root/etc/kafka/docker/run"
for config in server.properties log4j2.yaml tools-log4j2.yaml; do : >"$root/etc/kafka/docker/$config"; done
script() { # NAME CLASS
	printf '#!/bin/sh\nexec /opt/java/bin/java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp "/opt/kafka/libs/*" %s "$@"\n' "$2" >"$root/opt/kafka/bin/$1.sh"
	chmod 755 "$root/opt/kafka/bin/$1.sh"
}
script kafka-broker-api-versions org.apache.kafka.tools.BrokerApiVersionsCommand
script kafka-topics org.apache.kafka.tools.TopicCommand
script kafka-acls org.apache.kafka.tools.AclCommand
script kafka-consumer-groups org.apache.kafka.tools.consumer.group.ConsumerGroupCommand

cp Dockerfile "$work/Dockerfile"
docker build --quiet --tag "$tag" "$work" >/dev/null
docker image inspect --format "built $tag, {{.Size}} bytes" "$tag"
