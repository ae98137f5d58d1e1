# What a person who works on Moldau types. `make` alone lists the targets.
#
# Go is all that is needed to build and to run the quick checks; `make test` also drives clients written in other
# languages and Apache Kafka itself, which its set-up installs from their package registries where they are absent
# (CONTRIBUTING.md).

GO          ?= go
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
LDFLAGS     := -s -w -X main.version=$(VERSION)
FUZZTIME    ?= 10m
SOAK_CHECKS ?= 10000
POWERLOSS_TIME ?= 10m

.DEFAULT_GOAL := help
.PHONY: help build demo check test race bench fuzz soak powerloss plant docs cross clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/moldau, static and stripped
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/moldau ./cmd/moldau

demo: ## a broker, a web access log through it, and the views of each page
	$(GO) run ./cmd/moldau demo

check: ## the quick loop: format, vet, staticcheck, the rules of the house, short tests
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted; run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	cd test && $(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) test -short ./...

# The property tests draw the same cases in every run, so that a commit is green or is not. `make soak` draws new ones.
test: export RAPID_SEED ?= 1
test: ## all tests: ours, then real clients and Apache Kafka against the built broker (progress is printed)
	$(GO) test ./...
	cd test && $(GO) test -v -p 1 -count=1 -timeout 30m ./...

race: ## all tests of this module under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race ./...

bench: build ## Moldau beside Apache Kafka and beside the floor, in one run on this machine
	$(GO) run ./bench/start
	$(GO) run ./bench/compaction
	$(GO) run ./bench/cold $(filter -quick,$(BENCHFLAGS))
	$(GO) run ./bench/compare $(BENCHFLAGS)

fuzz: ## every fuzz target for FUZZTIME each (make fuzz FUZZTIME=30s)
	@grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed -E 's|^(\./.*)/[^/]+:[0-9]+:func (.*)|\1 \2|' | sort | \
	while read -r pkg target; do \
		echo "== $$target in $$pkg, $(FUZZTIME)"; \
		(cd "$$pkg" && $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) .) || exit 1; \
	done

soak: ## the property tests with new cases, SOAK_CHECKS of each (make soak SOAK_CHECKS=100000)
	RAPID_CHECKS=$(SOAK_CHECKS) $(GO) test -count=1 -timeout 0 $$(grep -rl --include=*_test.go '"pgregory.net/rapid"' cmd internal | xargs -n 1 dirname | sort -u | sed 's|^|./|')

powerloss: ## cut the power under load for POWERLOSS_TIME (make powerloss POWERLOSS_TIME=1h; needs root and /dev/fuse)
	cd test && POWERLOSS_TIME=$(POWERLOSS_TIME) $(GO) test -v -count=1 -timeout 0 ./powerloss

plant: ## builds one planted bug after another (docs/verification.md) and sees the tests catch it
	cd test && $(GO) run ./plant

docs: ## docs/ref, written from the code
	$(GO) test -count=1 -run 'Reference$$' . -rewrite

cross: ## builds for the systems that CI does not run on
	GOOS=darwin GOARCH=arm64 $(GO) vet ./cmd/... ./internal/...
	GOOS=windows GOARCH=amd64 $(GO) vet ./cmd/... ./internal/...
	GOOS=linux GOARCH=arm64 $(GO) vet ./cmd/... ./internal/...

clean: ## removes bin
	rm -rf bin
