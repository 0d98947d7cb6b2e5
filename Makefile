# Builds, tests and installs authpolicy. `make help` lists the targets.

DESTDIR =
CARGO   = cargo
# The target directory of cargo. It is asked for once, and only by targets that build. Downloads and the files to be
# installed stay in this folder, so that root finds them without cargo.
TARGET  = $(eval TARGET := $(shell $(ASK) scripts/target-directory))$(or $(TARGET),$(error no target directory from cargo: see the message above))
# `make CARGO_TARGET_DIR=...` sets the variable for recipes, but not for $(shell).
ASK     = CARGO=$(CARGO) $(if $(CARGO_TARGET_DIR),CARGO_TARGET_DIR='$(CARGO_TARGET_DIR)')
PLUGIN  = $(TARGET)/release/libauthpolicy.so
TOOL    = $(TARGET)/release/authpolicy
BUILT   = target/install
# The sources of both. A directory is listed, too: its time changes when a file in it is deleted.
SOURCES = $(shell find .cargo Cargo.lock Cargo.toml build.rs include scripts/check-binaries src tool vendor)
GEOIP   = $(CURDIR)/target/geoip/dbip-country.mmdb
DOCS    = /usr/share/doc/authpolicy
NPM     = $(shell command -v npm >/dev/null 2>&1 || echo npm)

.PHONY: help demo test faults fuzz bench install header lint deny build

help:
	@echo 'make demo      show decisions of a temporary Exim on a loopback port (Debian, as root)'
	@echo 'make test      run make lint and all tests, with real Exim, MariaDB and MySQL (Debian, as root)'
	@echo 'make bench     measure an AUTH beside other solutions and with large tables, a row, a hash beside'
	@echo '               libxcrypt, and the time of a refusal: 20 minutes, 5 GB (Debian, as root)'
	@echo 'make fuzz      try random input, and compare with other implementations; FUZZ_SECONDS=60 for each'
	@echo 'make install   install the plugin, the tool, systemd units, examples and docs; DESTDIR=... is used'
	@echo 'make header    generate include/authpolicy.h from src/ffi.rs'
	@echo 'make lint      check formatting, clippy, prose and dependencies (deny.toml)'

# The results are copied. Cargo would take the two kinds of the library for a change and build all of it again
# each time. A build for a demo or a test also has the same file name.
build: $(BUILT)/libauthpolicy.so

# The plugin is built alone and last. Built together with the rlib, it would be linked without LTO.
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

# The replies that clients got during faults, for docs/operations.md.
faults:
	rm -rf '$(TARGET)/tmp/faults'
	AUTHPOLICY_TEST_GEOIP=$(GEOIP) $(CARGO) test --test cluster $(patsubst tests/%.rs,--test %,$(wildcard tests/faults*.rs))
	CARGO=$(CARGO) scripts/fault-table

# `make test` fuzzes for a few seconds. A longer run finds more.
fuzz:
	scripts/install-packages g++ libcrypt-dev
	CARGO=$(CARGO) scripts/fuzz

bench:
	scripts/install-packages exim4-daemon-heavy mariadb-server dovecot-core dovecot-mysql libcrypt-dev nginx php-fpm php-maxminddb \
		php-mysql $(NPM)
	scripts/fetch-geoip --from npm $(GEOIP)
	$(CARGO) rustc --release --package authpolicy --lib --crate-type cdylib
	cp '$(PLUGIN)' '$(TARGET)/bench-authpolicy.so'
	AUTHPOLICY_BENCH_PLUGIN='$(TARGET)/bench-authpolicy.so' \
		AUTHPOLICY_TEST_GEOIP=$(GEOIP) \
		$(CARGO) bench --bench auth --bench scale --bench journal --bench hash --bench timing

header:
	AUTHPOLICY_UPDATE_HEADER=1 $(CARGO) test --test header

lint:
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy --all-targets --all-features -- -D warnings
	scripts/prose
	$(MAKE) deny

# A separate target, because the first run builds cargo-deny.
deny:
	CARGO=$(CARGO) scripts/deny

# The plugin is replaced by a rename. Overwriting the mapped file would kill the Exim processes that use it.
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
	@echo 'To deliver waiting rows: systemctl enable --now authpolicy-flush.path authpolicy-flush.timer'
