# Everything that CI runs is a target here. `make` alone lists them.

GO        ?= go
FUZZ      ?= ./...
FUZZTIME  ?= 5s
BENCH     ?= .
BENCHTIME ?= 1s
SOAK      ?= 30m

# A newer Node lies there where the system's is too old: scripts/setup.sh.
export PATH := $(CURDIR)/.cache/bin:$(PATH)

linter    := .cache/bin/golangci-lint
vulncheck := .cache/bin/govulncheck

# Packages whose tests start servers, brokers and browsers as processes: one
# after the other, since each wants the machine for itself. Within a package
# tests that wait do so side by side.
alone    := ./cluster/nats ./cmd/polywire ./examples/conformance ./internal/e2e ./internal/e2ecluster \
	./internal/rabbittest ./internal/soak ./natsembed ./queue/jetstream ./queue/rabbitmq ./webhook/natsstore
together  = $(or $(filter-out $(patsubst ./%,github.com/polywire/polywire/%,$(alone)),$(shell $(GO) list ./...)),$(error go list failed))

# For a package; a slow machine has much of it left.
patience := -timeout 20m

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup test test-cluster test-go test-bench test-js race soak fuzz bench bench-all bench-peers bench-queue bench-scale bench-soak bench-webhook lint vuln generate cover

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## install what the tests need beyond Go, or say what is missing
	@scripts/setup.sh

test: setup test-go test-bench test-js ## all tests (runs setup first)

test-go: setup
	POLYWIRE_TEST_FULL=1 $(GO) test $(patience) $(together)
	POLYWIRE_TEST_FULL=1 $(GO) test $(patience) -p 1 $(alone)

test-cluster: ## three processes as one: killed, cut off, stormed
	POLYWIRE_TEST_FULL=1 $(GO) test -count=1 -v ./internal/e2ecluster

test-bench: setup
ifneq ($(wildcard bench/go.mod),)
	cd bench && POLYWIRE_TEST_FULL=1 $(GO) test $(patience) ./...
endif

test-js: setup
ifneq ($(wildcard sdk/js/package.json),)
	cd sdk/js && npm test
endif
	node --test cmd/polywire/internal/demo/webtest/*.test.js cmd/polywire/internal/console/webtest/*.test.js

race: ## all Go tests with the race detector, the long ones shorter
	@scripts/setup.sh cc
	$(GO) test -race -short $(patience) $(together)
	$(GO) test -race -short $(patience) -p 1 -skip '/DelaysDoNotBlock' $(alone) # a thousand timers are late under it

soak: ## every wire at once on bad networks, for SOAK (30m)
	SOAK=$(SOAK) $(GO) test -count=1 -v -timeout 0 -run TestSoak ./internal/soak

fuzz: ## every fuzz target of FUZZ (./...) for FUZZTIME (5s)
	FUZZ='$(FUZZ)' FUZZTIME=$(FUZZTIME) scripts/fuzz.sh

bench: ## the Go benchmarks; BENCH=regexp BENCHTIME=1s
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem ./...

bench-peers: ## this server beside its peers, under one load, as ratios
	@scripts/setup.sh node npm bench/socketio-node
	cd bench && $(GO) run ./cmd/peers -write

bench-scale: ## what a cluster costs, into docs/scale.md
	cd bench && $(GO) run ./cmd/scale -write

bench-soak: ## 10,000 connections for ten minutes, into docs/performance.md
	cd bench && $(GO) run ./cmd/soak -write

bench-queue: ## package queue beside bare loops on nats.go, printed
	cd bench && $(GO) run ./cmd/queue-jetstream compare && $(GO) run ./cmd/queue-jetstream start

bench-webhook: ## what a delivery of a webhook costs, printed
	$(GO) test ./webhook/natsstore -run '^$$' -bench 'Deliver|Bare' -benchtime 20000x -cpu 2

bench-all: bench-peers bench-scale bench-soak bench-queue bench-webhook ## all of the above that measure; an hour or so

lint: $(linter) ## gofmt, go vet, golangci-lint, JavaScript
	@scripts/setup.sh node npm sdk/js
	GOLANGCI_LINT=$(linter) scripts/lint.sh

vuln: $(vulncheck) ## known vulnerabilities in what we call; asks vuln.go.dev, so CI does without
	GOVULNCHECK=$(vulncheck) scripts/vuln.sh

generate: ## run go generate; in CI fail when it changes the tree
	@scripts/setup.sh protoc
	scripts/generate.sh

cover: ## coverage by package, profile in .cache/cover.out
	scripts/cover.sh

# tools/go.mod pins the version; go.sum changes with it.
$(linter): tools/go.mod tools/go.sum
	@mkdir -p $(@D)
	$(GO) -C tools build -o $(CURDIR)/$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@

$(vulncheck): tools/go.mod tools/go.sum
	@mkdir -p $(@D)
	$(GO) -C tools build -o $(CURDIR)/$@ golang.org/x/vuln/cmd/govulncheck
	@touch $@
