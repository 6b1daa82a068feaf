# Two commands matter: `make demo` shows the main job, `make test` proves it.
# Both need only Go, git and make. `make help` lists the rest.
SHELL := /bin/bash
GO ?= go
BIN := bin/haldane
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
MODULE := github.com/haldane-project/haldane
LDFLAGS := -s -w -X $(MODULE)/internal/app.Version=$(VERSION)
TOOL = $(GO) tool -modfile=tools/go.mod

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

.PHONY: demo
demo: build ## a bad version taken off, a good one promoted, on this machine, in a minute
	$(BIN) demo

.PHONY: build
build: ## build bin/haldane
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/haldane

.PHONY: image
image: ## an OCI image for amd64 and arm64 in dist/, without Docker, the same for the same commit
	for arch in amd64 arm64; do CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o dist/bin/haldane-$$arch ./cmd/haldane || exit 1; done
	cd tools/image && SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(GO) run . -tag haldane:$(VERSION) -version $(VERSION) -out ../../dist \
		amd64=../../dist/bin/haldane-amd64 arm64=../../dist/bin/haldane-arm64

.PHONY: dev
dev: build ## run the daemon with its data in .cache/dev
	$(BIN) serve --data .cache/dev

# Packages without a goroutine, in which nothing can race: arch_test.go holds them to that.
PURE := internal/release internal/judge internal/rollout
# The longest come first, so that none of them runs alone in the end.
LONGEST := internal/app test/standalone test/evaluator internal/traffic/istio internal/traffic/gatewayapi internal/cli

.PHONY: test
test: ## unit, property, simulation and standalone end-to-end tests, with the race detector where there are goroutines
	$(GO) vet ./...
	$(GO) run ./test/cluster/cmd build etcd kube-apiserver kube-controller-manager kubectl
	$(GO) test -vet=off $(PURE:%=./%)
	$(GO) test -vet=off -race -timeout 60m $(LONGEST:%=./%) $$($(GO) list ./... | grep -vxF $(PURE:%=-e $(MODULE)/%))

.PHONY: e2e
e2e: ## the heavy suites: browser, peers' protocol suites, long fault runs
	./test/e2e.sh

.PHONY: cluster-up
cluster-up: ## start a full Kubernetes on this machine (root, Debian or Ubuntu)
	$(GO) run ./test/cluster/cmd up

.PHONY: cluster-down
cluster-down: ## take it away, with its pods, mounts and packet filter rules
	$(GO) run ./test/cluster/cmd down

.PHONY: bench
bench: ## figures of speed, as ratios against peers and limits in the same run
	./test/bench.sh

.PHONY: judge-study
judge-study: ## measure the judge in simulation and write docs/judge.md; PART=errors|latency|time; LONG=1: 20,000 releases a cell, PART=errors|world|latency
	$(GO) run ./internal/judge/study/cmd $(if $(PART),-part $(PART)) $(if $(LONG),-long)

.PHONY: lint
lint: ## format, vet, linters, stale generated files
	./test/lint.sh

.PHONY: generate
generate: ## regenerate deep copies, CRDs, schema and reference pages from the types
	./tools/generate.sh

.PHONY: manifests
manifests: ## regenerate deploy/manifests from the chart (builds helm once)
	./tools/manifests.sh

.PHONY: chart
chart: ## the chart as dist/haldane-VERSION.tgz
	$$($(GO) run ./test/cluster/cmd build helm) package deploy/helm/haldane --destination dist

PREFIX ?= /usr/local
.PHONY: install
install: build ## haldane, and the same as kubectl haldane, in PREFIX/bin
	install -D -m 0755 $(BIN) $(DESTDIR)$(PREFIX)/bin/haldane
	ln -sf haldane $(DESTDIR)$(PREFIX)/bin/kubectl-haldane
