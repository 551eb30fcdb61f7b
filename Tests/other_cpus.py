#!/usr/bin/env python3
"""The library on other CPUs, under QEMU: aarch64 and riscv64 with Linux and without any system, x86-64 with AVX2 alone and with no AVX.

Builds the libraries for them, looks at what they export and need, runs the C programs of the suite, and draws one picture everywhere. Prints a
line for each passed check, and a table of the pictures; the status is 1 when anything is wrong. Needs what the Makefile's setup-test installs.
"""
import base64
import concurrent.futures
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[1]
MODELS = ROOT / "examples/models/emoji"
NATIVE = ROOT / ".build-embedded/lib"
STEPS = 3
C_FLAGS = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{ROOT / 'include'}"]
CODE_LIMIT, STACK_LIMIT, LIBRARY_LIMIT = 512 << 10, 64 << 10, 1 << 20

os.environ.setdefault("DITQ_LIBRARY", str(NATIVE / "libditq.so.1"))
sys.path.insert(0, str(ROOT / "Tests/python"))
from test_calls import png_decode  # noqa: E402


def run(*command, **options):
    """Standard output of a command that must succeed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT, timeout=1500, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


class Platform:
    """A machine that programs in C run on. `sets` are the instruction sets that the library must find there, `programs` those that run beside the ones
    for all: awkward_shapes once for each set of instructions, the fifty steps of smoke once for each library (on an emulated x86-64 they take minutes)."""

    def __init__(self, name, sets, machine="x86_64", cpu=None, programs=()):
        self.programs = programs
        self.name, self.sets, self.triple = name, sets, None if machine == "x86_64" else f"{machine}-linux-gnu"
        self.prefix = [f"qemu-{machine}-static"] if cpu or self.triple else []
        if cpu:
            self.prefix += ["-cpu", cpu]
        self.library = NATIVE
        if self.triple:
            self.library = ROOT / f".build-{self.triple}/lib"
            path = f"{self.library}:{self.library.parent / 'sysroot/lib'}"
            self.prefix += ["-L", f"/usr/{self.triple}", "-E", f"LD_LIBRARY_PATH={path}"]

    def run(self, folder, program, *arguments):
        return run(*self.prefix, folder / f"{program}-{self.triple or 'x86_64'}", *arguments)


X86_64 = Platform("x86-64, this CPU", None, programs=("awkward_shapes", "smoke"))
PLATFORMS = [
    X86_64,
    Platform("x86-64 as Nehalem", ["generic"], cpu="Nehalem", programs=("awkward_shapes",)),
    Platform("x86-64 as Haswell", ["generic", "AVX2"], cpu="Haswell"),
    Platform("aarch64 as max", ["generic", "NEON dot product", "NEON I8MM"], "aarch64", "max", programs=("awkward_shapes", "smoke")),
    Platform("aarch64 as cortex-a76", ["generic", "NEON dot product"], "aarch64", "cortex-a76"),
    Platform("aarch64 as cortex-a53", ["generic"], "aarch64", "cortex-a53"),
    Platform("riscv64", ["generic"], "riscv64", "rv64", programs=("awkward_shapes", "smoke")),
]
TRIPLES = ["aarch64-linux-gnu", "riscv64-linux-gnu"]
PROGRAMS = {name: ROOT / path for name, path in {
    "smoke": "Tests/c/smoke.c", "every_set": "Tests/c/every_set.c", "awkward_shapes": "Tests/c/awkward_shapes.c", "gen_png": "examples/gen_png/gen_png.c",
}.items()}  # fmt: skip


def compile_programs(folder):
    """Each program for each machine, as folder/NAME-TRIPLE."""
    for triple in [None, *TRIPLES]:
        library = ROOT / f".build-{triple}/lib" if triple else NATIVE
        link = [f"-L{library}", "-lditq", f"-Wl,-rpath,{library}", f"-Wl,-rpath-link,{library.parent / 'sysroot/lib'}"]
        for name, source in PROGRAMS.items():
            program = folder / f"{name}-{triple or 'x86_64'}"
            run(f"{triple}-gcc" if triple else "cc", *C_FLAGS, '-DDITQ_DEFAULT_MODEL=""', source, "-o", program, *link)


# ---- The libraries ----


def exported(library):
    return sorted(line.split()[-1] for line in run("nm", "-D", "--defined-only", library).splitlines())


def check_library(triple):
    library = ROOT / f".build-{triple}/lib/libditq.so.1"
    dynamic = run("readelf", "-d", library)
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", dynamic))
    allowed = {"libc.so.6", "libm.so.6", "libpng16.so.16", "libz.so.1", "ld-linux-aarch64.so.1", "ld-linux-riscv64-lp64d.so.1"}
    assert "[libditq.so.1]" in re.search(r"SONAME.*", dynamic)[0] and needed <= allowed, dynamic
    assert "NOW" in "".join(re.findall(r"\(FLAGS(?:_1)?\).*", dynamic)) and not re.search("RPATH|RUNPATH|TEXTREL", dynamic), dynamic
    headers = run("readelf", "-lW", library)
    assert "GNU_RELRO" in headers and re.search(r"GNU_STACK.* RW ", headers), headers
    assert exported(library) == exported(NATIVE / "libditq.so.1") and len(exported(library)) > 30
    assert ".symtab" not in run("readelf", "-SW", library), "the library is not stripped"
    size = library.stat().st_size
    assert size < LIBRARY_LIMIT, size
    return f"libditq.so.1 for {triple} exports what x86-64's does and needs {', '.join(sorted(needed))}: {size} bytes"


def check_archive(triple):
    """Only names of ditq.h, and what a host without a system must give."""
    archive = ROOT / f".build-{triple}-bare/libditq.a"
    names = [line.split()[-2:] for line in run(f"{triple}-nm", "-g", archive).splitlines() if len(line.split()) > 1]
    assert sorted(name for kind, name in names if kind == "T") == exported(NATIVE / "libditq.so.1"), names
    host = {"free", "posix_memalign", "memcmp", "memcpy", "memmove", "memset", "strlen"}
    host |= {"rint", "rintf", "roundf", "trunc"}  # of CPUs that cannot round
    host |= {"arc4random_buf"}  # of hash tables, which nothing makes: no program below gives it
    wanted = {name for kind, name in names if kind == "U"}
    assert wanted <= host, wanted - host
    return f"libditq.a for {triple} has the names of ditq.h alone and asks for {len(wanted)} of its host's"


def check_kernels(triple):
    """What Tests/symbols.sh checks on x86-64: no code for a better CPU under a name that another object has too."""
    folder = ROOT / f".build-{triple}"
    defined = lambda name: {line.split()[-1] for line in run(f"{triple}-nm", "--defined-only", folder / f"{name}.o").splitlines() if line.split()[-2] in "TWVDRB"}
    core = defined("Ditq") | defined("DitqCore") | defined("KernelMath")
    kernels = [path.stem for path in folder.glob("Kernels*.o")]
    for kernel in kernels:
        others = set().union(*(defined(other) for other in kernels if other != kernel))
        assert defined(kernel) & others <= core, defined(kernel) & others - core
        math = {name for name in defined(kernel) if "10KernelMath" in name and kernel not in name}
        assert not math, f"{kernel} emits functions of KernelMath under a name that is not its own: {math}"
    return f"kernels for {triple} ({', '.join(sorted(kernels))}) have no code under a name of others"


# What a set exists for, and at least how much of it its kernels hold where all is inlined.
INSTRUCTIONS = {"KernelsNEON": ("sdot", 140), "KernelsI8MM": ("usdot", 140), "KernelsGeneric": ("fmadd|fmla", 100)}


def check_instructions(triple):
    counts = {}
    for folder in ROOT / f".build-{triple}", ROOT / f".build-{triple}-bare":
        for path in folder.glob("Kernels*.o"):
            instruction, least = INSTRUCTIONS[path.stem]
            counts[f"{path.stem}{' (bare)' * folder.name.endswith('bare')}"] = count = len(
                re.findall(rf"\t(?:{instruction})[.\w]*\t", run(f"{triple}-objdump", "-d", "--no-show-raw-insn", path)))  # fmt: skip
            assert count >= least, f"{path}: {least} or more of {instruction} expected, {count} found: is something called that should be inlined?"
    return f"kernels for {triple} are made of what their sets exist for: " + ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


# ---- Programs under emulation ----


def check_sets(platform, folder, expected):
    """Every instruction set of the platform draws the same from 8 bits, 4 bits and floats; and what its other programs print is the same."""
    found = {}
    for name, model, steps in [("8 bits", MODELS / "emoji-w8a8.ditq", 1), ("4 bits", MODELS / "emoji-w4a8.ditq", 1),
                               ("latents in float", ROOT / "Tests/Fixtures/diffusers-a/pipeline", 1)]:  # fmt: skip
        lines = [line.split(" ", 1) for line in platform.run(folder, "every_set", model, steps).splitlines()]
        assert platform.sets in (None, [name for _, name in lines]), f"{platform.name}: {platform.sets} expected, {lines} found"
        found[name] = lines[0][0]
    if "awkward_shapes" in platform.programs:
        found["awkward shapes"] = platform.run(folder, "awkward_shapes").split()[-1]
    if "smoke" in platform.programs:
        found["smoke"] = platform.run(folder, "smoke", ROOT / "Tests/Fixtures/diffusers-a/pipeline").strip()
    assert expected is None or found == {name: expected[name] for name in found}, f"{platform.name}: {expected} expected, {found} found"
    return found


def picture(platform, folder):
    """The bytes of gen_png's file."""
    file = folder / f"{platform.name}.png"
    platform.run(folder, "gen_png", "--model", MODELS / "emoji-w8a8.ditq", "--class", "red apple", "--seed", 7, "--steps", STEPS, "--threads", 1, "-o", file)
    return file.read_bytes()


