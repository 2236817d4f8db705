//! Asks the linker for a shorter table of relocations, where what loads the program can read one.

use std::{env, process::Command};

/// The first glibc that knows the table (`DT_RELR`).
const GLIBC: (u32, u32) = (2, 36);

#[expect(clippy::disallowed_methods, reason = "so does cargo tell a build what is built")]
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is = |name: &str, wanted: &str| env::var(name).is_ok_and(|said| said == wanted);
    let is_ours = env::var("HOST").ok() == env::var("TARGET").ok();
    if is_ours && is("CARGO_CFG_TARGET_ARCH", "x86_64") && is("CARGO_CFG_TARGET_ENV", "gnu") && glibc() >= Some(GLIBC) {
        // Three quarters of a megabyte that every start reads, and that stays resident, become ten kilobytes.
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
        // What is never run but where something went wrong stands apart from what is.
        println!("cargo:rustc-link-arg-bins=-Wl,-z,keep-text-section-prefix");
    }
}

/// The version of the C library that this program is built beside; `None` where the system does not say.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
