"""The library as the system sees it: what it needs, what it exports, how large it is, and that loading and running it disturbs nothing."""
import ctypes
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import ditq_c as ditq
import numpy as np
import pytest
from conftest import EMOJI, FIXTURES

HEADER = (ditq.ROOT / "include/ditq.h").read_text()
HERE = pathlib.Path(__file__).parent


def output(*command, **options):
    return subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True, **options).stdout


def symbols(*options):
    return {line.split()[-1].split("@")[0] for line in output("nm", "-D", "--extern-only", *options, ditq.PATH).splitlines() if line.strip()}


def dynamic(tag):
    return re.findall(rf"\({tag}\).*\[(.*)\]", output("readelf", "-d", ditq.PATH))


# ---- The file ----


def test_it_needs_libc_libm_and_libpng_alone():
    allowed = {"libc.so.6", "libm.so.6", "libpng16.so.16", "libz.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
    assert set(dynamic("NEEDED")) <= allowed and {"libc.so.6", "libpng16.so.16"} <= set(dynamic("NEEDED"))
    assert not dynamic("RPATH") + dynamic("RUNPATH"), "a folder where libraries of others' making would be looked for"


def test_its_name_is_libditq_so_1():
    assert dynamic("SONAME") == ["libditq.so.1"]


def test_it_is_stripped_and_hardly_larger_than_a_megabyte():
    # 961,008 bytes before it read whatever stands beside weights, ran diffusers' schedulers and asked for room before lists grow.
    assert ditq.PATH.stat().st_size < 1_100_000
    assert ".symtab" not in output("readelf", "-S", "-W", ditq.PATH)


def test_it_exports_the_functions_of_the_header_and_nothing_else():
    code = re.sub(r"/\*.*?\*/", "", HEADER, flags=re.S)
    code = re.sub(r"^\s*#.*$", "", code, flags=re.M)
    declared = set(re.findall(r"\b(ditq_\w+)\s*\(", re.sub(r"typedef[^;{]*;", "", code)))
    assert len(declared) >= 27
    assert symbols("--defined-only") == declared == set(ditq.PROTOTYPES)


def test_it_calls_nothing_that_prints_exits_or_reads_the_environment():
    forbidden = {"getenv", "secure_getenv", "setenv", "putenv", "setlocale", "newlocale", "uselocale", "abort", "raise", "__assert_fail", "signal", "sigaction", "exit", "_exit", "quick_exit", "atexit", "printf", "puts",
                 "putchar", "fputs", "fprintf", "vprintf", "perror", "system", "popen", "fork", "execve", "srand", "rand", "environ", "stdout", "stderr"}  # fmt: skip
    assert not symbols("--undefined-only") & forbidden


def test_what_functions_it_calls_is_settled_when_it_is_loaded():
    """Full RELRO: addresses of functions are bound at once, and read-only from then on, with all other constants that have addresses in them."""
    flags = "".join(re.findall(r"\((?:FLAGS|FLAGS_1)\).*", output("readelf", "-dW", ditq.PATH)))
    assert "NOW" in flags and "GNU_RELRO" in output("readelf", "-lW", ditq.PATH)
    segments = output("readelf", "-lW", ditq.PATH).split("Section to Segment mapping")[1].splitlines()
    kept = [set(line.split()[1:]) for line in segments if ".data" in line.split() or ".bss" in line.split()]
    assert kept and not set().union(*kept) & {".got", ".got.plt", ".dynamic", ".data.rel.ro", ".init_array"}, "addresses stand among variables"


def test_its_stack_is_not_executable_and_it_needs_no_text_relocations():
    headers = output("readelf", "-l", "-W", ditq.PATH)
    stack = next(line for line in headers.splitlines() if "GNU_STACK" in line)
    assert "RWE" not in stack
    assert not re.search(r"LOAD.*RWE", headers)
    assert "TEXTREL" not in output("readelf", "-d", ditq.PATH)


# ---- The process that loads it ----

WATCH = """
import ctypes, json, locale, os, sys
def state():
    status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    libc.setlocale.restype = ctypes.c_char_p
    return {"signals": [status[k].strip() for k in ("SigBlk", "SigIgn", "SigCgt")], "threads": status["Threads"].strip(),
            "locale": libc.setlocale(6, None).decode(), "environment": sorted(os.environ.items()), "directory": os.getcwd(), "umask": status.get("Umask"),
            "descriptors": sorted(os.listdir("/proc/self/fd")), "priority": os.nice(0), "affinity": sorted(os.sched_getaffinity(0))}
libc = ctypes.CDLL(None)
state()
"""
LOAD = WATCH + """
before = state()
library = ctypes.CDLL(sys.argv[1])
print(json.dumps([before, state()]))
"""
RUN = """
import ditq_c as ditq
""" + WATCH + """
before = state()
with ditq.Model(sys.argv[2]) as model, model.session(threads=2, batch_limit=2) as session:
    session.generate([1, 2, 3], [1, 2, 3], steps=2)
    try: session.generate([99999], [1])
    except ditq.DitqFailure: pass
try: ditq.Model("/nowhere")
except ditq.DitqFailure: pass
import time
for _ in range(100):  # the kernel lists a thread for a moment longer than pthread_join waits for it
    if state()["threads"] == before["threads"]: break
    time.sleep(0.01)
print(json.dumps([before, state()]))
"""


@pytest.mark.parametrize("program", [LOAD, RUN], ids=["loading", "running"])
@pytest.mark.parametrize("environment", [{}, {"LANG": "de_DE.UTF-8", "LC_ALL": "C.UTF-8", "MALLOC_PERTURB_": "165"}], ids=["plainly", "with a locale"])
def test_the_process_is_left_as_it_was_by(program, environment):
    done = subprocess.run(
        [sys.executable, "-c", program, ditq.PATH, EMOJI], cwd=HERE, env=os.environ | {"DITQ_LIBRARY": str(ditq.PATH)} | environment, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1, "something was printed"
    before, after = json.loads(lines[0])
    assert after == before


def test_the_environment_changes_nothing(session):
    """Variables that other libraries listen to."""
    program = "import ditq_c as d, hashlib, sys; m = d.Model(sys.argv[1]); s = m.session(); print(hashlib.sha256(s.denoise([1], [2], steps=2)).hexdigest(), s.json()['threads'], s.json()['instruction_set'])"
    environments = [{}, {"OMP_NUM_THREADS": "1", "DITQ_THREADS": "1", "DITQ_ISA": "generic", "SWIFT_BACKTRACE": "enable=yes", "LC_ALL": "C", "LC_NUMERIC": "de_DE.UTF-8"}]
    texts = {output(sys.executable, "-c", program, EMOJI, cwd=HERE, env=os.environ | {"DITQ_LIBRARY": str(ditq.PATH)} | e) for e in environments}
    assert len(texts) == 1


def test_rounding_modes_of_the_host_thread_are_left_as_they_are(session):
    """The library may not set the floating-point control register (flush to zero, rounding) for good."""
    libm = ctypes.CDLL("libm.so.6")
    before = libm.fegetround(), np.float32(1e-45) * np.float32(1)
    session("emoji").denoise([1], [2], steps=1)
    assert (libm.fegetround(), np.float32(1e-45) * np.float32(1)) == before and before[1] != 0


# ---- Threads ----


def tasks():
    return set(os.listdir("/proc/self/task"))


def tasks_end(before):
    """Whether no task is left but those of before. The kernel lists a thread for a moment longer than pthread_join waits for it."""
    for _ in range(100):
        if tasks() <= before:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize("name", ["emoji", "diffusers-b"])
def test_a_session_of_n_threads_starts_n_minus_one_and_destroy_ends_them(model, name, threads):
    before, during = tasks(), set()
    with model(name).session(threads=threads, batch_limit=2) as session:
        session.generate([1, 2], [1, 2], steps=2, progress=lambda p: during.update(tasks()))
        assert len(during - before) == threads - 1
        during.clear()
        session.generate([1, 2], [1, 2], steps=2, progress=lambda p: during.update(tasks()))
        assert len(during - before) == threads - 1, "the same threads again"
    assert tasks_end(before)


def test_idle_threads_take_no_time(model):
    import resource

    with model("emoji").session(threads=3) as session:
        session.generate([1], [1], steps=1)
        time.sleep(0.2)
        before = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        time.sleep(1)
        assert sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - before < 0.05


def test_threads_of_the_library_receive_no_signals_but_of_their_own_faults(model):
    before = tasks()
    with model("emoji").session(threads=2) as session:
        session.denoise([1], [1], steps=1)
        (new,) = tasks() - before
        status = pathlib.Path(f"/proc/self/task/{new}/status").read_text()
        blocked = int(re.search(r"SigBlk:\s*(\w+)", status)[1], 16)
        for signal in (1, 2, 3, 10, 12, 13, 14, 15, 17, 20, 23, 25, 27):
            assert blocked >> (signal - 1) & 1, f"signal {signal} may arrive in a thread of the library"
        for signal in (4, 5, 7, 8, 11, 31):  # SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS: see Tests/c/signals.c
            assert not blocked >> (signal - 1) & 1, f"the host's handler would not hear of a thread's own signal {signal}"


def test_the_default_is_every_cpu_that_this_process_may_use():
    program = "import os, sys, ditq_c as d\nif sys.argv[2]: os.sched_setaffinity(0, {int(sys.argv[2])})\ns = d.Model(sys.argv[1]).session(); s.denoise([1], [1], steps=1); print(s.json()['threads'], len(os.listdir('/proc/self/task')))"
    environment = os.environ | {"DITQ_LIBRARY": str(ditq.PATH), "OPENBLAS_NUM_THREADS": "1"}
    run = lambda cpu: list(map(int, output(sys.executable, "-c", program, EMOJI, cpu, cwd=HERE, env=environment).split()))
    mine = sorted(os.sched_getaffinity(0))
    assert run(str(mine[-1])) == [1, 1]
    threads, running = run("")
    assert threads == running and 1 <= threads <= len(mine)
    limit = pathlib.Path("/sys/fs/cgroup/cpu.max")
    quota = limit.read_text().split() if limit.exists() else ["max"]
    if quota[0] == "max" and not pathlib.Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").exists():
        assert threads == len(mine)


# ---- From C ----

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc here")


def compiled(tmp_path, source, name="program"):
    program = tmp_path / name
    command = ["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", f"-I{ditq.ROOT / 'include'}", source, "-o", program, ditq.PATH, "-ldl", f"-Wl,-rpath,{tmp_path}"]
    (tmp_path / "libditq.so.1").symlink_to(ditq.PATH)
    output(*command)
    return program


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


@needs_gcc
@pytest.mark.parametrize("name", ["emoji", "diffusers-b"])
def test_the_example_of_the_header_in_c_gives_the_bytes_that_python_gets(session, tmp_path, name):
    program = compiled(tmp_path, ditq.ROOT / "Tests/c/smoke.c")
    path = EMOJI if name == "emoji" else FIXTURES / "diffusers-b/pipeline"
    s = session(name)
    labels, seeds, pixels = np.zeros(1, np.int32), np.array([7], np.uint64), np.zeros((1, *s.image_shape), np.uint8)
    ditq.call(ditq.lib.ditq_generate, s.handle, ditq.address(labels), ditq.address(seeds), 1, None, ditq.address(pixels), pixels.nbytes)
    assert output(program, path, tmp_path / "apple.png").split()[-1] == f"{fnv1a(pixels.tobytes()):016x}"
    from test_calls import png_decode

    assert np.array_equal(png_decode((tmp_path / "apple.png").read_bytes())[0], pixels[0])
    failed = subprocess.run([str(program), "/nowhere"], capture_output=True, text=True)
    assert failed.returncode == 1 and "/nowhere" in failed.stderr


COUNTING = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "ditq.h"
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
static _Atomic int counting, count;
#define COUNT() (counting ? (void)++count : (void)0)
void *malloc(size_t n) { COUNT(); return __libc_malloc(n); }
void *calloc(size_t n, size_t m) { COUNT(); return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { COUNT(); return __libc_realloc(p, n); }
void *memalign(size_t a, size_t n) { COUNT(); return __libc_memalign(a, n); }
void *aligned_alloc(size_t a, size_t n) { COUNT(); return __libc_memalign(a, n); }
int posix_memalign(void **p, size_t a, size_t n) { COUNT(); *p = __libc_memalign(a, n); return *p ? 0 : 12; }
static int32_t progress(void *context, const ditq_progress *p) { (void)context; return p->done < 0; }
int main(int argc, char **argv) {
  static const int32_t labels[3] = {1, 2, 3};
  static const uint64_t seeds[3] = {4, 5, 6};
  static uint8_t pixels[3 * 32 * 32 * 3];
  static float latents[3 * 32 * 32 * 6], more[3 * 32 * 32 * 6];
  static const float t[3] = {1, 2, 3};
  ditq_model *model = NULL; ditq_session *session = NULL; ditq_error error = DITQ_ERROR_INIT;
  ditq_session_options options = {sizeof options, 2, 2, 0, NULL, NULL, 0};
  ditq_generate_options how;
  if (argc < 2 || ditq_model_open(argv[1], NULL, &model, &error) || ditq_session_create(model, &options, &session, &error)) return printf("%s\n", error.message), 1;
  ditq_generate_options_init(&how);
  how.steps = 3; how.eta = 0.5; how.progress = progress;
  ditq_run *run = NULL; int32_t remaining = 1; size_t needed; static uint8_t saved[1 << 20];
  const int32_t samplers[] = {DITQ_SAMPLER_DDPM, DITQ_SAMPLER_DPMPP_2M};
  if (ditq_run_create(model, labels, seeds, 3, &how, &run, &error)) return printf("%s\n", error.message), 1;
  counting = 1;
  int failed = ditq_generate(session, labels, seeds, 3, &how, pixels, sizeof pixels, &error)
      || ditq_denoise(session, labels, seeds, 3, &how, latents, sizeof latents, &error)
      || ditq_predict(session, latents, t, labels, 3, more, sizeof more, &error)
      || ditq_decode(session, latents, 3, pixels, sizeof pixels, &error);
  how.eta = 0; how.random = DITQ_RANDOM_PHILOX;
  for (int i = 0; i < 2 && !failed; i++) {
    how.sampler = samplers[i];
    failed = ditq_denoise(session, labels, seeds, 3, &how, latents, sizeof latents, &error);
  }
  while (remaining && !failed) failed = ditq_run_step(run, session, &remaining, &error);
  if (!failed) failed = ditq_run_latents(run, latents, more, sizeof more, &error) || ditq_run_save(run, saved, sizeof saved, &needed, &error);
  counting = 0;
  ditq_run_destroy(run);
  if (failed) return printf("%s\n", error.message), 1;
  ditq_session_destroy(session); ditq_model_close(model);
  printf("%d allocations\n", count);
  return 0;
}
"""


def allocations(folder, path):
    (folder / "counting.c").write_text(COUNTING)
    return output(compiled(folder, folder / "counting.c"), path)


@needs_gcc
@pytest.mark.parametrize("path", [
    EMOJI, EMOJI.with_name("emoji-w8a8.ditq"), EMOJI.with_name("emoji-w4a8.ditq"), FIXTURES / "diffusers-b/pipeline"], ids=lambda path: path.name)
def test_generating_allocates_nothing(tmp_path, path):
    assert allocations(tmp_path, path) == "0 allocations\n"


@needs_gcc
def test_generating_by_static_ranges_allocates_nothing(tmp_path, model):
    options = dict(activation_mode=2, balance_channels=1, calibration_steps=2, calibration_total_steps=4, calibration_samples=1)
    with model("emoji").quantize(**options) as quantized:
        quantized.save(tmp_path / "static.ditq")
    assert allocations(tmp_path, tmp_path / "static.ditq") == "0 allocations\n"


LEAKING = r"""
#include <ditq.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#define FAILS(call) do { \
    size_t before = 0; \
    for (int i = 0; i < 200; i++) { \
      if (i == 100) before = mallinfo2().uordblks; \
      if ((call) == DITQ_OK) return printf("%s succeeded\n", #call), 1; \
    } \
    if (mallinfo2().uordblks > before + 800) printf("%s left %zu bytes\n", #call, mallinfo2().uordblks - before); \
  } while (0)
int main(int count, char **path) {
  ditq_error error = {.struct_size = sizeof error};
  ditq_model *model = NULL, *other = NULL; ditq_session *session = NULL; ditq_linear *linear = NULL; int32_t label;
  (void)count;
  FAILS(ditq_model_open("/nonexistent", NULL, &other, &error));
  FAILS(ditq_model_open("/dev/null", NULL, &other, &error));
  FAILS(ditq_model_open_memory("no safetensors, no zip archive", 30, NULL, &other, &error));
  if (ditq_model_open(path[1], NULL, &model, &error) != DITQ_OK) return printf("%s\n", error.message), 1;
  ditq_session_options session_options; memset(&session_options, 0, sizeof session_options);
  session_options.struct_size = sizeof session_options; session_options.threads = -1;
  FAILS(ditq_session_create(model, &session_options, &session, &error));
  session_options.threads = 1; session_options.arena = (void *)64; session_options.arena_size = 64;
  FAILS(ditq_session_create(model, &session_options, &session, &error));
  ditq_quantize_options options; ditq_quantize_options_init(&options); options.weight_bits = 3;
  FAILS(ditq_quantize(model, &options, &other, &error));
  ditq_quantize_options_init(&options); options.calibration_steps = 5000;
  FAILS(ditq_quantize(model, &options, &other, &error));
  FAILS(ditq_model_save(model, "/tmp/never", &error));
  FAILS(ditq_model_find_class(model, "zzz", &label, &error));
  float weights[4] = {1, 2, 3, 1e30f};
  FAILS(ditq_linear_create(weights, NULL, 2, 2, NULL, &linear, &error));
  ditq_model_close(model);
  printf("done\n");
  return 0;
}
"""


@needs_gcc
def test_a_call_that_fails_leaves_no_memory_behind(tmp_path):
    (tmp_path / "leaking.c").write_text(LEAKING)
    assert output(compiled(tmp_path, tmp_path / "leaking.c"), EMOJI) == "done\n"
