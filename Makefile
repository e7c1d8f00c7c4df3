# `make help` lists the targets. Everything that is built or downloaded goes to build/.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

BACKEND ?= embedded
# What `make run` takes from the environment or from its own command line.
SETTINGS := HTTP_ADDR GRPC_ADDR ADMIN_ADDR GATEWAY_ADMIN_ADDR DATA_DIR TZ BACKEND REDIS_URL \
  CACHE_URL KAFKA_BROKERS MYSQL_URL COUPON_STOCK
RELEASE := build/release
BIN := $(RELEASE)/bin
# The environment may name it, where there are only the sources.
ifndef COMMIT
COMMIT := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
endif
VERSION := $(shell awk '$$2 == "VERSION" { print $$3; exit }' CMakeLists.txt)

# A Go that `make setup` had to fetch goes before the machine's.
export PATH := $(CURDIR)/build/go-toolchain/bin:$(PATH)

PROTOS := $(shell find proto -name '*.proto')
GATEWAY_SOURCES := $(shell find gateway -name '*.go' -not -path 'gateway/gen/*') gateway/go.mod gateway/go.sum
SETUP := build/setup.stamp
SETUP_STACK := build/setup-stack.stamp
SETUP_TEST := build/setup-test.stamp
SETUP_BENCH := build/setup-bench.stamp
SETUP_IMAGES := build/setup-images.stamp

COMPOSE ?= docker compose
COMPOSE_UP := $(COMPOSE) -f compose/docker-compose.yml -f compose/docker-compose-monitoring.yml
# prebuilt, on Debian 12: images get the binaries of build/release/bin, and nothing is compiled in containers.
BINARIES ?= built

.PHONY: help run stack stack-down up down images images-prebuilt build setup test test-containers lint format bench bench-full bench-build bench-compare bench-overload load-gate dashboard-png ledger clean

help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# `make run` ends as the supervisor, not as its parent: so Ctrl-C and SIGTERM reach the supervisor
# itself, and its exit code is the one that is seen. See compose/local/exec.c.
ifneq (,$(filter run,$(MAKECMDGOALS)))
-load build/exec.so
endif

build/exec.so: compose/local/exec.c | $(SETUP)
	@mkdir -p $(@D)
	@cc -shared -fPIC -O1 -Wall -Wextra -Werror -o $@.$$$$ $< && mv $@.$$$$ $@

run: build ## Builds, and runs server and gateway in the foreground; BACKEND=stack on the stack, else embedded
	$(if $(findstring n,$(firstword -$(MAKEFLAGS))),,$(exec-program compose/local/run,$(SETTINGS)))
	@echo 'this make cannot load build/exec.so; run compose/local/run instead' >&2; exit 1

stack: $(SETUP_STACK) ## Starts Redis, Kafka and MariaDB on this machine, what of it is not running
	@compose/local/stack up

stack-down: ## Stops them; keeps their data
	@compose/local/stack down

up: images ## Starts it all in containers; COMPOSE_PROFILES=monitoring with Prometheus and Grafana
	@compose/make-secrets
	@$(COMPOSE_UP) up --detach --wait

down: ## Stops and removes the containers; keeps their data
	@$(COMPOSE_UP) --profile '*' down

images: $(if $(filter prebuilt,$(BINARIES)),images-prebuilt) ## Builds the images of the containers
	@BINARIES=$(BINARIES) COMMIT=$(COMMIT) $(COMPOSE_UP) --profile tools build

images-prebuilt: build ledger $(SETUP_IMAGES)
	@compose/images/collect

build: $(BIN)/ecom-server $(BIN)/ecom-gateway build/exec.so ## Builds server, gateway and ecomctl to build/release/bin

setup: $(SETUP) ## Installs what is missing to build and run
$(SETUP): compose/local/install
	@compose/local/install build
	@mkdir -p $(@D) && touch $@
$(SETUP_STACK): compose/local/install compose/kafka/pom.xml $(SETUP)
	@compose/local/install stack
	@touch $@
