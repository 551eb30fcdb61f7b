# The two commands are `make demo` and `make test`. Everything else they need is a target below.

PREFIX  ?= /usr/local
DESTDIR ?=
CC      := $(shell command -v cc || command -v gcc || command -v clang || echo cc)
CFLAGS  ?= -O2
VERSION := 0.1.0

BUILD   := .build-embedded
LIBDIR  := $(BUILD)/lib
LIBRARY := $(LIBDIR)/libditq.so.1
MODELS  := examples/models/emoji
MODEL   := $(MODELS)/emoji-w8a8.ditq
SWIFT_SOURCES := Package.swift $(shell find Sources include -name '*.swift' -o -name '*.c' -o -name '*.h' -o -name '*.map' -o -name '*.modulemap')

.PHONY: all demo test lib tool models gen_png bench-peers install clean setup setup-test format lint
.DEFAULT_GOAL := all
all: lib gen_png

# A picture, from nothing: prints where it is and how long it took.
demo: setup lib gen_png $(MODEL)
	@$(BUILD)/gen_png --model $(MODEL) --class "red apple" --seed 7 -o red-apple.png
	@echo "$(CURDIR)/red-apple.png"

# The shipped library: Embedded Swift, stripped.
lib: $(LIBRARY)
$(LIBRARY): $(SWIFT_SOURCES) | setup
	DITQ_EMBEDDED=1 swift build -c release --product ditq --scratch-path $(BUILD)
	@mkdir -p $(LIBDIR)
	@cp $(BUILD)/release/libditq.so $@
	@ln -sf libditq.so.1 $(LIBDIR)/libditq.so
	@touch $@
	@ls -l $@ | awk '{ print "libditq.so.1: " $$5 " bytes" }'

gen_png: $(BUILD)/gen_png
$(BUILD)/gen_png: examples/gen_png/gen_png.c include/ditq.h $(LIBRARY)
	$(CC) -std=c11 -Wall -Wextra -Werror -pedantic $(CFLAGS) -Iinclude -DDITQ_DEFAULT_MODEL='"$(CURDIR)/$(MODEL)"' $< \
	  -o $@ -L$(LIBDIR) -lditq -Wl,-rpath,'$$ORIGIN/lib'

# The `ditq` command: regular Swift over ditq.h and the shipped library.
tool: lib
	DITQ_SHIPPED=1 swift build -c release --product ditq-tool --scratch-path .build-tool
	@cp -f .build-tool/release/ditq-tool .build-tool/ditq && echo "$(CURDIR)/.build-tool/ditq"

# The small models of the repository, where they are missing. They are committed, so that nobody who only uses them needs the command.
models: $(MODELS)/emoji-w8a8.ditq $(MODELS)/emoji-w4a8.ditq
$(MODELS)/emoji-w8a8.ditq $(MODELS)/emoji-w4a8.ditq: $(MODELS)/emoji-w%a8.ditq: | $(MODELS)/emoji.safetensors
	@$(MAKE) --no-print-directory tool
	.build-tool/ditq quantize $(MODELS)/emoji.safetensors -o $@ --weights $*

# Everything is tested: see Tests/run.sh, whose last lines say how much of it passed.
test: setup setup-test lib gen_png models
	Tests/run.sh

install: lib gen_png $(MODEL)
	install -d $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/ditq
	install -m 755 $(LIBRARY) $(DESTDIR)$(PREFIX)/lib/libditq.so.$(VERSION)
	ln -sf libditq.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/libditq.so.1
	ln -sf libditq.so.1 $(DESTDIR)$(PREFIX)/lib/libditq.so
	install -m 644 include/ditq.h $(DESTDIR)$(PREFIX)/include/ditq.h
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' bindings/ditq.pc.in > $(DESTDIR)$(PREFIX)/lib/pkgconfig/ditq.pc
	install -m 644 $(MODEL) $(DESTDIR)$(PREFIX)/share/ditq/emoji-w8a8.ditq
	$(CC) -std=c11 $(CFLAGS) -Iinclude -DDITQ_DEFAULT_MODEL='"$(PREFIX)/share/ditq/emoji-w8a8.ditq"' examples/gen_png/gen_png.c \
	  -o $(DESTDIR)$(PREFIX)/bin/gen_png -L$(LIBDIR) -lditq -Wl,-rpath,'$$ORIGIN/../lib'

# Other libraries on the same model, in turn with ours: installs them (several GB) and takes a while. CONFIG=DiT-XL/2 PEERS=openvino-int8,…
CONFIG ?= DiT-S/2
bench-peers: tool
	Tests/tools/bench_peers.py --config $(CONFIG) $(if $(PEERS),--peers $(PEERS))

# What the build needs from the system: installed where that is allowed, else named in one line.
setup:
	@Tests/tools/setup.sh libpng-dev pkg-config
setup-test: setup
	@Tests/tools/setup.sh binutils gcc g++ python3
	@python3 -c 'import numpy, pytest' 2>/dev/null || { Tests/tools/setup.sh python3-pip && \
	  { python3 -m pip install --quiet numpy pytest || python3 -m pip install --quiet --break-system-packages numpy pytest; }; }

format:
	swift format --in-place --recursive --configuration .swift-format Package.swift Sources Tests
lint:
	swift format lint --strict --recursive --configuration .swift-format Package.swift Sources Tests

clean:
	rm -rf .build .build-embedded .build-test .build-tool .build-peers red-apple.png
