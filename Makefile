# One task runner for people and for the continuous build. `make help` lists the targets.
#
# Nothing here hides what it does: every step says what it runs, what it installs and why, and what it leaves out and why.
# Downloads and results go to .cache/, programs to bin/.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help up build test unit integration chaos fuzz cover lint format generate-check compose-check rules-check stack broker bench image clean tools go

GO ?= $(or $(shell command -v go 2>/dev/null),$(firstword $(wildcard /usr/local/go/bin/go /usr/lib/go/bin/go $(HOME)/go/bin/go $(HOME)/sdk/go*/bin/go)))
ARGS ?=
FUZZTIME ?= 3s
BROKERS ?= 1

VERSION ?= $(or $(shell git describe --tags --always --dirty 2>/dev/null),dev)
COMMIT ?= $(or $(shell git rev-parse HEAD 2>/dev/null),unknown)
CLI := github.com/amoskys/amoskys/internal/cli
LDFLAGS := -s -w -X $(CLI).Version=$(VERSION) -X $(CLI).Commit=$(COMMIT)
BUILD := CGO_ENABLED=0 "$(GO)" build -trimpath -ldflags '$(LDFLAGS)'

export GO FUZZTIME

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24
	@echo
	@echo "  ARGS='--listen 127.0.0.1:9464' go to amoskys in make up; FUZZTIME=1m, BROKERS=3 to the targets that name them."

go:
	@if [ -z "$(GO)" ]; then \
		echo "Go was not found. It is all that Amoskys needs to be built: get it from https://go.dev/dl (1.26, or any from"; \
		echo "1.21 on, which fetches the version of go.mod by itself), or with your package manager, and run this again."; \
		exit 1; \
	fi

up: build ## build Amoskys and run it on this machine: no root, Java or Docker needed
	@echo "starting bin/amoskys up: Ctrl-C ends it, make up goes on where it stopped"
	@exec bin/amoskys up $(ARGS)

build: go ## build bin/amoskys, static
	@if [ ! -x bin/amoskys ]; then echo "building bin/amoskys with $$("$(GO)" env GOVERSION): the first time fetches modules and takes a minute or two"; fi
	@mkdir -p bin
	@$(BUILD) -o bin/amoskys ./cmd/amoskys
	@bin/amoskys version

tools: go ## install what the tests need, saying what and why
	@.ci/setup.sh

test: go ## set everything up and run all tests; what the continuous build runs
	@.ci/test.sh

unit: go ## tests that need no broker, with the race detector
	@.ci/test.sh unit

integration: go ## the same scenarios on kfake and on Apache Kafka
	@.ci/test.sh integration

chaos: go ## kills, freezes and refusals on real brokers: minutes, and a machine of its own
	AMOSKYS_CHAOS=1 "$(GO)" test -count=1 -v -timeout 30m -run 'TestWorkersKilled|TestBrokerAway|TestMutualTLS|TestUpKilled' ./integration

fuzz: go ## every fuzz test for FUZZTIME (3s)
	@.ci/test.sh fuzz

cover: go ## coverage of unit and integration tests together, at least 80 % of statements
	@.ci/test.sh unit integration cover

lint: go ## format, vet, staticcheck, generated code
	@.ci/test.sh format vet staticcheck generate

format: go ## rewrite all Go files as gofmt wants them
	@"$$("$(GO)" env GOROOT)/bin/gofmt" -l -w .

generate-check: go ## generated code is what the generators write
	@.ci/test.sh generate

compose-check: go ## the compose file, its mounts, dashboards and scrape targets are whole
	@.ci/test.sh compose

rules-check: ## alert rules of Prometheus, with their unit tests
	@.ci/test.sh rules

stack: build ## start the compose stack once and read an alert from outside
	@deploy/scripts/stack-check.sh

broker: go ## run Apache Kafka for trying things: BROKERS=1 or 3, prints AMOSKYS_BROKERS
	@"$(GO)" run ./internal/testbroker/run -brokers $(BROKERS)

bench: build ## measure this machine: engine and whole chain
	@bin/amoskys bench engine --output json
	@bin/amoskys bench chain --output json

image: build ## the container image amoskys/amoskys:dev, from bin/amoskys; needs no other image
	@deploy/scripts/image.sh

clean: ## remove bin/ and .cache/
	rm -rf bin .cache
