# The two commands are `make demo` and `make test`. Everything else they need is a target below.

PREFIX  ?= /usr/local
DESTDIR ?=
CC      := $(shell command -v cc || command -v gcc || command -v clang || echo cc)
CFLAGS  ?= -O2
VERSION := 0.1.0

BUILD   := .build-embedded
LIBDIR  := $(BUILD)/lib
LIBRARY := $(LIBDIR)/libditq.so.1
ARCHIVE := $(LIBDIR)/libditq.a
MODELS  := examples/models/emoji
MODEL   := $(MODELS)/emoji-w8a8.ditq
SWIFT_SOURCES := Package.swift $(shell find Sources include -name '*.swift' -o -name '*.c' -o -name '*.h' -o -name '*.map' -o -name '*.ld' -o -name '*.modulemap')

.PHONY: all demo test test-quality test-avx512 differential lib other-libraries archive tool models gen_png bench-peers install clean setup setup-test format lint fuzz failures sanitize soak reproducible sbom
.DEFAULT_GOAL := all
all: lib gen_png

# A picture, from nothing: prints where it is and how long it took.
demo: setup lib gen_png $(MODEL)
	@$(BUILD)/gen_png --model $(MODEL) --class "red apple" --seed 7 -o red-apple.png
	@echo "$(CURDIR)/red-apple.png"

# The shipped library: Embedded Swift, stripped. With TARGET=aarch64-linux-gnu or riscv64-linux-gnu the same for another machine, by Debian's
# cross compiler; .build-TARGET-bare/libditq.a is that for a machine without a system.
lib: $(if $(TARGET),.build-$(TARGET)/lib/libditq.so.1,$(LIBRARY))
.build-%/lib/libditq.so.1: $(SWIFT_SOURCES) Tests/tools/cross.sh
	@Tests/tools/setup.sh gcc-$*
	Tests/tools/cross.sh $*
.build-%-bare/libditq.a: $(SWIFT_SOURCES) Tests/tools/cross.sh
	@Tests/tools/setup.sh gcc-$*
	Tests/tools/cross.sh $* --bare
OTHER_CPUS := aarch64-linux-gnu riscv64-linux-gnu
other-libraries: $(OTHER_CPUS:%=.build-%/lib/libditq.so.1) $(OTHER_CPUS:%=.build-%-bare/libditq.a)
$(LIBRARY): $(SWIFT_SOURCES) | setup
	DITQ_EMBEDDED=1 swift build -c release --product ditq --disable-local-rpath --scratch-path $(BUILD)
	@mkdir -p $(LIBDIR)
	@cp --remove-destination $(BUILD)/release/libditq.so $@
	@ln -sf libditq.so.1 $(LIBDIR)/libditq.so
	@touch $@
	@ls -l $@ | awk '{ print "libditq.so.1: " $$5 " bytes" }'

# The same objects as one, for programs that link it into themselves: what nothing exported reaches is dropped, and no other name is seen.
# `ld` is GNU's, which can do this; groups are dissolved, so that another library in Embedded Swift may be linked beside it.
archive: $(ARCHIVE)
$(ARCHIVE): $(LIBRARY)
	nm -D --defined-only $< | awk '{ print $$NF }' > $(LIBDIR)/exports
	ld -r --gc-sections --force-group-allocation $$(sed 's/^/-u /' $(LIBDIR)/exports) -o $(LIBDIR)/ditq.o @$(BUILD)/release/ditq.product/Objects.LinkFileList
	objcopy --keep-global-symbols=$(LIBDIR)/exports --strip-unneeded --remove-section=.swift_modhash $(LIBDIR)/ditq.o
	rm -f $@ && ar rcsD $@ $(LIBDIR)/ditq.o && rm $(LIBDIR)/ditq.o $(LIBDIR)/exports

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
test: setup setup-test lib archive gen_png models
	Tests/run.sh

# What quantizing costs, at every step of a run, where `make test` looks at some.
test-quality: setup-test lib
	DITQ_ALL_STEPS=1 DITQ_LIBRARY=$(CURDIR)/$(LIBRARY) python3 -m pytest -q -p no:cacheprovider Tests/python/test_quantize.py

# The AVX-512 VNNI kernels where the CPU has none, in Bochs: minutes, and not a part of `make test`.
test-avx512: archive
	@Tests/tools/setup.sh --no-install-recommends gcc bochs bochs-term bochsbios vgabios isolinux syslinux-common xorriso cpio busybox-static
	Tests/tools/avx512.sh

# COUNT random configurations, from seed FIRST on, against PyTorch and diffusers, which are installed (several GB) into an environment of their own.
COUNT ?= 300
FIRST ?= 0
differential: setup lib
	@test -x .build-torch/bin/python || { Tests/tools/setup.sh python3-venv && python3 -m venv .build-torch; }
	@.build-torch/bin/python -c 'import torch, diffusers, transformers, accelerate' 2>/dev/null || \
	  .build-torch/bin/pip install --quiet numpy safetensors torch transformers accelerate 'diffusers==0.42.*'
	DITQ_LIBRARY=$(CURDIR)/$(LIBRARY) .build-torch/bin/python Tests/tools/differential.py --seeds $(FIRST):$$(($(FIRST) + $(COUNT)))

