"""Builds the library into the package where Swift and the repository are at hand; else the package looks for an installed one when it is imported."""
import pathlib
import shutil
import subprocess

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
LIBRARY = REPOSITORY / ".build-embedded/lib/libditq.so.1"
BUNDLED = (REPOSITORY / "Makefile").exists() and shutil.which("swift") is not None


class BuildWithLibrary(build_py):
    def run(self):
        super().run()
        if BUNDLED:
            subprocess.run(["make", "lib"], cwd=REPOSITORY, check=True)
            self.copy_file(LIBRARY, pathlib.Path(self.build_lib) / "ditq" / LIBRARY.name)


class PlatformDistribution(Distribution):
    def has_ext_modules(self):
        return BUNDLED


setup(cmdclass={"build_py": BuildWithLibrary}, distclass=PlatformDistribution)
