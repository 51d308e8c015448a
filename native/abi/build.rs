//! Gives the shared library the name that programs look for when they start.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Before 1.0, a new minor version may change what is called.
    let version = |part| std::env::var(format!("CARGO_PKG_VERSION_{part}")).unwrap_or_default();
    let version = match version("MAJOR").as_str() {
        "0" => format!("0.{}", version("MINOR")),
        major => major.to_string(),
    };
    let linked = match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux") => format!("-Wl,-soname,libchatpb.so.{version}"),
        Ok("macos") => format!("-Wl,-install_name,@rpath/libchatpb.{version}.dylib"),
        _ => return,
    };
    println!("cargo:rustc-cdylib-link-arg={linked}");
}
