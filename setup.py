"""Builds the native extension if cargo is available; without it the package is pure Python.

The build is optional: if it fails, the pure package is installed. pip hides the output of a build,
so the reason is written to build/native.log, where native/report.py finds it.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

LOG = Path("build/native.log")
STUB = Path("_chatpb.pyi")


def log(text: str) -> None:
    """Keeps why there is no native extension; nothing if it was built."""
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_text(text)
    print(f"chatpb: {text}" if text else "chatpb: the native extension was built")


class BuildPy(build_py):
    """Ships the stub of the extension, a top-level module, as a stub-only package (PEP 561)."""

    def run(self) -> None:
        """Copies the packages and the stub."""
        super().run()
        if not self.editable_mode:
            stubs = Path(self.build_lib, f"{STUB.stem}-stubs")
            stubs.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(STUB, stubs / "__init__.pyi")


options = {"cmdclass": {"build_py": BuildPy}}
if shutil.which("cargo"):
    from setuptools_rust import Binding, RustExtension, build_rust

    class BuildRust(build_rust):
        """Keeps the reason if the build fails, and goes on without the extension."""

        def run(self) -> None:
            """Builds the extension."""
            try:
                super().run()
            except Exception as error:
                log(f"the build of the native extension failed:\n{error}")
            else:
                log("")

    extension = RustExtension(
        "_chatpb",
        path="native/Cargo.toml",
        args=["--locked"],
        binding=Binding.PyO3,
        debug=False,
        quiet=True,  # the output of cargo becomes part of the error
        py_limited_api=True,
    )
    options["cmdclass"]["build_rust"] = BuildRust
    options["rust_extensions"] = [extension]
    options["py_modules"] = ["_chatpb"]  # an editable install finds it in the checkout
    options["options"] = {"bdist_wheel": {"py_limited_api": "cp311"}}
else:
    log("cargo is not on the PATH")

setup(**options)
