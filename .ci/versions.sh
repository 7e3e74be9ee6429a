# shellcheck shell=sh disable=SC2034 # sourced by the scripts here and in deploy/scripts
# The versions of tools that builds and tests fetch. Go modules are pinned in go.mod.
KAFKA_VERSION=$(sed -n 's|^  <version>\(.*\)</version>|\1|p' deploy/kafka/pom.xml)
STATICCHECK_VERSION=v0.8.2
COMPOSE_VERSION=v2.40.3
CONFLUENT_KAFKA_VERSION=2.12.1
