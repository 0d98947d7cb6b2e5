# What there is to do here. `make help` lists it.

DESTDIR =
CARGO   = cargo
# The target directory of cargo. Only targets that build ask for it, once. Downloads and the files to be
# installed stay in this folder, so that root finds them without cargo.
TARGET  = $(eval TARGET := $(shell $(ASK) scripts/target-directory))$(or $(TARGET),$(error no target directory from cargo: see the message above))
# `make CARGO_TARGET_DIR=...` reaches recipes by itself, but not this.
ASK     = CARGO=$(CARGO) $(if $(CARGO_TARGET_DIR),CARGO_TARGET_DIR='$(CARGO_TARGET_DIR)')
PLUGIN  = $(TARGET)/release/libauthpolicy.so
TOOL    = $(TARGET)/release/authpolicy
BUILT   = target/install
# What both are made of; a directory is newer when something is gone from it.
SOURCES = $(shell find .cargo Cargo.lock Cargo.toml build.rs include scripts/check-binaries src tool vendor)
GEOIP   = $(CURDIR)/target/geoip/dbip-country.mmdb
DOCS    = /usr/share/doc/authpolicy
NPM     = $(shell command -v npm >/dev/null 2>&1 || echo npm)

.PHONY: help demo test faults fuzz bench install header lint deny build

help:
	@echo 'make demo      see it decide: a throw-away Exim on a loopback port (Debian, as root)'
	@echo 'make test      make lint and all tests, real Exim, MariaDB and MySQL included (Debian, as root)'
	@echo 'make bench     what an AUTH costs beside other solutions, a row, a hash beside libxcrypt, and what'
	@echo '               the time of a refusal tells (Debian, as root)'
	@echo 'make fuzz      random input of all kinds, beside other implementations; FUZZ_SECONDS=60 for each'
	@echo 'make install   the plugin, the tool, systemd units, examples and docs; DESTDIR=... is honoured'
	@echo 'make header    write include/authpolicy.h anew from src/ffi.rs'
	@echo 'make lint      formatting, clippy and what is linked (deny.toml) alone'

# Copies, since cargo takes the two kinds of the library for one that has changed, and makes all anew each
# time; and since what it makes for a demo or a test has the same name.
build: $(BUILT)/libauthpolicy.so

# The plugin by itself, and last: as one of two kinds of the library it would be linked without LTO.
$(BUILT)/libauthpolicy.so: $(SOURCES)
	$(CARGO) build --release --package authpolicy-tool
	$(CARGO) rustc --release --package authpolicy --lib --crate-type cdylib
	scripts/check-binaries '$(PLUGIN)' '$(TOOL)'
	install -d $(BUILT)
	install -m 755 '$(TOOL)' $(BUILT)/authpolicy
	install -m 644 '$(PLUGIN)' $@

demo:
	scripts/install-packages exim4-daemon-heavy
	CARGO=$(CARGO) demo/run

test:
	scripts/install-packages exim4-daemon-heavy mariadb-server binutils curl dovecot-core faketime fail2ban g++ gsasl iproute2 \
		libauthen-ntlm-perl libcrypt-dev libdbd-sqlite3-perl libnet-ssleay-perl libpam-wrapper libsasl2-modules openssl perl python3-argon2 \
		python3-bcrypt python3-passlib sasl2-bin swaks systemd valgrind wget $(NPM)
	scripts/fetch-geoip --from npm $(GEOIP)
	scripts/fetch-exims target/exims
	scripts/fetch-mysql target/mysql
	$(MAKE) lint
	rm -rf '$(TARGET)/tmp/faults'
	AUTHPOLICY_TEST_GEOIP=$(GEOIP) $(CARGO) test
	CARGO=$(CARGO) scripts/fault-table --check
	CARGO=$(CARGO) FUZZ_SECONDS=3 scripts/fuzz

# What clients heard while things broke, for docs/operations.md.
faults:
	rm -rf '$(TARGET)/tmp/faults'
	AUTHPOLICY_TEST_GEOIP=$(GEOIP) $(CARGO) test --test cluster $(patsubst tests/%.rs,--test %,$(wildcard tests/faults*.rs))
	CARGO=$(CARGO) scripts/fault-table

# Beside the few seconds in `make test`: what it finds is a matter of time and chance.
fuzz:
	scripts/install-packages g++ libcrypt-dev
	CARGO=$(CARGO) scripts/fuzz

bench:
	scripts/install-packages exim4-daemon-heavy mariadb-server
	$(CARGO) rustc --release --package authpolicy --lib --crate-type cdylib
	cp '$(PLUGIN)' '$(TARGET)/bench-authpolicy.so'
	AUTHPOLICY_BENCH_PLUGIN='$(TARGET)/bench-authpolicy.so' \
		AUTHPOLICY_TEST_GEOIP=$(wildcard $(GEOIP)) \
		$(CARGO) bench --bench auth --bench journal --bench hash --bench timing

header:
	AUTHPOLICY_UPDATE_HEADER=1 $(CARGO) test --test header

lint:
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy --all-targets --all-features -- -D warnings
	scripts/prose
	$(MAKE) deny

# Apart, since the first time it builds cargo-deny.
deny:
	CARGO=$(CARGO) scripts/deny

# The plugin goes in by rename: whoever overwrites a mapped file kills the Exims that run on it.
install: build
	install -d $(DESTDIR)/usr/lib/exim $(DESTDIR)/usr/bin $(DESTDIR)$(DOCS)/docs
	install -m 644 $(BUILT)/libauthpolicy.so $(DESTDIR)/usr/lib/exim/.authpolicy.so.new
	mv $(DESTDIR)/usr/lib/exim/.authpolicy.so.new $(DESTDIR)/usr/lib/exim/authpolicy.so
	install -m 755 $(BUILT)/authpolicy $(DESTDIR)/usr/bin/.authpolicy.new
	mv $(DESTDIR)/usr/bin/.authpolicy.new $(DESTDIR)/usr/bin/authpolicy
	install -m 644 README.md CHANGELOG.md SECURITY.md CONTRIBUTING.md $(DESTDIR)$(DOCS)
	install -m 644 docs/*.md $(DESTDIR)$(DOCS)/docs
	install -D -m 755 scripts/fetch-geoip $(DESTDIR)/usr/share/authpolicy/fetch-geoip
	find exim-config-examples contrib -type f -exec install -D -m 644 {} $(DESTDIR)$(DOCS)/{} \;
	install -d $(DESTDIR)/usr/lib/systemd/system
	install -m 644 contrib/systemd/* $(DESTDIR)/usr/lib/systemd/system
	scripts/install-config '$(DESTDIR)'
	@echo 'Rows that wait are brought by: systemctl enable --now authpolicy-flush.path authpolicy-flush.timer'
