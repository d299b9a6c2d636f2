# `make demo` and `make test` need Python 3.11+, make and a package index; the
# other targets install what they lack with apt-get and need root.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help venv demo test test-crashes test-etcd test-etcd-full fuzz fuzz-short bench boot-test \
  boot-test-full packer-test lint audit clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

# The stamp is newer than pyproject.toml when the environment fits it.
venv: $(VENV)/.stamp
$(VENV)/.stamp: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11; call make PYTHON=python3.x"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: venv  ## build the lab's cluster from examples/icc-etcd.yaml
	$(BIN)/imagegen build examples/icc-etcd.yaml --output out --pki pki

test: venv  ## unit tests; those that need a missing program are skipped by name
	$(BIN)/pytest -m 'not etcd and not crashes' --numprocesses auto

test-crashes: venv  ## every command stopped at each of its system calls; needs strace
	$(BIN)/pytest -m crashes --numprocesses auto

# On the newest and Debian 13's everything, on the others a part that the day decides.
test-etcd: venv  ## real etcd processes in network namespaces; needs root and .ci/tools
	$(ETCD) --etcd today

test-etcd-full: venv  ## the same, everything on every version; ETCD_VERSIONS=3.6 for one
	$(ETCD) --etcd $(or $(ETCD_VERSIONS),all)

ETCD = $(BIN)/pytest -m etcd --numprocesses 2 --dist loadgroup

# Logs, and what failed if anything did, are in out/fuzz/.
fuzz: venv  ## a fuzzing campaign: a million specs, 200,000 ISOs; an hour or more
	$(BIN)/python -m tests.fuzz --runs specs=1000000 isos=200000 certificates=100000

fuzz-short: venv  ## a minute of fuzzing for each target
	$(BIN)/python -m tests.fuzz --seconds 60 specs isos certificates

bench: venv  ## what builds cost beside a shell loop of cfssl, envsubst and cloud-localds
	$(BIN)/python -m tests.bench --report out/bench/report.json --plot out/bench/speed.svg

# Reports of the boots, as JSON, are in out/boot/.
BOOT = $(BIN)/python -m tests.machines --report out/boot/$@.json

boot-test: venv  ## boot three Debian 13 machines, and two drills that the day decides; needs root
	$(BOOT) --members 3 --rotate 2 form refusals

packer-test: venv  ## build a golden image with Packer, and boot three members from it; needs root
	$(BOOT) golden

# Each of its parts takes less than half an hour on two cores without KVM. Those that boot
# releases of etcd need .ci/tools on PATH.
PARTS := $(foreach part,drills losses scenarios disks payloads install faults upgrade life golden,boot-$(part)-trixie boot-$(part)-bookworm)
# Of Debian testing what a new release of it could break: how a machine boots, and Python.
PARTS += boot-drills-forky boot-install-forky boot-life-forky boot-arm64-trixie
boot-test-full: $(PARTS)  ## every drill with five machines and every scenario, Debian 13 and 12

boot-drills-%: venv
	$(BOOT) --release $* form refusals reboot detached minority majority

boot-losses-%: venv
	$(BOOT) --release $* form wiped wiped-alone

boot-scenarios-%: venv
	$(BOOT) --release $* attachments source-down

boot-disks-%: venv
	$(BOOT) --release $* data-disk scrub

boot-payloads-%: venv
	$(BOOT) --release $* split external http

boot-golden-%: venv
	$(BOOT) --release $* golden golden-release

boot-install-%: venv
	$(BOOT) --release $* release bundle

# Needs etcd for arm64 too: .ci/tools DIR arm64.
boot-arm64-%: venv
	$(BOOT) --release $* --architecture arm64 release-alone

boot-faults-%: venv
	$(BOOT) --release $* release-faults bundle-faults

boot-upgrade-%: venv
	$(BOOT) --release $* upgraded

boot-life-%: venv
	$(BOOT) --release $* --members 3 form status replaced renewed rotated restored

lint: venv  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy cloud_init_templates/firstboot.py
	if command -v shellcheck >/dev/null; then shellcheck .ci/run .ci/tools \
	  examples/cfssl/*.sh packer/scripts/*.sh tests/machines/*.sh; fi

# pip-audit in an environment of its own: imagegen does not depend on it.
audit: venv  ## known vulnerabilities in what imagegen depends on; needs PyPI's advisories
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	$(VENV)/audit/bin/pip-audit --strict .

clean:  ## what this file made, except pki/
	rm -rf $(VENV) out dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