def picture_in_cpp(folder):
    (folder / "apple.cpp").write_text(
        '#include <ditq.hpp>\nint main(int, char** argv) {\n  auto session = ditq::Session::create(ditq::Model::open(argv[1]));\n  ditq::GenerateOptions options;\n'
        f"  options.steps = {STEPS};\n  session.generate(0, 7, options).save(argv[2]);\n}}\n")  # fmt: skip
    run("c++", "-std=c++17", f"-I{ROOT / 'include'}", folder / "apple.cpp", "-o", folder / "apple", f"-L{NATIVE}", "-lditq", f"-Wl,-rpath,{NATIVE}")
    run(folder / "apple", MODELS / "emoji-w8a8.ditq", folder / "cpp.png")
    return (folder / "cpp.png").read_bytes()


def picture_in_python(folder):
    program = "import sys, ditq; ditq.Model(sys.argv[1]).generate('red apple', seed=7, steps=int(sys.argv[2])).save(sys.argv[3])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "bindings/python")}
    run(sys.executable, "-c", program, MODELS / "emoji-w8a8.ditq", STEPS, folder / "python.png", env=environment)
    return (folder / "python.png").read_bytes()


def run_on_bare_metal(triple, cpu, main):
    """(the program, what came over its serial port): the example with this file as its main program."""
    machine = triple.split("-")[0]
    run("make", "-C", "examples/bare_metal", f"TARGET={triple}", f"STEPS={STEPS}", f"MAIN={main}")
    program = ROOT / f".build-{triple}-bare/{main.stem}-{STEPS}"
    options = {"aarch64": ["-cpu", cpu], "riscv64": ["-cpu", cpu, "-bios", "none"]}[machine]
    return program, run(f"qemu-system-{machine}", "-M", "virt", *options, "-nographic", "-nic", "none", "-kernel", program, stdin=subprocess.DEVNULL)