$(SETUP_TEST): compose/local/install $(SETUP) $(SETUP_STACK)
	@compose/local/install test
	@touch $@

$(SETUP_BENCH): compose/local/install $(SETUP)
	@compose/local/install bench
	@touch $@

$(SETUP_IMAGES): compose/local/install $(SETUP)
	@compose/local/install images
	@touch $@

$(RELEASE)/build.ninja: $(SETUP) CMakePresets.json
	@flock build cmake --preset release >build/configure-release.log || { cat build/configure-release.log; exit 1; }

# Ninja knows what is out of date, and takes a few milliseconds to say so. One at a time: two `make run`
# may begin together.
.PHONY: $(BIN)/ecom-server
$(BIN)/ecom-server: $(RELEASE)/build.ninja
	@flock $(RELEASE) cmake --build $(RELEASE) --target ecom-server ecomctl | compose/local/progress

gateway/gen/.stamp: $(PROTOS) gateway/generate.sh gateway/go.mod | $(SETUP)
	@gateway/generate.sh
	@touch $@

$(BIN)/ecom-gateway: $(GATEWAY_SOURCES) gateway/gen/.stamp
	@mkdir -p $(@D)
	@cd gateway && go build -trimpath -o ../$@ \
	  -ldflags "-X main.version=$(VERSION) -X main.commit=$(COMMIT)" .

test-containers: build ledger $(SETUP_STACK) $(SETUP_IMAGES) ## Tests the containers, in an engine of its own
	@tests/containers/run

test: $(SETUP_TEST) ## Installs what is missing, builds, and runs every test
	@tests/run

lint: $(SETUP_TEST) gateway/gen/.stamp ## Checks format, includes, protos and suspicious code
	@tests/lint/lint

format: $(SETUP_TEST) ## Formats C++ and Go
	@git ls-files '*.cc' '*.h' | xargs clang-format -i
	@gofmt -w $$(git ls-files '*.go')

ledger: $(SETUP) ## Builds the ledger, which proves a run from its journal, to build/release/bin/ecom-ledger
	@cd tests && go build -trimpath -o ../$(BIN)/ecom-ledger ./ledger/cmd/ledger

bench: bench-build ## Measures the product beside its limits, up to 10 min; writes JSON and report to bench/results
	@bench/run.sh

bench-full: bench-build $(SETUP_STACK) ## The same at full length on Redis, Kafka and MariaDB of its own, about 40 min
	@bench/run.py kit --backend stack

bench-build: build $(SETUP_BENCH)
	@flock $(RELEASE) cmake --build $(RELEASE) --target ecom-bench-grpc ecom-bench-echo | compose/local/progress
	@cd bench && for tool in rest:ecom-bench-rest limits:ecom-limit-rest; do \
	  go build -trimpath -o ../build/go-tools/$${tool#*:} ./$${tool%:*}; done

bench-compare: $(SETUP_BENCH) ## Compares two runs: A=… B=…, two JSON files of bench/results
	@[ -n "$(A)" ] && [ -n "$(B)" ] || { echo 'usage: make bench-compare A=before.json B=after.json' >&2; exit 2; }
	@/usr/bin/python3 bench/report/compare.py "$(A)" "$(B)"

bench-overload: build $(SETUP_STACK) $(SETUP_BENCH) ## Offers ten times what the gate takes, with and without admission control, 2 min
	@flock $(RELEASE) cmake --build $(RELEASE) --target ecom-server-failpoints | compose/local/progress
	@bench/run.py overload

load-gate: bench-build ## A load test of a minute that fails below what a change must reach; report in build/load-gate
	@bench/run.py gate

PROMETHEUS_URL ?= http://127.0.0.1:9090
OUT ?= build/dashboards.png
dashboard-png: $(SETUP_BENCH) ## Draws the dashboards from a running Prometheus, PROMETHEUS_URL=…, to OUT=build/dashboards.png
	@compose/grafana/render.py --prometheus "$(PROMETHEUS_URL)" $(RENDER) "$(OUT)"

clean: ## Deletes what was built; keeps data folders
	rm -rf build gateway/gen
