# The two commands to start with:
#   make demo   from a registry to a running container, step by step
#   make test   the whole test suite, installing what it needs
#
# Others: build race user-test e2e lint fix fuzz bench dist tools clean

.DEFAULT_GOAL := build
.PHONY: build test race user-test e2e lint fix fuzz demo bench dist tools clean

GO ?= go
export CGO_ENABLED ?= 0

build: ## bin/byhand, one static binary
	$(GO) build -trimpath -ldflags '-s -w' -o bin/byhand ./cmd/byhand

test: ## the whole suite; TESTFLAGS and PACKAGES narrow it
	scripts/test $(PACKAGES)

race: ## the suite under the race detector
	RACE=1 scripts/test $(PACKAGES)

user-test: ## by root: the suite as an ordinary user sees it
	NOBODY=1 scripts/test $(PACKAGES)

e2e: ## only the end-to-end tests: the built program, real registries, real runtimes
	scripts/test ./cmd/... ./e2e/...

lint: ## linters, formatting, tidiness, shell scripts
	scripts/lint

fix: ## what lint can repair by itself
	scripts/lint --fix

fuzz: ## every fuzz target for FUZZTIME (30s), all of them within FUZZBUDGET seconds
	scripts/fuzz

demo: ## an image of ours from a registry to a running container
	scripts/demo

bench: ## byhand beside its peers; takes long, wants a quiet machine and root
	scripts/bench

dist: ## binaries and packages for amd64 and arm64, the same bytes for the same commit
	scripts/dist

tools: ## what the tests, linters and benchmark use
	scripts/install-tools --only test --only lint --only bench

clean:
	rm -rf bin dist