# What SECURITY.md tells of. Fuzzing, SECONDS for each target of Tests/fuzz (or of TARGETS, some of them), two at a time; every request of memory
# refused in its turn; sanitizers and valgrind; a storm of sessions under ThreadSanitizer for SOAK seconds; two builds compared; what the library consists of, in CycloneDX.
SECONDS ?= 20
SOAK    ?= 600
.build-address/libditq.a .build-thread/libditq.a: .build-%/libditq.a: $(SWIFT_SOURCES) Tests/tools/sanitized.sh | setup
	Tests/tools/sanitized.sh $*
fuzz: .build-address/libditq.a
	Tests/tools/fuzz.sh $(SECONDS) $(TARGETS)
failures: lib
	@Tests/tools/setup.sh gcc
	Tests/tools/failures.sh
sanitize: .build-address/libditq.a .build-thread/libditq.a lib
	@Tests/tools/setup.sh gcc valgrind
	Tests/tools/sanitize.sh address
	Tests/tools/sanitize.sh thread
	Tests/tools/sanitize.sh valgrind
soak: .build-thread/libditq.a
	Tests/tools/sanitize.sh thread $(SOAK)
reproducible: setup
	Tests/tools/reproducible.sh
sbom: lib
	@Tests/tools/sbom.py $(LIBRARY) $(VERSION) > $(LIBDIR)/libditq.cdx.json && echo "$(CURDIR)/$(LIBDIR)/libditq.cdx.json"

# The library, headers, what pkg-config and CMake find it by, gen_png with its model, man pages.
INSTALLED := $(DESTDIR)$(PREFIX)
install: lib archive gen_png $(MODEL)
	install -d $(addprefix $(INSTALLED)/,lib/pkgconfig lib/cmake/ditq include bin share/ditq share/man/man1)
	install -m 755 $(LIBRARY) $(INSTALLED)/lib/libditq.so.$(VERSION)
	ln -sf libditq.so.$(VERSION) $(INSTALLED)/lib/libditq.so.1
	ln -sf libditq.so.1 $(INSTALLED)/lib/libditq.so
	install -m 644 $(ARCHIVE) $(INSTALLED)/lib
	install -m 644 include/ditq.h include/ditq.hpp $(INSTALLED)/include
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' bindings/ditq.pc.in > $(INSTALLED)/lib/pkgconfig/ditq.pc
	install -m 644 bindings/cmake/ditq-config.cmake $(INSTALLED)/lib/cmake/ditq
	sed -e 's|@VERSION@|$(VERSION)|' bindings/cmake/ditq-config-version.cmake.in > $(INSTALLED)/lib/cmake/ditq/ditq-config-version.cmake
	install -m 644 man/gen_png.1 man/ditq.1 $(INSTALLED)/share/man/man1
	install -m 644 $(MODEL) $(INSTALLED)/share/ditq/emoji-w8a8.ditq
	$(CC) -std=c11 $(CFLAGS) -Iinclude -DDITQ_DEFAULT_MODEL='"$(PREFIX)/share/ditq/emoji-w8a8.ditq"' examples/gen_png/gen_png.c \
	  -o $(INSTALLED)/bin/gen_png -L$(LIBDIR) -lditq -Wl,-rpath,'$$ORIGIN/../lib'

# Other libraries on the same model, in turn with ours: installs them (several GB) and takes a while. CONFIG=DiT-XL/2 PEERS=openvino-int8,…
CONFIG ?= DiT-S/2
bench-peers: tool
	Tests/tools/bench_peers.py --config $(CONFIG) $(if $(PEERS),--peers $(PEERS))

# What the build needs from the system: installed where that is allowed, else named in one line.
setup:
	@Tests/tools/setup.sh libpng-dev pkg-config binutils
# Python packages come from PyPI, where they are missing into an environment beside the builds, which is then the first python3 for all targets.
PYTHON_TESTS := numpy,pytest,setuptools,wheel
comma := ,
export PATH := $(CURDIR)/.build-python/bin:$(PATH)
setup-test: setup
	@Tests/tools/setup.sh abigail-tools gcc g++ cmake valgrind python3 $(OTHER_CPUS:%=gcc-%) qemu-user-static
	@Tests/tools/setup.sh --no-install-recommends qemu-system-arm qemu-system-misc
	@python3 -c 'import $(PYTHON_TESTS)' 2>/dev/null || { Tests/tools/setup.sh python3-venv && python3 -m venv .build-python && \
	  .build-python/bin/pip install --quiet $(subst $(comma), ,$(PYTHON_TESTS)); }

format:
	swift format --in-place --recursive --configuration .swift-format Package.swift Sources Tests
lint:
	swift format lint --strict --recursive --configuration .swift-format Package.swift Sources Tests

clean:
	rm -rf .build .build-embedded .build-test .build-tool .build-bochs .build-peers .build-python .build-torch .build-address .build-thread .build-valgrind .build-*-linux-gnu* red-apple.png
