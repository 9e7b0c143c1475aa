# The commands of the README. `make help` lists them.
SHELL := /bin/bash
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
export CGO_ENABLED ?= 0

.PHONY: help build lint test
help:
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

build: ## bin/henge: static, reproducible, stamped with the version
	go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$(VERSION)" -o bin/henge ./cmd/henge

lint: ## gofmt, go vet, staticcheck, the project's own rules
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	go tool staticcheck ./...
	go test ./internal/lint

test: ## everything
	CGO_ENABLED=1 go test -race ./...