def check_refusals(triple, cpu):
    _, output = run_on_bare_metal(triple, cpu, ROOT / "Tests/c/bare_refusals.c")
    assert output.count("ok  ") == 6 and "FAILED" not in output, output


def picture_on_bare_metal(triple, cpu):
    """(the file that came over the serial port, figures)"""
    program, output = run_on_bare_metal(triple, cpu, pathlib.Path("main.c"))
    sections = {name: int(size) for name, size in re.findall(r"^\.(\w+)\s+(\d+)", run(f"{triple}-size", "-A", program), re.M)}
    figures = {name: int(value) for name, value in re.findall(r"^([a-z ]+): (\d+)\r?$", output, re.M)}
    figures["code"], figures["constants"] = sections["text"], sections["rodata"]
    figures["ram"] = sections["data"] + sections["bss"]
    assert figures["allocations after the start"] == 0, output
    assert 1024 < figures["stack used"] < STACK_LIMIT and figures["code"] < CODE_LIMIT, figures
    return base64.b64decode(re.search("-----BEGIN PNG-----(.*)-----END", output, re.S)[1]), figures


# ---- All of it ----


class Results:
    def __init__(self):
        self.failures, self.rows = 0, []

    def check(self, sentence, future):
        """Prints how a check went; its value, or None."""
        try:
            value = future.result()
            print(f"ok  {sentence(value) if callable(sentence) else sentence}", flush=True)
            return value
        except Exception:
            self.failures += 1
            print(f"FAILED  {sentence if isinstance(sentence, str) else ''}\n{traceback.format_exc()}", flush=True)

    def add_row(self, name, file, has_texts):
        """A picture: its file's sum, where the file has gen_png's texts and is to be the same, and that of its pixels."""
        if file is None:
            return
        pixels, _ = png_decode(file)
        self.rows.append((name, hashlib.sha256(file).hexdigest() if has_texts else "", hashlib.sha256(pixels.tobytes()).hexdigest()))

    def print_table(self):
        print("| the same picture | SHA-256 of gen_png's file | SHA-256 of its pixels |\n|---|---|---|")
        for name, file, pixels in self.rows:
            print(f"| {name} | {file[:16]} | {pixels[:16]} |")
        different = {file for _, file, _ in self.rows if file}, {pixels for *_, pixels in self.rows}
        if [len(sums) for sums in different] == [1, 1]:
            print(f"ok  {len(self.rows)} ways to the same picture")
        else:
            self.failures += 1
            print("FAILED  the pictures differ")


