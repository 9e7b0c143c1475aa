# The commands of the README. `make help` lists them.
SHELL := /bin/bash
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
DATA ?= henge-data
ARGS ?=
FUZZTIME ?= 20s
# What the tests drive: real clients, and a C compiler for the race detector.
TEST_PACKAGES := gcc libc6-dev curl python3-swiftclient python3-openstackclient python3-osc-placement awscli s3cmd rclone node=nodejs npm=npm \
	qemu-system-x86 qemu-utils $(shell cat deploy/guest/tools)
TEST_PACKAGES += libiscsi-bin qemu-block-extra
# Guests, bridges and rules of the network tests.
TEST_PACKAGES += busybox openssh-client iproute2 iptables ipset nftables iputils-ping
TEST_PACKAGES += libvirt-daemon-system libvirt-clients iproute2 libarchive-tools openssl
TEST_PACKAGES += tempest python3-stestr
# What a peer needs to do all that it can: guests, their networks and volumes, and the image of the first guest.
RUN_PACKAGES := qemu-system-x86 qemu-utils qemu-block-extra libvirt-daemon-system libvirt-clients iproute2 iptables ipset nftables node=nodejs npm=npm \
	$(shell cat deploy/guest/tools)

.PHONY: help build novnc run lint test unit e2e lab story tempest bench bench-iscsi fuzz clean
help: ## this list
	@grep -E '^[a-z0-9-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

build: novnc ## bin/henge: static, reproducible, stamped with the version
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.version=$(VERSION)" -o bin/henge ./cmd/henge

novnc: ## the modules of the VNC console, from npm
	@deploy/novnc

run: ## start the cloud on this machine (ARGS="--peers 4" for four peers)
	@deploy/install-packages $(RUN_PACKAGES) || echo "going on without them: the table below says what cannot be done"
	@$(MAKE) --no-print-directory build
	@deploy/libvirt || true
	@$(MAKE) --no-print-directory bin/guest.qcow2 || echo "going on without an image for a first guest"
	bin/henge up --data-dir $(DATA) $$(test -f bin/guest.qcow2 && echo --image bin/guest.qcow2) $(ARGS)

bin/guest.qcow2: $(shell find deploy/guest -type f -not -name '*.go')
	@mkdir -p bin
	@deploy/guest/build $@

lint: ## gofmt, go vet, staticcheck, and the rules of the house
	@bad=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$bad" || { echo "gofmt would change: $$bad"; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	go test -count=1 ./internal/lint

test: unit e2e ## everything: unit tests under the race detector, then the built binary with real clients

unit: ## unit tests under the race detector
	@deploy/install-packages $(TEST_PACKAGES)
	CGO_ENABLED=1 go test -race -timeout 20m $$(go list ./... | grep -v '/e2e')

e2e: build ## the built binary with real clients and real faults
	@deploy/install-packages $(TEST_PACKAGES)
	cd e2e && npm install --silent --no-audit --no-fund
	go test -timeout 30m -count=1 -p 1 ./e2e/...

SEED ?= 1
SECONDS_OF_LAB = $(if $(filter command line environment,$(origin SECONDS)),$(SECONDS),40)
lab: build ## break a cloud of peers in namespaces: kills, pauses, partitions, bad links, wrong clocks (root; SEED=1 SECONDS=40)
	@deploy/install-packages iproute2 iptables
	go run ./e2e/lab -henge bin/henge -seed $(SEED) -seconds $(SECONDS_OF_LAB)

story: build ## guests from the image to SSH, volumes and consoles, with libvirt, in namespaces of their own (root; a part of make e2e)
	@deploy/install-packages $(TEST_PACKAGES)
	go test -count=1 -v ./e2e/story

TESTS ?= smoke test_server_basic_ops test_minimum_basic test_network_basic_ops test_stamp_pattern test_volume_boot_pattern
tempest: build ## Debian's tempest against a cloud in namespaces of its own (root; TESTS="REGEX..." for others)
	@deploy/install-packages $(TEST_PACKAGES)
	unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private e2e/tempest/cloud e2e/tempest/run $(TESTS)

bench: build ## what each operation costs, for one peer and for four
	go run ./e2e/bench -henge bin/henge
	go test -timeout 30m -run '^$$' -bench . -benchmem ./ring ./internal/erasure ./storaged/... ./identity/... ./cluster/... ./proxy/core ./scheduler
	go test -run '^$$' -bench CreateToActive ./computed

bench-iscsi: ## the iSCSI target beside tgtd
	@deploy/install-packages tgt qemu-utils qemu-block-extra
	go run ./e2e/iscsibench
	go test -run '^$$' -bench . ./volumed/iscsi

fuzz: ## every fuzz target for FUZZTIME each
	@for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "$$package $$target"; go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
		done; \
	done

clean: ## remove what was built
	rm -rf bin e2e/node_modules computed/console/assets/novnc
