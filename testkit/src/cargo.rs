//! Cargo, called by a test that cargo runs.

use std::ffi::OsString;
use std::process::Command;

/// What cargo sets for a test that it runs, and for no build. Build scripts ask for some of them and run again when they
/// have changed, and everything that stands on those is compiled anew: by this build, and by the next one outside.
const OF_A_TEST: [&str; 7] = [
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_BIN_",
    "CARGO_CRATE_NAME",
    "CARGO_PRIMARY_",
    "CARGO_TARGET_TMPDIR",
    "OUT_DIR",
];

/// A command that runs the cargo which runs this test, as it would be run from outside.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let names: Vec<OsString> = std::env::vars_os().map(|(name, _)| name).collect();
    for name in names.iter().filter(|name| is_of_a_test(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command
}

fn is_of_a_test(name: &str) -> bool {
    OF_A_TEST.iter().any(|begin| name.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_inside_of_a_test_is_the_same_as_one_outside() {
        assert!(std::env::vars().any(|(name, _)| is_of_a_test(&name)), "cargo sets some of them");
        let command = cargo();
        let removed = |name: &str| command.get_envs().any(|(known, value)| known == name && value.is_none());
        assert!(removed("CARGO_MANIFEST_DIR") && removed("CARGO_PKG_NAME"));
        for kept in ["CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_PROFILE_DEV_DEBUG", "CARGO_BUILD_JOBS"] {
            assert!(!is_of_a_test(kept), "{kept}");
        }
    }
}