def main():
    run("make", "--no-print-directory", f"-j{os.cpu_count()}", "other-libraries")
    results = Results()
    folder = pathlib.Path(tempfile.mkdtemp())
    compile_programs(folder)
    expected = check_sets(X86_64, folder, None)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        looks = [pool.submit(look, triple) for triple in TRIPLES for look in (check_library, check_kernels, check_instructions, check_archive)]
        pictures = [(platform, pool.submit(picture, platform, folder), pool.submit(check_sets, platform, folder, expected)) for platform in PLATFORMS]
        bindings = [(f"x86-64, {name}", pool.submit(draw, folder)) for name, draw in [("C++", picture_in_cpp), ("Python", picture_in_python)]]
        refusals = pool.submit(check_refusals, "aarch64-linux-gnu", "max")
        bare = [(f"bare metal, {triple.split('-')[0]} as {cpu}", pool.submit(picture_on_bare_metal, triple, cpu))
                for triple, cpu in [("aarch64-linux-gnu", "max"), ("aarch64-linux-gnu", "cortex-a53"), ("riscv64-linux-gnu", "rv64")]]  # fmt: skip
        for look in looks:
            results.check(lambda sentence: sentence, look)
        for platform, file, sums in pictures:
            results.check(f"{platform.name}: all sets agree with x86-64 in " + ", ".join(["8 bits, 4 bits, float", *platform.programs]), sums)
            results.add_row(platform.name + ", C", results.check(f"{platform.name}: gen_png draws", file), has_texts=True)
        for name, file in bindings:
            results.add_row(name, results.check(f"{name} draws", file), has_texts=False)
        results.check("bare metal: files, threads, PNG and decoders are refused in a sentence; what was closed is used again", refusals)
        for name, future in bare:
            sentence = lambda found: f"{name} draws: " + ", ".join(f"{what} {value}" for what, value in found[1].items())
            found = results.check(sentence, future)
            results.add_row(name, found and found[0], has_texts=False)
    results.print_table()
    shutil.rmtree(folder)
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
