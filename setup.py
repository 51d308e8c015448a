"""Builds the native implementation where cargo is there; without it the package is pure Python."""

import shutil
import sys

from setuptools import setup

extensions = []
if shutil.which("cargo"):
    from setuptools_rust import Binding, RustExtension

    extensions.append(
        RustExtension(
            "chatpb._native",
            path="native/Cargo.toml",
            args=["--locked"],
            binding=Binding.PyO3,
            debug=False,
            optional=True,  # a build that fails leaves the pure package
            py_limited_api=True,
        )
    )
else:
    print("chatpb: cargo is not on the PATH; installing the pure Python package", file=sys.stderr)

setup(
    rust_extensions=extensions,
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if extensions else {},
)
